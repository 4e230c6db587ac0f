"""What a late request is worth, by how much of the error budget is used up.

The objective says which share of the requests may be late. That is a budget, and how it is spent
is free: a late request costs the same at night and at noon, but to prevent one costs far more at
night. So each late request has a price, the same at all times, and the price moves until as many
are late as may be: it rises while the budget is overdrawn, and falls while it is left over.

How late requests are is not in the statistics. But at every look it is known how many requests are
at each node, so it can be told how long one would wait that came just then.
"""

import math

from msgspec.structs import replace

from autoscaler.core.values import Value

TIME_CONSTANT_S = 86_400.0
"""How long a request counts: budgets are those of a day."""

PRIOR_S = 3600.0
"""It is begun as if so much time had been spent with just the right number of late requests."""

MAX_CONSUMPTION = 3.0
"""Times what is meant to be late. What is beyond is forgiven."""

MIN_LOG_WEIGHT, MAX_LOG_WEIGHT = -4.0, 3.0
"""Of the logarithm by which a late request becomes dearer by and by."""


class WeightSettings(Value, frozen=True, kw_only=True):
    """How the price of a late request moves. Prices are times one over the share that may be late,
    in allocations for an erlang of late requests."""

    # The share of the budget that is meant to be used. The rest is for what looks do not see: where
    # requests come in bursts, more of them meet a queue than looks do.
    planned_fraction: float = 0.65
    # At the start, about as many are late as may be, at any load.
    initial_weight: float = 0.2
    min_weight: float = 0.01
    # Keeps a disaster from buying all the hardware there is.
    max_weight: float = 5.0
    # The price goes with this power of the part of the budget that is used.
    exponent: float = 4.0
    # As long as the budget is overdrawn by all of itself, the price grows e-fold in this time.
    integral_time_s: float = 3600.0


class ErrorBudget(Value, frozen=True, kw_only=True):
    """Requests, and how many of them were late, of about the last day."""

    violations: float = 0.0
    requests: float = 0.0
    time_s: float = 0.0
    counted_violations: float = (
        0.0  # of `late`, what still counts: an outage is not to be paid for for days
    )
    log_weight: float = 0.0  # logarithm: how much dearer a late request has become by and by

    @property
    def attainment(self) -> float | None:
        """The share of the requests that were in time; None before there were any."""
        return 1.0 - self.violations / self.requests if self.requests > 0.0 else None


def after_interval(
    budget: ErrorBudget,
    requests: int,
    violations: float,
    interval_s: float,
    allowed: float,
    pricing: WeightSettings,
) -> ErrorBudget:
    """The budget after another interval.

    Args:
        allowed: share of the requests that may be late, in (0, 1).
    """
    kept = math.exp(-interval_s / TIME_CONSTANT_S)
    spent = ErrorBudget(
        violations=kept * budget.violations + violations,
        requests=kept * budget.requests + requests,
        time_s=kept * budget.time_s + interval_s,
    )
    max_weight = (
        MAX_CONSUMPTION * pricing.planned_fraction * allowed * (spent.requests + _prior(spent))
    )
    spent = replace(
        spent, counted_violations=min(max_weight, kept * budget.counted_violations + violations)
    )
    excess = min(1.0, consumption(spent, allowed, pricing) - 1.0)
    log_weight = budget.log_weight + excess * interval_s / pricing.integral_time_s
    return replace(spent, log_weight=min(MAX_LOG_WEIGHT, max(MIN_LOG_WEIGHT, log_weight)))


def _prior(budget: ErrorBudget) -> float:
    """Requests that it is begun with."""
    return PRIOR_S * budget.requests / budget.time_s if budget.time_s > 0.0 else 0.0


def consumption(budget: ErrorBudget, allowed: float, pricing: WeightSettings) -> float:
    """How many times as many were late as are meant to be."""
    if budget.requests <= 0.0:
        return 1.0
    meant, prior = pricing.planned_fraction * allowed, _prior(budget)
    return (budget.counted_violations + meant * prior) / (meant * (budget.requests + prior))


def violation_weight(budget: ErrorBudget, allowed: float, pricing: WeightSettings) -> float:
    """Allocations that it is worth to have one erlang of requests in time instead of late."""
    by_now = math.pow(consumption(budget, allowed, pricing), pricing.exponent)
    weight = pricing.initial_weight * math.exp(budget.log_weight) * by_now
    return min(pricing.max_weight, max(pricing.min_weight, weight)) / allowed
