"""What still fits on the machine-learning nodes, counted as Elasticsearch's planner counts.

The planner may also move what runs elsewhere to make room. That is never counted on: it restarts
processes and empties queues of deployments that have nothing to do with it.

Source: elastic/elasticsearch, ml/inference/assignment/planning/*, ml/utils/MlProcessors.java, and
core/action/StartTrainedModelDeploymentAction.java for memory.
"""

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from autoscaler.core.values import (
    STARTED,
    Cluster,
    DeploymentStats,
    NodeCapacity,
    NodeStats,
    Observation,
    Value,
)

STARTING = "starting"
"""The routing state of a node that still loads the model."""

_MIB = 2**20
_OVERHEAD_BYTES = 30 * _MIB  # charged once to a node that runs anything native
_BASE_BYTES = 240 * _MIB  # the least that any model but ELSER needs
_ELSER_IDS = (".elser_model_1", ".elser_model_2")  # need the same for any number of allocations


class FreeCapacity(Value, frozen=True, kw_only=True):
    """What the nodes have left, as one observation shows them."""

    free_threads: Mapping[str, int] = {}  # by node id: cores that no allocation was placed on
    nodes: Mapping[str, NodeCapacity] = {}
    model_allocations: Mapping[str, int] = {}  # by model id, over all its deployments
    fixed: bool = False  # whether this is certain to be all there is


class _Hardware(NamedTuple):
    """What the nodes offer, whatever runs on them."""

    nodes: Mapping[str, NodeCapacity]  # by id: those whose processors are known
    threads: Mapping[str, int]  # of each of these: its processors, rounded up
    fixed: bool  # whether this is certain to be all there is


@lru_cache(maxsize=1)  # it is the same from cycle to cycle
def _hardware_of(cluster: Cluster) -> _Hardware:
    nodes, threads = {}, {}
    for node in cluster.nodes:
        if node.processors is not None and math.isfinite(node.processors):
            nodes[node.node_id] = node
            threads[node.node_id] = math.ceil(node.processors)
    fixed = cluster.growable is False and 0 < len(nodes) == len(cluster.nodes)
    return _Hardware(nodes, threads, fixed)


def free_capacity_of(observation: Observation) -> FreeCapacity:
    """The free threads of each node: its processors, rounded up, less those of all allocations.

    Deployments of low priority take none: they are planned afterwards, and may share cores.
    """
    cluster = observation.cluster
    if cluster is None:
        return FreeCapacity()
    nodes, offered, fixed = _hardware_of(cluster)
    free = dict(offered)
    for stats in observation.deployments.values():
        if stats.priority == "low":
            continue
        threads, settled = stats.threads_per_allocation or 1, True
        # Spelt out, since it is done for every node of every deployment in every cycle.
        for node in stats.nodes:
            if node.routing_state != STARTED:
                settled = False
            elif node.node_id in free:
                free[node.node_id] -= (node.allocations or 0) * threads
            else:
                fixed = False  # it came after the nodes were read
        for node_id, allocations in () if settled else _loading(stats):
            if node_id in free:
                free[node_id] -= allocations * threads
            else:
                fixed = False
    return FreeCapacity(
        free_threads={node_id: max(0, threads) for node_id, threads in free.items()},
        nodes=nodes,
        model_allocations=_by_model(observation.deployments.values()) if fixed else {},
        fixed=fixed,
    )


def _by_model(deployments: Iterable[DeploymentStats]) -> Mapping[str, int]:
    numbers: dict[str, int] = {}
    for stats in deployments:
        numbers[stats.model_id] = numbers.get(stats.model_id, 0) + (stats.allocations or 0)
    return numbers


def max_allocations_that_fit(stats: DeploymentStats, room: FreeCapacity) -> int | None:
    """The most the deployment can have where everything else stays as it is.

    An allocation needs all its threads on one node. A node that does not run the deployment needs
    memory for its model as well.

    Returns:
        None where nothing can be said: hardware may grow or is not known, or the deployment has
        low priority and takes no cores from others.
    """
    threads = stats.threads_per_allocation
    if not room.fixed or not threads or stats.priority == "low":
        return None
    placed = {node.node_id: node.allocations or 0 for node in _serving(stats)}
    placed.update(_loading(stats))
    most = sum(placed.values())
    for node_id, free in room.free_threads.items():
        if free >= threads and (node_id in placed or _may_have_memory(stats, node_id, room)):
            most += free // threads
    return most


def _serving(stats: DeploymentStats) -> list[NodeStats]:
    return [node for node in stats.nodes if node.routing_state == STARTED]


def _loading(stats: DeploymentStats) -> list[tuple[str, int]]:
    """Allocations by node id, of the nodes that load the model.

    They do not say how many they are going to run. What is requested and runs nowhere yet is taken
    to be shared among them.
    """
    nodes = [node.node_id for node in stats.nodes if node.routing_state == STARTING]
    if not nodes:
        return []
    missing = (stats.allocations or 0) - sum([node.allocations or 0 for node in _serving(stats)])
    each, more = divmod(max(0, missing), len(nodes))
    return [(node_id, each + (i < more)) for i, node_id in enumerate(nodes)]


def _may_have_memory(stats: DeploymentStats, node_id: str, room: FreeCapacity) -> bool:
    """Whether the node may have memory for the model, or does not say.

    `required_native_memory_bytes` is reckoned with all allocations of all deployments of the
    model. What one of them needs alone is at least its share; too little is no harm, because what
    does not fit is refused, while too much would hold a deployment down for nothing.
    """
    node, required = room.nodes[node_id], stats.required_memory_bytes
    if node.free_ml_memory_bytes is None or required is None:
        return True
    needed: float = required
    if not stats.model_id.startswith(_ELSER_IDS):
        sharers = max(1, room.model_allocations[stats.model_id])
        needed = min(needed, max(_BASE_BYTES, needed / sharers))
    if node.free_ml_memory_bytes == node.ml_memory_bytes:
        needed += _OVERHEAD_BYTES
    return node.free_ml_memory_bytes >= needed
