"""Where allocations go: a deterministic greedy planner.

The constraints are those of Elasticsearch's planner, the method is simpler; it competes a linear
program with bin packing, and clients cannot predict its choice anyway. Source of the constraints
and of the order of quality: elastic/elasticsearch, ml/inference/assignment/planning/*.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from autoscaler.simulation.memory import MIB, NATIVE_CODE_OVERHEAD_BYTES

LOW_PRIORITY_CORES = 100
"""Cores every node is taken to have for low-priority deployments, which may oversubscribe them."""

_STAYING_BONUS = 1.1
"""What an allocation that stays on its node weighs against one that moves."""


class Room(Struct, frozen=True, kw_only=True):
    """What a node has to give to deployments."""

    node_id: str
    zone: str
    cores: int
    memory_bytes: int  # for machine learning, less what processes on their way out still hold


class Demand(Struct, frozen=True, kw_only=True):
    """What a deployment asks for, and has."""

    deployment_id: str
    allocations: int
    threads: int
    memory_bytes: int  # on each node that it runs on
    low: bool = False
    previously_assigned: bool = False
    current: Mapping[str, int] = field(default_factory=dict)  # node id -> allocations


class Plan(Struct, frozen=True, kw_only=True):
    """Allocations by deployment id and node id, and why some have fewer than they asked for."""

    placed: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, str]  # only of deployments that are short

    def allocations_of(self, deployment_id: str) -> int:
        return sum(self.placed.get(deployment_id, {}).values())


def plan(rooms: Sequence[Room], demands: Sequence[Demand]) -> Plan:
    """Place all deployments; earlier demands go first where not everything fits.

    Normal priority never oversubscribes the cores of a node; no deployment oversubscribes its
    memory. Low priority is planned in a second round, in the memory that is left.
    """
    # Staying put is tried first, and wins unless moving places more: a move costs a load.
    boards = [_settle(rooms, demands, keep) for keep in (_everything, _one_allocation)]
    best = max(boards, key=lambda board: board.quality(demands))
    return Plan(
        placed={demand.deployment_id: best.placed[demand.deployment_id] for demand in demands},
        reasons={
            demand.deployment_id: best.why_short(demand)
            for demand in demands
            if best.count(demand) < demand.allocations
        },
    )


def _everything(demand: Demand) -> Mapping[str, int]:
    return demand.current


def _one_allocation(demand: Demand) -> Mapping[str, int]:
    """Only one is certain to stay: where most are, so that most find their place taken again."""
    if not demand.current:
        return {}
    return {max(demand.current, key=lambda node_id: (demand.current[node_id], node_id)): 1}


def _settle(
    rooms: Sequence[Room], demands: Sequence[Demand], keep: Callable[[Demand], Mapping[str, int]]
) -> "_Board":
    board = _Board(rooms)
    for low in (False, True):
        round_ = [demand for demand in demands if demand.low == low]
        for demand in round_:
            for node_id, allocations in sorted(keep(demand).items()):
                for _ in range(allocations):
                    if board.fits(demand, node_id):
                        board.place(demand, node_id)
        # Whoever once had an allocation gets one before anyone gets a second, then newcomers.
        for demand in sorted(round_, key=lambda demand: not demand.previously_assigned):
            if not board.count(demand):
                board.fill(demand, 1)
        for demand in round_:
            board.fill(demand, demand.allocations)
    return board


class _Board:
    """Nodes being filled."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        self._rooms = {room.node_id: room for room in sorted(rooms, key=lambda r: r.node_id)}
        self._cores = {False: {}, True: {}}  # type: dict[bool, dict[str, int]]
        for room in self._rooms.values():
            self._cores[False][room.node_id] = room.cores
            self._cores[True][room.node_id] = LOW_PRIORITY_CORES
        self._memory = {room.node_id: room.memory_bytes for room in self._rooms.values()}
        self._running: set[str] = set()  # ids of nodes that run anything
        self.placed: dict[str, dict[str, int]] = {}

    def count(self, demand: Demand) -> int:
        return sum(self._of(demand).values())

    def fits(self, demand: Demand, node_id: str) -> bool:
        if node_id not in self._rooms or self.count(demand) >= demand.allocations:
            return False
        return self._has_cores(demand, node_id) and self._has_memory(demand, node_id)

    def place(self, demand: Demand, node_id: str) -> None:
        if node_id not in self._of(demand):
            self._memory[node_id] -= self._needs(demand, node_id)
            self._running.add(node_id)
        self._of(demand)[node_id] = self._of(demand).get(node_id, 0) + 1
        self._cores[demand.low][node_id] -= demand.threads

    def fill(self, demand: Demand, allocations: int) -> None:
        """Place one at a time until there are `allocations`, or no node takes another."""
        while self.count(demand) < min(allocations, demand.allocations):
            fitting = [node_id for node_id in self._rooms if self.fits(demand, node_id)]
            if not fitting:
                return
            self.place(demand, min(fitting, key=lambda node_id: self._preference(demand, node_id)))

    def _preference(self, demand: Demand, node_id: str) -> tuple[int, bool, int, str]:
        """Least first: balance the zones, then load the model nowhere new, then spread."""
        zone = self._rooms[node_id].zone
        in_zone = sum(n for id_, n in self._of(demand).items() if self._rooms[id_].zone == zone)
        runs_here = node_id in self._of(demand)
        return (in_zone, not runs_here, -self._cores[demand.low][node_id], node_id)

    def quality(self, demands: Sequence[Demand]) -> tuple[int, float, int]:
        """More is better: the once assigned first, then allocations, then memory left."""
        satisfied = sum(d.previously_assigned and self.count(d) > 0 for d in demands)
        staying = allocations = 0
        for demand in demands:
            for node_id, placed in self._of(demand).items():
                staying += min(placed, demand.current.get(node_id, 0))
                allocations += placed
        # Of whole numbers, so that rounding does not make one of two equal ones better.
        worth = _STAYING_BONUS * staying + (allocations - staying)
        return satisfied, worth, sum(self._memory.values())

    def why_short(self, demand: Demand) -> str:
        if not self._rooms:
            return "No ML nodes exist in the cluster"
        return "|".join(
            f"Could not assign (more) allocations on node [{node_id}]. Reason: "
            + self._complaint(demand, node_id)
            for node_id in self._rooms
        )

    def _complaint(self, demand: Demand, node_id: str) -> str:
        if not self._has_memory(demand, node_id):
            return (
                "the node has insufficient available memory: "
                f"{_mb(self._rooms[node_id].memory_bytes)} for machine learning, "
                f"{_mb(self._memory[node_id])} free, "
                f"{_mb(self._needs(demand, node_id))} estimated to be required"
            )
        cores = LOW_PRIORITY_CORES if demand.low else self._rooms[node_id].cores
        return (
            f"the node has insufficient allocated processors: {cores} available, "
            f"{self._cores[demand.low][node_id]} free, {demand.threads} required per allocation"
        )

    def _of(self, demand: Demand) -> dict[str, int]:
        return self.placed.setdefault(demand.deployment_id, {})

    def _has_cores(self, demand: Demand, node_id: str) -> bool:
        return self._cores[demand.low][node_id] >= demand.threads

    def _has_memory(self, demand: Demand, node_id: str) -> bool:
        if node_id in self._of(demand):
            return True
        return self._memory[node_id] >= self._needs(demand, node_id)

    def _needs(self, demand: Demand, node_id: str) -> int:
        """Bytes that placing a first allocation here would take."""
        overhead = 0 if node_id in self._running else NATIVE_CODE_OVERHEAD_BYTES
        return demand.memory_bytes + overhead


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f}mb"
