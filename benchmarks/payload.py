"""Statistics of a large cluster, as the bytes a client receives."""

import msgspec

from autoscaler.wire.stats_document import (
    AllocationStatus,
    DeploymentDocument,
    ModelDocument,
    ModelSizeStats,
    NodeDescription,
    NodeDocument,
    RoutingStateAndReason,
    StatsDocument,
)

EPOCH_MS = 1_760_000_000_000


def stats(deployments: int, nodes: int, cycle: int) -> bytes:
    """The response to `_stats`, with the client's filter, after `cycle` intervals of 10 s."""
    models = [model(index, nodes, cycle) for index in range(deployments)]
    return msgspec.json.encode(StatsDocument(count=deployments, trained_model_stats=models))


def model(index: int, nodes: int, cycle: int) -> ModelDocument:
    """The entry of one deployment, which runs two allocations on each node."""
    name = f"model-{index:04d}"
    served = [_node(node, index, cycle) for node in range(nodes)]
    return ModelDocument(
        model_id=name,
        model_size_stats=ModelSizeStats(
            model_size_bytes=91_000_321, required_native_memory_bytes=433_659_122
        ),
        deployment_stats=DeploymentDocument(
            deployment_id=name,
            model_id=name,
            threads_per_allocation=1,
            number_of_allocations=2 * nodes,
            queue_capacity=10_000,
            state="started",
            allocation_status=AllocationStatus(
                allocation_count=2 * nodes,
                target_allocation_count=2 * nodes,
                state="fully_allocated",
            ),
            cache_size="86.7mb",
            priority="normal",
            start_time=EPOCH_MS,
            inference_count=sum(node.inference_count or 0 for node in served),
            peak_throughput_per_minute=611,
            nodes=served,
        ),
    )


def node_id(node: int) -> str:
    return f"q1W2e3R4t5Y6u7I8o9P{node:03d}"


def _node(node: int, index: int, cycle: int) -> NodeDocument:
    completed = 10_000 + cycle * (50 + (index * 7 + node) % 100)
    return NodeDocument(
        node={node_id(node): NodeDescription(name=f"ml-{node}")},
        routing_state=RoutingStateAndReason(routing_state="started"),
        inference_count=completed,
        average_inference_time_ms=38.25 + node / 7,
        average_inference_time_ms_excluding_cache_hits=41.5 + node / 7,
        inference_cache_hit_count=completed // 12,
        last_access=EPOCH_MS + 10_000 * cycle,
        number_of_pending_requests=index % 5,
        start_time=EPOCH_MS - 4_567_000,
        threads_per_allocation=1,
        number_of_allocations=2,
        peak_throughput_per_minute=611,
        throughput_last_minute=380,
        average_inference_time_ms_last_minute=36.0,
        inference_cache_hit_count_last_minute=25,
    )
