"""The `_stats` of the simulated deployment, as the daemon would read them.

The values are those that `autoscaler.wire.stats` decodes from the emulator's JSON; a test compares
both.
"""

from autoscaler.core.values import AdaptiveAllocations, DeploymentStats, NodeStats
from autoscaler.simulation.deployment import SimulatedDeployment
from autoscaler.simulation.memory import required_bytes
from autoscaler.simulation.route import Route


def stats_of(deployment: SimulatedDeployment, now: float) -> DeploymentStats:
    """The statistics at `now`; the processes must have been run until then."""
    parameters, adaptive = deployment.parameters, deployment.adaptive
    nodes = tuple([_node(route, now) for route in deployment.routes.values()])
    requested = deployment.requested
    adaptive_allocations = None
    if adaptive is not None:
        adaptive_allocations = AdaptiveAllocations(
            enabled=bool(adaptive.enabled),
            minimum=adaptive.min_number_of_allocations,
            maximum=adaptive.max_number_of_allocations,
        )
    size_bytes = parameters.model_bytes
    return DeploymentStats(
        parameters.deployment_id,
        parameters.model_id,
        deployment.reported_state(),
        deployment.reported_reason() or "",
        parameters.priority,
        requested,
        deployment.running,
        requested,
        deployment.allocation_state(),
        parameters.threads_per_allocation,
        parameters.queue_capacity,
        parameters.cache_bytes,
        adaptive_allocations,
        _to_the_millisecond(deployment.start_time),
        sum([node.completed for node in nodes]),
        0,
        sum([node.rejections for node in nodes]),
        sum([node.timeouts for node in nodes]),
        sum([node.peak_throughput_per_minute or 0 for node in nodes]),
        required_bytes(parameters.model_id, size_bytes, size_bytes) if deployment.requested else 0,
        nodes,
    )


def _node(route: Route, now: float) -> NodeStats:
    counters = route.counters(now)
    if counters is None:
        return NodeStats(
            route.node_id,
            route.reported_state,
            route.node_id,
            route.reason,
            cache_hits_last_minute=None,
        )
    completed = counters.completed
    mean_ms = counters.mean_inference_ms
    mean_s = None if mean_ms is None else mean_ms / 1000.0
    last_minute_ms = counters.mean_inference_ms_last_minute
    return NodeStats(
        route.node_id,
        route.reported_state,
        route.node_id,
        route.reason,
        _to_the_millisecond(counters.start_time),
        counters.allocations,
        counters.threads_per_allocation,
        completed,
        0,
        0,
        counters.rejections,
        counters.timeouts,
        0.0 if mean_ms is None else completed * mean_ms / 1000.0,
        mean_s,
        mean_s,
        counters.pending,
        None if counters.last_access is None else _to_the_millisecond(counters.last_access),
        counters.completed_last_minute,
        counters.peak_per_minute,
        None if last_minute_ms is None else last_minute_ms / 1000.0,
    )


def _to_the_millisecond(at: float) -> float:
    return round(at * 1000) / 1000.0
