"""A deployment under a load, on a cluster of its own, in virtual time.

The planner, the life cycle of processes and the native scaler are the emulator's; only requests are
simulated by compiled code, and only instants at which something other than a request happens cost
more than that.
"""

import math
from typing import NamedTuple

from autoscaler.backtest.world.fleet import CallerSettings, Fleet, FleetTotals
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.statistics import stats_of
from autoscaler.backtest.world.workload import Workload
from autoscaler.core.values import Cluster, DeploymentStats, NodeCapacity, Observation
from autoscaler.simulation.adaptive_allocations_scaler import SHIPPED, Thresholds
from autoscaler.simulation.adaptive_allocations_service import AdaptiveAllocationsService
from autoscaler.simulation.assignment import AssignmentService
from autoscaler.simulation.deployment import (
    STARTED,
    AdaptiveSettings,
    Parameters,
    SimulatedDeployment,
)
from autoscaler.simulation.errors import conflict
from autoscaler.simulation.ledger import Ledger
from autoscaler.simulation.lifecycle import Lifecycle
from autoscaler.simulation.placement import AssignmentPlan
from autoscaler.simulation.specs import GIB, ModelSpec, NodeSpec
from autoscaler.simulation.state import ClusterState, SimulatedNode
from autoscaler.simulation.traffic import usable_routes
from autoscaler.simulation.versions import behaviour_of

DEPLOYMENT_ID, MODEL_ID = "deployment", "model"

MODEL_BYTES = 100 * 2**20
"""A size that Elasticsearch prints without rounding it."""

WARM_S = 3600.0
"""The deployment has run for so long when the load begins: it is warm, and nothing is young."""


class AllocationSpan(NamedTuple):
    """Allocations from an instant on."""

    at: float
    requested: int
    running: int


class _OneDeployment(ClusterState):
    """The planner is asked the same few questions again and again, and answers as it did before."""

    def __init__(self, version: str, now: float) -> None:
        super().__init__(behaviour=behaviour_of(version), seed=0, now=now, ml_memory_fraction=0.3)
        self._answers: dict[object, AssignmentPlan] = {}

    def planned(
        self, changing: SimulatedDeployment | None = None, allocations: int = 0
    ) -> AssignmentPlan:
        (deployment,) = self.deployments.values()
        question = (
            allocations,
            deployment.requested,
            deployment.max_assigned_allocations > 0,
            *[
                (route.node_id, route.state, route.target_allocations)
                for route in deployment.routes.values()
            ],
        )
        if question not in self._answers:
            self._answers[question] = super().planned(changing, allocations)
        return self._answers[question]


class Plant:
    """One deployment. What it reports is what a cluster would report."""

    def __init__(
        self,
        scenario: BacktestScenario,
        workload: Workload,
        *,
        allocations: int,
        version: str | None = None,
        thresholds: Thresholds = SHIPPED,
    ) -> None:
        """The deployment is started with so many allocations, long enough ago to be warm.

        `version` is that of the cluster, if it is not to be the scenario's; `thresholds` are those
        of its own scaler.
        """
        born = workload.start - WARM_S - scenario.load_s
        nodes = [
            NodeSpec(
                node_id=f"node-{number}",
                name=f"node-{number}",
                processors=scenario.processors,
                physical_cores=scenario.physical_cores,
                memory_bytes=64 * GIB,
            )
            for number in range(1, scenario.nodes + 1)
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
            # Since the versions that name the processors that can be reached; see the emulator.
            growable=False if self._state.behaviour.adaptive_allocations else None,
        )
        self._fleet = fleet_of(scenario, workload, born)
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
        """From when until when what is held counts."""
        self._timeout_s = scenario.timeout_s
        self.allocation_spans: list[AllocationSpan] = []
        """What was asked for and what ran, a line for each change of either."""
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
        return self._deployment.requested

    @property
    def running(self) -> int:
        return self.allocation_spans[-1].running

    @property
    def fleet(self) -> Fleet:
        """What became of the requests."""
        return self._fleet

    def advance(self, to: float) -> None:
        """Let everything happen up to and including the instant `to`."""
        while self._control_at <= to:
            self._fleet.run(self._control_at)
            self._run_control()
        self._fleet.run(to)

    def finish(self) -> None:
        """Run to the end of the demand, and on until every caller knows the answer.

        What is held after the end does not count.
        """
        _, end = self.span
        self.advance(end)
        self._fleet.run(end + self._timeout_s)

    def advance_sampled(self, to: float, steps: int) -> list[int]:
        """The same in equal steps: how many requests were under way at the end of each."""
        if self._control_at > to:
            return self._fleet.run_sampled(to, steps)
        since = self.now
        in_flight = []
        for step in range(1, steps + 1):
            self.advance(since + (to - since) * step / steps)
            in_flight.append(self._fleet.totals().pending)
        return in_flight

    def statistics(self) -> DeploymentStats:
        """`_stats` of now."""
        return stats_of(self._deployment, self.now)

    def observation(self) -> Observation:
        """All that the daemon would see now."""
        return Observation(
            at=self.now, deployments={DEPLOYMENT_ID: self.statistics()}, cluster=self._hardware
        )

    def totals(self) -> FleetTotals:
        return self._fleet.totals()

    def set_allocations(self, number: int) -> None:
        """`_update`.

        Raises:
            ApiError: 409 while the deployment is not started, 429 where it does not fit.
        """
        if number != self.requested:
            self._state.now = self.now
            self._scale(self._deployment, number)
            self._update_control()

    def enable_adaptive_allocations(self, minimum: int, maximum: int) -> None:
        """`_update` of the bounds: from now on the cluster's own scaler chooses between them.

        Raises:
            ApiError: 409 while the deployment is not started.
        """
        self._ensure_started(self._deployment)
        self._deployment.adaptive = AdaptiveSettings(
            enabled=True, min_number_of_allocations=minimum, max_number_of_allocations=maximum
        )

    def run_adaptive_scaler(self) -> None:
        """One run of the native scaler, which the elected master does every ten seconds."""
        self._state.now, requested = self.now, self.requested
        self._adaptive.tick()
        if self.requested != requested:
            self._update_control()

    def _scale(self, deployment: SimulatedDeployment, number: int) -> None:
        self._ensure_started(deployment)
        self._assignment.scale(deployment, number, can_grow=False)

    def _ensure_started(self, deployment: SimulatedDeployment) -> None:
        if deployment.state != STARTED:
            raise conflict(f"deployment [{deployment.deployment_id}] is not in [started] state")

    def _run_control(self) -> None:
        self._state.now = self._fleet.now
        self._lifecycle.finish_drained()
        self._state.events.run_due(self._state.now)
        self._update_control()

    def _update_control(self) -> None:
        """Note what has changed, and when something other than a request may happen next."""
        now, deployment = self._fleet.now, self._deployment
        self._fleet.route(usable_routes(deployment))
        holding = AllocationSpan(now, deployment.requested, deployment.running)
        if not self.allocation_spans or self.allocation_spans[-1][1:] != holding[1:]:
            self.allocation_spans.append(holding)
        due, drained = self._state.events.next_at, self._lifecycle.next_drained_at()
        self._control_at = max(
            now, min(math.inf if due is None else due, math.inf if drained is None else drained)
        )


def fleet_of(scenario: BacktestScenario, workload: Workload, now: float) -> Fleet:
    """The processes that a deployment may have on the nodes of the scenario; none is started."""
    return Fleet(
        workload,
        CallerSettings(
            timeout_s=scenario.timeout_s,
            retry_share=scenario.retry_share,
            retry_after_s=scenario.retry_after_s,
        ),
        processes=scenario.nodes,
        workers=scenario.processors,
        queue_capacity=scenario.queue_capacity,
        warm_up_s=scenario.warm_up_s,
        warm_up_factor=scenario.warm_up_factor,
        now=now,
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
