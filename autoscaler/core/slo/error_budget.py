"""The violation weight, from the consumption of the error budget.

The SLO target leaves a fraction of the requests that may be late: the error budget. When it is
consumed does not matter: a late request counts the same at night and at noon, but avoiding one
costs far more allocations at night. So all late requests have the same weight in the cost. The
weight rises while more requests are late than planned, and falls while fewer are.

The budget is that of the allocations that the policy recommends. While they are carried out, their
late requests are measured; otherwise, as in a dry run, they are expected. What happens to the
requests is the attainment, in either case.

A deployment at its maximum, or without the capacity that it needs, is carried out: its callers use
up the budget. The weight remains bounded, and what exceeds the cap of the budget is written off.
"""

import math

from msgspec.structs import replace

from autoscaler.core.values import Value

TIME_CONSTANT_S = 86_400.0
"""Seconds in which the weight of a request decays by the factor e. 24 h: the error budget covers
about a day."""

PRIOR_S = 3600.0
"""Seconds of on-target history assumed at the start, so that the first violation does not use up
the budget."""

MAX_CONSUMPTION = 3.0
"""Cap on accumulated violations, as a multiple of the planned ones. The excess of an outage is
written off."""

MIN_LOG_WEIGHT, MAX_LOG_WEIGHT = -4.0, 3.0
"""Bounds of the integral term of the violation weight, as natural logarithms."""


class WeightSettings(Value, frozen=True, kw_only=True):
    """How the violation weight follows the budget consumption. Weights are multiples of 1 / (1 -
    SLO target), in allocations per erlang of late requests."""

    # Fraction of the error budget that is planned for. The rest covers violations that polls do not
    # see: with bursts, more requests than polls find a queue.
    planned_fraction: float = 0.65
    # With this weight, about as many requests are late as the SLO allows, at any load.
    initial_weight: float = 0.2
    min_weight: float = 0.01
    # Limits the allocations that an outage can lead to.
    max_weight: float = 5.0
    # The weight is proportional to this power of the budget consumption.
    exponent: float = 4.0
    # At a consumption of 2 or more, the weight grows by the factor e in this time.
    integral_time_s: float = 3600.0


def _met(violations: float, requests: float) -> float | None:
    """The fraction without a violation. Retries may fail that did not arrive in the same interval,
    so that there can be more violations than requests."""
    return max(0.0, 1.0 - violations / requests) if requests > 0.0 else None


class Attainment(Value, frozen=True, kw_only=True):
    """Requests and SLO violations, exponentially weighted over about 24 h."""

    violations: float = 0.0
    requests: float = 0.0

    @property
    def fraction(self) -> float | None:
        """Fraction of the requests that met the SLO; None before the first request."""
        return _met(self.violations, self.requests)

    def after(self, requests: int, violations: float, interval_s: float) -> "Attainment":
        """The attainment after another interval."""
        kept = math.exp(-interval_s / TIME_CONSTANT_S)
        return Attainment(
            violations=kept * self.violations + violations, requests=kept * self.requests + requests
        )


class ErrorBudget(Value, frozen=True, kw_only=True):
    """Requests and SLO violations of the recommended allocations, exponentially weighted over about
    24 h."""

    violations: float = 0.0
    requests: float = 0.0
    time_s: float = 0.0
    counted_violations: float = 0.0  # capped: an outage does not count for days
    log_weight: float = 0.0  # integral term of the violation weight, a natural logarithm

    @property
    def attainment(self) -> float | None:
        """Fraction of the requests that met the SLO; None before the first request."""
        return _met(self.violations, self.requests)


def after_interval(
    budget: ErrorBudget,
    requests: int,
    violations: float,
    interval_s: float,
    allowed: float,
    settings: WeightSettings,
) -> ErrorBudget:
    """The error budget after another interval.

    Args:
        allowed: fraction of the requests that may be late, in (0, 1).
    """
    kept = math.exp(-interval_s / TIME_CONSTANT_S)
    updated = ErrorBudget(
        violations=kept * budget.violations + violations,
        requests=kept * budget.requests + requests,
        time_s=kept * budget.time_s + interval_s,
    )
    max_violations = (
        MAX_CONSUMPTION * settings.planned_fraction * allowed * (updated.requests + _prior(updated))
    )
    updated = replace(
        updated,
        counted_violations=min(max_violations, kept * budget.counted_violations + violations),
    )
    excess = min(1.0, consumption(updated, allowed, settings) - 1.0)
    log_weight = budget.log_weight + excess * interval_s / settings.integral_time_s
    return replace(updated, log_weight=min(MAX_LOG_WEIGHT, max(MIN_LOG_WEIGHT, log_weight)))


def _prior(budget: ErrorBudget) -> float:
    """Requests in the history that is assumed at the start."""
    return PRIOR_S * budget.requests / budget.time_s if budget.time_s > 0.0 else 0.0


def consumption(budget: ErrorBudget, allowed: float, settings: WeightSettings) -> float:
    """Violations divided by planned violations."""
    if budget.requests <= 0.0:
        return 1.0
    planned, prior = settings.planned_fraction * allowed, _prior(budget)
    return (budget.counted_violations + planned * prior) / (planned * (budget.requests + prior))


def violation_weight(budget: ErrorBudget, allowed: float, settings: WeightSettings) -> float:
    """Allocations that one erlang of late requests counts for in the cost."""
    factor = math.pow(consumption(budget, allowed, settings), settings.exponent)
    weight = settings.initial_weight * math.exp(budget.log_weight) * factor
    return min(settings.max_weight, max(settings.min_weight, weight)) / allowed
