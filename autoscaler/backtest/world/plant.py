"""The simulated deployment: one deployment on its own cluster, in virtual time.

The assignment planner, the life cycle of processes and adaptive allocations are the emulator's.
Requests are simulated by compiled code; Python runs only when something other than a request
happens.
"""

import math
from typing import NamedTuple

from autoscaler.backtest.world.fleet import CallerSettings, Fleet, FleetTotals
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.statistics import stats_of
from autoscaler.backtest.world.workload import Workload
from autoscaler.core.values import (
    AdaptiveAllocations,
    Cluster,
    DeploymentStats,
    NodeCapacity,
    Observation,
)
from autoscaler.simulation.adaptive_allocations_scaler import SHIPPED, Thresholds
from autoscaler.simulation.adaptive_allocations_service import AdaptiveAllocationsService
from autoscaler.simulation.assignment import AssignmentService
from autoscaler.simulation.deployment import (
    STARTED,
    STOPPING,
    AdaptiveSettings,
    Parameters,
    SimulatedDeployment,
)
from autoscaler.simulation.errors import conflict
from autoscaler.simulation.ledger import Ledger
from autoscaler.simulation.lifecycle import Lifecycle, worker_shut_down
from autoscaler.simulation.placement import AssignmentPlan
from autoscaler.simulation.specs import GIB, ModelSpec, NodeSpec
from autoscaler.simulation.state import ClusterState, SimulatedNode
from autoscaler.simulation.traffic import usable_routes
from autoscaler.simulation.versions import behaviour_of

DEPLOYMENT_ID = MODEL_ID = "model"
"""The deployment has the id of its model, as by default. Versions before 9.4.5 resume a deployment
at zero only by that id."""

MODEL_BYTES = 100 * 2**20
"""Size of the model in bytes: 100 MiB, which Elasticsearch prints without rounding."""

WARM_S = 3600.0
"""Seconds that the deployment has run when the load begins, so that it is warm."""


class AllocationSpan(NamedTuple):
    """The allocations from an instant until the next span."""

    at: float
    requested: int
    running: int


class _OneDeployment(ClusterState):
    """A cluster that caches assignment plans, because the same few plans recur."""

    def __init__(self, version: str, now: float) -> None:
        super().__init__(behaviour=behaviour_of(version), seed=0, now=now, ml_memory_fraction=0.3)
        self._plans: dict[object, AssignmentPlan] = {}

    def planned(
        self, changing: SimulatedDeployment | None = None, allocations: int = 0
    ) -> AssignmentPlan:
        (deployment,) = self.deployments.values()
        key = (
            allocations,
            deployment.requested,
            deployment.max_assigned_allocations > 0,
            *[
                (route.node_id, route.state, route.target_allocations)
                for route in deployment.routes.values()
            ],
        )
        if key not in self._plans:
            self._plans[key] = super().planned(changing, allocations)
        return self._plans[key]


class Plant:
    """One deployment, which reports the statistics that a cluster would report."""

    def __init__(
        self,
        scenario: BacktestScenario,
        workload: Workload,
        *,
        allocations: int,
        version: str | None = None,
        thresholds: Thresholds = SHIPPED,
    ) -> None:
        """Start the deployment with `allocations`, long enough before the load to be warm.

        `version` is that of the cluster; None: the scenario's. `thresholds` are those of adaptive
        allocations.
        """
        born = workload.start - WARM_S - scenario.load_s
        nodes = [
            NodeSpec(
                node_id=f"node-{index}",
                name=f"node-{index}",
                processors=scenario.processors,
                physical_cores=scenario.physical_cores,
                memory_bytes=64 * GIB,
                zone=f"zone-{index % scenario.zones + 1}",
            )
            for index in range(1, scenario.nodes + 1)
        ]
        self._state = _OneDeployment(version or scenario.version, born)
        self._state.nodes.update({spec.node_id: SimulatedNode(spec) for spec in nodes})
        self._hardware = Cluster(
            nodes=tuple(
                NodeCapacity(
                    node_id=spec.node_id,
                    name=spec.name,
                    version=version or scenario.version,
                    processors=float(spec.processors),
                )
                for spec in nodes
            ),
            # Versions with adaptive allocations report the maximum number of processors.
            growable=False if self._state.behaviour.adaptive_allocations else None,
        )
        self._scenario = scenario
        self._stopped = False
        # One more than there are nodes: requests may wait for the first process.
        self._fleet = fleet_of(scenario, workload, born, scenario.nodes + 1)
        self._lifecycle = Lifecycle(
            self._state,
            start_process=self._fleet.start_process,
            on_ready=lambda _: None,
            control_message_s=scenario.control_s,
        )
        self._assignment = AssignmentService(self._state, self._lifecycle)
        self._adaptive = AdaptiveAllocationsService(self._state, self._scale, thresholds)
        self._deployment = _deployment(scenario, allocations, born)
        self.span = (workload.start, workload.start + workload.duration_s)
        """The instants between which allocations are counted."""
        self._timeout_s = scenario.timeout_s
        self.allocation_spans: list[AllocationSpan] = []
        """Requested and running allocations, one span for each change of either."""
        self._assignment.add(self._deployment, can_grow=False)
        self._control_at = 0.0
        self._update_control()
        self.advance(workload.start)
        self.allocation_spans[:-1] = []

    @property
    def now(self) -> float:
        """Unix seconds of virtual time."""
        return self._fleet.now

    @property
    def requested(self) -> int:
        return 0 if self._stopped else self._deployment.requested

    @property
    def running(self) -> int:
        return self.allocation_spans[-1].running

    @property
    def fleet(self) -> Fleet:
        """The processes, with the outcomes of the requests."""
        return self._fleet

    def advance(self, to: float) -> None:
        """Simulate up to and including the instant `to`."""
        while self._control_at <= to:
            self._fleet.run(self._control_at)
            self._run_control()
        self._fleet.run(to)

    def finish(self) -> None:
        """Run to the end of the load, and on until every request has finished or timed out.

        Allocations after the end are not counted.
        """
        _, end = self.span
        self.advance(end)
        self._fleet.run(end + self._timeout_s)

    def advance_sampled(self, to: float, steps: int) -> list[int]:
        """The same in equal steps; the in-flight requests at the end of each."""
        if self._control_at > to:
            return self._fleet.run_sampled(to, steps)
        since = self.now
        in_flight = []
        for step in range(1, steps + 1):
            self.advance(since + (to - since) * step / steps)
            in_flight.append(self._fleet.totals().in_flight)
        return in_flight

    def statistics(self) -> DeploymentStats:
        """The `_stats` at the present instant."""
        return stats_of(self._deployment, self.now)

    def observation(self) -> Observation:
        """The observation that the daemon would make now."""
        deployments = {} if self._stopped else {DEPLOYMENT_ID: self.statistics()}
        return Observation(at=self.now, deployments=deployments, cluster=self._hardware)

    def totals(self) -> FleetTotals:
        return self._fleet.totals()

    def set_allocations(self, allocations: int) -> None:
        """`_update` of the allocations.

        Raises:
            SimulatedApiError: 409 while the deployment is not started, 429 where it does not fit.
        """
        if allocations != self.requested:
            self._state.now = self.now
            self._scale(self._deployment, allocations)
            self._update_control()

    def enable_adaptive_allocations(self, min_allocations: int, max_allocations: int) -> None:
        """`_update` of adaptive allocations: from now on they scale between these bounds.

        Raises:
            SimulatedApiError: 409 while the deployment is not started.
        """
        self._ensure_started(self._deployment)
        self._deployment.adaptive = AdaptiveSettings(
            enabled=True,
            min_number_of_allocations=min_allocations,
            max_number_of_allocations=max_allocations,
        )
        self._update_control()

    def stop(self) -> None:
        """`_stop`: its requests fail, and so does every request until the deployment is started."""
        self._state.now = self.now
        self._deployment.state = STOPPING
        for node_id in list(self._deployment.routes):
            self._lifecycle.remove_process(self._deployment, node_id, worker_shut_down())
        del self._state.deployments[DEPLOYMENT_ID]
        self._stopped = True
        self._update_control()

    def start(self, allocations: int, adaptive: AdaptiveAllocations | None) -> None:
        """`_start` of the deployment that was stopped.

        Raises:
            SimulatedApiError: 429, it does not fit.
        """
        self._state.now = self.now
        deployment = _deployment(self._scenario, allocations, self.now)
        if adaptive is not None:
            deployment.adaptive = AdaptiveSettings(
                enabled=adaptive.enabled,
                min_number_of_allocations=adaptive.minimum,
                max_number_of_allocations=adaptive.maximum,
            )
        self._assignment.add(deployment, can_grow=False)
        self._deployment, self._stopped = deployment, False
        self._update_control()

    def run_adaptive_scaler(self) -> None:
        """Evaluate adaptive allocations once, as the elected master does every ten seconds."""
        self._state.now, requested = self.now, self.requested
        self._adaptive.tick()
        if self.requested != requested:
            self._update_control()

    def _scale(self, deployment: SimulatedDeployment, allocations: int) -> None:
        self._ensure_started(deployment)
        self._assignment.scale(deployment, allocations, can_grow=False)

    def _ensure_started(self, deployment: SimulatedDeployment) -> None:
        if deployment.state != STARTED:
            raise conflict(f"deployment [{deployment.deployment_id}] is not in [started] state")

    def _run_control(self) -> None:
        self._state.now = self._fleet.now
        self._lifecycle.finish_drained()
        self._state.events.run_due(self._state.now)
        if self._fleet.requests_wait and not self.requested and self._waits_at_zero:
            self._adaptive.request_waits(self._deployment)
        self._update_control()

    @property
    def _waits_at_zero(self) -> bool:
        """Whether requests wait while no process serves them; otherwise they fail."""
        deployment = self._deployment
        able = self._state.behaviour.zero_allocations and deployment.state != STOPPING
        return able and deployment.adaptive is not None and deployment.adaptive.scales_to_zero

    def _update_control(self) -> None:
        """Record changes, and the next instant at which other than a request may happen."""
        now, deployment = self._fleet.now, self._deployment
        routes = [] if self._stopped else usable_routes(deployment)
        next_request_at = math.inf
        if routes or self._stopped or not self._waits_at_zero:
            self._fleet.route(routes)
        else:
            self._fleet.wait_for_process()
            if not deployment.requested:
                next_request_at = self._fleet.next_request_at
        running = 0 if self._stopped else deployment.running
        span = AllocationSpan(now, self.requested, running)
        if not self.allocation_spans or self.allocation_spans[-1][1:] != span[1:]:
            self.allocation_spans.append(span)
        due, drained = self._state.events.next_at, self._lifecycle.next_drained_at()
        self._control_at = max(
            now,
            min(
                math.inf if due is None else due,
                math.inf if drained is None else drained,
                next_request_at,
            ),
        )


def fleet_of(
    scenario: BacktestScenario, workload: Workload, now: float, processes: int | None = None
) -> Fleet:
    """The processes that a deployment may have on the nodes of the scenario; none is started."""
    return Fleet(
        workload,
        CallerSettings(
            timeout_s=scenario.timeout_s,
            retry_share=scenario.retry_share,
            retry_after_s=scenario.retry_after_s,
        ),
        processes=processes or scenario.nodes,
        workers=scenario.processors,
        queue_capacity=scenario.queue_capacity,
        warm_up_s=scenario.warm_up_s,
        warm_up_factor=scenario.warm_up_factor,
        now=now,
        contention=scenario.contention,
        node_slowdowns={
            f"node-{index}": scenario.slow_node_factor
            for index in range(1, scenario.slow_nodes + 1)
        },
    )


def _deployment(scenario: BacktestScenario, allocations: int, now: float) -> SimulatedDeployment:
    model = ModelSpec(
        model_id=MODEL_ID,
        size_bytes=MODEL_BYTES,
        service_time_s=scenario.service_time_s,
        service_cv=scenario.service_cv,
        load_s=scenario.load_s,
    )
    parameters = Parameters(
        deployment_id=DEPLOYMENT_ID,
        model_id=model.model_id,
        model_bytes=model.size_bytes,
        number_of_allocations=allocations,
        threads_per_allocation=1,
        queue_capacity=scenario.queue_capacity,
        cache_bytes=model.size_bytes,
        priority="normal",
    )
    return SimulatedDeployment(
        parameters=parameters,
        model=model,
        ledger=Ledger(now, allocations),
        zero_is_fully_allocated=True,
        start_time=now,
    )
