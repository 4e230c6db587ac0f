"""The JSON of /decisions, both ways: the daemon renders it, `autoscaler explain` reads it.

It has plain types only, so that whoever reads an answer need not know every word of the version
that wrote it. Instants are Unix seconds, durations end in `_s`, shares are fractions. A figure
without bound, such as the wait for too few allocations, is null.
"""

import math
from typing import TypeVar

import msgspec
from msgspec import Struct

from autoscaler.core.explanation import (
    change_text,
    explain_outcome,
    outcome_text,
    step_text,
    unchanged_text,
    unmanaged_text,
)
from autoscaler.core.values import Candidate, Outcome, Step, Unmanaged

Figure = int | float | str | None
Known = TypeVar("Known", float, float | str)


class CandidateView(Struct, frozen=True, kw_only=True):
    """What the policy expects of a number of allocations."""

    allocations: int
    violation_fraction: float | None
    queue_wait_s: float | None
    cost: float | None


class StepView(Struct, frozen=True, kw_only=True):
    """One rule's effect on the number. The first of a decision recommends, the others limit."""

    reason: str
    before: int
    after: int
    message: str
    inputs: dict[str, Figure]
    candidates: tuple[CandidateView, ...]


class SampleView(Struct, frozen=True, kw_only=True):
    """What happened in the `interval_s` seconds before `at`."""

    at: float
    interval_s: float
    arrivals: int
    completed: int
    cache_hits: int
    failed: int
    timeouts: int
    queue_growth: int
    busy_s: float
    timed: int
    timed_busy_s: float
    in_flight: int
    overloaded: bool
    issues: tuple[str, ...]


class LoadView(Struct, frozen=True, kw_only=True):
    """The load over the last `window_s` seconds; `offered_load` in erlangs."""

    arrival_rate_per_s: float
    throughput_per_s: float
    service_time_s: float | None
    offered_load: float | None
    cache_hit_fraction: float
    in_flight: int
    window_s: float


class OutcomeView(Struct, frozen=True, kw_only=True):
    """What became of a decision; `detail` has the cluster's words."""

    at: float
    current: int
    desired: int
    kind: str
    detail: str
    message: str


class ManagedView(Struct, frozen=True, kw_only=True, tag_field="status", tag="managed"):
    """A deployment that a rule governs: the latest decision, and all that led to it."""

    deployment: str
    model: str
    mode: str
    change: str  # in words; that nothing is asked for, too
    message: str
    unchanged_because: str  # empty if something has changed, or may have
    at: float
    rule: str
    dry_run: bool
    current: int
    recommended: int
    desired: int
    min_allocations: int
    max_allocations: int
    reason: str
    steps: tuple[StepView, ...]
    sample: SampleView
    load: LoadView | None
    outcome: OutcomeView
    last_update: OutcomeView | None  # the last one that was sent; None: none since the start


class UnmanagedView(Struct, frozen=True, kw_only=True, tag_field="status", tag="left_alone"):
    """A deployment about which nothing is decided, and why."""

    deployment: str
    reason: str
    message: str


DeploymentView = ManagedView | UnmanagedView


class ResponseHeader(Struct, frozen=True, kw_only=True):
    """What every answer begins with."""

    autoscaler: str  # the version of the daemon
    at: float  # of the observation
    age_s: float
    failure: str  # why the cluster could not be observed since; empty if it was not tried


class DeploymentsResponse(ResponseHeader, frozen=True, kw_only=True):
    deployments: tuple[DeploymentView, ...]  # in order of their ids


class DeploymentResponse(ResponseHeader, frozen=True, kw_only=True):
    deployment: DeploymentView


class AdminError(Struct, frozen=True, kw_only=True):
    """Why there is no answer, in one sentence."""

    autoscaler: str
    error: str


def managed(outcome: Outcome, last_update: Outcome | None) -> ManagedView:
    """A decision with its reasons."""
    decision = outcome.decision
    return ManagedView(
        deployment=decision.deployment_id,
        model=decision.model_id,
        mode=decision.mode,
        change=change_text(decision),
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
        outcome=_outcome(outcome),
        last_update=None if last_update is None else _outcome(last_update),
    )


def unmanaged(deployment_id: str, reason: Unmanaged) -> UnmanagedView:
    """One that no rule takes."""
    told = f"{deployment_id} is {unmanaged_text(reason)}"
    return UnmanagedView(deployment=deployment_id, reason=reason, message=told)


def unreadable(place: str, problem: str) -> UnmanagedView:
    """One whose statistics make no sense. Where not even its id does, the place stands for it."""
    told = f"{place} is left as it is while its statistics cannot be read: {problem}"
    return UnmanagedView(deployment=place, reason="unreadable", message=told)


def _step(step: Step) -> StepView:
    return StepView(
        reason=step.reason,
        before=step.before,
        after=step.after,
        message=step_text(step),
        inputs={name: _bounded(figure) for name, figure in step.inputs.items()},
        candidates=tuple(map(_candidate, step.candidates)),
    )


def _candidate(candidate: Candidate) -> CandidateView:
    return CandidateView(
        allocations=candidate.allocations,
        violation_fraction=_bounded(candidate.violation_fraction),
        queue_wait_s=_bounded(candidate.queue_wait_s),
        cost=_bounded(candidate.cost),
    )


def _bounded(figure: Known) -> Known | None:
    """The figure, unless JSON has no form for it."""
    return None if isinstance(figure, float) and not math.isfinite(figure) else figure


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
