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

REMEMBERED_S = 86_400.0
"""How long a request counts: budgets are those of a day."""

PRIOR_S = 3600.0
"""It is begun as if so much time had been spent with just the right number of late requests."""

MOST_OVERDRAFT = 3.0
"""Times what is meant to be late. What is beyond is forgiven."""

LOWEST, HIGHEST = -4.0, 3.0
"""Of the logarithm by which a late request becomes dearer by and by."""


class Pricing(Value, frozen=True, kw_only=True):
    """How the price of a late request moves. Prices are times one over the share that may be late,
    in allocations for an erlang of late requests."""

    # The share of the budget that is meant to be used. The rest is for what looks do not see: where
    # requests come in bursts, more of them meet a queue than looks do.
    used: float = 0.65
    # At the start, about as many are late as may be, at any load.
    start: float = 0.2
    least: float = 0.01
    # Keeps a disaster from buying all the hardware there is.
    most: float = 5.0
    # The price goes with this power of the part of the budget that is used.
    sharpness: float = 4.0
    # As long as the budget is overdrawn by all of itself, the price grows e-fold in this time.
    patience_s: float = 3600.0


class ErrorBudget(Value, frozen=True, kw_only=True):
    """Requests, and how many of them were late, of about the last day."""

    late: float = 0.0
    requests: float = 0.0
    time_s: float = 0.0
    debt: float = 0.0  # of `late`, what still counts: an outage is not to be paid for for days
    pressure: float = 0.0  # logarithm: how much dearer a late request has become by and by

    @property
    def in_time(self) -> float | None:
        """The share of the requests that were in time; None before there were any."""
        return 1.0 - self.late / self.requests if self.requests > 0.0 else None


def spend(
    budget: ErrorBudget,
    requests: int,
    late: float,
    interval_s: float,
    allowed: float,
    pricing: Pricing,
) -> ErrorBudget:
    """The budget after another interval.

    Args:
        allowed: share of the requests that may be late, in (0, 1).
    """
    kept = math.exp(-interval_s / REMEMBERED_S)
    spent = ErrorBudget(
        late=kept * budget.late + late,
        requests=kept * budget.requests + requests,
        time_s=kept * budget.time_s + interval_s,
    )
    most = MOST_OVERDRAFT * pricing.used * allowed * (spent.requests + _prior(spent))
    spent = replace(spent, debt=min(most, kept * budget.debt + late))
    excess = min(1.0, overdraft(spent, allowed, pricing) - 1.0)
    pressure = budget.pressure + excess * interval_s / pricing.patience_s
    return replace(spent, pressure=min(HIGHEST, max(LOWEST, pressure)))


def _prior(budget: ErrorBudget) -> float:
    """Requests that it is begun with."""
    return PRIOR_S * budget.requests / budget.time_s if budget.time_s > 0.0 else 0.0


def overdraft(budget: ErrorBudget, allowed: float, pricing: Pricing) -> float:
    """How many times as many were late as are meant to be."""
    if budget.requests <= 0.0:
        return 1.0
    meant, prior = pricing.used * allowed, _prior(budget)
    return (budget.debt + meant * prior) / (meant * (budget.requests + prior))


def price_of(budget: ErrorBudget, allowed: float, pricing: Pricing) -> float:
    """Allocations that it is worth to have one erlang of requests in time instead of late."""
    by_now = math.pow(overdraft(budget, allowed, pricing), pricing.sharpness)
    price = pricing.start * math.exp(budget.pressure) * by_now
    return min(pricing.most, max(pricing.least, price)) / allowed
