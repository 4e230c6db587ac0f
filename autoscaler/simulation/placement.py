"""Placement of allocations: a deterministic greedy planner.

The constraints are those of the planner of Elasticsearch. The method is simpler: Elasticsearch
compares a linear program with bin packing, and clients cannot predict its choice.

Source of the constraints and of the order of quality: elastic/elasticsearch,
ml/inference/assignment/planning/*.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from autoscaler.simulation.memory import MIB, NATIVE_CODE_OVERHEAD_BYTES

LOW_PRIORITY_CORES = 100
"""Cores per node assumed for low-priority deployments, which may oversubscribe a node."""

_STAYING_BONUS = 1.1
"""Weight of an allocation that stays on its node, relative to an allocation that moves."""


class PlannerNode(Struct, frozen=True, kw_only=True):
    """The processors and memory of a node for deployments."""

    node_id: str
    zone: str
    cores: int
    memory_bytes: int  # for machine learning, without the memory of draining processes


class PlannerDeployment(Struct, frozen=True, kw_only=True):
    """The requested and current allocations of a deployment."""

    deployment_id: str
    allocations: int
    threads: int
    memory_bytes: int  # on each node that it runs on
    low: bool = False
    previously_assigned: bool = False
    current: Mapping[str, int] = field(default_factory=dict)  # node id -> allocations


class AssignmentPlan(Struct, frozen=True, kw_only=True):
    """Allocations by deployment id and node id, and why some have fewer than requested."""

    placed: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, str]  # only of deployments that are short

    def allocations_of(self, deployment_id: str) -> int:
        return sum(self.placed.get(deployment_id, {}).values())


def plan(nodes: Sequence[PlannerNode], deployments: Sequence[PlannerDeployment]) -> AssignmentPlan:
    """Place all deployments; if some do not fit, earlier ones take precedence.

    Normal priority never oversubscribes the cores of a node; no deployment oversubscribes its
    memory. Low priority is planned in a second round, in the memory that is left.
    """
    # The plan without moves is preferred unless moving places more, because a move loads a model.
    boards = [_settle(nodes, deployments, keep) for keep in (_everything, _one_allocation)]
    best = max(boards, key=lambda board: board.quality(deployments))
    return AssignmentPlan(
        placed={
            deployment.deployment_id: best.placed[deployment.deployment_id]
            for deployment in deployments
        },
        reasons={
            deployment.deployment_id: best.why_short(deployment)
            for deployment in deployments
            if best.count(deployment) < deployment.allocations
        },
    )


def _everything(deployment: PlannerDeployment) -> Mapping[str, int]:
    return deployment.current


def _one_allocation(deployment: PlannerDeployment) -> Mapping[str, int]:
    """Only one allocation is certain to stay, on the node with the most."""
    if not deployment.current:
        return {}
    return {max(deployment.current, key=lambda node_id: (deployment.current[node_id], node_id)): 1}


def _settle(
    nodes: Sequence[PlannerNode],
    deployments: Sequence[PlannerDeployment],
    keep: Callable[[PlannerDeployment], Mapping[str, int]],
) -> "_Board":
    board = _Board(nodes)
    for low in (False, True):
        round_ = [deployment for deployment in deployments if deployment.low == low]
        for deployment in round_:
            for node_id, allocations in sorted(keep(deployment).items()):
                for _ in range(allocations):
                    if board.fits(deployment, node_id):
                        board.place(deployment, node_id)
        # Every deployment gets a first allocation before any gets a second; new ones come last.
        for deployment in sorted(round_, key=lambda deployment: not deployment.previously_assigned):
            if not board.count(deployment):
                board.fill(deployment, 1)
        for deployment in round_:
            board.fill(deployment, deployment.allocations)
    return board


class _Board:
    """The nodes during planning."""

    def __init__(self, nodes: Sequence[PlannerNode]) -> None:
        self._nodes = {node.node_id: node for node in sorted(nodes, key=lambda r: r.node_id)}
        self._cores = {False: {}, True: {}}  # type: dict[bool, dict[str, int]]
        for node in self._nodes.values():
            self._cores[False][node.node_id] = node.cores
            self._cores[True][node.node_id] = LOW_PRIORITY_CORES
        self._memory = {node.node_id: node.memory_bytes for node in self._nodes.values()}
        self._running: set[str] = set()  # ids of nodes with allocations
        self.placed: dict[str, dict[str, int]] = {}

    def count(self, deployment: PlannerDeployment) -> int:
        return sum(self._of(deployment).values())

    def fits(self, deployment: PlannerDeployment, node_id: str) -> bool:
        if node_id not in self._nodes or self.count(deployment) >= deployment.allocations:
            return False
        return self._has_cores(deployment, node_id) and self._has_memory(deployment, node_id)

    def place(self, deployment: PlannerDeployment, node_id: str) -> None:
        if node_id not in self._of(deployment):
            self._memory[node_id] -= self._needs(deployment, node_id)
            self._running.add(node_id)
        self._of(deployment)[node_id] = self._of(deployment).get(node_id, 0) + 1
        self._cores[deployment.low][node_id] -= deployment.threads

    def fill(self, deployment: PlannerDeployment, allocations: int) -> None:
        """Place one at a time until there are `allocations`, or no node has room."""
        while self.count(deployment) < min(allocations, deployment.allocations):
            fitting = [node_id for node_id in self._nodes if self.fits(deployment, node_id)]
            if not fitting:
                return
            self.place(
                deployment, min(fitting, key=lambda node_id: self._preference(deployment, node_id))
            )

    def _preference(
        self, deployment: PlannerDeployment, node_id: str
    ) -> tuple[int, bool, int, str]:
        """Sort key, least first: balance zones, then avoid loading the model, then spread."""
        zone = self._nodes[node_id].zone
        in_zone = sum(n for id_, n in self._of(deployment).items() if self._nodes[id_].zone == zone)
        runs_here = node_id in self._of(deployment)
        return (in_zone, not runs_here, -self._cores[deployment.low][node_id], node_id)

    def quality(self, deployments: Sequence[PlannerDeployment]) -> tuple[int, float, int]:
        """Greater is better: previously assigned deployments, allocations, then free memory."""
        satisfied = sum(d.previously_assigned and self.count(d) > 0 for d in deployments)
        staying = allocations = 0
        for deployment in deployments:
            for node_id, placed in self._of(deployment).items():
                staying += min(placed, deployment.current.get(node_id, 0))
                allocations += placed
        # A product of integers, so that rounding cannot make one of two equal plans better.
        worth = _STAYING_BONUS * staying + (allocations - staying)
        return satisfied, worth, sum(self._memory.values())

    def why_short(self, deployment: PlannerDeployment) -> str:
        if not self._nodes:
            return "No ML nodes exist in the cluster"
        return "|".join(
            f"Could not assign (more) allocations on node [{node_id}]. Reason: "
            + self._complaint(deployment, node_id)
            for node_id in self._nodes
        )

    def _complaint(self, deployment: PlannerDeployment, node_id: str) -> str:
        if not self._has_memory(deployment, node_id):
            return (
                "the node has insufficient available memory: "
                f"{_mb(self._nodes[node_id].memory_bytes)} for machine learning, "
                f"{_mb(self._memory[node_id])} free, "
                f"{_mb(self._needs(deployment, node_id))} estimated to be required"
            )
        cores = LOW_PRIORITY_CORES if deployment.low else self._nodes[node_id].cores
        return (
            f"the node has insufficient allocated processors: {cores} available, "
            f"{self._cores[deployment.low][node_id]} free, "
            f"{deployment.threads} required per allocation"
        )

    def _of(self, deployment: PlannerDeployment) -> dict[str, int]:
        return self.placed.setdefault(deployment.deployment_id, {})

    def _has_cores(self, deployment: PlannerDeployment, node_id: str) -> bool:
        return self._cores[deployment.low][node_id] >= deployment.threads

    def _has_memory(self, deployment: PlannerDeployment, node_id: str) -> bool:
        if node_id in self._of(deployment):
            return True
        return self._memory[node_id] >= self._needs(deployment, node_id)

    def _needs(self, deployment: PlannerDeployment, node_id: str) -> int:
        """Bytes that a first allocation on the node needs."""
        overhead = 0 if node_id in self._running else NATIVE_CODE_OVERHEAD_BYTES
        return deployment.memory_bytes + overhead


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f}mb"
