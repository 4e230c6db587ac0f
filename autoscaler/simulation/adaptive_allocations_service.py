"""The service behind adaptive allocations: reads counters every ten seconds, updates deployments.

Source: elastic/elasticsearch,
ml/inference/adaptiveallocations/AdaptiveAllocationsScalerService.java.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from msgspec import Struct

from autoscaler.simulation.adaptive_allocations_scaler import (
    SHIPPED,
    AdaptiveAllocationsScaler,
    Interval,
    Limits,
    Thresholds,
)
from autoscaler.simulation.deployment import STARTED, SimulatedDeployment
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.state import ClusterState
from autoscaler.simulation.statistics import Counters

TICK_S = 10.0
"""Seconds between evaluations."""


class NodeSample(NamedTuple):
    """What the scaler reads of one node, whose process may still be loading."""

    completed: int = 0
    pending: int = 0
    failed: int = 0
    inference_ms: int = 0


class _Memory(Struct):
    """The state of one deployment."""

    scaler: AdaptiveAllocationsScaler
    seen: dict[str, NodeSample]  # the last sample of each node id, also of nodes that have left
    scaled_up_at: float | None = None


class AdaptiveAllocationsService:
    """Scales deployments with enabled adaptive allocations, by calling `update`."""

    def __init__(
        self,
        state: ClusterState,
        update: Callable[[SimulatedDeployment, int], None],
        thresholds: Thresholds = SHIPPED,
    ) -> None:
        self._state = state
        self._update = update
        self._thresholds = thresholds
        self._memory: dict[str, _Memory] = {}

    def tick(self) -> None:
        adaptive = {
            deployment.deployment_id: deployment
            for deployment in self._state.deployments.values()
            if deployment.adaptive is not None and deployment.adaptive.enabled
        }
        self._memory = {key: kept for key, kept in self._memory.items() if key in adaptive}
        for deployment in adaptive.values():
            self._evaluate(deployment)

    def request_waits(self, deployment: SimulatedDeployment) -> None:
        """A request waits for the first allocation: the deployment is not idle (#115400).

        It is scaled up from zero; the time of that is set even if there is no capacity.
        """
        memory = self._memory_of(deployment)
        memory.scaler = memory.scaler.not_idle()
        memory.scaled_up_at = self._state.now
        if deployment.requested == 0:
            with suppress(SimulatedApiError):
                self._update(deployment, 1)

    def _memory_of(self, deployment: SimulatedDeployment) -> _Memory:
        return self._memory.setdefault(
            deployment.deployment_id, _Memory(scaler=AdaptiveAllocationsScaler(), seen={})
        )

    def _evaluate(self, deployment: SimulatedDeployment) -> None:
        now = self._state.now
        counters = {node_id: route.counters(now) for node_id, route in deployment.routes.items()}
        samples = {node_id: sample_of(each) for node_id, each in counters.items()}
        memory = self._memory_of(deployment)
        interval = interval_between(memory.seen, samples, TICK_S)
        memory.seen |= samples
        if interval is None:
            return
        memory.scaler = memory.scaler.after(interval)
        desired, decided = memory.scaler.decide(deployment.requested, self._limits(deployment))
        memory.scaler = decided
        before = deployment.requested
        if desired == before or deployment.state != STARTED:
            return
        started_at = [each.start_time for each in counters.values() if each is not None]
        if desired < before and self._too_soon(deployment, memory, started_at):
            return
        if desired > before:
            memory.scaled_up_at = now  # even if the update is refused
        # Without capacity there is no smaller step: the next tick uses its own result.
        with suppress(SimulatedApiError):
            self._update(deployment, desired)

    def _limits(self, deployment: SimulatedDeployment) -> Limits:
        assert deployment.adaptive is not None
        behaviour = self._state.behaviour
        return Limits(
            minimum=deployment.adaptive.min_number_of_allocations,
            maximum=deployment.adaptive.max_number_of_allocations,
            scale_to_zero_s=self._scale_to_zero_s() if behaviour.zero_allocations else None,
            thresholds=self._thresholds,
        )

    def _scale_to_zero_s(self) -> float | None:
        configured_s = self._state.settings.scale_to_zero_s
        return self._state.behaviour.scale_to_zero_s if configured_s is None else configured_s

    def _too_soon(
        self, deployment: SimulatedDeployment, memory: _Memory, started_at: Iterable[float]
    ) -> bool:
        recently = self._state.now - self._state.settings.scale_up_cool_down_s
        if memory.scaled_up_at is not None and memory.scaled_up_at > recently:
            return True
        if not self._state.behaviour.respects_slow_starts:
            return False
        return deployment.loading or any(at > recently for at in started_at)


def sample_of(counters: Counters | None) -> NodeSample:
    """The sample of a node. Without a process, as while it loads, all its figures are zero."""
    if counters is None:
        return NodeSample()
    failed = counters.errors + counters.timeouts + counters.rejections
    return NodeSample(counters.completed, counters.pending, failed, counters.inference_ms)


def interval_between(
    before: Mapping[str, NodeSample], after: Mapping[str, NodeSample], duration_s: float
) -> Interval | None:
    """The requests on the nodes known at both instants; None if there are none.

    A node without results, such as one that loads, makes the mean inference time of the whole
    deployment undefined.
    """
    pairs = [(before[node_id], now) for node_id, now in after.items() if node_id in before]
    if not pairs:
        return None
    success = [max(0, now.completed - then.completed) for then, now in pairs]
    busy_ms = sum(now.inference_ms - then.inference_ms for then, now in pairs)
    return Interval(
        duration_s=duration_s,
        success=sum(success),
        in_flight=sum(max(0, now.pending - then.pending) for then, now in pairs),
        failed=sum(max(0, now.failed - then.failed) for then, now in pairs),
        inference_time_s=busy_ms / sum(success) / 1000.0 if all(success) else None,
    )
