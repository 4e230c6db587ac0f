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
    explain_outcome,
    sentence,
    what_became,
    what_changes,
    why_nothing_changed,
    why_unmanaged,
)
from autoscaler.core.values import Candidate, Outcome, Step, Unmanaged

Figure = int | float | str | None
Known = TypeVar("Known", float, float | str)


class CandidateTold(Struct, frozen=True, kw_only=True):
    """What the policy expects of a number of allocations."""

    allocations: int
    late_share: float | None
    wait_s: float | None
    cost: float | None


class StepTold(Struct, frozen=True, kw_only=True):
    """One rule's effect on the number. The first of a decision recommends, the others limit."""

    reason: str
    before: int
    after: int
    sentence: str
    because: dict[str, Figure]
    candidates: tuple[CandidateTold, ...]


class SampleTold(Struct, frozen=True, kw_only=True):
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
    pending: int
    overloaded: bool
    flaws: tuple[str, ...]


class LoadTold(Struct, frozen=True, kw_only=True):
    """The load over the last `window_s` seconds; `offered_load` in erlangs."""

    arrival_rate_per_s: float
    throughput_per_s: float
    service_time_s: float | None
    offered_load: float | None
    cache_hit_fraction: float
    pending: int
    window_s: float


class OutcomeTold(Struct, frozen=True, kw_only=True):
    """What became of a decision; `detail` has the cluster's words."""

    at: float
    current: int
    desired: int
    fate: str
    detail: str
    sentence: str


class Managed(Struct, frozen=True, kw_only=True, tag_field="status", tag="managed"):
    """A deployment that a rule governs: the latest decision, and all that led to it."""

    deployment: str
    model: str
    mode: str
    change: str  # in words; that nothing is asked for, too
    sentence: str
    nothing_changed_because: str  # empty if something has changed, or may have
    at: float
    rule: str
    dry_run: bool
    current: int
    wanted: int
    desired: int
    minimum: int
    maximum: int
    reason: str
    steps: tuple[StepTold, ...]
    sample: SampleTold
    load: LoadTold | None
    outcome: OutcomeTold
    last_update: OutcomeTold | None  # the last one that was sent; None: none since the start


class LeftAlone(Struct, frozen=True, kw_only=True, tag_field="status", tag="left_alone"):
    """A deployment about which nothing is decided, and why."""

    deployment: str
    reason: str
    sentence: str


Told = Managed | LeftAlone


class Answer(Struct, frozen=True, kw_only=True):
    """What every answer begins with."""

    autoscaler: str  # the version of the daemon
    at: float  # of the observation
    age_s: float
    failure: str  # why the cluster could not be observed since; empty if it was not tried


class All(Answer, frozen=True, kw_only=True):
    deployments: tuple[Told, ...]  # in order of their ids


class One(Answer, frozen=True, kw_only=True):
    deployment: Told


class Refusal(Struct, frozen=True, kw_only=True):
    """Why there is no answer, in one sentence."""

    autoscaler: str
    error: str


def managed(outcome: Outcome, last_update: Outcome | None) -> Managed:
    """A decision with its reasons."""
    decision = outcome.decision
    return Managed(
        deployment=decision.deployment_id,
        model=decision.model_id,
        mode=decision.mode,
        change=what_changes(decision),
        sentence=explain_outcome(outcome),
        nothing_changed_because=why_nothing_changed(outcome),
        at=decision.at,
        rule=decision.rule,
        dry_run=decision.dry_run,
        current=decision.current,
        wanted=decision.wanted,
        desired=decision.desired,
        minimum=decision.minimum,
        maximum=decision.maximum,
        reason=decision.reason,
        steps=tuple(map(_step, decision.steps)),
        sample=msgspec.convert(decision.sample, SampleTold, from_attributes=True),
        load=msgspec.convert(decision.load, LoadTold | None, from_attributes=True),
        outcome=_outcome(outcome),
        last_update=None if last_update is None else _outcome(last_update),
    )


def unmanaged(deployment_id: str, reason: Unmanaged) -> LeftAlone:
    """One that no rule takes."""
    told = f"{deployment_id} is {why_unmanaged(reason)}"
    return LeftAlone(deployment=deployment_id, reason=reason, sentence=told)


def unreadable(place: str, problem: str) -> LeftAlone:
    """One whose statistics make no sense. Where not even its id does, the place stands for it."""
    told = f"{place} is left as it is while its statistics cannot be read: {problem}"
    return LeftAlone(deployment=place, reason="unreadable", sentence=told)


def _step(step: Step) -> StepTold:
    return StepTold(
        reason=step.reason,
        before=step.before,
        after=step.after,
        sentence=sentence(step),
        because={name: _bounded(figure) for name, figure in step.because.items()},
        candidates=tuple(map(_candidate, step.candidates)),
    )


def _candidate(candidate: Candidate) -> CandidateTold:
    return CandidateTold(
        allocations=candidate.allocations,
        late_share=_bounded(candidate.late_share),
        wait_s=_bounded(candidate.wait_s),
        cost=_bounded(candidate.cost),
    )


def _bounded(figure: Known) -> Known | None:
    """The figure, unless JSON has no form for it."""
    return None if isinstance(figure, float) and not math.isfinite(figure) else figure


def _outcome(outcome: Outcome) -> OutcomeTold:
    decision = outcome.decision
    return OutcomeTold(
        at=outcome.at,
        current=decision.current,
        desired=decision.desired,
        fate=outcome.fate,
        detail=outcome.detail,
        sentence=what_became(outcome),
    )
