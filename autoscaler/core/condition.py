"""How a deployment is, at a glance: whether it needs an operator, and why."""

from collections.abc import Iterator

from autoscaler.core.decision import Decision, ObserveOnly, Outcome, OutcomeKind, Unmanaged
from autoscaler.core.explanation import (
    missing_text,
    outcome_text,
    problem_text,
    running_text,
    unmanaged_text,
)
from autoscaler.core.instructions import done_text, given_text
from autoscaler.core.rollout_status import RolloutVerdict, rollout_text
from autoscaler.core.shortfall import ShortfallCause
from autoscaler.core.step_text import step_text
from autoscaler.core.units import percent_text
from autoscaler.core.values import FastStrEnum, Reason, Step, Value


class Level(FastStrEnum):
    """How much a deployment needs an operator, the most first."""

    TROUBLE = "trouble"  # requests are late or will be, and the daemon cannot help that
    ATTENTION = "attention"  # the daemon holds, is held, or has not met the SLO
    FINE = "fine"
    UNMANAGED = "unmanaged"  # no rule governs it


GRAVITY = {level: position for position, level in enumerate(Level)}
"""The order of the levels, the gravest first."""


class DeploymentCondition(Value, frozen=True):
    """The level of a deployment, with its reasons: the gravest first, causes before effects."""

    level: Level
    reasons: tuple[str, ...]


_MISSING = frozenset({ShortfallCause.LOST, ShortfallCause.UNPLACED, ShortfallCause.OVERDUE})

_REFUSED = frozenset(
    {
        OutcomeKind.NO_EFFECT,
        OutcomeKind.NO_CAPACITY,
        OutcomeKind.BLOCKED,
        OutcomeKind.FORBIDDEN,
        OutcomeKind.UNRECOGNISED,
        OutcomeKind.UNSUPPORTED,
        OutcomeKind.INVALID,
    }
)

_NOT_CARRIED_OUT = frozenset(
    {
        OutcomeKind.WITHHELD,
        OutcomeKind.OUTDATED,
        OutcomeKind.NOT_STARTED,
        OutcomeKind.ADAPTIVE_ENABLED,
        OutcomeKind.ENDPOINT_OWNED,
        OutcomeKind.IN_USE,
        OutcomeKind.GONE,
        OutcomeKind.UNKNOWN,
    }
)

_FAILING = frozenset({Reason.BLIND, Reason.POLICY_FAILED})

_TOO_FEW = frozenset({Reason.BOUNDS, Reason.SCHEDULE, Reason.FIT, Reason.CAPACITY})
"""Constraints that leave a deployment with fewer allocations than it needs for as long as they
apply."""

_HOLDING = frozenset(
    {
        Reason.DATA_QUALITY,
        Reason.OVERLOAD,
        Reason.MAINTENANCE,
        Reason.BACK_OFF,
        Reason.EXTERNAL_CHANGE,
        Reason.ADAPTIVE_ENABLED,
        Reason.ADAPTIVE_DISABLED,
    }
)


def condition(outcome: Outcome) -> DeploymentCondition:
    """The condition of a managed deployment after its latest decision."""
    trouble = tuple(_troubles(outcome))
    attention = tuple(_attentions(outcome))
    level = Level.TROUBLE if trouble else Level.ATTENTION if attention else Level.FINE
    return DeploymentCondition(level, tuple(dict.fromkeys((*trouble, *attention))))


def unmanaged_condition(reason: Unmanaged) -> DeploymentCondition:
    """The condition of a deployment that no rule governs."""
    return DeploymentCondition(
        Level.UNMANAGED, (unmanaged_text(reason).removeprefix("not managed: "),)
    )


def unreadable_condition(problem: str) -> DeploymentCondition:
    """The condition of a deployment with invalid statistics."""
    return DeploymentCondition(
        Level.TROUBLE, (f"not managed while its statistics are invalid: {problem}",)
    )


def _troubles(outcome: Outcome) -> Iterator[str]:
    decision = outcome.decision
    shortfall = decision.shortfall
    if shortfall is not None and shortfall.cause in _MISSING:
        yield f"{running_text(shortfall)}: {missing_text(shortfall, decision.at)}"
    if reported := problem_text(decision.reported):
        yield f"the cluster reports: {reported}"
    if outcome.kind in _REFUSED:
        yield outcome_text(outcome)
    for step in reversed(decision.steps):  # the last limit is the lowest
        if step.reason in _FAILING:
            yield _without_held(step)
        elif step.reason in _TOO_FEW and step.after < min(step.before, decision.recommended):
            yield f"needs {decision.recommended}, limited to {step.after}: {step_text(step)}"
    changed = decision.external_change
    if changed is not None and changed.second_writer:
        yield f"a second writer has changed it {changed.times} times in a row"
    if (late := _late_now(decision)) is not None:
        # The effect comes last: an operator can do something about what precedes it.
        if decision.observe_only is not None:
            yield _observe_only_text(decision.observe_only)
        yield f"{percent_text(late)} of the requests are late now"


def _attentions(outcome: Outcome) -> Iterator[str]:
    decision = outcome.decision
    if outcome.kind in _NOT_CARRIED_OUT:
        yield outcome_text(outcome)
    for instruction in (*decision.pauses, decision.override):
        if instruction is not None:
            yield f"{done_text(instruction)} {given_text(instruction, decision.at)}"
    rollout = decision.rollout
    if rollout is not None and rollout.verdict is not RolloutVerdict.RUNNING:
        yield rollout_text(rollout, decision.at)
    if decision.observe_only is not None:
        yield _observe_only_text(decision.observe_only)
    for step in decision.steps:
        if step.reason in _HOLDING and (step.changed or step is decision.steps[0]):
            yield f"held: {_without_held(step)}"
    slo = decision.slo
    if slo is not None and slo.attainment is not None and slo.attainment < slo.target:
        met, target = percent_text(slo.attainment), percent_text(slo.target)
        yield f"{met} of the requests met the SLO, not {target}"


def _late_now(decision: Decision) -> float | None:
    """The fraction of requests that are late with the running allocations, if it is too high."""
    slo = decision.slo
    if slo is None or slo.now is None or slo.now.late_fraction <= 1.0 - slo.target:
        return None
    return slo.now.late_fraction


def _observe_only_text(observe_only: ObserveOnly) -> str:
    return f"observe only: {observe_only.sentence}"


def _without_held(step: Step) -> str:
    return step_text(step).removeprefix("held: ")
