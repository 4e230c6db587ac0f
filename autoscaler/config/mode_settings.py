"""The control mode of a rule, scale to zero, and the state in which deployments are released."""

import hashlib
import json
from collections.abc import Iterator

from autoscaler.config.document import ScalingTable
from autoscaler.config.rollout import hours_of
from autoscaler.core.rollout_hours import RolloutHours
from autoscaler.core.selection import ScaleToZero, ZeroMethod


def zero_of(scaling: ScalingTable) -> ScaleToZero | None:
    table = scaling.scale_to_zero
    return None if table is None else ScaleToZero(after_s=table.after, via=ZeroMethod(table.via))


def safe_allocations_of(scaling: ScalingTable) -> int | None:
    """None unless on_exit is floor: a value of [defaults] that a rule does not use may be outside
    the bounds of that rule."""
    return scaling.safe_allocations if scaling.on_exit == "floor" else None


_NOT_OF_THE_ROLLOUT = {"dry_run", "hidden", "low_priority", "on_exit", "safe_allocations"}
"""Keys that do not change what a rule does in its hours."""


def rollout_hours_of(scaling: ScalingTable) -> RolloutHours | None:
    """The hours of the gradual rollout; None: the rule acts at all times."""
    table = scaling.rollout
    if table is None:
        return None
    # Without keys at their defaults, so that a later release which has more of them is no change.
    settings = scaling.model_dump(mode="json", exclude=_NOT_OF_THE_ROLLOUT, exclude_defaults=True)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    return RolloutHours(
        hours=tuple(sorted({hour for span in table.hours for hour in hours_of(span)})),
        timezone=table.timezone,
        share=table.share,
        settings=digest.hexdigest()[:16],
    )


def conflicts(
    scaling: ScalingTable, own: frozenset[str], *, state: str
) -> Iterator[tuple[str, str]]:
    """Keys that conflict with others, each with a sentence about the problem.

    Args:
        scaling: a complete table.
        own: the keys that the rule sets itself. Inherited ones may have no effect.
        state: the top-level key.
    """
    inherited_by_another_mode = "mode" in own and "take_over" not in own
    if scaling.take_over and scaling.mode == "bounds" and not inherited_by_another_mode:
        yield (
            "take_over",
            "has no effect in mode bounds, in which adaptive allocations stay enabled; remove it",
        )
    returns = scaling.take_over or scaling.mode == "bounds" or scaling.dry_run
    if scaling.on_exit == "adaptive" and not returns:
        yield (
            "on_exit",
            (
                "adaptive requires take_over = true in mode direct: without it, the next daemon "
                "does not change a deployment whose adaptive allocations are enabled; or use "
                'mode = "bounds"'
            ),
        )
    if scaling.on_exit == "floor":
        if scaling.safe_allocations is None:
            yield (
                "safe_allocations",
                'is required with on_exit = "floor": the allocations to leave when the daemon ends',
            )
    elif "safe_allocations" in own:
        yield "safe_allocations", f'has no effect with on_exit = "{scaling.on_exit}"; set "floor"'
    zero = scaling.scale_to_zero
    if scaling.rollout is not None:
        if zero is not None and zero.via == "stop":
            yield (
                "rollout",
                (
                    "is not possible with scale_to_zero via stop, because what ran before cannot "
                    'be restored then; remove one of them, or use via = "adaptive"'
                ),
            )
        if state == "none":
            yield (
                "rollout",
                (
                    "requires a record of what ran before, and of whether it was reverted; remove "
                    'the top-level state = "none"'
                ),
            )
    if zero is not None and zero.via == "adaptive" and scaling.mode != "bounds":
        yield (
            "scale_to_zero",
            f'via adaptive requires mode bounds, not {scaling.mode}; or use via = "stop"',
        )
    if zero is not None and zero.via == "stop" and state == "none":
        yield (
            "scale_to_zero",
            'via stop requires a record of what was stopped; remove the top-level state = "none"',
        )
