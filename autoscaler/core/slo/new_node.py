"""What has to be requested early, because a further node has to load the model first."""

from collections.abc import Callable

from autoscaler.core.forecast.forecaster import Forecast
from autoscaler.core.policies import Situation
from autoscaler.core.slo.arrivals import Arrivals
from autoscaler.core.slo.cost_model import CostModel
from autoscaler.core.slo.load_distribution import LoadDistribution, index_of_load
from autoscaler.core.slo.placement import placement_of
from autoscaler.core.slo.recurrence import ExpectedRate, expected_peaks

NEW_NODE_S = 60.0
"""Seconds that a new node takes to load a model, until a lead time has been measured."""

MAX_NEW_NODE_S = 1800.0
"""Cap on a measured lead time, in seconds. An update that took longer has waited for a node to join
the cluster, perhaps for days, which is not the time that the next one will take."""

FORECAST_POINTS = ((0.0, 0.75), (0.5, 0.2), (1.0, 0.05))
"""The distribution of the load at the forecast horizon, as (point, probability). Point 0 is the
expected load, 1 the forecast; lower loads do not matter. 5%: the forecast is a quantile of
0.95."""


def forecast_distribution(forecast: Forecast) -> LoadDistribution:
    """The loads at the forecast horizon, with their probabilities."""
    loads: dict[int, float] = {}
    for fraction, probability in FORECAST_POINTS:
        load = forecast.expected + fraction * (forecast.load - forecast.expected)
        index = index_of_load(load)
        loads[index] = loads.get(index, 0.0) + probability
    return loads


def new_node_s(situation: Situation) -> float:
    """Seconds from a request until a further node serves."""
    measured_s = situation.new_node_s
    if measured_s is None or measured_s <= 0.0:
        return NEW_NODE_S
    return min(measured_s, MAX_NEW_NODE_S)


def allocations_on_new_node(
    cost_model: CostModel, loads: LoadDistribution, allocations: int
) -> int | None:
    """The allocations for loads to come, if they need a further node; None if they can be added
    when the load has come.

    Args:
        cost_model: for the present load.
        allocations: for the present load.
    """
    needed = cost_model.with_loads(loads).cheapest(allocations)
    return (
        needed
        if needed > placement_of(cost_model.node_slots, allocations).max_on_these_nodes
        else None
    )


def recurring_on_new_node(
    cost_model: CostModel,
    situation: Situation,
    arrivals: Arrivals,
    loads_at: Callable[[tuple[ExpectedRate, ...]], LoadDistribution],
    allocations: int,
) -> int | None:
    """The allocations for rates that recur before a further node is ready, if they need one.

    Args:
        loads_at: the loads to expect if these rates may recur.
        allocations: for the present load.
    """
    until = situation.at + new_node_s(situation) + situation.min_poll_interval_s
    later = expected_peaks(arrivals.recurrence, situation.at, until)
    if not later:
        return None
    return allocations_on_new_node(cost_model, loads_at(later), allocations)
