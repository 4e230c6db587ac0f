"""A simulated cluster in virtual time, behind the operations of its API.

Pure: no I/O, no clock; the same seed, calls and instants give the same history. Checks
are in the order of elastic/elasticsearch, `TrainedModelAssignmentClusterService`.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import UNSET, UnsetType

from autoscaler.simulation import model_registry
from autoscaler.simulation.adaptive_allocations_service import TICK_S, AdaptiveAllocationsService
from autoscaler.simulation.admission import (
    Conditions,
    check_owner,
    check_unused,
    startable,
)
from autoscaler.simulation.assignment import AssignmentService
from autoscaler.simulation.deployment import (
    STARTED,
    STOPPING,
    AdaptivePatch,
    AdaptiveSettings,
    Parameters,
    SimulatedDeployment,
)
from autoscaler.simulation.directory import Directory
from autoscaler.simulation.dynamic_settings import DynamicSettings
from autoscaler.simulation.errors import conflict, no_such_deployment
from autoscaler.simulation.ledger import Ledger
from autoscaler.simulation.lifecycle import Lifecycle, process_gone, worker_shut_down
from autoscaler.simulation.memory import MemoryReservation, MemoryStatistics
from autoscaler.simulation.requests import InferenceRequest
from autoscaler.simulation.resident_memory import ResidentMemories
from autoscaler.simulation.specs import ModelSpec, NodeSpec
from autoscaler.simulation.state import ClusterState, SimulatedNode
from autoscaler.simulation.traffic import Traffic
from autoscaler.simulation.validation import (
    StartParameters,
    always_adaptive,
    check_merged,
    check_start,
    check_update,
    is_unchanged,
)
from autoscaler.simulation.versions import VersionBehaviour
from autoscaler.simulation.workload import Arrival
from autoscaler.simulation.zero_queue import ZeroQueue

__all__ = [
    "UNSET",
    "AdaptivePatch",
    "AdaptiveSettings",
    "InferenceRequest",
    "MemoryReservation",
    "ModelSpec",
    "NodeSpec",
    "SimulatedCluster",
    "SimulatedDeployment",
]

_STRETCH_S = 30.0
"""Maximum seconds of requests simulated in one step, which bounds their memory."""


class SimulatedCluster(Conditions):
    """Nodes, models and deployments. Operations raise `SimulatedApiError` where the API refuses."""

    def __init__(
        self,
        nodes: Sequence[NodeSpec],
        models: Sequence[ModelSpec],
        *,
        behaviour: VersionBehaviour,
        seed: int,
        now: float,
        can_grow: bool = False,
        ml_memory_fraction: float = 0.3,
        memory_statistics: MemoryStatistics = MemoryStatistics.NONE,
        out_of_memory_ends_all: bool = False,
    ) -> None:
        super().__init__(can_grow=can_grow)
        self.memory_statistics = memory_statistics
        self._state = ClusterState(
            behaviour=behaviour, seed=seed, now=now, ml_memory_fraction=ml_memory_fraction
        )
        self._zero_queue = ZeroQueue(self._state)
        self._traffic = Traffic(self._state, self._zero_queue)
        self._lifecycle = Lifecycle(
            self._state,
            start_process=self._traffic.start_process,
            on_ready=self._traffic.release,
            on_failed=self._zero_queue.reject_failed,
        )
        self.resident_memory = ResidentMemories(
            self._state, self._traffic, self._lifecycle, ends_all=out_of_memory_ends_all
        )
        self._assignment = AssignmentService(self._state, self._lifecycle)
        self._adaptive = AdaptiveAllocationsService(self._state, update=self._scale_internally)
        self.directory = Directory(self._state, self._zero_queue)
        for model in models:
            self.put_model(model)
        for node in nodes:
            self.add_node(node)
        self._state.events.schedule(now + TICK_S, self._tick)

    @property
    def behaviour(self) -> VersionBehaviour:
        """That of the version, which may change at any time, as by an upgrade or a restore."""
        return self._state.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: VersionBehaviour) -> None:
        self._state.behaviour = behaviour

    @property
    def settings(self) -> DynamicSettings:
        """The settings in force, which may change at any time."""
        return self._state.settings

    @settings.setter
    def settings(self, settings: DynamicSettings) -> None:
        self._state.settings = settings

    @property
    def hardware_can_grow(self) -> bool:
        """Whether increases are accepted that do not fit."""
        return self.can_grow or self.settings.hardware_can_grow(self.nodes.values())

    @property
    def now(self) -> float:
        """Unix seconds of virtual time."""
        return self._state.now

    @property
    def nodes(self) -> Mapping[str, NodeSpec]:
        return {node_id: node.spec for node_id, node in self._state.nodes.items()}

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        return self._state.models

    @property
    def deployments(self) -> Mapping[str, SimulatedDeployment]:
        return self._state.deployments

    def advance(self, to: float) -> None:
        """Simulate up to and including the instant `to`."""
        events = self._state.events
        while True:
            at = self._next_stop(to)
            self._traffic.run(at)
            self._state.now = at
            self._lifecycle.finish_drained()
            self.resident_memory.end_oversized()
            self._traffic.expire()
            self._ask_for_allocations()
            events.run_due(at)
            if at >= to:
                break
        for deployment in self._state.deployments.values():
            self._lifecycle.account(deployment)

    def _next_stop(self, to: float) -> float:
        """The instant before which nothing but requests happens."""
        candidates = (
            self._state.events.next_at,
            self._lifecycle.next_drained_at(),
            self._traffic.next_resume_at(),
            self.now + _STRETCH_S,
        )
        return max(self.now, min(to, *(at for at in candidates if at is not None)))

    def next_event_at(self) -> float | None:
        """The next instant at which the result of an operation may become known; None: never.

        Driven loads are excluded, because no caller waits for their results.
        """
        candidates = (
            self._state.events.next_at,
            self._lifecycle.next_drained_at(),
            self._traffic.next_response_at(),
        )
        return min((at for at in candidates if at is not None), default=None)

    # Models

    def put_model(self, spec: ModelSpec) -> None:
        model_registry.put_model(self._state, spec)

    def delete_model(self, model_id: str) -> None:
        model_registry.delete_model(self._state, model_id)

    def required_memory_bytes(self, model_id: str) -> int:
        return model_registry.required_memory_bytes(self._state, model_id)

    # Deployments

    def start_deployment(
        self,
        model_id: str,
        *,
        deployment_id: str | None = None,
        number_of_allocations: int | None = None,
        threads_per_allocation: int = 1,
        queue_capacity: int | None = None,
        cache_bytes: int | None = None,
        priority: str = "normal",
        adaptive: AdaptiveSettings | None = None,
    ) -> SimulatedDeployment:
        """`_start`. Returns at once; callers wait for a state themselves."""
        if self.behaviour.serverless:
            adaptive, number_of_allocations = always_adaptive(adaptive), None
        request = StartParameters(
            deployment_id=deployment_id,
            number_of_allocations=number_of_allocations,
            threads_per_allocation=threads_per_allocation,
            queue_capacity=queue_capacity,
            priority=priority,
            adaptive=adaptive,
        )
        check_start(request, self.behaviour)
        name = deployment_id or model_id
        model = startable(self._state, self, model_id, name)
        minimum = adaptive.min_number_of_allocations if adaptive else None
        parameters = Parameters(
            deployment_id=name,
            model_id=model_id,
            model_bytes=model.size_bytes,
            number_of_allocations=number_of_allocations or minimum or 1,
            threads_per_allocation=threads_per_allocation,
            queue_capacity=queue_capacity or self.behaviour.queue_capacity,
            cache_bytes=model.size_bytes if cache_bytes is None else cache_bytes,
            priority=priority,
        )
        deployment = SimulatedDeployment(
            parameters=parameters,
            model=model,
            adaptive=adaptive,
            ledger=Ledger(self.now, parameters.number_of_allocations),
            zero_is_fully_allocated=self.behaviour.zero_is_fully_allocated,
            start_time=self.now,
        )
        self._assignment.add(deployment, can_grow=self.hardware_can_grow)
        if self.behaviour.start_forgets_zero:
            self._forget_empty()
        return deployment

    def update_deployment(
        self,
        deployment_id: str,
        *,
        number_of_allocations: int | None = None,
        adaptive: AdaptivePatch | UnsetType | None = UNSET,
        internal: bool = False,
        by_endpoint: bool = False,
    ) -> SimulatedDeployment:
        """`_update`. `adaptive`: UNSET keeps the settings, None removes them.

        An internal update, such as that of adaptive allocations, skips the checks of the API. An
        update by the inference endpoint that owns the deployment skips the check of the owner.
        """
        patch = adaptive if isinstance(adaptive, AdaptivePatch) else None
        if not internal:
            check_update(number_of_allocations, patch)
        if not (internal or by_endpoint):
            check_owner(self._state, self, deployment_id)
        deployment = self._deployment(deployment_id)
        merged = deployment.adaptive
        if adaptive is not UNSET:
            merged = patch.applied_to(deployment.adaptive) if patch else None
        if not internal:
            check_merged(deployment, number_of_allocations, merged, self.behaviour)
        allocations = (
            deployment.requested if number_of_allocations is None else number_of_allocations
        )
        if allocations == deployment.requested and is_unchanged(adaptive, deployment.adaptive):
            return deployment
        if deployment.state != STARTED:
            raise conflict(
                f"cannot update deployment [{deployment_id}] that is not in [started] state"
            )
        self._assignment.scale(deployment, allocations, can_grow=self.hardware_can_grow)
        deployment.adaptive = merged
        return deployment

    def stop_deployment(
        self, deployment_id: str, *, force: bool = False, allow_no_match: bool = True
    ) -> None:
        """`_stop`. Its requests fail; other deployments may use the freed processors and memory."""
        deployment = self.deployments.get(deployment_id)
        if deployment is None:
            if allow_no_match:
                return
            raise no_such_deployment(deployment_id)
        if not force:
            check_unused(self._state, self, deployment)
        deployment.state = STOPPING
        for node_id in list(deployment.routes):
            self._lifecycle.remove_process(deployment, node_id, worker_shut_down())
        self._zero_queue.reject_removed(deployment)
        del self._state.deployments[deployment_id]
        self._assignment.rebalance()

    def _scale_internally(self, deployment: SimulatedDeployment, allocations: int) -> None:
        self.update_deployment(
            deployment.deployment_id, number_of_allocations=allocations, internal=True
        )

    # Requests

    def infer(
        self,
        target_id: str,
        documents: int = 1,
        *,
        timeout_s: float = 10.0,
        priority: str = "normal",
    ) -> list[InferenceRequest]:
        """`_infer`: one request per document, each routed separately. Advance for the results."""
        deployment = self.directory.serving(target_id)
        if error := self.directory.error_at_zero(target_id, deployment):
            self._zero_queue.count_unknown()
            self._adaptive.request_waits(deployment)
            raise error
        requests = self._traffic.infer(
            deployment, documents, timeout_s=timeout_s, priority=priority
        )
        self._ask_for_allocations()
        return requests

    def drive(
        self, deployment_id: str, arrivals: Iterator[Arrival], *, timeout_s: float = 10.0
    ) -> None:
        """Offer a load, consumed lazily as the cluster advances.

        It ends with `arrivals`. Requests that arrive while the deployment does not exist are
        lost.
        """
        self._traffic.drive(deployment_id, arrivals, timeout_s)

    def _ask_for_allocations(self) -> None:
        """Scale up deployments at zero with new requests. Without capacity these time out."""
        for deployment in self._zero_queue.take_wanted():
            self._adaptive.request_waits(deployment)

    def _forget_empty(self) -> None:
        """Delete the deployments without allocations."""
        for deployment in list(self.deployments.values()):
            if deployment.requested == 0:
                self._zero_queue.reject_removed(deployment)
                del self._state.deployments[deployment.deployment_id]

    # Hardware and its failures

    def add_node(self, spec: NodeSpec) -> None:
        if spec.node_id in self._state.nodes:
            raise ValueError(f"node {spec.node_id!r} is in the cluster already")
        self._state.nodes[spec.node_id] = SimulatedNode(spec)
        self._assignment.rebalance()

    def remove_node(self, node_id: str) -> None:
        """Remove a node with its processes. Raises KeyError if there is no such node."""
        self._state.nodes[node_id]
        for deployment in self.deployments.values():
            if node_id in deployment.routes:
                self._lifecycle.remove_process(deployment, node_id, process_gone())
        del self._state.nodes[node_id]
        self._assignment.rebalance()
        if self.behaviour.shutdown_forgets_zero:
            self._forget_empty()

    def crash_process(self, deployment_id: str, node_id: str) -> None:
        """End a process; a loading one fails. Raises KeyError if there is no process."""
        self._lifecycle.crash(self.deployments[deployment_id], node_id)

    def let_pending_drift(self, deployment_id: str, node_id: str, per_request: float) -> None:
        self._traffic.let_pending_drift(self.deployments[deployment_id], node_id, per_request)

    def memory_of(self, node_id: str) -> MemoryReservation:
        return self._state.memory_of(node_id)

    # Internal

    def _tick(self) -> None:
        self._state.events.schedule(self.now + TICK_S, self._tick)
        self._adaptive.tick()

    def _deployment(self, deployment_id: str) -> SimulatedDeployment:
        if deployment_id not in self.deployments:
            raise no_such_deployment(deployment_id)
        return self.deployments[deployment_id]
