"""Checks every change immediately before it is sent.

No change leaves the bounds of the rule, of its open schedules and of its burst ceiling, and none
decreases anything on statistics with a data-quality issue. The constraints ensure both; the check
also covers the changes that they do not limit: the take-over of a deployment, the bounds of
adaptive allocations, a start, and a release.
"""

from msgspec.structs import replace

from autoscaler.core.decision import Change, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.selection import Rule, ZeroMethod, bounds_of
from autoscaler.core.values import AdaptiveAllocations, DeploymentStats, Value


class RuleLimits(Value, frozen=True, kw_only=True):
    """What a change has to stay within."""

    minimum: int
    maximum: int
    increase_maximum: int  # of more than are requested now: the burst ceiling may be lower
    zero: ZeroMethod | None  # None: 0 allocations are not allowed now
    scarce: bool  # capacity is short: an increase may end below the minimum
    certain: bool  # False: the statistics have a data-quality issue, so nothing is decreased
    unlimited: bool = False  # whether adaptive allocations had no maximum before a gradual rollout


def limits_of(
    rule: Rule,
    *,
    certain: bool,
    zero: bool = False,
    scarce: bool = False,
    above_burst: bool = True,
) -> RuleLimits:
    """The limits of a change.

    Args:
        rule: with the schedules that are open.
        zero: whether the deployment is idle for long enough.
        above_burst: whether the burst ceiling may be exceeded.
    """
    minimum, maximum = bounds_of(rule)
    ceiling = rule.burst_max_allocations
    if ceiling is None or above_burst:
        ceiling = maximum
    return RuleLimits(
        minimum=minimum,
        maximum=maximum,
        increase_maximum=max(minimum, min(maximum, ceiling)),
        zero=rule.zero.via if zero and rule.zero is not None else None,
        scarce=scarce,
        certain=certain,
        unlimited=rule.before is not None and rule.before.maximum == 0,
    )


def within_limits(change: Change, limits: RuleLimits, stats: DeploymentStats) -> Change | None:
    """The change as far as the limits allow it; None if nothing may be sent.

    A value above the maximum that would not be an increase is no reason to decrease: a constraint
    delays the decrease.
    """
    match change:
        case SetAllocations():
            return _allocations(change, limits, stats)
        case SetBounds():
            return _bounds(change, limits, stats)
        case Stop():
            return change if limits.certain and limits.zero is ZeroMethod.STOP else None
        case Start():
            return _start(change, limits)


def _allocations(
    change: SetAllocations, limits: RuleLimits, stats: DeploymentStats
) -> SetAllocations | None:
    current = stats.allocations
    allocations = _clamped(change.allocations, current or 0, limits)
    if allocations is None or allocations < 1:
        return None
    if not limits.certain and (
        current is None or allocations < max(current, stats.running_allocations or 0)
    ):
        return None
    if allocations == current and not change.take_over:
        return None
    return change if allocations == change.allocations else replace(change, allocations=allocations)


def _bounds(change: SetBounds, limits: RuleLimits, stats: DeploymentStats) -> SetBounds | None:
    adaptive = stats.adaptive if stats.adaptive is not None and stats.adaptive.enabled else None
    before = stats.allocations or 0 if adaptive is None else adaptive.minimum or 0
    if change.minimum == 0 and limits.zero is ZeroMethod.ADAPTIVE:
        minimum: int | None = 0
    else:
        minimum = _clamped(change.minimum, before, limits)
    if minimum is None:
        return None
    unlimited = change.maximum == 0 and limits.unlimited
    maximum = 0 if unlimited else max(min(change.maximum, limits.maximum), minimum, 1)
    if not limits.certain:
        if not unlimited:
            # Where no more fits, the maximum is the minimum, and fewer than are requested may run.
            present = max(stats.allocations or 0, stats.running_allocations or 0)
            maximum = max(maximum, min(present, limits.maximum))
        if not _decrease_nothing(minimum, maximum, adaptive, stats):
            return None
    if (minimum, maximum) == (change.minimum, change.maximum):
        return change
    return replace(change, minimum=minimum, maximum=maximum)


def _decrease_nothing(
    minimum: int, maximum: int, adaptive: AdaptiveAllocations | None, stats: DeploymentStats
) -> bool:
    """Whether bounds decrease neither the minimum nor the allocations."""
    if stats.allocations is None or (adaptive is not None and minimum < (adaptive.minimum or 0)):
        return False
    return maximum == 0 or maximum >= max(stats.allocations, stats.running_allocations or 0)


def _start(change: Start, limits: RuleLimits) -> Start:
    least = 1 if limits.scarce else limits.minimum
    allocations = min(max(change.allocations, least, 1), limits.maximum)
    adaptive = change.adaptive
    if adaptive is not None and adaptive.enabled:
        minimum = min(max(adaptive.minimum or 0, least), limits.maximum)
        maximum = min(adaptive.maximum or limits.maximum, limits.maximum)
        adaptive = replace(adaptive, minimum=minimum, maximum=max(minimum, maximum, 1))
    return replace(change, allocations=allocations, adaptive=adaptive)


def _clamped(value: int, current: int, limits: RuleLimits) -> int | None:
    """The value within the limits; None if it is above them only because a decrease is delayed."""
    if value > limits.maximum and value <= current:
        return None
    most = limits.maximum if value <= current else max(limits.increase_maximum, current)
    if not (limits.scarce and value >= current):
        value = max(value, limits.minimum)
    return min(value, most, limits.maximum)
