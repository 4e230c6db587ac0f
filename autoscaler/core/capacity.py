"""The free capacity of the machine-learning nodes, counted as Elasticsearch's planner counts.

The planner may also move other deployments to make room. This is never relied on: it restarts their
processes and empties their queues.

Source: elastic/elasticsearch, ml/inference/assignment/planning/*, ml/utils/MlProcessors.java, and
core/action/StartTrainedModelDeploymentAction.java for memory.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from copy import copy
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
"""The routing state of a node that is loading the model."""

UNLIMITED = 1_000_000
"""Allocations of a deployment that takes no processors from others."""

MAX_PROCESSORS = 4096
"""Maximum plausible processors of a node. 4096, twice as many as the largest machines have. More
are damage, and the cost of computing grows with them."""

_MIB = 2**20
OVERHEAD_BYTES = 30 * _MIB
"""Bytes for native code, once on each node that runs any native process."""

_BASE_BYTES = 240 * _MIB  # the minimum of every model except ELSER
_ELSER_IDS = (".elser_model_1", ".elser_model_2")  # their need is independent of the allocations


class FreeCapacity(Value, frozen=True, kw_only=True):
    """The free capacity that one observation shows."""

    free_threads: Mapping[str, int] = {}  # by node id: processors without an allocation
    unreported_threads: Mapping[str, int] = {}  # of these: of allocations that no node reports
    nodes: Mapping[str, NodeCapacity] = {}
    model_allocations: Mapping[str, int] = {}  # by model id, over all its deployments
    fixed: bool = False  # whether these are certain to be all nodes, and all they have

    @property
    def grantable_threads(self) -> Mapping[str, int]:
        """The free threads that no unreported allocation is expected to have, by node id."""
        unreported = self.unreported_threads
        if not unreported:
            return self.free_threads
        return {id_: free - unreported.get(id_, 0) for id_, free in self.free_threads.items()}


class _Hardware(NamedTuple):
    """The capacity of the nodes, free or not."""

    nodes: Mapping[str, NodeCapacity]  # by id: those whose processors are known
    threads: Mapping[str, int]  # of each of these: its processors, rounded up
    fixed: bool  # whether these are certain to be all nodes, and all they have


@lru_cache(maxsize=1)  # the cluster is the same object in most cycles
def _hardware_of(cluster: Cluster) -> _Hardware:
    nodes, threads = {}, {}
    for node in cluster.nodes:
        if node.processors is not None and 0.0 <= node.processors <= MAX_PROCESSORS:
            nodes[node.node_id] = node
            threads[node.node_id] = math.ceil(node.processors)
    fixed = cluster.growable is False and 0 < len(nodes) == len(cluster.nodes)
    return _Hardware(nodes, threads, fixed)


def free_capacity_of(observation: Observation) -> FreeCapacity:
    """The free threads of each node: its processors, rounded up, less those of all allocations.

    Deployments of low priority take none: they are planned afterwards and may share processors.
    Allocations that run, and that no node of the response reports, have threads where the planner
    is most likely to have placed them.
    """
    cluster = observation.cluster
    if cluster is None:
        return FreeCapacity()
    nodes, offered, fixed = _hardware_of(cluster)
    free = dict(offered)
    unsettled, elsewhere = [], []
    for stats in observation.deployments.values():
        if stats.priority == "low":
            continue
        threads, settled, reported = stats.threads_per_allocation or 1, True, 0
        # Spelt out for speed: this runs for every node of every deployment in every cycle.
        for node in stats.nodes:
            if node.routing_state != STARTED:
                settled = False
            elif node.node_id in free:
                allocations = node.allocations or 0
                reported += allocations
                free[node.node_id] -= allocations * threads
            else:
                fixed = False  # it has joined since the nodes were read
        if not settled:
            unsettled.append(stats)
        elif reported < (stats.running_allocations or 0):
            elsewhere.append((stats, (stats.running_allocations or 0) - reported))
    # What runs beyond the processors of a node moves to where models are loading.
    moving = sum([max(0, -threads) for threads in free.values()]) if unsettled else 0
    for stats in unsettled:
        threads, surplus = stats.threads_per_allocation or 1, 0
        for node_id, allocations in _loading(stats):
            if node_id in free:
                surplus += allocations - min(allocations, max(0, free[node_id]) // threads)
                free[node_id] -= allocations * threads
            else:
                fixed = False
        elsewhere.append((stats, surplus))
    free = {node_id: max(0, threads) for node_id, threads in free.items()}
    return FreeCapacity(
        free_threads=free,
        unreported_threads=_unreported(elsewhere, free, moving) if elsewhere else {},
        nodes=nodes,
        model_allocations=_by_model(observation.deployments.values()) if fixed else {},
        fixed=fixed,
    )


def _unreported(
    elsewhere: Iterable[tuple[DeploymentStats, int]],
    free_threads: Mapping[str, int],
    moving: int,
) -> Mapping[str, int]:
    """The threads of allocations that no node reports, by node id, where they fit: on the nodes of
    the deployment first, and on the node with the most free threads. Of a deployment that loads its
    model, the cluster has placed all of them: what fits nowhere has threads that others give up.

    Args:
        moving: threads of allocations that run beyond the processors of their nodes.
    """
    free, taken = dict(free_threads), dict[str, int]()
    for stats, allocations in elsewhere:
        threads = stats.threads_per_allocation or 1
        own = {node.node_id for node in stats.nodes}
        left_over = allocations
        for _ in range(min(allocations, sum(free.values()))):
            fitting = [(id_ in own, left, id_) for id_, left in free.items() if left >= threads]
            if not fitting:
                break
            _, _, node_id = max(fitting)
            free[node_id] -= threads
            taken[node_id] = taken.get(node_id, 0) + threads
            left_over -= 1
        if any(node.routing_state == STARTING for node in stats.nodes):
            moving += left_over * threads
    for node_id in sorted(free, key=lambda each: -free[each]):
        here = min(moving, free[node_id])
        if here > 0:
            taken[node_id] = taken.get(node_id, 0) + here
            moving -= here
    return taken


def _by_model(deployments: Iterable[DeploymentStats]) -> Mapping[str, int]:
    allocations: dict[str, int] = {}
    for stats in deployments:
        of_model = allocations.get(stats.model_id, 0)
        allocations[stats.model_id] = of_model + (stats.allocations or 0)
    return allocations


class Occupant:
    """One deployment on the nodes, and what one more allocation of it takes."""

    def __init__(
        self, *, threads: int, memory_bytes: float | None, nodes: Iterable[str], placed: int
    ) -> None:
        self.threads = threads  # of each allocation
        self.memory_bytes = memory_bytes  # of the model on a further node; None: unknown
        self.nodes = set(nodes)  # that run or load the model
        self.placed = placed  # allocations

    def copy(self) -> "Occupant":
        return Occupant(
            threads=self.threads,
            memory_bytes=self.memory_bytes,
            nodes=self.nodes,
            placed=self.placed,
        )


def occupant_of(stats: DeploymentStats, free_capacity: FreeCapacity) -> Occupant | None:
    """A running deployment. None if no limit is known for it: it has low priority and takes no
    processors from others, or its threads are not reported."""
    threads = stats.threads_per_allocation
    if not threads or stats.priority == "low":
        return None
    placed = placed_allocations(stats)
    total = sum(placed.values())
    sharing = free_capacity.model_allocations.get(stats.model_id, 0)
    return Occupant(
        threads=threads,
        memory_bytes=model_memory(stats, sharing),
        nodes=placed,
        # Of more than are requested, as while a further node takes over, some are about to stop.
        placed=total if stats.allocations is None else min(total, stats.allocations),
    )


def occupant_to_start(stats: DeploymentStats, free_capacity: FreeCapacity) -> Occupant | None:
    """A stopped deployment, from its last statistics. With low priority it takes memory only. None
    if its threads are not known."""
    threads = stats.threads_per_allocation
    if not threads:
        return None
    # The required memory was reported when its own allocations were part of it.
    sharing = free_capacity.model_allocations.get(stats.model_id, 0) + (stats.allocations or 0)
    return Occupant(
        threads=0 if stats.priority == "low" else threads,
        memory_bytes=model_memory(stats, sharing),
        nodes=(),
        placed=0,
    )


class CapacityPool:
    """Free threads and memory from which allocations are taken one by one."""

    def __init__(self, free_capacity: FreeCapacity) -> None:
        self._nodes = free_capacity.nodes
        self._threads = dict(free_capacity.grantable_threads)
        self._memory = {
            node_id: node.free_ml_memory_bytes for node_id, node in free_capacity.nodes.items()
        }

    def copy(self) -> "CapacityPool":
        other = copy(self)
        other._threads, other._memory = dict(self._threads), dict(self._memory)
        return other

    def fitting(self, occupant: Occupant) -> int:
        """How many more allocations fit, if nothing else is placed."""
        usable = [
            free
            for node_id, free in self._threads.items()
            if free >= occupant.threads and self._has_model_or_memory(occupant, node_id)
        ]
        if occupant.threads == 0:
            return UNLIMITED if usable else 0
        return sum([free // occupant.threads for free in usable])

    def place(self, occupant: Occupant) -> bool:
        """Take one more allocation from the pool; False if it fits nowhere.

        As the planner does, it goes to a node that has the model already, or else to another one
        with memory for it; of these, to the node with the most free threads.
        """
        best, most, has_model = "", -1, False
        for node_id, free in self._threads.items():
            known = node_id in occupant.nodes
            if free < occupant.threads or (known, free) <= (has_model, most):
                continue
            if known or self._has_model_or_memory(occupant, node_id):
                best, most, has_model = node_id, free, known
        if most < 0:
            return False
        self._threads[best] -= occupant.threads
        if not has_model:
            self._load_model(occupant, best)
        occupant.placed += 1
        return True

    def place_many(self, occupant: Occupant, count: int) -> int:
        """Place up to this many, as if one by one; how many fit."""
        if occupant.threads == 0:
            if count <= 0 or not self.place(occupant):
                return 0
            occupant.placed += count - 1
            return count
        placed = 0
        while placed < count:
            filled = self._fill(occupant, count - placed)
            if filled == 0 and not self.place(occupant):
                break
            placed += filled or 1
        return placed

    def _fill(self, occupant: Occupant, count: int) -> int:
        """Place up to this many on the nodes that have the model; how many fit there."""
        threads = occupant.threads
        free = {
            node_id: free
            for node_id, free in self._threads.items()
            if node_id in occupant.nodes and free >= threads
        }
        count = min(count, sum([threads_free // threads for threads_free in free.values()]))
        # The allocations go to the largest of all numbers of free threads that occur on the way.
        level = _level(free.values(), threads, count)
        left = count
        for node_id, before in free.items():
            taken = _above(before, threads, level)
            self._threads[node_id] -= taken * threads
            left -= taken
        for node_id in free:
            if left == 0:
                break
            if self._threads[node_id] == level:
                self._threads[node_id] -= threads
                left -= 1
        occupant.placed += count
        return count

    def _has_model_or_memory(self, occupant: Occupant, node_id: str) -> bool:
        if node_id in occupant.nodes:
            return True
        free, needed = self._memory[node_id], self._memory_needed(occupant, node_id)
        return free is None or needed is None or free >= needed

    def _memory_needed(self, occupant: Occupant, node_id: str) -> float | None:
        needed = occupant.memory_bytes
        if needed is not None and self._memory[node_id] == self._nodes[node_id].ml_memory_bytes:
            needed += OVERHEAD_BYTES
        return needed

    def _load_model(self, occupant: Occupant, node_id: str) -> None:
        free, needed = self._memory[node_id], self._memory_needed(occupant, node_id)
        if free is not None and needed is not None:
            self._memory[node_id] = math.floor(free - needed)
        occupant.nodes.add(node_id)


def _above(free: int, threads: int, level: int) -> int:
    """How many allocations a node takes while it has more free threads than this."""
    return min(free // threads, max(0, -((level - free) // threads)))


def _level(free: Collection[int], threads: int, count: int) -> int:
    """The lowest number of free threads above which no more than this many allocations are placed.

    >>> _level([5, 3], 1, 3)
    3
    """
    low, high = 0, max(free, default=0)
    while low < high:
        middle = (low + high) // 2
        if sum([_above(each, threads, middle) for each in free]) <= count:
            high = middle
        else:
            low = middle + 1
    return low


def placed_allocations(stats: DeploymentStats) -> dict[str, int]:
    """The allocations on each node that serves the deployment or loads its model, by node id."""
    placed = {node.node_id: node.allocations or 0 for node in _serving(stats)}
    placed.update(_loading(stats))
    return placed


def _serving(stats: DeploymentStats) -> list[NodeStats]:
    return [node for node in stats.nodes if node.routing_state == STARTED]


def _loading(stats: DeploymentStats) -> list[tuple[str, int]]:
    """Allocations by node id, of the nodes that are loading the model.

    They do not report how many they are going to run. The requested allocations that run nowhere
    yet are assumed to be shared among them.
    """
    nodes = [node.node_id for node in stats.nodes if node.routing_state == STARTING]
    if not nodes:
        return []
    missing = (stats.allocations or 0) - sum([node.allocations or 0 for node in _serving(stats)])
    each, more = divmod(max(0, missing), len(nodes))
    return [(node_id, each + (i < more)) for i, node_id in enumerate(nodes)]


def model_memory(stats: DeploymentStats, sharing: int) -> float | None:
    """Bytes that the model certainly needs on a further node; None if it is not known.

    `required_native_memory_bytes` is computed with all allocations of all deployments of the model.
    One deployment needs at least its share of it. It is 0 where the model has no allocations, which
    tells nothing of what a first one needs. Too low an estimate costs a refusal; too high an
    estimate would keep the deployment too small, and nothing would show it.

    Args:
        sharing: allocations of the model, over all its deployments.
    """
    required = stats.required_memory_bytes
    if not required:
        return None
    if stats.model_id.startswith(_ELSER_IDS):
        return required
    return min(float(required), max(_BASE_BYTES, required / max(1, sharing)))
