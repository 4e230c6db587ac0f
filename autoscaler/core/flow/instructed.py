"""The instructions of operators, as constraints and as a check of each change."""

import math
from collections.abc import Iterable

from msgspec.structs import replace

from autoscaler.core.decision import (
    Change,
    ExternalChange,
    SetAllocations,
    SetBounds,
    Start,
    Stop,
)
from autoscaler.core.flow.constraint_context import ConstraintContext
from autoscaler.core.instructions import Override, Pause, PausedChanges, done_text, given_text
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
    if proposed == context.current or not context.pauses:
        return None
    return paused_step(proposed, context.current, context.pauses, context.at)


def paused_step(proposed: int, current: int, pauses: Iterable[Pause], at: float) -> Step | None:
    """A step that holds the current allocations; None if no pause does."""
    for pause in pauses:
        if _holds(pause, raises=proposed > current, lowers=proposed < current):
            return _pause_step(pause, proposed, current, at)
    return None


def _pause_step(pause: Pause, proposed: int, current: int, at: float) -> Step:
    """A step in which a pause holds the current allocations."""
    inputs: dict[str, float | str] = {
        "changes": pause.changes,
        "by": pause.by,
        "wait_s": pause.until - at,
        "why": pause.reason,
    }
    return Step(Reason.PAUSED, proposed, current, inputs)


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


def unpaused(
    change: Change,
    steps: tuple[Step, ...],
    stats: DeploymentStats,
    pauses: Iterable[Pause],
    at: float,
) -> tuple[Change | None, tuple[Step, ...]]:
    """A change as far as no pause forbids it, and the steps that lead to it. The constraint only
    knows the direction of the decided allocations; see `_directions`."""
    pause = holding_pause(change, stats, pauses)
    if pause is None:
        return change, steps
    kept = _without_maximum(change, stats)
    if kept is not None and holding_pause(kept, stats, pauses) is None:
        return kept, steps
    current, desired = steps[0].before, steps[-1].after
    if desired != current:
        steps = (*steps, _pause_step(pause, desired, current, at))
    return None, steps


def _without_maximum(change: Change, stats: DeploymentStats) -> SetBounds | None:
    """The change with the maximum of adaptive allocations as it is, since only the minimum was
    decided; None if nothing is left of it."""
    adaptive = stats.adaptive
    if not isinstance(change, SetBounds) or adaptive is None or not adaptive.enabled:
        return None
    if adaptive.maximum is None or change.minimum > adaptive.maximum:
        return None
    kept = replace(change, maximum=adaptive.maximum)
    return kept if kept.minimum != adaptive.minimum else None


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
    """Whether a change raises, and whether it lowers what the deployment has or may have. Adaptive
    allocations that it enables may choose any number within the bounds."""
    if isinstance(change, Stop):
        return False, True
    if isinstance(change, Start):
        return True, False
    requested = 0 if stats is None else stats.allocations
    if requested is None:
        return True, True
    if isinstance(change, SetAllocations):
        return change.allocations > requested, change.allocations < requested
    adaptive, maximum = None if stats is None else stats.adaptive, change.maximum or math.inf
    if adaptive is None or not adaptive.enabled:
        return maximum > requested, change.minimum < requested
    before = adaptive.minimum or 0, adaptive.maximum or maximum
    after = change.minimum, maximum
    return (
        any(new > old for new, old in zip(after, before, strict=True)),
        any(new < old for new, old in zip(after, before, strict=True)),
    )


def superseded(changed: ExternalChange | None, override: Override) -> ExternalChange | None:
    """What another writer has set is not respected any more after an operator's override."""
    if changed is None or changed.changes_mode or changed.at >= override.since:
        return changed
    return replace(changed, hold_s=0.0)
