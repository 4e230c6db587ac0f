"""The choice of an allocation count: the cheapest, unless a change saves too little."""

import math

from autoscaler.core.policies import Situation
from autoscaler.core.slo.arrivals import Arrivals
from autoscaler.core.slo.cost_model import CostModel
from autoscaler.core.slo.increase import KeptIncrease, PresentLoad, with_increase_kept
from autoscaler.core.slo.load_distribution import LoadMixture
from autoscaler.core.slo.memory import SloEstimate
from autoscaler.core.slo.recurrence import unchanged_s


def chosen_allocations(
    cost_model: CostModel, situation: Situation, before: SloEstimate, load: float, now: PresentLoad
) -> KeptIncrease:
    """The cheapest allocation count, or the current one if a change would save too little, but more
    than were too few at this load recently.

    A recommendation that is not carried out counts as if its allocations ran.

    Args:
        load: the mean of the loads to expect, in erlangs.
    """
    if load >= situation.max_allocations:  # too few, whatever is requested
        return KeptIncrease(math.ceil(load + math.sqrt(load)), before.increase)
    current = situation.current
    if before.step is not None and not situation.carried_out:
        current = min(before.step.after, situation.max_allocations)
    near = max(1, min(current, math.ceil(load + 3.0 * math.sqrt(load))))
    cheapest = cost_model.with_change_threshold(
        current, cost_model.cheapest(near), now.expected_duration_s
    )
    return with_increase_kept(before.increase, current, cheapest, now)


def present_load(
    arrivals: Arrivals, mixture: LoadMixture, at: float, service_time_s: float
) -> PresentLoad:
    """The present load, or the one that recurs now, and how long it is expected to stay."""
    recurs = mixture.recurring_weight if arrivals.recurring else 0.0
    rate_per_s, peak_per_s = mixture.rate_per_s, arrivals.peak_per_s
    return PresentLoad(
        at=at,
        rate_per_s=rate_per_s + recurs * (peak_per_s - rate_per_s),
        service_time_s=service_time_s,
        dispersion=max(1.0, arrivals.window.dispersion),
        expected_duration_s=mixture.expected_duration_s
        + recurs * unchanged_s(arrivals.recurrence, at, peak_per_s),
    )
