"""What an overload shows about the service time, although few requests find their caller.

Only responses that still find their caller are counted as completed, and in an overload those are
the quick ones. But while requests wait at every process, all its allocations are busy. So they have
worked for the whole interval, on no more requests than have completed, failed or timed out, and on
no fewer than have completed.

A daemon that first measures in an overload has the totals of the processes as well, which include
the requests from before it.
"""

from msgspec.structs import replace

from autoscaler.core.values import (
    ROUNDING_LOSS_S,
    STARTED,
    DeploymentStats,
    NodeStats,
    Sample,
)

MIN_COMPLETED = 20
"""Completions of a process from which on its mean service time is used until one is measured."""


def service_time_of_totals(stats: DeploymentStats) -> float | None:
    """The mean service time of all requests since the processes started; None if they are few."""
    computed = sum([node.completed - node.cache_hits for node in stats.nodes])
    if computed < MIN_COMPLETED:
        return None
    return sum([node.busy_s for node in stats.nodes]) / computed + ROUNDING_LOSS_S


def with_least_service_time(
    sample: Sample, before: DeploymentStats, after: DeploymentStats, known_s: float | None
) -> Sample:
    """The sample of an overload, timed by the least that the service time can be, if that is more
    than is known.

    Args:
        known_s: the service time known so far.
    """
    if not sample.overloaded or not _is_saturated(before, after):
        return sample
    requests = sample.completed - sample.cache_hits + _computed_at_most(before, after)
    busy_s = sample.shortest_s * _busy_allocations(before, after)
    if requests <= 0 or (known_s is not None and busy_s <= known_s * requests):
        return sample
    return replace(sample, timed=requests, timed_busy_s=busy_s)


def _is_saturated(before: DeploymentStats, after: DeploymentStats) -> bool:
    """Whether requests waited at every process, at the beginning and at the end."""
    return _all_busy(before) and _all_busy(after)


def _all_busy(stats: DeploymentStats) -> bool:
    started = [node for node in stats.nodes if node.routing_state == STARTED]
    return bool(started) and all(
        node.allocations is not None and node.pending > node.allocations for node in started
    )


def _busy_allocations(before: DeploymentStats, after: DeploymentStats) -> int:
    """The allocations that were busy for the whole interval: of each process, as many as it had at
    both ends. Those added meanwhile have worked for an unknown part of it."""
    earlier = {node.node_id: node.allocations or 0 for node in before.nodes}
    return sum([min(earlier.get(node.node_id, 0), node.allocations or 0) for node in after.nodes])


def _computed_at_most(before: DeploymentStats, after: DeploymentStats) -> int:
    """The requests that failed after they may have been computed; rejected ones were not."""
    return sum(map(_tried, after.nodes)) - sum(map(_tried, before.nodes))


def _tried(node: NodeStats) -> int:
    return node.timeouts + node.errors
