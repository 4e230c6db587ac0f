"""Comparing policies at the same cost, and at the same SLO attainment.

A pair is one trace in one scenario. A policy meets the SLO on a pair if its violation fraction, the
mean over seeds, is within the error budget.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import NormalDist, fmean

from autoscaler.backtest.results.rows import ResultRow
from autoscaler.core.values import Value

SLO_TARGET = 0.99
"""The SLO target of a scenario that does not state one, which is that of the standard scenarios."""

ORACLE = "oracle"
"""The policy that knows all requests in advance.

A pair on which no policy meets the SLO, not even this one, is infeasible.
"""

RATE_ORACLE, MINUTE_RATE_ORACLE = "rate-oracle-10s", "rate-oracle-60s"
"""The policies that know the true rate of every ten seconds and of every minute in advance, but not
the requests."""

RATE_FOLLOWER = "rate-follower"
"""The policy that knows the true rate until the present poll, and how often which rate follows."""

_ROUNDING = 1e-9
"""Violation fraction that rounding may add: 1 - 0.99 is less than 0.01 in binary."""

Pair = tuple[str, str]
"""Trace and scenario."""


def within_budget(violation_fraction: float, target: float) -> bool:
    """Whether a fraction of late requests is within the error budget of an SLO target.

    >>> within_budget(0.01, 0.99)
    True
    """
    return violation_fraction <= 1.0 - target + _ROUNDING


class Mean(Value, frozen=True):
    """A mean over seeds, and half the width of its 95% confidence interval."""

    value: float
    half_width: float | None  # None: one seed has no interval


class Aggregate(Value, frozen=True, kw_only=True):
    """One policy, setting and pair, over all seeds."""

    trace: str
    scenario: str
    policy: str
    setting: str
    default: bool
    seeds: int
    requests: int  # of all seeds
    violations: Mean
    violation_fraction: Mean
    wait_p95_s: float | None  # mean; None: never served for at least one seed
    wait_p99_s: float | None
    allocation_hours: Mean
    changes_per_hour: Mean
    reversals: Mean
    slo_target: float | None = None  # of a rule that states an SLO; None: that of the scenario
    slo_wait_s: float | None = None  # likewise

    @property
    def pair(self) -> Pair:
        return self.trace, self.scenario

    def meets(self, target: float) -> bool:
        """Whether the SLO is met on the pair, with the target of a rule that states an SLO."""
        stated = target if self.slo_target is None else self.slo_target
        return within_budget(self.violation_fraction.value, stated)


class CostAtTarget(Value, frozen=True):
    """The cost of an SLO target."""

    allocation_hours: float
    beyond_sweep: bool  # the cheapest setting tried exceeds the target: it may cost less


class ViolationsAtCost(Value, frozen=True):
    """The violations at a cost."""

    fraction: float
    beyond_sweep: bool  # the costliest useful setting costs less: there may be fewer


class Frontier(Value, frozen=True):
    """One policy on one pair, over the settings tried.

    Between neighbouring efficient settings, the logarithm of the violation fraction is assumed to
    be linear in the allocation-hours.
    """

    points: tuple[Aggregate, ...]  # by cost

    @property
    def efficient(self) -> tuple[Aggregate, ...]:
        """The settings that no other one equals in cost and in violations, by rising cost."""
        best: list[Aggregate] = []
        for point in self.points:
            if not best or point.violation_fraction.value < best[-1].violation_fraction.value:
                best.append(point)
        return tuple(best)

    def cost_at(self, target: float) -> CostAtTarget | None:
        """The cost at which this SLO target is met. None: at no setting."""
        efficient = self.efficient
        reached = next((n for n, each in enumerate(efficient) if each.meets(target)), None)
        if reached is None:
            return None
        enough = efficient[reached]
        if reached == 0:
            return CostAtTarget(enough.allocation_hours.value, len(self.points) > 1)
        short = efficient[reached - 1]
        more, fewer = _logarithm(short), _logarithm(enough)
        goal = math.log(max(1.0 - target, _ROUNDING))
        weight = 1.0 if more <= fewer else min((more - goal) / (more - fewer), 1.0)
        return CostAtTarget(_between(short, enough, weight), False)

    def violations_at(self, allocation_hours: float) -> ViolationsAtCost | None:
        """The violation fraction at this cost. None: every setting costs more."""
        efficient = self.efficient
        affordable = [each for each in efficient if each.allocation_hours.value <= allocation_hours]
        if not affordable:
            return None
        here = affordable[-1]
        if len(affordable) == len(efficient):
            spare = allocation_hours > here.allocation_hours.value
            return ViolationsAtCost(here.violation_fraction.value, spare and len(self.points) > 1)
        following = efficient[len(affordable)]
        cost, next_cost = here.allocation_hours.value, following.allocation_hours.value
        if allocation_hours == cost:
            return ViolationsAtCost(here.violation_fraction.value, False)
        weight = (allocation_hours - cost) / (next_cost - cost)
        more, fewer = _logarithm(here), min(_logarithm(following), _logarithm(here))
        return ViolationsAtCost(
            min(math.exp(more + weight * (fewer - more)), here.violation_fraction.value), False
        )


def _logarithm(point: Aggregate) -> float:
    """The logarithm of the violation fraction; no violations count as half a request."""
    return math.log(max(point.violation_fraction.value, 0.5 / max(point.requests, 1)))


def _between(short: Aggregate, enough: Aggregate, weight: float) -> float:
    low, high = short.allocation_hours.value, enough.allocation_hours.value
    return low + weight * (high - low)


def student_t(degrees: int) -> float:
    """The 97.5% quantile of Student's distribution, accurate to three decimals.

    From eleven degrees of freedom, by its expansion around the normal distribution: Abramowitz
    and Stegun, Handbook of Mathematical Functions, 26.7.5.

    >>> round(student_t(4), 3), round(student_t(30), 3)
    (2.776, 2.042)
    """
    few = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
    if degrees <= len(few):
        return few[degrees - 1]
    z = NormalDist().inv_cdf(0.975)
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    third = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0
    return z + first / degrees + second / degrees**2 + third / degrees**3


def mean(figures: Sequence[float]) -> Mean:
    """The mean with its confidence interval, independent of the order of the figures.

    >>> mean([1.0, 3.0])
    Mean(value=2.0, half_width=12.706)
    """
    middle = fmean(figures)
    if len(figures) < 2:
        return Mean(middle, None)
    variance = math.fsum((each - middle) ** 2 for each in figures) / (len(figures) - 1)
    return Mean(middle, student_t(len(figures) - 1) * math.sqrt(variance / len(figures)))


def aggregates(rows: Iterable[ResultRow]) -> tuple[Aggregate, ...]:
    """One aggregate for each trace, scenario, policy and setting, in that order."""
    alike: dict[tuple[str, str, str, str], list[ResultRow]] = defaultdict(list)
    for row in rows:
        alike[row.trace, row.scenario, row.policy, row.setting].append(row)
    return tuple(_aggregate(alike[key]) for key in sorted(alike))


def _aggregate(seeds: Sequence[ResultRow]) -> Aggregate:
    first = seeds[0]
    return Aggregate(
        trace=first.trace,
        scenario=first.scenario,
        policy=first.policy,
        setting=first.setting,
        default=first.default,
        seeds=len(seeds),
        requests=sum(row.requests for row in seeds),
        violations=mean([row.violations for row in seeds]),
        violation_fraction=mean([row.violation_fraction for row in seeds]),
        wait_p95_s=_mean_wait([row.wait_p95_s for row in seeds]),
        wait_p99_s=_mean_wait([row.wait_p99_s for row in seeds]),
        allocation_hours=mean([row.allocation_hours for row in seeds]),
        changes_per_hour=mean([row.changes * 3600.0 / row.simulated_s for row in seeds]),
        reversals=mean([row.reversals for row in seeds]),
        slo_target=first.slo_target,
        slo_wait_s=first.slo_wait_s,
    )


def _mean_wait(waits: Sequence[float | None]) -> float | None:
    known = [wait for wait in waits if wait is not None]
    return fmean(known) if len(known) == len(waits) else None


def frontiers(aggregates: Iterable[Aggregate]) -> dict[tuple[str, str, str], Frontier]:
    """Frontiers by trace, scenario and policy."""
    swept: dict[tuple[str, str, str], list[Aggregate]] = defaultdict(list)
    for each in aggregates:
        swept[each.trace, each.scenario, each.policy].append(each)
    return {key: Frontier(tuple(sorted(swept[key], key=_by_cost))) for key in sorted(swept)}


def _by_cost(aggregate: Aggregate) -> tuple[float, float, str]:
    return aggregate.allocation_hours.value, aggregate.violation_fraction.value, aggregate.setting
