"""Which lever of a deployment is used, how it comes down to nothing, and how it is left behind."""

from collections.abc import Iterator

from autoscaler.config.document import ScalingTable
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.values import Mode


def mode_of(scaling: ScalingTable) -> Mode:
    """What is only observed is decided as if its number were set."""
    return Mode.BOUNDS if scaling.mode == "bounds" else Mode.DIRECT


def zero_of(scaling: ScalingTable) -> ScaleToZero | None:
    table = scaling.scale_to_zero
    return None if table is None else ScaleToZero(after_s=table.after, via=ZeroMethod(table.via))


def safe_allocations_of(scaling: ScalingTable) -> int | None:
    """None unless somebody asks for them: what [defaults] say may be beyond the bounds of a rule
    that has no use for it."""
    return scaling.safe_allocations if scaling.on_exit == "floor" else None


def conflicts(
    scaling: ScalingTable, own: frozenset[str], *, state_file: bool
) -> Iterator[tuple[str, str]]:
    """Keys that others rule out, each with what is wrong.

    Args:
        scaling: a complete table.
        own: the keys that the rule sets itself. What it only inherits may be of no use to it.
        state_file: whether there is one.
    """
    inherited_by_another_mode = "mode" in own and "take_over" not in own
    if scaling.take_over and scaling.mode == "bounds" and not inherited_by_another_mode:
        yield (
            "take_over",
            "has no effect, since the mode is bounds, which leaves Elasticsearch's own scaler on",
        )
    if scaling.on_exit == "floor":
        if scaling.safe_allocations is None:
            yield (
                "safe_allocations",
                "is missing; on_exit is floor, so say how many are enough without anybody",
            )
    elif "safe_allocations" in own:
        yield "safe_allocations", f"has no effect, since on_exit is {scaling.on_exit}; set floor"
    zero = scaling.scale_to_zero
    if zero is not None and zero.via == "adaptive" and scaling.mode != "bounds":
        yield (
            "scale_to_zero",
            f"via native needs the mode bounds, not {scaling.mode}: only Elasticsearch sets 0",
        )
    if zero is not None and zero.via == "stop" and not state_file:
        yield (
            "scale_to_zero",
            "via stop needs state_file, a key at the top, where what was stopped is written down",
        )
