"""The memory that the processes of a cluster use, and what happens where a machine has no more."""

from collections.abc import Sequence

from msgspec import Struct

from autoscaler.simulation.deployment import SimulatedDeployment
from autoscaler.simulation.lifecycle import Lifecycle
from autoscaler.simulation.memory import machine_bytes_for_processes
from autoscaler.simulation.state import ClusterState
from autoscaler.simulation.traffic import Traffic


class OutOfMemory(Struct, frozen=True, kw_only=True):
    """A process that was ended because its machine was out of memory."""

    at: float
    node_id: str
    deployment_id: str


class ResidentMemories:
    """The memory of all processes for which it is simulated."""

    def __init__(
        self, state: ClusterState, traffic: Traffic, lifecycle: Lifecycle, *, ends_all: bool
    ) -> None:
        """`ends_all`: all processes of a machine without memory end, as those of a container."""
        self._state, self._traffic, self._lifecycle = state, traffic, lifecycle
        self._ends_all = ends_all
        self.out_of_memory: list[OutOfMemory] = []

    def end_oversized(self) -> None:
        """End the process that uses most, or all, where a machine is out of memory."""
        for node_id, node in self._state.nodes.items():
            resident = self._traffic.resident_memory(node_id)
            limit = machine_bytes_for_processes(node.spec.memory_bytes)
            while resident and sum(memory.bytes_used for memory, _ in resident) > limit:
                if self._ends_all:
                    self._end(node_id, self._running_on(node_id))
                    break
                largest = max(
                    resident, key=lambda each: (each[0].bytes_used, each[1].deployment_id)
                )
                resident.remove(largest)
                self._end(node_id, [largest[1]])

    def _running_on(self, node_id: str) -> list[SimulatedDeployment]:
        return [
            deployment
            for deployment in self._state.deployments.values()
            if (route := deployment.routes.get(node_id)) is not None and route.process is not None
        ]

    def _end(self, node_id: str, deployments: Sequence[SimulatedDeployment]) -> None:
        for deployment in deployments:
            self.out_of_memory.append(
                OutOfMemory(
                    at=self._state.now, node_id=node_id, deployment_id=deployment.deployment_id
                )
            )
            self._lifecycle.crash(deployment, node_id)

    def of_model(self, model_id: str) -> tuple[int, int] | None:
        """What the busiest process of a model uses, and the most that it has used; None if no
        process of it runs, or memory is not simulated."""
        memories = [
            memory
            for node_id in self._state.nodes
            for memory, deployment in self._traffic.resident_memory(node_id)
            if deployment.model_id == model_id
        ]
        if not memories:
            return None
        busiest = max(memories, key=lambda memory: memory.bytes_used)
        return busiest.bytes_used, busiest.peak_bytes
