"""Two observations of a deployment -> an interval of its load, for recordings and imports."""

from msgspec.structs import replace

from autoscaler.core.flow.sampling import sample
from autoscaler.core.values import DataIssue, DeploymentStats, NodeStats
from autoscaler.wire.intervals import LoadInterval, NodeInterval

_NOTHING = NodeStats(node_id="", routing_state="")


def load_interval(
    before: DeploymentStats,
    after: DeploymentStats,
    *,
    at: float,
    interval_s: float,
    uncertainty_s: float = 0.0,
) -> LoadInterval:
    """The deployment in the `interval_s` seconds before `at`, and its settings at the end.

    Where there are issues, the counts are those of the nodes that could be compared, so they may be
    too low. They are unknown if no node could be.
    """
    found = sample(before, after, at=at, interval_s=interval_s, uncertainty_s=uncertainty_s)
    earlier = {node.node_id: node for node in before.nodes}
    nodes = tuple(_node_interval(earlier.get(node.node_id), node) for node in after.nodes)
    none_serves = not nodes and not found.issues
    counted = (
        interval_s > 0.0
        and DataIssue.COUNTER_DECREASED not in found.issues
        and (none_serves or any(node.completed is not None for node in nodes))
    )
    adaptive = after.adaptive
    return LoadInterval(
        deployment=after.deployment_id,
        at=at,
        interval_s=interval_s,
        model=after.model_id,
        created_at=after.server_created_at,
        arrivals=found.arrivals if counted else None,
        completed=found.completed if counted else None,
        cache_hits=found.cache_hits if counted else None,
        failed=found.failed if counted else None,
        busy_s=found.busy_s if counted else None,
        in_flight=found.in_flight if counted else None,
        requested=after.allocations,
        running=after.running_allocations,
        threads=after.threads_per_allocation,
        queue_capacity=after.queue_capacity,
        adaptive=_adaptive_enabled(after),
        adaptive_minimum=adaptive.minimum if adaptive else None,
        adaptive_maximum=adaptive.maximum if adaptive else None,
        issues=tuple(map(str, found.issues)),
        nodes=nodes,
    )


def _adaptive_enabled(stats: DeploymentStats) -> bool | None:
    """None where the settings, and with them the requested allocations, are unknown."""
    if stats.adaptive is not None:
        return stats.adaptive.enabled
    return None if stats.allocations is None else False


def _node_interval(before: NodeStats | None, after: NodeStats) -> NodeInterval:
    """One node, compared as `sample` does. Its counts are unknown if it cannot be."""
    if not after.reports:
        return NodeInterval(node=after.node_id, allocations=after.allocations)
    state = NodeInterval(
        node=after.node_id,
        allocations=after.allocations,
        in_flight=after.pending,
        started_at=after.server_started_at,
    )
    if before is None:
        return state
    origin = before if before.server_started_at == after.server_started_at else _NOTHING
    completed = _gained(origin.completed, after.completed)
    return replace(
        state,
        completed=completed,
        cache_hits=_gained(origin.cache_hits, after.cache_hits),
        failed=_gained(_failed(origin), _failed(after)),
        # Rounding may let it fall by a millisecond while the count rises.
        busy_s=None if completed is None else max(0.0, after.busy_s - origin.busy_s),
    )


def _failed(node: NodeStats) -> int:
    return node.errors + node.rejections + node.timeouts


def _gained(before: int, after: int) -> int | None:
    """What was added to a total; None if it fell."""
    return after - before if after >= before else None
