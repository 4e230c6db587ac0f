"""The nodes during planning: what fits, what has been placed, and how good that is.

Source of the constraints and of the order of quality: elastic/elasticsearch,
ml/inference/assignment/planning/*.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from copy import copy
from typing import Self

from autoscaler.simulation.memory import MIB, NATIVE_CODE_OVERHEAD_BYTES
from autoscaler.simulation.planner_values import PlannerDeployment, PlannerNode

LOW_PRIORITY_CORES = 100
"""Cores per node assumed for low-priority deployments, which may oversubscribe a node."""

_STAYING_BONUS = 1.1
"""Weight of an allocation that stays on its node, relative to an allocation that moves."""


class Board:
    """The nodes during planning, and what has been placed on them."""

    def __init__(self, nodes: Sequence[PlannerNode]) -> None:
        self._nodes = {node.node_id: node for node in sorted(nodes, key=lambda r: r.node_id)}
        self._cores = {False: {}, True: {}}  # type: dict[bool, dict[str, int]]
        for node in self._nodes.values():
            self._cores[False][node.node_id] = node.cores
            self._cores[True][node.node_id] = LOW_PRIORITY_CORES
        self._memory = {node.node_id: node.memory_bytes for node in self._nodes.values()}
        self._running = dict.fromkeys(self._nodes, 0)  # deployments by node id
        self.placed: dict[str, dict[str, int]] = {}

    def copy(self) -> Self:
        """A board on which other allocations can be placed."""
        twin = copy(self)
        twin._cores = {low: dict(cores) for low, cores in self._cores.items()}
        twin._memory = dict(self._memory)
        twin._running = dict(self._running)
        twin.placed = {name: dict(placed) for name, placed in self.placed.items()}
        return twin

    @property
    def node_ids(self) -> list[str]:
        return list(self._nodes)

    def cores_left(self, deployment: PlannerDeployment) -> int:
        """Cores that are free for a deployment, on all nodes."""
        return sum(self._cores[deployment.low].values())

    def room(self, deployment: PlannerDeployment, node_id: str) -> int:
        """Further allocations of a deployment that fit on a node."""
        if node_id not in self._nodes or not self._has_memory(deployment, node_id):
            return 0
        return max(0, self._cores[deployment.low][node_id] // deployment.threads)

    def count(self, deployment: PlannerDeployment) -> int:
        return sum(self._of(deployment).values())

    def place(self, deployment: PlannerDeployment, node_id: str, allocations: int = 1) -> None:
        if node_id not in self._of(deployment):
            self._memory[node_id] -= self._needs(deployment, node_id)
            self._running[node_id] += 1
        self._of(deployment)[node_id] = self._of(deployment).get(node_id, 0) + allocations
        self._cores[deployment.low][node_id] -= allocations * deployment.threads

    def remove(self, deployment: PlannerDeployment, node_id: str, allocations: int) -> None:
        """Undo `place`."""
        self._cores[deployment.low][node_id] += allocations * deployment.threads
        self._of(deployment)[node_id] -= allocations
        if self._of(deployment)[node_id] == 0:
            del self._of(deployment)[node_id]
            self._running[node_id] -= 1
            self._memory[node_id] += self._needs(deployment, node_id)

    def fill(self, deployment: PlannerDeployment, allocations: int) -> None:
        """Place one at a time until there are `allocations`, or no node has room."""
        missing = allocations - self.count(deployment)
        if missing <= 0:
            return
        fitting = [node_id for node_id in self._nodes if self.room(deployment, node_id)]
        cores = self._cores[deployment.low]
        here = self._of(deployment)
        by_zone = Counter[str]()
        for node_id, placed in here.items():
            by_zone[self._nodes[node_id].zone] += placed

        def preference(node_id: str) -> tuple[int, bool, int, str]:
            """Least first: balance zones, then avoid loading the model, then spread."""
            zone = self._nodes[node_id].zone
            return (by_zone[zone], node_id not in here, -cores[node_id], node_id)

        while fitting and missing:
            best = min(fitting, key=preference)
            self.place(deployment, best)
            by_zone[self._nodes[best].zone] += 1
            missing -= 1
            if not self.room(deployment, best):
                fitting.remove(best)

    def state(self) -> Hashable:
        """What decides which allocations still fit."""
        cores = (tuple(each.values()) for each in self._cores.values())
        return (*cores, tuple(self._memory.values()), tuple(self._running.values()))

    def quality(self, deployments: Sequence[PlannerDeployment]) -> tuple[int, bool, float, int]:
        """Greater is better: previously assigned deployments, whether none has fewer allocations
        than it has now, allocations, then free memory."""
        satisfied = sum(d.previously_assigned and self.count(d) > 0 for d in deployments)
        kept = all(self.count(d) >= d.current_allocations for d in deployments)
        staying = allocations = 0
        for deployment in deployments:
            for node_id, placed in self._of(deployment).items():
                staying += min(placed, deployment.current.get(node_id, 0))
                allocations += placed
        # A product of integers, so that rounding cannot make one of two equal plans better.
        worth = _STAYING_BONUS * staying + (allocations - staying)
        return satisfied, kept, worth, sum(self._memory.values())

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

    def _has_memory(self, deployment: PlannerDeployment, node_id: str) -> bool:
        if node_id in self._of(deployment):
            return True
        return self._memory[node_id] >= self._needs(deployment, node_id)

    def _needs(self, deployment: PlannerDeployment, node_id: str) -> int:
        """Bytes that a first allocation on the node needs."""
        overhead = 0 if self._running[node_id] else NATIVE_CODE_OVERHEAD_BYTES
        return deployment.memory_bytes + overhead


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f}mb"
