"""The control mode of a rule, scale to zero, and the state in which deployments are released."""

from collections.abc import Iterator

from autoscaler.config.document import ScalingTable
from autoscaler.core.selection import ScaleToZero, ZeroMethod


def zero_of(scaling: ScalingTable) -> ScaleToZero | None:
    table = scaling.scale_to_zero
    return None if table is None else ScaleToZero(after_s=table.after, via=ZeroMethod(table.via))


def safe_allocations_of(scaling: ScalingTable) -> int | None:
    """None unless on_exit is floor: a value of [defaults] that a rule does not use may be outside
    the bounds of that rule."""
    return scaling.safe_allocations if scaling.on_exit == "floor" else None


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
