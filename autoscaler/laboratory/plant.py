"""A deployment under a load, on a cluster of its own, in virtual time.

The planner, the life cycle of processes and the native scaler are the emulator's; only requests are
simulated by compiled code, and only instants at which something other than a request happens cost
more than that.
"""

import math
from typing import NamedTuple

from autoscaler.core.values import Cluster, DeploymentStats, NodeCapacity, Observation
from autoscaler.laboratory.demand import Demand
from autoscaler.laboratory.fleet import Callers, Fleet, Totals
from autoscaler.laboratory.scenario import Scenario
from autoscaler.laboratory.statistics import stats_of
from autoscaler.simulation.assignment import Assignment
from autoscaler.simulation.deployment import STARTED, AdaptiveSettings, Deployment, Parameters
from autoscaler.simulation.errors import conflict
from autoscaler.simulation.ledger import Ledger
from autoscaler.simulation.lifecycle import Lifecycle
from autoscaler.simulation.native_scaler import SHIPPED, Thresholds
from autoscaler.simulation.native_scaling import NativeScaling
from autoscaler.simulation.placement import Plan
from autoscaler.simulation.specs import GIB, ModelSpec, NodeSpec
from autoscaler.simulation.state import Node, State
from autoscaler.simulation.traffic import usable_routes
from autoscaler.simulation.versions import behaviour_of

DEPLOYMENT_ID, MODEL_ID = "deployment", "model"

MODEL_BYTES = 100 * 2**20
"""A size that Elasticsearch prints without rounding it."""

SETTLED_S = 3600.0
"""The deployment has run for so long when the load begins: it is warm, and nothing is young."""


class Holding(NamedTuple):
    """Allocations from an instant on."""

    at: float
    requested: int
    running: int


class _OneDeployment(State):
    """The planner is asked the same few questions again and again, and answers as it did before."""

    def __init__(self, version: str, now: float) -> None:
        super().__init__(behaviour=behaviour_of(version), seed=0, now=now, ml_memory_fraction=0.3)
        self._answers: dict[object, Plan] = {}

    def planned(self, changing: Deployment | None = None, allocations: int = 0) -> Plan:
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
        scenario: Scenario,
        demand: Demand,
        *,
        allocations: int,
        version: str | None = None,
        thresholds: Thresholds = SHIPPED,
    ) -> None:
        """The deployment is started with so many allocations, long enough ago to be warm.

        `version` is that of the cluster, if it is not to be the scenario's; `thresholds` are those
        of its own scaler.
        """
        born = demand.start - SETTLED_S - scenario.load_s
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
        self._state.nodes.update({spec.node_id: Node(spec) for spec in nodes})
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
        self._fleet = fleet_of(scenario, demand, born)
        self._lifecycle = Lifecycle(
            self._state,
            start_process=self._fleet.start_process,
            on_ready=lambda _: None,
            control_message_s=scenario.control_s,
        )
        self._assignment = Assignment(self._state, self._lifecycle)
        self._native = NativeScaling(self._state, self._scale, thresholds)
        self._deployment = _deployment(scenario, allocations, born)
        self.span = (demand.start, demand.start + demand.duration_s)
        """From when until when what is held counts."""
        self._timeout_s = scenario.timeout_s
        self.holdings: list[Holding] = []
        """What was asked for and what ran, a line for each change of either."""
        self._assignment.add(self._deployment, can_grow=False)
        self._control_at = 0.0
        self._look_at_control()
        self.advance(demand.start)
        self.holdings[:-1] = []

    @property
    def now(self) -> float:
        """Unix seconds of virtual time."""
        return self._fleet.now

    @property
    def requested(self) -> int:
        return self._deployment.requested

    @property
    def running(self) -> int:
        return self.holdings[-1].running

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

    def totals(self) -> Totals:
        return self._fleet.totals()

    def set_allocations(self, number: int) -> None:
        """`_update`.

        Raises:
            ApiError: 409 while the deployment is not started, 429 where it does not fit.
        """
        if number != self.requested:
            self._state.now = self.now
            self._scale(self._deployment, number)
            self._look_at_control()

    def enable_native_scaling(self, minimum: int, maximum: int) -> None:
        """`_update` of the bounds: from now on the cluster's own scaler chooses between them.

        Raises:
            ApiError: 409 while the deployment is not started.
        """
        self._ensure_started(self._deployment)
        self._deployment.adaptive = AdaptiveSettings(
            enabled=True, min_number_of_allocations=minimum, max_number_of_allocations=maximum
        )

    def run_native_scaler(self) -> None:
        """One run of the native scaler, which the elected master does every ten seconds."""
        self._state.now, requested = self.now, self.requested
        self._native.tick()
        if self.requested != requested:
            self._look_at_control()

    def _scale(self, deployment: Deployment, number: int) -> None:
        self._ensure_started(deployment)
        self._assignment.scale(deployment, number, can_grow=False)

    def _ensure_started(self, deployment: Deployment) -> None:
        if deployment.state != STARTED:
            raise conflict(f"deployment [{deployment.deployment_id}] is not in [started] state")

    def _run_control(self) -> None:
        self._state.now = self._fleet.now
        self._lifecycle.finish_drained()
        self._state.events.run_due(self._state.now)
        self._look_at_control()

    def _look_at_control(self) -> None:
        """Note what has changed, and when something other than a request may happen next."""
        now, deployment = self._fleet.now, self._deployment
        self._fleet.route(usable_routes(deployment))
        holding = Holding(now, deployment.requested, deployment.live)
        if not self.holdings or self.holdings[-1][1:] != holding[1:]:
            self.holdings.append(holding)
        due, drained = self._state.events.next_at, self._lifecycle.next_drained_at()
        self._control_at = max(
            now, min(math.inf if due is None else due, math.inf if drained is None else drained)
        )


def fleet_of(scenario: Scenario, demand: Demand, now: float) -> Fleet:
    """The processes that a deployment may have on the nodes of the scenario; none is started."""
    return Fleet(
        demand,
        Callers(
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


def _deployment(scenario: Scenario, allocations: int, now: float) -> Deployment:
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
    return Deployment(
        parameters=parameters,
        model=model,
        ledger=Ledger(now, allocations),
        zero_is_fully_allocated=True,
        start_time=now,
    )
