"""What an overload shows about the service time, although few requests find their caller.

Only responses that still find their caller are counted as completed, and in an overload those are
the quick ones. But while requests wait at every process, all its allocations are busy. So they have
worked for the whole interval, on no more requests than have completed, failed or timed out, and on
no fewer than have completed.

A daemon that first measures in an overload has the totals of the processes as well, which include
the requests from before it, but also the quick ones that have completed since it began. The more of
them there are, the more their mean is below that of all requests; their number shows by how much.
"""

import math

from msgspec.structs import replace

from autoscaler.core.values import (
    MAX_UNDERESTIMATE,
    ROUNDING_LOSS_S,
    STARTED,
    DeploymentStats,
    NodeStats,
    Sample,
)

MIN_COMPLETED = 5
"""Completions from which on the mean service time of the processes is used until one is measured.
5: with a coefficient of variation of 0.7, the error of their mean is a third, and that of a search
by doubling up to a half."""


def service_time_of_totals(stats: DeploymentStats) -> float | None:
    """The mean service time of all requests since the processes started; None if they are few."""
    computed = sum([node.completed - node.cache_hits for node in stats.nodes])
    if computed < MIN_COMPLETED:
        return None
    return sum([node.busy_s for node in stats.nodes]) / computed + ROUNDING_LOSS_S


SERVICE_SCV = 0.5
"""Squared coefficient of variation of service times, until it is measured; that with which the
policy `slo` begins."""

MAX_QUICK_FRACTION = 0.9
"""The most of the totals that is taken for requests of an overload. If nearly all were, the mean of
the others would be a small difference of large sums."""


CORRECTION = 2.0 / 3.0
"""Part of the way from the mean of the totals to the corrected one, as logarithms. With service
times of an SCV of 0.1 to 1.4, the correction is then wrong by at most a half, either way: the whole
way is too far if they vary less than assumed, and half of it too short if they vary more."""


def with_service_time_of_totals(
    sample: Sample, before: DeploymentStats, after: DeploymentStats
) -> Sample | None:
    """The sample of an overload, timed by the totals of the processes; None if they are few.

    The totals are corrected by the quick requests in them, as far as those are known; and the
    service time is at least what `with_least_service_time` finds.
    """
    totals_s = service_time_of_totals(after)
    if totals_s is None:
        return None
    computed = sample.completed - sample.cache_hits
    if computed >= MIN_COMPLETED:
        # Requests that complete in an overload are quick ones too.
        totals_s = max(totals_s, sample.busy_s / computed + ROUNDING_LOSS_S)
    least = with_least_service_time(sample, before, after, None)
    if not least.timed:
        return replace(sample, timed=max(1, computed), timed_busy_s=max(1, computed) * totals_s)
    service_time_s = _corrected(totals_s, sample, before, after)
    return replace(
        least, timed=max(1, min(least.timed, round(least.timed_busy_s / service_time_s)))
    )


def _corrected(
    totals_s: float, sample: Sample, before: DeploymentStats, after: DeploymentStats
) -> float:
    """The service time between the mean of the totals and the most that it can be: a weighted
    geometric mean."""
    quick = sample.completed - sample.cache_hits
    if quick <= 0:
        return totals_s
    quick_s = sample.busy_s / quick + ROUNDING_LOSS_S
    if quick_s >= totals_s:
        return totals_s
    # Before the overload there were the other requests, of this mean, unless it is older than the
    # processes.
    totals = sum([node.completed - node.cache_hits for node in after.nodes])
    fraction = min(MAX_QUICK_FRACTION, quick / sample.interval_s * _uptime_s(after) / totals)
    without_s = (totals_s - fraction * quick_s) / (1.0 - fraction)
    most_s = min(_of_quick(sample, before, after), without_s, MAX_UNDERESTIMATE * totals_s)
    return totals_s * math.pow(max(1.0, most_s / totals_s), CORRECTION)


def _uptime_s(stats: DeploymentStats) -> float:
    """The longest time for which a process has run; infinite if one does not report it."""
    longest_s = 0.0
    for node in stats.nodes:
        if node.routing_state == STARTED:
            if node.server_last_access_at is None or node.server_started_at is None:
                return math.inf
            longest_s = max(longest_s, node.server_last_access_at - node.server_started_at)
    return longest_s


def _of_quick(sample: Sample, before: DeploymentStats, after: DeploymentStats) -> float:
    """The service time with which as many requests of an overload are quick enough.

    While all allocations are busy, each request begins when it is the next one to be given up, and
    has an exponential time left, whose mean is that between two arrivals at the process. With
    Gamma-distributed service times of the mean s, a request takes less with the probability
    (1 + rate s scv)^(-1 / scv); and the allocations compute busy time / s requests.
    """
    processes = sum([node.routing_state == STARTED for node in after.nodes])
    quick = sample.completed - sample.cache_hits
    arrived = quick + _computed_at_most(before, after)
    rate_per_s = arrived / sample.interval_s / max(1, processes)
    busy_s = sample.interval_s * _busy_allocations(before, after)
    least_s, most_s = busy_s / arrived, busy_s / quick
    for _ in range(20):  # to a millionth of the range
        middle_s = math.sqrt(least_s * most_s)
        late = (1.0 + rate_per_s * middle_s * SERVICE_SCV) ** (-1.0 / SERVICE_SCV)
        if busy_s / middle_s * late > quick:
            least_s = middle_s
        else:
            most_s = middle_s
    return most_s


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
