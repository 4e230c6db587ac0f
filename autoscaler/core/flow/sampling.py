"""Turn two observations of a deployment into a sample: the difference between them.

Totals live in the process on each node and end with it, so they are differenced node by node, and
only while the process is the same: its start time identifies its counters. The totals of a whole
deployment are never differenced, because they fall whenever a node is missing from a response.
"""

import math

from autoscaler.core.values import STARTED, DataIssue, DeploymentStats, NodeStats, Sample, Value

WARM_UP_S = 60.0
"""Seconds after its start for which the service times of a process are not learnt. 60 s, because a
new process is slow for reasons that pass."""

SLACK_S = 60.0
"""Seconds that one request may plausibly take. Work that began before an interval counts at its
end, so busy time may exceed the interval by this much."""

MAX_REQUESTS_PER_S = 1e6
"""Requests per second and node above which a count is damaged. No node serves a million."""

QUEUE_SLACK = 100
"""Requests beyond a queue's capacity that may be between the queue and the result."""

TIMEOUT_SHARE = 0.05
"""Time-outs, as a fraction of completions, above which a deployment counts as overloaded. 5%: only
responses that still find their caller are counted, and in an overload those are the quick ones, so
that their mean no longer represents all requests."""

ROUNDING_S = 0.001
"""Seconds by which rounding may change a total: it is a count times a mean, printed as a double."""


class Accepted(Value, frozen=True):
    """Differences between two counts that have lasted, and are no issue any more."""

    unacknowledged: int = 0  # running allocations that no process acknowledges
    contradictory: bool = False  # the target, or the sums of the deployment
    checked: bool = False  # the target and the sums do not contradict


def sample(
    before: DeploymentStats,
    after: DeploymentStats,
    *,
    at: float,
    interval_s: float,
    uncertainty_s: float = 0.0,
    accepted: Accepted | None = None,
) -> Sample:
    """The deployment in the `interval_s` seconds before `at`, between two observations.

    Arrivals are completions, failures and the growth of the queue. Completions alone are
    throughput, which a saturated deployment limits to its capacity: when it most needs allocations,
    its load would seem to be met.

    Returns:
        A sample that is reliable if it has no `issues`. With issues, its figures cover only the
        nodes that could be compared.
    """
    if interval_s <= 0.0:
        return Sample(at=at, interval_s=0.0, issues=(*find_issues(after), DataIssue.CLOCK))
    issues = find_issues(after, accepted)
    earlier: dict[str, NodeStats] = {}
    slots, served = 0, False
    for node in before.nodes:
        earlier[node.node_id] = node
        slots += node.allocations or 0
        served = served or node.server_started_at is not None
    all_completed = all_hits = all_failed = all_timeouts = all_growth = 0
    pending = warm_timed = 0
    all_busy_s = warm_busy_s = 0.0
    for node in after.nodes:
        pending += node.pending
        origin, started_at = earlier.pop(node.node_id, None), node.server_started_at
        if origin is None or started_at is None or origin.server_started_at != started_at:
            origin = _baseline_counters(origin, node, issues)
            if origin is None:
                continue
        completed = node.completed - origin.completed
        hits = node.cache_hits - origin.cache_hits
        timeouts = node.timeouts - origin.timeouts
        failed = timeouts + node.errors - origin.errors + node.rejections - origin.rejections
        busy_s = node.busy_s - origin.busy_s
        issues += _contradictions(origin, node, completed, failed, busy_s)
        all_completed += completed
        all_hits += hits
        all_failed += failed
        all_timeouts += timeouts
        all_growth += node.pending - origin.pending
        all_busy_s += busy_s
        if (node.server_last_access_at or 0.0) - (started_at or 0.0) >= WARM_UP_S:
            warm_timed += completed - hits
            warm_busy_s += busy_s
    # Without allocations no request is rejected: it is kept until an allocation can serve it.
    if (not served or earlier) and DataIssue.INCOMPLETE not in issues and after.allocations != 0:
        if not served:
            # Requests before the first process started were rejected, and counted nowhere.
            issues.append(DataIssue.NEW_NODE)
        if earlier and any(node.reports for node in earlier.values()):
            issues.append(DataIssue.COUNTER_RESET)
    overloaded = all_timeouts > TIMEOUT_SHARE * all_completed
    timed, timed_busy_s = warm_timed, warm_busy_s
    if overloaded:
        timed, timed_busy_s = 0, 0.0
    elif not warm_timed:
        timed, timed_busy_s = all_completed - all_hits, all_busy_s
    # No more can have been computed, or be queued, than the allocations and the queues allow.
    longest_s, workers = interval_s + uncertainty_s + SLACK_S, max(_workers(after), slots)
    if (
        all_busy_s > workers * longest_s
        or all_completed + all_failed > MAX_REQUESTS_PER_S * len(after.nodes) * longest_s
    ) or (
        after.queue_capacity is not None
        and max(pending, all_growth)
        > (after.queue_capacity + QUEUE_SLACK) * len(after.nodes) + workers
    ):
        issues.append(DataIssue.IMPLAUSIBLE)
    nothing_happens = pending and not all_completed and not all_failed and not all_growth
    if nothing_happens and DataIssue.INCOMPLETE not in issues:
        issues.append(DataIssue.STALLED)
    return Sample(
        at=at,
        interval_s=interval_s,
        uncertainty_s=uncertainty_s,
        completed=all_completed,
        cache_hits=all_hits,
        failed=all_failed,
        timeouts=all_timeouts,
        queue_growth=all_growth,
        busy_s=all_busy_s,
        timed=timed,
        timed_busy_s=timed_busy_s,
        in_flight=pending,
        unacknowledged=accepted.unacknowledged if accepted else 0,
        overloaded=overloaded,
        issues=tuple(issues),
    )


def _contradictions(
    before: NodeStats, after: NodeStats, completed: int, failed: int, busy_s: float
) -> list[DataIssue]:
    """Issues of the totals of one process."""
    hits = after.cache_hits - before.cache_hits
    if completed < 0 or failed < 0 or not 0 <= hits <= completed or busy_s < -ROUNDING_S:
        return [DataIssue.COUNTER_DECREASED]
    earlier, later = before.server_last_access_at, after.server_last_access_at
    if completed or failed or earlier is None or later is None or later <= earlier:
        return []
    return [DataIssue.INCONSISTENT]  # a request has completed, and the totals lack it


def _workers(stats: DeploymentStats) -> float:
    """The allocations of the processes; infinite if a responding process reports no number."""
    workers = 0
    for node in stats.nodes:
        if node.allocations is not None:
            workers += node.allocations
        elif node.server_started_at is not None:
            return math.inf
    return workers


def find_issues(stats: DeploymentStats, accepted: Accepted | None = None) -> list[DataIssue]:
    """The data-quality issues that one response has by itself."""
    issues: list[DataIssue] = []
    if stats.state and stats.state != STARTED:
        issues.append(DataIssue.NOT_STARTED)
    reported, running = acknowledged_allocations(stats), stats.running_allocations
    # A node whose statistics could not be collected is left out of the response. Only
    # `running_allocations`, which comes from the cluster state, still includes it.
    if (
        reported is None
        or running is None
        or reported + (accepted.unacknowledged if accepted else 0) < running
        # Nothing serves, so requests are rejected, and that is counted nowhere.
        or (not reported and stats.allocations)
    ):
        issues.append(DataIssue.INCOMPLETE)
    if not stats.state or stats.allocations is None:
        issues.append(DataIssue.NOT_REPORTED)
    elif not (accepted and accepted.contradictory):
        if stats.target_allocations is None:
            issues.append(DataIssue.NOT_REPORTED)
        elif accepted and accepted.checked:
            pass  # this is called for every deployment in every cycle
        elif stats.target_allocations != stats.allocations or (
            # The sums are those of the nodes that responded with all their figures.
            DataIssue.INCOMPLETE not in issues and _sums_contradict(stats)
        ):
            issues.append(DataIssue.INCONSISTENT)
    return issues


def acknowledged_allocations(stats: DeploymentStats) -> int | None:
    """The allocations that the processes of all started routes acknowledge; None if one of them did
    not respond, or reports none."""
    acknowledged = 0
    for node in stats.nodes:
        if node.routing_state == STARTED:
            if node.server_started_at is None or node.allocations is None:
                return None
            acknowledged += node.allocations
    return acknowledged


def contradicts_itself(stats: DeploymentStats) -> bool:
    """Whether the target is another number, or the sums are not those of the nodes."""
    return stats.allocations != stats.target_allocations or _sums_contradict(stats)


def _sums_contradict(stats: DeploymentStats) -> bool:
    completed = errors = rejections = timeouts = 0
    for node in stats.nodes:
        completed += node.completed
        errors += node.errors
        rejections += node.rejections
        timeouts += node.timeouts
    return (
        # Sums are left out while they are zero, and by some versions altogether.
        stats.completed not in (None, 0, completed)
        or stats.errors not in (None, 0, errors)
        or stats.rejections not in (None, 0, rejections)
        or stats.timeouts not in (None, 0, timeouts)
    )


_NOT_SERVING = ("starting", "stopping", "stopped", "failed")
"""Routing states of a node whose process has ended or is ending."""

_NOTHING = NodeStats(node_id="", routing_state="")


def _baseline_counters(
    before: NodeStats | None, after: NodeStats, issues: list[DataIssue]
) -> NodeStats | None:
    """The totals to compare with where the process is not the one of the last poll. None, and
    perhaps an issue, if there are none."""
    if after.server_started_at is None:
        if before is not None and before.reports and after.routing_state in _NOT_SERVING:
            issues.append(DataIssue.COUNTER_RESET)
        return None
    if before is None:
        issues.append(DataIssue.NEW_NODE)
        return None
    if before.reports:
        issues.append(DataIssue.COUNTER_RESET)
    # Otherwise it was loading at the last poll, and its totals began within the interval.
    return _NOTHING
