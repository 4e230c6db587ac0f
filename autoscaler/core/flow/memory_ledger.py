"""The maximum allocations that the memory of the nodes allows, from the memory that processes use.

This limit is in force on every version that reports the memory of processes, and on all hardware,
fixed or not: the planner places further allocations on the nodes that run the model while these
have free processors, without regard to their free memory.

- Which of these nodes it chooses cannot be predicted, so further allocations fit only if they fit
  on each of them. Nodes that do not run the model come after them, the one with the most free
  processors first.
- The memory in use on a node is that of all processes there, each with the memory
  that it uses or that the planner has reserved for it, the larger of the two; the reservations of
  other jobs; and the native code.
- The memory of a node is what machine learning may use there. Where that is not reported, it is the
  most that it can be: the memory of the machine less the heap of the JVM. A node of which neither
  is known limits nothing.
- A new node of hardware that grows is assumed to be as large as the largest one.

Source of what the planner does: elastic/elasticsearch, ml/inference/assignment/planning/*.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from autoscaler.core.capacity import (
    OVERHEAD_BYTES,
    UNLIMITED,
    FreeCapacity,
    free_capacity_of,
    model_memory,
    placed_allocations,
)
from autoscaler.core.process_memory import (
    MIN_PROCESS_BYTES,
    MemoryUse,
    ProcessCost,
    observed_memory,
    plausible_bytes,
)
from autoscaler.core.state import DeploymentState, StoppedDeployment
from autoscaler.core.values import (
    Cluster,
    DeploymentStats,
    NodeCapacity,
    NodeStats,
    Observation,
    Value,
)


class MemoryLimit(Value, frozen=True):
    """The most allocations that fit, and the figures of the node that limits them."""

    allocations: int
    inputs: Mapping[str, float | str]  # of the step that reports the limit


class _Place:
    """A node that may receive allocations of one deployment."""

    def __init__(self, node: "_Node", cost: ProcessCost, slots: int) -> None:
        self.node, self.cost, self.slots = node, cost, slots


class _Node:
    """The memory of one node, and who uses it."""

    def __init__(self, node_id: str, capacity: NodeCapacity | None, name: str) -> None:
        self.node_id, self.capacity, self.name = node_id, capacity, name
        known = None if capacity is None else _plausible_memory(capacity.ml_memory_bytes)
        bound = None if capacity is None else _plausible_memory(capacity.max_ml_memory_bytes)
        self.limit_bytes = known or bound
        self.limit_is_bound = known is None
        self.used: dict[str, float] = {}  # by deployment id
        self.taken_bytes = float(OVERHEAD_BYTES)  # by `used` and reservations, in total

    def use(self, deployment_id: str, used_bytes: float) -> None:
        self.taken_bytes += used_bytes - self.used.get(deployment_id, 0.0)
        self.used[deployment_id] = used_bytes

    def free_for(self, deployment_id: str) -> float:
        """Bytes that the process of this deployment may use, its present ones included."""
        others = self.taken_bytes - self.used.get(deployment_id, 0.0)
        return math.inf if self.limit_bytes is None else self.limit_bytes - others

    def inputs(self, deployment_id: str, cost: ProcessCost) -> dict[str, float | str]:
        assert self.limit_bytes is not None, "it limits something"
        in_use = self.limit_bytes - self.free_for(deployment_id)
        if cost.allocations:
            in_use += cost.now
        bound: dict[str, float | str] = {"memory_at_most": "yes"} if self.limit_is_bound else {}
        return {
            "deployment": deployment_id,
            "allocation_bytes": round(cost.allocation_bytes),
            "node": self.name,
            "memory_bytes": self.limit_bytes,
            "in_use_bytes": round(in_use),
            **bound,
        }


class MemoryLedger:
    """The memory of all nodes in one plan, from which claims are granted."""

    def __init__(
        self,
        observation: Observation,
        free_capacity: FreeCapacity,
        uses: Mapping[str, MemoryUse],
        given_up: Mapping[str, int],
    ) -> None:
        # By deployment id: what was measured, and the allocations that decreases may give up
        # before the claims are placed.
        self._uses, self._free = uses, free_capacity
        self._by_model = _by_model(observation, uses)
        cluster = observation.cluster or Cluster(nodes=())
        self._grows = cluster.growable is not False
        names = Counter([node.name for node in cluster.nodes])
        self._nodes = {
            node.node_id: _Node(
                node.node_id,
                node,
                node.name if node.name and names[node.name] == 1 else node.node_id,
            )
            for node in cluster.nodes
        }
        deployments = list(observation.deployments.values())
        self._sharing = Counter[str]()  # allocations by model
        for stats in deployments:
            self._sharing[stats.model_id] += stats.allocations or 0
            self._enter(stats)
        self._freed_threads = _freed_threads(deployments, given_up)
        self._enter_reservations(deployments)
        for stats in deployments:
            if self._use(stats) is not None and stats.allocations:
                self.reserve(stats, stats.allocations)

    def limit(
        self, stats: DeploymentStats, allocations: int, *, starting: bool = False
    ) -> MemoryLimit | None:
        """The limit that keeps the deployment below this many allocations; None if they fit.

        Args:
            starting: it does not run; the statistics are its last ones.
        """
        use = self._use(stats)
        if use is None:
            return None
        placed = {} if starting else placed_allocations(stats)
        total = sum(placed.values())
        further = allocations - total
        if further <= 0:
            return None
        places = self._places(stats, use, placed)
        name, worst = stats.deployment_id, None
        for place in places:
            fits = place.cost.most_more(place.node.free_for(name))
            if fits < min(further, place.slots) and (worst is None or fits < worst[0]):
                worst = int(fits), place
        if worst is None:
            worst = self._worst_new_place(stats, use, placed, places, further)
        if worst is None:
            return None
        fits, place = worst
        after = total + fits
        return MemoryLimit(after, {"fits": after, **place.node.inputs(name, place.cost)})

    def reserve(self, stats: DeploymentStats, allocations: int, *, starting: bool = False) -> None:
        """Reserve memory wherever these allocations may be placed."""
        use = self._use(stats)
        if use is None:
            return
        placed = {} if starting else placed_allocations(stats)
        further = allocations - sum(placed.values())
        if further <= 0:
            return
        name = stats.deployment_id
        places = self._places(stats, use, placed)
        for place in places:
            more = place.cost.with_more(min(further, place.slots))
            place.node.use(name, max(place.node.used.get(name, 0.0), more))
        further -= sum([place.slots for place in places])
        for place in self._new_places(stats, use, placed):
            if further <= 0:
                return
            more = place.cost.with_more(min(further, place.slots))
            place.node.use(name, max(place.node.used.get(name, 0.0), more))
            further -= place.slots

    def maximum(
        self, stats: DeploymentStats, allocations: int, *, starting: bool = False
    ) -> MemoryLimit | None:
        """The most that the deployment may have, up to `allocations`; the memory is reserved. None
        if it is not known what its processes use."""
        if self._use(stats) is None:
            return None
        limit = self.limit(stats, allocations, starting=starting)
        if limit is None:
            limit = MemoryLimit(allocations, {})
        self.reserve(stats, limit.allocations, starting=starting)
        return limit

    def _use(self, stats: DeploymentStats) -> MemoryUse | None:
        """What was measured of the deployment, or else of another one of its model."""
        return self._uses.get(stats.deployment_id) or self._by_model.get(stats.model_id)

    def _enter(self, stats: DeploymentStats) -> None:
        """Enter what the processes of a deployment use now."""
        use, name = self._use(stats), stats.deployment_id
        planned = float(stats.required_memory_bytes or 0)
        allocations = placed_allocations(stats)
        for each in stats.nodes:
            node = self._nodes.get(each.node_id)
            if node is None or each.routing_state == "failed":
                continue
            used = float(plausible_bytes(each.memory_bytes, node.capacity) or 0)
            if use is not None and allocations.get(each.node_id):
                used = self._cost(stats, use, node, allocations[each.node_id], each).now
            node.use(name, max(used, planned))

    def _enter_reservations(self, deployments: Sequence[DeploymentStats]) -> None:
        """Enter the reservations of other jobs, or what must be theirs of all that is reserved."""
        for node in self._nodes.values():
            capacity = node.capacity
            assert capacity is not None, "it is a node of the cluster"
            jobs = capacity.job_memory_bytes
            if jobs is None and None not in (
                capacity.ml_memory_bytes,
                capacity.free_ml_memory_bytes,
            ):
                assert capacity.ml_memory_bytes is not None
                assert capacity.free_ml_memory_bytes is not None
                planned = sum(
                    [
                        stats.required_memory_bytes or 0
                        for stats in deployments
                        if stats.deployment_id in node.used
                    ]
                )
                taken = capacity.ml_memory_bytes - capacity.free_ml_memory_bytes
                jobs = max(0, taken - planned - OVERHEAD_BYTES)
            node.taken_bytes += jobs or 0

    def _cost(
        self,
        stats: DeploymentStats,
        use: MemoryUse,
        node: _Node,
        allocations: int = 0,
        reported: NodeStats | None = None,
    ) -> ProcessCost:
        """The cost of the deployment's process on a node.

        Args:
            reported: None: a new process.
        """
        each, required = use.allocation_bytes, _plausible_memory(stats.required_memory_bytes)
        if not use.seasoned and required is not None:
            each = max(each, float(required))
        busiest = max([process.max_allocations for process in use.processes], default=1)
        cost = ProcessCost(each, 0.0, allocations, busiest, required)
        if not allocations or reported is None:
            return cost
        used = float(plausible_bytes(reported.memory_bytes, node.capacity) or 0)
        if used <= 0.0:
            return cost
        process = use.process_of(reported)
        if process is None or not process.seasoned:
            used = max(used, cost.now)  # it does not show all of its memory yet
        return replace(cost, used_bytes=used)

    def _places(
        self, stats: DeploymentStats, use: MemoryUse, placed: Mapping[str, int]
    ) -> list[_Place]:
        """The nodes that run or load the model and have free processors for it."""
        reported = {node.node_id: node for node in stats.nodes}
        return [
            _Place(node, self._cost(stats, use, node, allocations, reported[node_id]), slots)
            for node_id, allocations in placed.items()
            if (node := self._nodes.get(node_id) or _Node(node_id, None, node_id))
            and (slots := self._slots(stats, node)) > 0
        ]

    def _slots(self, stats: DeploymentStats, node: _Node) -> int:
        threads = stats.threads_per_allocation or 1
        if stats.priority == "low" or node.node_id not in self._free.free_threads:
            return UNLIMITED
        free = self._free.free_threads[node.node_id] + self._freed_threads[node.node_id]
        return free // threads

    def _new_places(
        self, stats: DeploymentStats, use: MemoryUse, placed: Mapping[str, int]
    ) -> list[_Place]:
        """The other nodes that the planner may use, in its order; of equal ones, the fullest."""
        places = [
            _Place(node, self._cost(stats, use, node), slots)
            for node_id, node in self._nodes.items()
            if node_id not in placed
            and (slots := self._slots(stats, node)) > 0
            and self._planner_allows(stats, node)
        ]
        name = stats.deployment_id
        return sorted(places, key=lambda place: (-place.slots, place.node.free_for(name)))

    def _planner_allows(self, stats: DeploymentStats, node: _Node) -> bool:
        """Whether the planner may have memory for the model on a node that does not run it."""
        free = None if node.capacity is None else node.capacity.free_ml_memory_bytes
        needed = model_memory(stats, self._sharing[stats.model_id])
        return free is None or needed is None or free >= needed

    def _worst_new_place(
        self,
        stats: DeploymentStats,
        use: MemoryUse,
        placed: Mapping[str, int],
        places: Sequence[_Place],
        further: int,
    ) -> tuple[int, _Place] | None:
        """What fits in total, and the first further node that does not take all it may get."""
        name, before = stats.deployment_id, sum([place.slots for place in places])
        for place in [*self._new_places(stats, use, placed), *self._future_places(stats, use)]:
            if before >= further:
                return None
            fits = place.cost.most_more(place.node.free_for(name))
            if fits < min(further - before, place.slots):
                return before + int(fits), place
            before += place.slots
        return None

    def _future_places(self, stats: DeploymentStats, use: MemoryUse) -> list[_Place]:
        """The next node of hardware that grows."""
        known = [node for node in self._nodes.values() if node.limit_bytes is not None]
        if not self._grows or not known:
            return []
        largest = max(known, key=lambda node: (node.limit_bytes or 0, node.node_id))
        future = _Node("", largest.capacity, "")
        processors = largest.capacity.processors if largest.capacity is not None else None
        threads = stats.threads_per_allocation or 1
        slots = UNLIMITED
        if processors is not None and 0 < processors < UNLIMITED and stats.priority != "low":
            slots = max(1, math.ceil(processors) // threads)
        return [_Place(future, self._cost(stats, use, future), slots)]


def _freed_threads(
    deployments: Sequence[DeploymentStats], given_up: Mapping[str, int]
) -> Counter[str]:
    """Threads that decreases may free for further allocations, at most, by node id."""
    freed = Counter[str]()
    for stats in deployments:
        if (less := given_up.get(stats.deployment_id, 0)) > 0 and stats.priority != "low":
            for node_id, allocations in placed_allocations(stats).items():
                freed[node_id] += min(less, allocations) * (stats.threads_per_allocation or 1)
    return freed


def _by_model(observation: Observation, uses: Mapping[str, MemoryUse]) -> dict[str, MemoryUse]:
    """The largest estimate of each model."""
    largest: dict[str, MemoryUse] = {}
    for name, use in uses.items():
        stats = observation.deployments.get(name)
        if stats is None:
            continue
        other = largest.get(stats.model_id)
        if other is None or other.allocation_bytes < use.allocation_bytes:
            largest[stats.model_id] = use
    return largest


def _plausible_memory(reported: int | None) -> int | None:
    return reported if reported is not None and reported >= MIN_PROCESS_BYTES else None


def memory_ledger(
    observation: Observation,
    deployments: Mapping[str, DeploymentState],
    stopped: Mapping[str, StoppedDeployment],
    free_capacity: FreeCapacity | None = None,
    given_up: Mapping[str, int] | None = None,
) -> MemoryLedger | None:
    """The memory of the nodes; None if no deployment reports what its processes use.

    What a deployment without state has been observed to use follows from this observation; what a
    stopped one used, from its last statistics.
    """
    known: dict[str, MemoryUse] = {}
    cluster = observation.cluster or Cluster(nodes=())
    nodes = {node.node_id: node for node in cluster.nodes}
    running = observation.deployments
    for name, stats in {**{n: each.stats for n, each in stopped.items()}, **running}.items():
        state = deployments.get(name) if name in running else None
        use = observed_memory(None, stats, nodes) if state is None else state.memory_use
        if use is not None:
            known[name] = use
    if not known:
        return None
    free = free_capacity or free_capacity_of(observation)
    return MemoryLedger(observation, free, known, given_up or {})
