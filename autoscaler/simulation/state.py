"""The state of a simulated cluster, shared by the modules that change it."""

from collections import deque
from typing import NamedTuple

from autoscaler.simulation.deployment import STOPPING, SimulatedDeployment
from autoscaler.simulation.dynamic_settings import DynamicSettings
from autoscaler.simulation.events import Events
from autoscaler.simulation.memory import (
    NATIVE_CODE_OVERHEAD_BYTES,
    MemoryReservation,
    required_bytes,
)
from autoscaler.simulation.placement import AssignmentPlan, plan
from autoscaler.simulation.planner_values import PlannerDeployment, PlannerNode
from autoscaler.simulation.route import Route
from autoscaler.simulation.specs import ModelSpec, NodeSpec
from autoscaler.simulation.versions import VersionBehaviour


class Load(NamedTuple):
    """A process that waits to be started on a node, or is being started."""

    deployment: SimulatedDeployment
    route: Route


class SimulatedNode:
    """A node and its queue of models to load, one at a time."""

    def __init__(self, spec: NodeSpec) -> None:
        self.spec = spec
        self.loads: deque[Load] = deque()  # the first is in progress


class ClusterState:
    """Nodes, models, deployments and scheduled events."""

    def __init__(
        self, *, behaviour: VersionBehaviour, seed: int, now: float, ml_memory_fraction: float
    ) -> None:
        self.behaviour = behaviour
        self.seed = seed
        self.now = now
        self.settings = DynamicSettings(ml_memory_fraction=ml_memory_fraction)
        self.nodes: dict[str, SimulatedNode] = {}
        self.models: dict[str, ModelSpec] = {}
        self.deployments: dict[str, SimulatedDeployment] = {}
        self.events = Events()

    def memory_of(self, node_id: str) -> MemoryReservation:
        """Memory reserved on a node by the processes that run, load or drain there."""
        reserved = [
            memory_bytes(deployment)
            for deployment in self.deployments.values()
            if node_id in deployment.routes
        ]
        return MemoryReservation(
            ml_max_bytes=self.settings.ml_bytes(self.nodes[node_id].spec),
            native_code_overhead_bytes=NATIVE_CODE_OVERHEAD_BYTES if reserved else 0,
            native_inference_bytes=sum(reserved),
        )

    def planned(
        self, changing: SimulatedDeployment | None = None, allocations: int = 0
    ) -> AssignmentPlan:
        """The plan for all deployments, with `allocations` for `changing`."""
        requested = {d.deployment_id: d.requested for d in self.deployments.values()}
        if changing is not None:
            requested[changing.deployment_id] = allocations
        deployments = sorted(
            (d for d in self.deployments.values() if d.state != STOPPING),
            key=lambda d: (d.start_time, d.deployment_id),
        )
        return plan(
            [self._planner_node(node) for node in self.nodes.values()],
            [
                _planner_deployment(deployment, requested[deployment.deployment_id])
                for deployment in deployments
                if requested[deployment.deployment_id] > 0
            ],
        )

    def _planner_node(self, node: SimulatedNode) -> PlannerNode:
        node_id = node.spec.node_id
        draining = sum(
            memory_bytes(deployment)
            for deployment in self.deployments.values()
            if node_id in deployment.routes and deployment.routes[node_id].state == STOPPING
        )
        return PlannerNode(
            node_id=node_id,
            zone=node.spec.zone,
            cores=node.spec.processors,
            memory_bytes=self.memory_of(node_id).ml_max_bytes - draining,
        )


def memory_bytes(deployment: SimulatedDeployment) -> int:
    """Memory that a deployment needs on each of its nodes."""
    parameters = deployment.parameters
    return required_bytes(parameters.model_id, parameters.model_bytes, parameters.cache_bytes)


def _planner_deployment(deployment: SimulatedDeployment, allocations: int) -> PlannerDeployment:
    return PlannerDeployment(
        deployment_id=deployment.deployment_id,
        allocations=allocations,
        threads=deployment.parameters.threads_per_allocation,
        memory_bytes=memory_bytes(deployment),
        low=deployment.low,
        previously_assigned=deployment.max_assigned_allocations > 0,
        current=deployment.targets,
    )
