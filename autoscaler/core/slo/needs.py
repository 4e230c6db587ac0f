"""The allocations that are needed: for the present load, and for loads to come on further nodes."""

from autoscaler.core.forecast.forecaster import Forecast, Forecaster, ForecastMemory
from autoscaler.core.policies import MAX_ALLOCATIONS, Situation, at_least_for
from autoscaler.core.slo import evidence
from autoscaler.core.slo.arrivals import Arrivals
from autoscaler.core.slo.choice import chosen_allocations, present_load
from autoscaler.core.slo.cost_model import CostModel
from autoscaler.core.slo.increase import KeptIncrease
from autoscaler.core.slo.memory import Backlog, SloMemory
from autoscaler.core.slo.new_node import (
    allocations_on_new_node,
    forecast_distribution,
    new_node_s,
    recurring_on_new_node,
)
from autoscaler.core.slo.prediction import Prediction
from autoscaler.core.values import Value


class PresentNeed(Value, frozen=True, kw_only=True):
    """The allocations for the present load, and for the queue that it has left."""

    allocations: int
    postponed: bool  # whether a decrease waits for more evidence


class FutureNeed(Value, frozen=True, kw_only=True):
    """The allocations for loads before a further node is ready; None: none has to be requested
    now."""

    forecast_memory: ForecastMemory | None
    forecast: Forecast | None
    forecast_allocations: int | None
    recurring_allocations: int | None

    @property
    def allocations(self) -> int:
        """The most of them; 0 without any."""
        return max(self.forecast_allocations or 0, self.recurring_allocations or 0)


def cheapest_now(
    situation: Situation,
    seen: SloMemory,
    arrivals: Arrivals,
    expected: Prediction,
    cost_model: CostModel,
) -> KeptIncrease:
    """The cheapest allocation count, unless a change saves too little."""
    now = present_load(arrivals, expected.mixture, situation.at, expected.service_time_s)
    return chosen_allocations(cost_model, situation, seen.estimate, expected.load, now)


def present_need(
    situation: Situation,
    seen: SloMemory,
    arrivals: Arrivals,
    expected: Prediction,
    kept: KeptIncrease,
    to_drain: Backlog | None,
) -> PresentNeed:
    """The cheapest allocations, at least as many as drain a backlog, and as many as now while there
    is too little evidence for fewer."""
    allocations = kept.allocations
    if to_drain is not None and situation.carried_out:
        allocations = max(allocations, to_drain.allocations)
    allocations, postponed = evidence.with_evidence(
        situation,
        seen.estimate,
        expected.mixture.recurring_weight if arrivals.recurring else 0.0,
        allocations,
    )
    least, _ = at_least_for(situation)
    allocations = min(max(allocations, least), MAX_ALLOCATIONS)
    return PresentNeed(allocations=allocations, postponed=postponed)


def future_need(
    situation: Situation,
    seen: SloMemory,
    arrivals: Arrivals,
    expected: Prediction,
    cost_model: CostModel,
    allocations: int,
    forecaster: Forecaster | None,
) -> FutureNeed:
    """What has to be requested early, because a further node loads the model first.

    Args:
        allocations: for the present load. If that takes all there are, nothing more is requested.
    """
    forecast_memory, forecast = _forecast(situation, seen, expected, forecaster)
    forecast_allocations = recurring_allocations = None
    if not expected.is_too_much:
        if forecast is not None and forecast.trusted:
            loads = forecast_distribution(forecast)
            forecast_allocations = allocations_on_new_node(cost_model, loads, allocations)
        recurring_allocations = recurring_on_new_node(
            cost_model, situation, arrivals, expected.loads_at, allocations
        )
    return FutureNeed(
        forecast_memory=forecast_memory,
        forecast=forecast,
        forecast_allocations=forecast_allocations,
        recurring_allocations=recurring_allocations,
    )


def _forecast(
    situation: Situation, seen: SloMemory, expected: Prediction, forecaster: Forecaster | None
) -> tuple[ForecastMemory | None, Forecast | None]:
    """The load that may come before a node that is requested now is ready. With a single node there
    is no forecast, because no allocation has to be requested that early."""
    memory, node_slots = seen.estimate.forecast, expected.node_slots
    if forecaster is None or not (node_slots.free or len(node_slots.used) > 1):
        return memory, None
    memory = memory or forecaster.begin()
    load = seen.requests * expected.service_time_s / seen.time_s
    if load <= expected.max_load:
        memory = forecaster.updated(memory, situation.at, load, seen.time_s)
    horizon_s = new_node_s(situation) + situation.sample.interval_s
    return memory, forecaster.predict(memory, situation.at, horizon_s)
