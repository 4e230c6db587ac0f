"""Turn two observations of a deployment into what happened between them.

Totals live in the process on each node and end with it, so they are differenced node by node, and
only while the process is the same: its start time is the epoch of its counters. What the sums of
a whole deployment say is never differenced; they fall whenever a node is missing from one answer.
"""

from autoscaler.core.values import STARTED, DataIssue, DeploymentStats, NodeStats, Sample

WARM_UP_S = 60.0
"""A young process is slow for reasons that pass: its service times are not learnt from."""

SLACK_S = 60.0
"""How long one request may plausibly take; work begun before an interval counts at its end."""

QUEUE_SLACK = 100
"""Requests beyond a queue's capacity that may be on their way between queue and result."""

TIMEOUT_SHARE = 0.05
"""Time-outs, as a fraction of completions, above which a deployment counts as overloaded.

Only answers that still find their caller are counted, and in an overload those are the quick ones:
their mean is no measure of all.
"""

ROUNDING_S = 0.001
"""What rounding may bring into a total: it is a count times a mean, printed as a double."""


def sample(
    before: DeploymentStats, after: DeploymentStats, *, at: float, interval_s: float
) -> Sample:
    """What the deployment did in the `interval_s` seconds before `at`, between two observations.

    Arrivals are completions, failures and the growth of the queue. Completions alone are
    throughput, which a saturated deployment caps at its own capacity: the moment it most needs
    allocations, it would look content.

    Returns:
        A sample that can be trusted if its `flaws` are empty. With flaws, the figures cover only
        what could be compared.
    """
    issues = find_issues(after)
    if interval_s <= 0.0:
        return Sample(at=at, interval_s=0.0, issues=(*issues, DataIssue.CLOCK))
    earlier: dict[str, NodeStats] = {}
    room, served = 0, False
    for node in before.nodes:
        earlier[node.node_id] = node
        room += node.allocations or 0
        served = served or node.server_started_at is not None
    all_completed = all_hits = all_failed = all_timeouts = all_growth = 0
    pending = workers = warm_timed = 0
    all_busy_s = warm_busy_s = 0.0
    for node in after.nodes:
        pending += node.pending
        workers += node.allocations or 0
        origin = _baseline_counters(earlier.pop(node.node_id, None), node, issues)
        if origin is None:
            continue
        completed = node.completed - origin.completed
        hits = node.cache_hits - origin.cache_hits
        timeouts = node.timeouts - origin.timeouts
        failed = timeouts + node.errors - origin.errors + node.rejections - origin.rejections
        busy_s = node.busy_s - origin.busy_s
        if completed < 0 or failed < 0 or not 0 <= hits <= completed or busy_s < -ROUNDING_S:
            issues.append(DataIssue.COUNTER_DECREASED)
        all_completed += completed
        all_hits += hits
        all_failed += failed
        all_timeouts += timeouts
        all_growth += node.pending - origin.pending
        all_busy_s += busy_s
        if (node.server_last_access_at or 0.0) - (node.server_started_at or 0.0) >= WARM_UP_S:
            warm_timed += completed - hits
            warm_busy_s += busy_s
    # With no allocations nobody is refused, for the first request is kept until it can be served.
    if DataIssue.INCOMPLETE not in issues and after.allocations != 0:
        if not served:
            # What was asked for before it began to serve was refused, and counted nowhere.
            issues.append(DataIssue.NEW_NODE)
        if earlier and any(n.reports for n in earlier.values()):
            issues.append(DataIssue.COUNTER_RESET)
    overloaded = all_timeouts > TIMEOUT_SHARE * all_completed
    timed, timed_busy_s = warm_timed, warm_busy_s
    if overloaded:
        timed, timed_busy_s = 0, 0.0
    elif not warm_timed:
        timed, timed_busy_s = all_completed - all_hits, all_busy_s
    # More cannot have been computed, or be queued, than there is room for.
    if all_busy_s > max(workers, room) * (interval_s + SLACK_S) or (
        after.queue_capacity is not None
        and all_growth > (after.queue_capacity + QUEUE_SLACK) * len(after.nodes)
    ):
        issues.append(DataIssue.IMPLAUSIBLE)
    if pending and not all_completed and not all_failed and not all_growth:
        issues.append(DataIssue.STALLED)
    return Sample(
        at=at,
        interval_s=interval_s,
        completed=all_completed,
        cache_hits=all_hits,
        failed=all_failed,
        timeouts=all_timeouts,
        queue_growth=all_growth,
        busy_s=all_busy_s,
        timed=timed,
        timed_busy_s=timed_busy_s,
        in_flight=pending,
        overloaded=overloaded,
        issues=tuple(issues),
    )


def find_issues(stats: DeploymentStats) -> list[DataIssue]:
    """What one answer alone shows to be missing or wrong."""
    issues = []
    if stats.state != STARTED:
        issues.append(DataIssue.NOT_STARTED)
    answered, silent = 0, False
    completed = errors = rejections = timeouts = 0
    for node in stats.nodes:
        completed += node.completed
        errors += node.errors
        rejections += node.rejections
        timeouts += node.timeouts
        if node.routing_state == STARTED:
            if node.server_started_at is None:
                silent = True
            else:
                answered += node.allocations or 0
    # A node whose statistics could not be collected is left out without a word; only the sum
    # that comes from the cluster state, `live_allocations`, still counts it.
    if (
        silent
        or stats.running_allocations is None
        or answered < stats.running_allocations
        # Nobody serves, so callers are refused, and that is counted nowhere.
        or (not answered and stats.allocations)
    ):
        issues.append(DataIssue.INCOMPLETE)
    if (
        stats.allocations is None
        or stats.allocations != stats.target_allocations
        # Sums are left out while they are zero, and by some versions altogether.
        or stats.completed not in (0, completed)
        or stats.errors not in (0, errors)
        or stats.rejections not in (0, rejections)
        or stats.timeouts not in (0, timeouts)
    ):
        issues.append(DataIssue.INCONSISTENT)
    return issues


_NOTHING = NodeStats(node_id="", routing_state="")


def _baseline_counters(
    before: NodeStats | None, after: NodeStats, issues: list[DataIssue]
) -> NodeStats | None:
    """The totals to compare `after` with; None, and perhaps a flaw, if there are none."""
    if before is not None and before.server_started_at == after.server_started_at is not None:
        return before
    if after.server_started_at is None:
        if before is not None and before.reports and after.routing_state != STARTED:
            issues.append(DataIssue.COUNTER_RESET)
        return None
    if before is None:
        issues.append(DataIssue.NEW_NODE)
        return None
    if before.reports:
        issues.append(DataIssue.COUNTER_RESET)
    # Otherwise it was loading when last seen, and its totals began within the interval.
    return _NOTHING
