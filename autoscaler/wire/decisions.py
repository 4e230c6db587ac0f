"""A decision as data: the JSON of /decisions, which `autoscaler explain` reads, and log fields.

All types are plain, so that a reader need not know the enumerations of the version that wrote the
JSON. Instants are Unix seconds, durations end in `_s`, ratios are fractions. An unbounded value,
such as the queue wait with too few allocations, is null.
"""

import math
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from autoscaler.core.decision import Outcome, Unmanaged
from autoscaler.core.explanation import (
    change_text,
    explain_outcome,
    outcome_text,
    unchanged_text,
    unmanaged_text,
)
from autoscaler.core.step_text import step_text
from autoscaler.core.values import Candidate, Step

Figure = int | float | str | None
Known = TypeVar("Known", float, float | str)


class CandidateView(Struct, frozen=True, kw_only=True):
    """What the policy expects with this allocation count."""

    allocations: int
    violation_fraction: float | None
    queue_wait_s: float | None
    cost: float | None


class StepView(Struct, frozen=True, kw_only=True):
    """The effect of the policy, in the first step of a decision, or of one constraint."""

    reason: str
    before: int
    after: int
    message: str
    inputs: dict[str, Figure]
    candidates: tuple[CandidateView, ...]


class SampleView(Struct, frozen=True, kw_only=True):
    """What one deployment did in the `interval_s` seconds before `at`."""

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
    """The result of a decision; `detail` is the cluster's message."""

    at: float
    current: int
    desired: int
    kind: str
    detail: str
    message: str


class ManagedView(Struct, frozen=True, kw_only=True, tag_field="status", tag="managed"):
    """A deployment that a rule governs: the latest decision, with every step and its inputs."""

    deployment: str
    model: str
    mode: str
    change: str  # the update as text, or that there is none
    message: str
    unchanged_because: str  # empty if an update was, or may have been, applied
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
    last_update: OutcomeView | None  # the last update sent; None: none since the start


class UnmanagedView(Struct, frozen=True, kw_only=True, tag_field="status", tag="unmanaged"):
    """A deployment without a decision, and the reason."""

    deployment: str
    reason: str
    message: str


DeploymentView = ManagedView | UnmanagedView


class ResponseHeader(Struct, frozen=True, kw_only=True):
    """The fields that every response begins with."""

    autoscaler: str  # the version of the daemon
    at: float  # of the observation
    age_s: float
    failure: str  # why later observations failed; empty if none did


class DeploymentsResponse(ResponseHeader, frozen=True, kw_only=True):
    deployments: tuple[DeploymentView, ...]  # in order of their ids


class DeploymentResponse(ResponseHeader, frozen=True, kw_only=True):
    deployment: DeploymentView


class AdminError(Struct, frozen=True, kw_only=True):
    """The body of an error response: the reason, in one sentence."""

    autoscaler: str
    error: str


def managed(outcome: Outcome, last_update: Outcome | None = None) -> ManagedView:
    """The view of a decision with its outcome."""
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


_REPEATED_IN_LOGS = ("status", "at", "dry_run", "change", "unchanged_because", "last_update")
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
