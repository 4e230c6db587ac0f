"""Decisions as the views of /decisions, and as the fields of log lines."""

import math
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from autoscaler.core.decision import ExternalChange, Outcome, Unmanaged
from autoscaler.core.explanation import (
    explain_outcome,
    external_change_text,
    missing_text,
    outcome_text,
    poll_reason,
    problem_text,
    reported_text,
    result_text,
    running_text,
    unchanged_text,
    unmanaged_text,
)
from autoscaler.core.instructions import Override, Pause, instruction_text
from autoscaler.core.next_poll import NextPoll
from autoscaler.core.rollout_comparison import BlockTotals
from autoscaler.core.rollout_hours import HOUR_S
from autoscaler.core.rollout_status import RolloutStatus, comparison_text, revert_text, rollout_text
from autoscaler.core.shadow_text import no_shadow_text
from autoscaler.core.shortfall import ReportedStatus, Shortfall
from autoscaler.core.slo_status import Expectation, SloStatus
from autoscaler.core.step_text import step_text
from autoscaler.core.values import Candidate, Step
from autoscaler.wire.decision_views import (
    CandidateView,
    ExpectationView,
    ExternalChangeView,
    ForecastView,
    InstructionView,
    LoadView,
    ManagedView,
    NextPollView,
    ObserveOnlyView,
    OutcomeView,
    RecurrenceView,
    ReportedView,
    RolloutTotalsView,
    RolloutView,
    RouteView,
    SampleView,
    ShortfallView,
    SloView,
    StepView,
    UnmanagedView,
    VanishedView,
)
from autoscaler.wire.shadow_views import shadow_view

Known = TypeVar("Known", float, float | None, float | str)


def next_poll(planned: NextPoll) -> NextPollView:
    """The view of the next poll."""
    return NextPollView(
        within_s=planned.within_s,
        cause=planned.cause,
        deployment=planned.deployment_id or "",
        because=poll_reason(planned),
    )


def managed(outcome: Outcome, last_update: Outcome | None = None) -> ManagedView:
    """The view of a decision with its outcome."""
    decision = outcome.decision
    return ManagedView(
        deployment=decision.deployment_id,
        model=decision.model_id,
        running_text=running_text(decision.shortfall),
        running=decision.running,
        requested=decision.requested,
        shortfall=_shortfall(decision.shortfall, decision.at),
        reported=_reported(decision.reported),
        observe_only=(
            None
            if decision.observe_only is None
            else ObserveOnlyView(
                cause=decision.observe_only.cause, message=decision.observe_only.sentence
            )
        ),
        external_change=_external_change(decision.external_change, decision.at),
        pauses=tuple(
            [
                instruction_view(decision.deployment_id, each, decision.at)
                for each in decision.pauses
            ]
        ),
        override=(
            None
            if decision.override is None
            else instruction_view(decision.deployment_id, decision.override, decision.at)
        ),
        rollout=_rollout(decision.rollout, decision.at),
        mode=decision.mode,
        change=result_text(outcome),
        message=explain_outcome(outcome),
        unchanged_because=unchanged_text(outcome),
        at=decision.at,
        rule=decision.rule,
        dry_run=decision.dry_run,
        current=decision.current,
        recommended=decision.recommended,
        desired=decision.desired,
        min_allocations=decision.min_allocations,
        max_allocations=decision.max_allocations,
        reason=decision.reason,
        steps=tuple(map(_step, decision.steps)),
        sample=msgspec.convert(decision.sample, SampleView, from_attributes=True),
        load=msgspec.convert(decision.load, LoadView | None, from_attributes=True),
        slo=_slo(decision.slo),
        shadow=None if decision.shadow is None else shadow_view(decision.shadow),
        no_shadow_because=no_shadow_text(decision),
        outcome=_outcome(outcome),
        last_update=None if last_update is None else _outcome(last_update),
    )


def unmanaged(deployment_id: str, reason: Unmanaged) -> UnmanagedView:
    """The view of a deployment that no rule governs."""
    message = f"{deployment_id} is {unmanaged_text(reason)}"
    return UnmanagedView(deployment=deployment_id, reason=reason, message=message)


def unreadable(deployment_id: str, problem: str) -> UnmanagedView:
    """The view of a deployment with invalid statistics.

    Args:
        deployment_id: or the place in the statistics, where the id is unreadable too.
        problem: the invalid part of the statistics.
    """
    message = f"{deployment_id} is not managed while its statistics are invalid: {problem}"
    return UnmanagedView(deployment=deployment_id, reason="unreadable", message=message)


def vanished(deployment_id: str, at: float, allocations: int | None) -> VanishedView:
    """The view of a deployment that the cluster no longer reports."""
    had = "" if allocations is None else f", had {allocations}"
    return VanishedView(
        deployment=deployment_id,
        at=at,
        allocations=allocations,
        message=f"{deployment_id} vanished {_time_text(at)}{had}",
    )


def instruction_view(
    deployment_id: str | None, instruction: Pause | Override, at: float
) -> InstructionView:
    """The view of an instruction at an instant."""
    is_pause = isinstance(instruction, Pause)
    return InstructionView(
        kind="pause" if is_pause else "override",
        deployment=deployment_id,
        changes=str(instruction.changes) if isinstance(instruction, Pause) else "",
        allocations=instruction.allocations if isinstance(instruction, Override) else None,
        since=instruction.since,
        until=instruction.until,
        by=instruction.by,
        reason=instruction.reason,
        message=instruction_text(deployment_id, instruction, at),
    )


def _rollout(status: RolloutStatus | None, at: float) -> RolloutView | None:
    if status is None:
        return None
    found = status.difference
    return RolloutView(
        verdict=status.verdict,
        active=status.active,
        listed=status.listed,
        before=status.before,
        since=status.since,
        reverted_at=status.reverted_at,
        because=status.because,
        active_totals=_rollout_totals(status.active_totals),
        before_totals=_rollout_totals(status.before_totals),
        difference=None if found is None else found.estimate,
        difference_half_width=None if found is None else found.half_width,
        next_active_at=status.next_active_at,
        evidence=status.evidence,
        message=rollout_text(status, at),
        comparison=comparison_text(status),
        reverts=revert_text(status),
    )


def _rollout_totals(totals: BlockTotals) -> RolloutTotalsView:
    return RolloutTotalsView(
        hours=totals.seconds / HOUR_S,
        requests=totals.requests,
        late_requests=totals.late,
        allocation_hours=totals.allocation_s / HOUR_S,
    )


_REPEATED_IN_LOGS = (
    *("status", "at", "dry_run", "change", "unchanged_because", "last_update", "running_text"),
    *("observe_only", "external_change", "pauses", "override", "slo", "shadow", "rollout"),
    "no_shadow_because",
)
"""Fields that `message`, `outcome` and the time of a log line already contain."""


def log_fields(outcome: Outcome, *, candidates: bool) -> dict[str, Any]:
    """The view of a decision as the fields of one log line.

    Args:
        candidates: includes them, each as [allocations, violation_fraction, queue_wait_s, cost].
    """
    view = managed(outcome)
    fields: dict[str, Any] = msgspec.to_builtins(view)
    for name in _REPEATED_IN_LOGS:
        fields.pop(name, None)
    for name in ("shortfall", "reported"):
        if fields[name] is None:
            del fields[name]
        else:
            del fields[name]["message"]
    for step, written in zip(view.steps, fields["steps"], strict=True):
        del written["message"]
        if candidates and step.candidates:
            written["candidates"] = [msgspec.structs.astuple(each) for each in step.candidates]
        else:
            del written["candidates"]
    fields["outcome"] = view.outcome.kind
    if view.outcome.detail:
        fields["detail"] = view.outcome.detail
    return fields


def _shortfall(found: Shortfall | None, at: float) -> ShortfallView | None:
    if found is None:
        return None
    return ShortfallView(
        since=found.since,
        missing=found.missing,
        lost=found.lost,
        cause=found.cause,
        message=missing_text(found, at),
    )


def _reported(found: ReportedStatus | None) -> ReportedView | None:
    if found is None:
        return None
    return ReportedView(
        state=found.state,
        reason=found.reason,
        routes=tuple(
            RouteView(node=route.node, state=route.state, reason=route.reason)
            for route in found.routes
        ),
        problem=bool(problem_text(found)),
        message=reported_text(found),
    )


def _external_change(found: ExternalChange | None, at: float) -> ExternalChangeView | None:
    if found is None:
        return None
    return ExternalChangeView(
        at=found.at,
        before=str(found.before),
        after=str(found.after),
        times=found.times,
        second_writer=found.second_writer,
        respected=found.is_kept(at),
        message=external_change_text(found),
    )


def _slo(found: SloStatus | None) -> SloView | None:
    if found is None:
        return None
    return SloView(
        target=found.target,
        unreachable=found.unreachable,
        max_queue_wait_s=found.max_queue_wait_s,
        caller_timeout_s=found.caller_timeout_s,
        requests=found.requests,
        late_requests=found.late_requests,
        attainment=found.attainment,
        budget_left=found.budget_left,
        expected_attainment=found.expected_attainment,
        preventable_fraction=found.preventable_fraction,
        violation_weight=found.violation_weight,
        load=found.load,
        load_stddev=found.load_stddev,
        load_at_most=_bounded(found.load_at_most),
        now=_expectation(found.now),
        after_loading=_expectation(found.after_loading),
        backlog_requests=found.backlog_requests,
        backlog_allocations=found.backlog_allocations,
        after_new_node=found.after_new_node,
        forecast=msgspec.convert(found.forecast, ForecastView | None, from_attributes=True),
        recurrence=msgspec.convert(found.recurrence, RecurrenceView | None, from_attributes=True),
    )


def _expectation(found: Expectation | None) -> ExpectationView | None:
    if found is None:
        return None
    return ExpectationView(
        allocations=found.allocations,
        late_fraction=found.late_fraction,
        queue_wait_s=_bounded(found.queue_wait_s),
    )


def _time_text(at: float) -> str:
    """Date and time of day, to the minute."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _step(step: Step) -> StepView:
    return StepView(
        reason=step.reason,
        before=step.before,
        after=step.after,
        message=step_text(step),
        inputs={name: _bounded(value) for name, value in step.inputs.items()},
        candidates=tuple(map(_candidate, step.candidates)),
    )


def _candidate(candidate: Candidate) -> CandidateView:
    return CandidateView(
        allocations=candidate.allocations,
        violation_fraction=_bounded(candidate.violation_fraction),
        queue_wait_s=_bounded(candidate.queue_wait_s),
        cost=_bounded(candidate.cost),
    )


def _bounded(value: Known) -> Known | None:
    """The value, or None where JSON cannot represent it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _outcome(outcome: Outcome) -> OutcomeView:
    decision = outcome.decision
    return OutcomeView(
        at=outcome.at,
        current=decision.current,
        desired=decision.desired,
        kind=outcome.kind,
        detail=outcome.detail,
        message=outcome_text(outcome),
    )
