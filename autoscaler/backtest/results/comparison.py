"""What rows of figures say about policies: at the same cost, and at the same attainment.

A pair is one trace in one scenario. A policy holds a pair if the share of requests that miss, the
mean over seeds, is no more than the SLO allows.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import NormalDist, fmean

from autoscaler.backtest.results.rows import ResultRow
from autoscaler.core.values import Value

SLO_SHARE = 0.99
"""Of the requests that must not miss, where a scenario says nothing else."""

ORACLE = "oracle"
"""The policy that knows the future. What it cannot hold, nobody is expected to."""

_ROUNDING = 1e-9

Pair = tuple[str, str]
"""Trace and scenario."""


class Mean(Value, frozen=True):
    """A mean over seeds, and half the width of its 95 % confidence interval."""

    value: float
    half_width: float | None  # None: one seed tells nothing about the others


class Aggregate(Value, frozen=True, kw_only=True):
    """What one policy at one setting made of one pair, over all seeds."""

    trace: str
    scenario: str
    policy: str
    setting: str
    default: bool
    seeds: int
    requests: int  # of all seeds
    violations: Mean
    violation_fraction: Mean
    wait_p95_s: float | None  # mean; None: beyond all bounds for at least one seed
    wait_p99_s: float | None
    allocation_hours: Mean
    changes_per_hour: Mean
    reversals: Mean

    @property
    def pair(self) -> Pair:
        return self.trace, self.scenario

    def meets(self, share: float) -> bool:
        return self.violation_fraction.value <= 1.0 - share + _ROUNDING


class CostAtTarget(Value, frozen=True):
    """Allocation-hours for an attainment."""

    allocation_hours: float
    beyond_sweep: bool  # the cheapest setting tried is better than asked: it may cost less yet


class ViolationsAtCost(Value, frozen=True):
    """The share of misses for a cost."""

    fraction: float
    beyond_sweep: bool  # the dearest useful setting is cheaper than that: there may be fewer yet


class Frontier(Value, frozen=True):
    """What one policy can do with one pair, over the settings tried.

    Between neighbouring efficient settings the logarithm of the share of misses is taken to be
    linear in the allocation-hours.
    """

    points: tuple[Aggregate, ...]  # by cost

    @property
    def efficient(self) -> tuple[Aggregate, ...]:
        """The settings than which none is both as cheap and as good, by rising cost."""
        best: list[Aggregate] = []
        for point in self.points:
            if not best or point.violation_fraction.value < best[-1].violation_fraction.value:
                best.append(point)
        return tuple(best)

    def cost_at(self, share: float) -> CostAtTarget | None:
        """What it takes so that this share of the requests does not miss. None: never reached."""
        efficient = self.efficient
        reached = next((n for n, each in enumerate(efficient) if each.meets(share)), None)
        if reached is None:
            return None
        enough = efficient[reached]
        if reached == 0:
            return CostAtTarget(enough.allocation_hours.value, len(self.points) > 1)
        short = efficient[reached - 1]
        much, little = _logarithm(short), _logarithm(enough)
        aim = math.log(max(1.0 - share, _ROUNDING))
        way = 1.0 if much <= little else min((much - aim) / (much - little), 1.0)
        return CostAtTarget(_between(short, enough, way), False)

    def violations_at(self, allocation_hours: float) -> ViolationsAtCost | None:
        """The share of misses at this cost. None: the cheapest setting takes more."""
        efficient = self.efficient
        afforded = [each for each in efficient if each.allocation_hours.value <= allocation_hours]
        if not afforded:
            return None
        here = afforded[-1]
        if len(afforded) == len(efficient):
            spare = allocation_hours > here.allocation_hours.value
            return ViolationsAtCost(here.violation_fraction.value, spare and len(self.points) > 1)
        following = efficient[len(afforded)]
        cost, dearer = here.allocation_hours.value, following.allocation_hours.value
        if allocation_hours == cost:
            return ViolationsAtCost(here.violation_fraction.value, False)
        way = (allocation_hours - cost) / (dearer - cost)
        much, little = _logarithm(here), min(_logarithm(following), _logarithm(here))
        return ViolationsAtCost(
            min(math.exp(much + way * (little - much)), here.violation_fraction.value), False
        )


def _logarithm(point: Aggregate) -> float:
    """Of the share of misses. None at all counts as half a request, which has a logarithm."""
    return math.log(max(point.violation_fraction.value, 0.5 / max(point.requests, 1)))


def _between(short: Aggregate, enough: Aggregate, way: float) -> float:
    cheap, dear = short.allocation_hours.value, enough.allocation_hours.value
    return cheap + way * (dear - cheap)


def student_t(degrees: int) -> float:
    """The 97.5 % quantile of Student's distribution, good to three decimals.

    From eleven degrees of freedom on by its expansion around the normal distribution: Abramowitz
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
    """The mean and how far to trust it. The order of the figures is of no influence.

    >>> mean([1.0, 3.0])
    Mean(value=2.0, half_width=12.706)
    """
    middle = fmean(figures)
    if len(figures) < 2:
        return Mean(middle, None)
    variance = math.fsum((each - middle) ** 2 for each in figures) / (len(figures) - 1)
    return Mean(middle, student_t(len(figures) - 1) * math.sqrt(variance / len(figures)))


def aggregates(rows: Iterable[ResultRow]) -> tuple[Aggregate, ...]:
    """One for each trace, scenario, policy and setting, in that order."""
    alike: dict[tuple[str, str, str, str], list[ResultRow]] = defaultdict(list)
    for row in rows:
        alike[row.trace, row.scenario, row.policy, row.setting].append(row)
    return tuple(_aggregate(alike[key]) for key in sorted(alike))


def _aggregate(seeds: Sequence[ResultRow]) -> Aggregate:
    any_of_them = seeds[0]
    return Aggregate(
        trace=any_of_them.trace,
        scenario=any_of_them.scenario,
        policy=any_of_them.policy,
        setting=any_of_them.setting,
        default=any_of_them.default,
        seeds=len(seeds),
        requests=sum(row.requests for row in seeds),
        violations=mean([row.violations for row in seeds]),
        violation_fraction=mean([row.violation_fraction for row in seeds]),
        wait_p95_s=_mean_wait([row.wait_p95_s for row in seeds]),
        wait_p99_s=_mean_wait([row.wait_p99_s for row in seeds]),
        allocation_hours=mean([row.allocation_hours for row in seeds]),
        changes_per_hour=mean([row.changes * 3600.0 / row.simulated_s for row in seeds]),
        reversals=mean([row.reversals for row in seeds]),
    )


def _mean_wait(waits: Sequence[float | None]) -> float | None:
    known = [wait for wait in waits if wait is not None]
    return fmean(known) if len(known) == len(waits) else None


def frontiers(aggregates: Iterable[Aggregate]) -> dict[tuple[str, str, str], Frontier]:
    """By trace, scenario and policy."""
    swept: dict[tuple[str, str, str], list[Aggregate]] = defaultdict(list)
    for each in aggregates:
        swept[each.trace, each.scenario, each.policy].append(each)
    return {key: Frontier(tuple(sorted(swept[key], key=_by_cost))) for key in sorted(swept)}


def _by_cost(aggregate: Aggregate) -> tuple[float, float, str]:
    return aggregate.allocation_hours.value, aggregate.violation_fraction.value, aggregate.setting
