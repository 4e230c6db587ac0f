"""Cycles as log lines: one for each thing that is new, and none for what stays as it was."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

from autoscaler.core.explanation import explain_outcome, unmanaged_text
from autoscaler.core.values import (
    Decision,
    LoadEstimate,
    Observation,
    Outcome,
    OutcomeKind,
    Plan,
    Reason,
    Step,
)
from autoscaler.ports import CycleTimes, FailureKind, ObservationFailed

_NOT_SENT = {OutcomeKind.UNCHANGED, OutcomeKind.DRY_RUN, OutcomeKind.WITHHELD}
_NEEDS_OPERATOR = {FailureKind.UNAUTHENTICATED, FailureKind.FORBIDDEN, FailureKind.DEFECT}
"""What does not pass by itself."""

_Logged = tuple[int, int, Reason, OutcomeKind]


class LogRecorder:
    """Writes what changed since the last cycle; the rest at level debug.

    Every decision is one line, complete in itself: `message` is the sentence, `steps` the
    reasons as data; at level debug with the candidates that were weighed, each as
    [allocations, late share, wait in seconds, cost]. The event says what became of it:

        decision.made         not sent: nothing to change, a dry run, or withheld
        update.accepted       the cluster has taken the number over
        update.refused        it has not; `detail` holds its words
        update.unanswered     nobody knows
        update.completed all the allocations asked for serve
        deployment.unmanaged  left alone, and why
        deployment.unreadable its statistics make no sense
        deployment.vanished   the cluster no longer reports it
        observation.failed    nothing is known about this instant
        observation.recovered something is again
    """

    def __init__(self, logger: FilteringBoundLogger | None = None) -> None:
        self._log = logger or structlog.get_logger("autoscaler")
        self._last_logged: dict[str, _Logged] = {}
        self._unmanaged: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}
        self._known: frozenset[str] = frozenset()
        self._forbidden = False
        self._failure: tuple[FailureKind, str] | None = None
        self._skipped = 0
        self._failing_since = 0.0

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._recover(observation.at)
        for outcome in outcomes:
            self._decision(outcome)
        for done in plan.completed_rollouts:
            self._log.info(
                "update.completed",
                message=f"{done.deployment_id} has its {done.allocations} allocations "
                f"after {done.lead_time_s:.0f} s",
                deployment=done.deployment_id,
                allocations=done.allocations,
                took_s=done.lead_time_s,
                new_node=done.new_node,
            )
        self._log_unmanaged(plan)
        self._log_unreadable(observation.unreadable)
        self._log_vanished(observation, plan)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        if self._failure is None:
            self._failing_since = at
        self._skipped += 1
        level = logging.ERROR if failure.kind in _NEEDS_OPERATOR else logging.WARNING
        # Words may differ from time to time, and from host to host. Two defects are two defects.
        kind = (failure.kind, str(failure) if failure.kind is FailureKind.DEFECT else "")
        if kind == self._failure:
            level = logging.DEBUG
        self._failure = kind
        fields: dict[str, Any] = {"message": str(failure), "kind": str(failure.kind)}
        if failure.kind is FailureKind.DEFECT:
            fields["exc_info"] = failure.__cause__ or failure
        self._log.log(level, "observation.failed", **fields)

    def _recover(self, at: float) -> None:
        if self._failure is None:
            return
        lasted_s = at - self._failing_since
        self._log.info(
            "observation.recovered",
            message=f"the statistics can be read again after {lasted_s:.0f} s",
            trouble=str(self._failure[0]),
            skipped_cycles=self._skipped,
            lasted_s=lasted_s,
        )
        self._failure, self._skipped = None, 0

    def _decision(self, outcome: Outcome) -> None:
        decision, kind = outcome.decision, outcome.kind
        told = (decision.current, decision.desired, _log_reason(decision), kind)
        is_news = self._last_logged.get(decision.deployment_id) != told
        self._last_logged[decision.deployment_id] = told
        event = "decision.made"
        if kind is OutcomeKind.ACCEPTED:
            event, is_news, self._forbidden = "update.accepted", True, False
        elif kind is OutcomeKind.UNKNOWN:
            event = "update.unanswered"
        elif kind is OutcomeKind.FORBIDDEN:
            # What is forbidden for one deployment is forbidden for all, and stays so.
            event, is_news, self._forbidden = "update.refused", not self._forbidden, True
        elif kind not in _NOT_SENT:
            event = "update.refused"
        self._write(event, _level(kind) if is_news else logging.DEBUG, outcome)

    def _write(self, event: str, level: int, outcome: Outcome) -> None:
        # To put a thousand unchanged decisions into words costs more than to make them.
        if self._log.is_enabled_for(level):
            in_full = self._log.is_enabled_for(logging.DEBUG)
            self._log.log(level, event, **_fields(outcome, in_full=in_full))

    def _log_unmanaged(self, plan: Plan) -> None:
        for deployment_id, reason in plan.unmanaged.items():
            if self._unmanaged.get(deployment_id) != reason:
                self._log.info(
                    "deployment.unmanaged",
                    message=f"{deployment_id} is {unmanaged_text(reason)}",
                    deployment=deployment_id,
                    reason=str(reason),
                )
        self._unmanaged = dict(plan.unmanaged)

    def _log_unreadable(self, unreadable: Mapping[str, str]) -> None:
        for deployment_id, problem in unreadable.items():
            if deployment_id not in self._unreadable:
                self._log.warning(
                    "deployment.unreadable",
                    message=f"the statistics of {deployment_id} make no sense: {problem}",
                    deployment=deployment_id,
                    problem=problem,
                )
        self._unreadable = dict(unreadable)

    def _log_vanished(self, observation: Observation, plan: Plan) -> None:
        # What sleeps is reported no longer, and yet decided on.
        decided = {decision.deployment_id for decision in plan.decisions}
        known = decided | observation.deployments.keys() | observation.unreadable.keys()
        for deployment_id in sorted(self._known - known):
            self._last_logged.pop(deployment_id, None)
            self._log.info(
                "deployment.vanished",
                message=f"{deployment_id} is no longer reported by the cluster",
                deployment=deployment_id,
            )
        self._known = frozenset(known)


def _log_reason(decision: Decision) -> Reason:
    """The reason, unless it comes and goes with the noise of the load.

    At a steady number, whether the policy wants exactly it or a little less, and is held up by
    the stabilisation window, alternates from cycle to cycle and is not worth a line each.
    """
    if not decision.changes and decision.reason is Reason.STABILISATION:
        return Reason.TARGET_TRACKING
    return decision.reason


def _level(kind: OutcomeKind) -> int:
    if kind is OutcomeKind.FORBIDDEN:
        return logging.ERROR
    return logging.INFO if kind in _NOT_SENT or kind is OutcomeKind.ACCEPTED else logging.WARNING


def _fields(outcome: Outcome, *, in_full: bool) -> dict[str, Any]:
    """A decision and what became of it, as data and as a sentence."""
    decision = outcome.decision
    fields: dict[str, Any] = {
        "message": explain_outcome(outcome),
        "deployment": decision.deployment_id,
        "model": decision.model_id,
        "rule": decision.rule,
        "outcome": str(outcome.kind),
        "mode": str(decision.mode),
        "reason": str(decision.reason),
        "current": decision.current,
        "recommended": decision.recommended,
        "desired": decision.desired,
        "min_allocations": decision.min_allocations,
        "max_allocations": decision.max_allocations,
        "steps": [_step(step, in_full=in_full) for step in decision.steps],
        "sample": msgspec.to_builtins(decision.sample),
        "load": _load(decision.load),
    }
    if outcome.detail:
        fields["detail"] = outcome.detail
    return fields


def _step(step: Step, *, in_full: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "reason": str(step.reason),
        "before": step.before,
        "after": step.after,
        "inputs": dict(step.inputs),
    }
    if in_full and step.candidates:
        fields["candidates"] = [msgspec.structs.astuple(each) for each in step.candidates]
    return fields


def _load(load: LoadEstimate | None) -> dict[str, Any] | None:
    if load is None:
        return None
    return {**msgspec.to_builtins(load), "offered_load": load.offered_load}
