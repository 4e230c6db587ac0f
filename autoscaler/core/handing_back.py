"""What becomes of deployments when nobody scales them any more."""

from msgspec.structs import replace

from autoscaler.core.selection import OnExit, Rule
from autoscaler.core.state import Sleeper
from autoscaler.core.values import (
    Change,
    DeploymentStats,
    NativeScaling,
    SetBounds,
    SetNumber,
    Start,
)


def hand_back(rule: Rule, stats: DeploymentStats, to: OnExit) -> Change | None:
    """What leaves a deployment safe without anybody; None if it is so already.

    What has to be at least a safe number is never lowered: nobody will be there to raise it.
    """
    native = stats.native if stats.native is not None and stats.native.enabled else None
    if to is OnExit.KEEP:
        return None
    if to is OnExit.NATIVE:
        bounds = SetBounds(rule.minimum, rule.maximum)
        in_force = native is not None and (native.minimum, native.maximum) == (
            bounds.minimum,
            bounds.maximum,
        )
        return None if in_force else bounds
    safe = max(stats.allocations or 0, rule.safe_allocations or rule.maximum)
    if native is None and safe == stats.allocations:
        return None
    return SetNumber(safe, take_over=native is not None)


def wake_up(sleeper: Sleeper, rule: Rule | None, to: OnExit = OnExit.KEEP) -> Start:
    """What starts a deployment again as it was, with as few allocations as its rule allows, or as
    many as it had where no rule governs it any more.

    Args:
        to: what it is handed back to at once.
    """
    stats = sleeper.stats
    allocations = rule.minimum if rule is not None else stats.allocations
    start = Start(
        model_id=stats.model_id,
        allocations=max(1, allocations or 1),
        threads_per_allocation=stats.threads_per_allocation,
        queue_capacity=stats.queue_capacity,
        cache_bytes=stats.cache_bytes,
        priority=stats.priority,
        native=stats.native,
    )
    if rule is not None:
        match hand_back(rule, replace(stats, allocations=start.allocations), to):
            case SetBounds(minimum=minimum, maximum=maximum):
                native = NativeScaling(enabled=True, minimum=minimum, maximum=maximum)
                start = replace(start, native=native)
            case SetNumber(allocations=number):
                start = replace(start, allocations=number, native=None)
    return start
