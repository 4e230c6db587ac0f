"""The instructions of operators, as constraints and as a check of each change."""

from collections.abc import Iterable

from autoscaler.core.decision import Change, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.flow.constraint_context import ConstraintContext
from autoscaler.core.instructions import Pause, PausedChanges, done_text, given_text
from autoscaler.core.values import DeploymentStats, Reason, Step


def apply_override(proposed: int, context: ConstraintContext) -> Step | None:
    """Propose the number that an operator has set."""
    override = context.override
    if override is None or proposed == override.allocations:
        return None
    inputs: dict[str, float | str] = {
        "allocations": override.allocations,
        "by": override.by,
        "wait_s": override.until - context.at,
        "why": override.reason,
    }
    return Step(Reason.OVERRIDE, proposed, override.allocations, inputs)


def hold_paused(proposed: int, context: ConstraintContext) -> Step | None:
    """Keep the allocations while an operator has paused such changes."""
    held = paused_step(proposed, context.current, context.pauses, context.at)
    return held if proposed != context.current else None


def paused_step(proposed: int, current: int, pauses: Iterable[Pause], at: float) -> Step | None:
    """A step that holds the current allocations; None if no pause does."""
    for pause in pauses:
        if _holds(pause, raises=proposed > current, lowers=proposed < current):
            inputs: dict[str, float | str] = {
                "changes": pause.changes,
                "by": pause.by,
                "wait_s": pause.until - at,
                "why": pause.reason,
            }
            return Step(Reason.PAUSED, proposed, current, inputs)
    return None


def holding_pause(
    change: Change, stats: DeploymentStats | None, pauses: Iterable[Pause]
) -> Pause | None:
    """The pause that forbids a change; None: none does.

    Args:
        stats: None: the deployment does not run.
    """
    raises, lowers = _directions(change, stats)
    for pause in pauses:
        if _holds(pause, raises=raises, lowers=lowers):
            return pause
    return None


def why_paused(
    change: Change | None, stats: DeploymentStats | None, pauses: Iterable[Pause], at: float
) -> str:
    """Which pause forbids a change, in words; empty: none does.

    Args:
        stats: None: the deployment does not run.
    """
    pause = None if change is None else holding_pause(change, stats, pauses)
    return "" if pause is None else f"held: {done_text(pause)} {given_text(pause, at)}"


def _holds(pause: Pause, *, raises: bool, lowers: bool) -> bool:
    match pause.changes:
        case PausedChanges.INCREASES:
            return raises
        case PausedChanges.DECREASES:
            return lowers
        case PausedChanges.EVERYTHING:
            return True


def _directions(change: Change, stats: DeploymentStats | None) -> tuple[bool, bool]:
    """Whether a change raises, and whether it lowers what the deployment has or may have. One that
    enables adaptive allocations may do both."""
    requested = 0 if stats is None else stats.allocations or 0
    match change:
        case SetAllocations(allocations=allocations):
            return allocations > requested, allocations < requested
        case SetBounds(minimum=minimum, maximum=maximum):
            adaptive = None if stats is None else stats.adaptive
            if adaptive is None or not adaptive.enabled:
                return True, True
            before = adaptive.minimum or 0, adaptive.maximum or maximum
            after = minimum, maximum
            return (
                any(new > old for new, old in zip(after, before, strict=True)),
                any(new < old for new, old in zip(after, before, strict=True)),
            )
        case Stop():
            return False, True
        case Start():
            return True, False
