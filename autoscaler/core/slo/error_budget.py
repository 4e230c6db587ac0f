"""The violation weight, from the consumption of the error budget.

The SLO target leaves a fraction of the requests that may be late: the error budget. When it is
consumed does not matter: a late request counts the same at night and at noon, but avoiding one
costs far more allocations at night. So all late requests have the same weight in the cost. The
weight rises while more requests are late than planned, and falls while fewer are. It follows from
the budget alone: an integral of it besides would rise for hours after the budget has recovered, and
a weight that goes up and down costs more than a constant one.

A load that nothing announces is late until the first poll that shows it, and until nodes for it
have loaded the model, whatever the weight. Such violations use up part of the budget, so that fewer
of the others are planned; but at most half of it, because a weight that rises for what it cannot
prevent costs allocations and saves nothing.

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

MIN_PRIOR_VIOLATIONS = 30.0
"""Planned violations in that history at least. Fewer come by chance, several at once, and say
little about the next ones."""

MAX_CONSUMPTION = 2.0
"""Cap on accumulated violations, as a multiple of the planned ones. The excess of an outage is
written off."""

MAX_UNPREVENTABLE = 0.5
"""Part of the planned violations that those which nothing could prevent use up at most."""

MIN_OVERSPENT_S, MAX_OVERSPENT_S = -21_600.0, 43_200.0
"""Bounds of what is overspent, in seconds of the planned violations: six hours of savings, and half
a day of debt."""


class WeightSettings(Value, frozen=True, kw_only=True):
    """How the violation weight follows the budget consumption. Weights are multiples of 1 / (1 -
    SLO target), in allocations per erlang of late requests."""

    # Fraction of the error budget that is planned for. The rest covers violations that polls do not
    # see, and days that are worse than the day before.
    planned_fraction: float = 0.65
    # With this weight, about as many requests are late as the SLO allows, at any load.
    initial_weight: float = 0.2
    min_weight: float = 0.01
    # Limits the allocations that an outage can lead to.
    max_weight: float = 5.0
    # The weight is proportional to this power of the budget consumption.
    exponent: float = 4.0
    # The weight grows by the factor e for so much overspending, in seconds of the planned
    # violations.
    overspending_s: float = 7200.0


def _met(violations: float, requests: float) -> float | None:
    """The fraction without a violation. Retries may fail that did not arrive in the same interval,
    so that there can be more violations than requests."""
    return max(0.0, 1.0 - violations / requests) if requests > 0.0 else None


class Attainment(Value, frozen=True, kw_only=True):
    """Requests and SLO violations, exponentially weighted over about 24 h."""

    violations: float = 0.0
    requests: float = 0.0
    preventable: float = 0.0  # violations that more allocations could have prevented

    @property
    def fraction(self) -> float | None:
        """Fraction of the requests that met the SLO; None before the first request."""
        return _met(self.violations, self.requests)

    @property
    def preventable_fraction(self) -> float | None:
        """Fraction of the violations that more allocations could have prevented; None without
        any."""
        return self.preventable / self.violations if self.violations > 0.0 else None

    def after(
        self, requests: int, violations: float, preventable: float, interval_s: float
    ) -> "Attainment":
        """The attainment after another interval."""
        kept = math.exp(-interval_s / TIME_CONSTANT_S)
        return Attainment(
            violations=kept * self.violations + violations,
            requests=kept * self.requests + requests,
            preventable=kept * self.preventable + preventable,
        )


class ErrorBudget(Value, frozen=True, kw_only=True):
    """Requests and SLO violations of the recommended allocations, exponentially weighted over about
    24 h."""

    violations: float = 0.0
    requests: float = 0.0
    time_s: float = 0.0
    # Those that more allocations could have prevented; capped: an outage does not count for days.
    counted_violations: float = 0.0
    unpreventable: float = 0.0  # the others

    @property
    def attainment(self) -> float | None:
        """Fraction of the requests that met the SLO; None before the first request."""
        return _met(self.violations, self.requests)


def after_interval(
    budget: ErrorBudget,
    requests: int,
    violations: float,
    preventable: float,
    interval_s: float,
    allowed: float,
    settings: WeightSettings,
) -> ErrorBudget:
    """The error budget after another interval.

    Args:
        preventable: violations that more allocations could have prevented.
        allowed: fraction of the requests that may be late, in (0, 1).
    """
    kept = math.exp(-interval_s / TIME_CONSTANT_S)
    updated = ErrorBudget(
        violations=kept * budget.violations + violations,
        requests=kept * budget.requests + requests,
        time_s=kept * budget.time_s + interval_s,
        unpreventable=kept * budget.unpreventable + violations - preventable,
    )
    planned = settings.planned_fraction * allowed
    max_violations = MAX_CONSUMPTION * planned * (updated.requests + _prior(updated, planned))
    counted = kept * budget.counted_violations + preventable
    return replace(updated, counted_violations=min(max_violations, counted))


def _prior(budget: ErrorBudget, planned: float) -> float:
    """Requests in the history that is assumed at the start.

    Args:
        planned: fraction of the requests that is planned to be late.
    """
    if budget.time_s <= 0.0:
        return 0.0
    return max(PRIOR_S * budget.requests / budget.time_s, MIN_PRIOR_VIOLATIONS / planned)


def consumption(budget: ErrorBudget, allowed: float, settings: WeightSettings) -> float:
    """Counted violations divided by planned ones."""
    if budget.requests <= 0.0:
        return 1.0
    planned_fraction = settings.planned_fraction * allowed
    prior = _prior(budget, planned_fraction)
    planned = planned_fraction * (budget.requests + prior)
    unpreventable = min(budget.unpreventable, MAX_UNPREVENTABLE * planned)
    return (budget.counted_violations + unpreventable + planned_fraction * prior) / planned


def violation_weight(budget: ErrorBudget, allowed: float, settings: WeightSettings) -> float:
    """Allocations that one erlang of late requests counts for in the cost."""
    used = consumption(budget, allowed, settings)
    overspent_s = (used - 1.0) * (budget.time_s + PRIOR_S)
    overspent_s = min(MAX_OVERSPENT_S, max(MIN_OVERSPENT_S, overspent_s))
    factor = math.pow(used, settings.exponent) * math.exp(overspent_s / settings.overspending_s)
    weight = settings.initial_weight * factor
    return min(settings.max_weight, max(settings.min_weight, weight)) / allowed
