"""What policies did over many pairs: as shipped, at equal attainment, and at equal cost.

The clairvoyant says which pairs count: what it cannot hold, nobody is expected to.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import fmean

from autoscaler.backtest.results.comparison import (
    ORACLE,
    SLO_SHARE,
    Aggregate,
    Frontier,
    Mean,
    Pair,
    aggregates,
    frontiers,
    mean,
)
from autoscaler.backtest.results.rows import ResultRow
from autoscaler.core.values import Value


class Ratio(Value, frozen=True):
    """Geometric mean over pairs of one policy's figures relative to those of a reference."""

    value: float
    pairs: int  # for which both have such a figure


class PolicySummary(Value, frozen=True, kw_only=True):
    """How one policy did over many pairs."""

    policy: str
    pairs: int  # it was tried on, those that nobody can hold aside
    met_by_default: int | None  # None: not tried at its default setting
    best_setting: str  # the one that holds most pairs, of those the cheapest
    met_by_best: int
    relative_cost: Mapping[str, Ratio]  # at equal attainment, by reference; absent: no common pair


class Summary(Value, frozen=True, kw_only=True):
    policies: tuple[PolicySummary, ...]  # by name
    infeasible: tuple[Pair, ...]  # not even the clairvoyant holds them, nor does anybody else


class DefaultSummary(Value, frozen=True, kw_only=True):
    """What one policy at its default setting made of some pairs. Means over seeds."""

    policy: str
    pairs: int
    met: int
    worst_violation_fraction: float  # of any pair
    violation_fraction: Mean  # of the requests of all pairs
    relative_hours: Mean | None  # geometric mean over pairs, to the clairvoyant's; None: unknown
    changes_per_hour: Mean
    reversals_per_day: Mean


class EqualCostSummary(Value, frozen=True, kw_only=True):
    """How many requests one policy misses with the allocation-hours of a reference."""

    policy: str
    relative_violations: Ratio | None  # None: on every pair, it takes more at every setting
    more: int  # pairs with more misses than the reference's
    beyond_sweep: int  # pairs with hours to spare at the dearest setting: it may miss fewer yet


def summarise(
    aggregates: Sequence[Aggregate],
    *,
    references: Sequence[str] = (ORACLE, "slo"),
    shares: Mapping[str, float] | None = None,
) -> Summary:
    """How each policy did over all pairs.

    Args:
        references: the policies whose costs the others' are compared with.
        shares: by scenario, the share of requests that must not miss; `SLO_SHARE` if not named.
    """
    asked = {each.scenario: (shares or {}).get(each.scenario, SLO_SHARE) for each in aggregates}
    met = {each.pair for each in aggregates if each.meets(asked[each.scenario])}
    infeasible = {each.pair for each in aggregates if each.policy == ORACLE} - met
    costs: dict[str, dict[Pair, float]] = defaultdict(dict)
    for (trace, scenario, policy), frontier in frontiers(aggregates).items():
        if cost := frontier.cost_at(asked[scenario]):
            costs[policy][trace, scenario] = cost.allocation_hours
    by_policy: dict[str, list[Aggregate]] = defaultdict(list)
    for each in aggregates:
        if each.pair not in infeasible:
            by_policy[each.policy].append(each)
    return Summary(
        policies=tuple(
            _summary(by_policy[policy], asked, _ratios(costs[policy], costs, references))
            for policy in sorted(by_policy)
        ),
        infeasible=tuple(sorted(infeasible)),
    )


def _summary(
    tried: Sequence[Aggregate], asked: Mapping[str, float], relative_cost: Mapping[str, Ratio]
) -> PolicySummary:
    by_setting: dict[str, list[Aggregate]] = defaultdict(list)
    for each in tried:
        by_setting[each.setting].append(each)

    def met(some: Iterable[Aggregate]) -> int:
        return sum(each.meets(asked[each.scenario]) for each in some)

    def merit(setting: str) -> tuple[int, float, str]:
        hours = [each.allocation_hours.value for each in by_setting[setting]]
        return -met(by_setting[setting]), _geometric_mean(hours), setting

    best = min(by_setting, key=merit)
    by_default = [each for each in tried if each.default]
    return PolicySummary(
        policy=tried[0].policy,
        pairs=len({each.pair for each in tried}),
        met_by_default=met(by_default) if by_default else None,
        best_setting=best,
        met_by_best=met(by_setting[best]),
        relative_cost=relative_cost,
    )


def _ratios(
    own: Mapping[Pair, float], costs: Mapping[str, Mapping[Pair, float]], references: Iterable[str]
) -> dict[str, Ratio]:
    ratios = {}
    for reference in references:
        theirs = costs.get(reference, {})
        common = [own[pair] / theirs[pair] for pair in sorted(own) if theirs.get(pair)]
        if common:
            ratios[reference] = Ratio(_geometric_mean(common), len(common))
    return ratios


def _geometric_mean(figures: Sequence[float]) -> float:
    """Nothing held at all costs nothing, on any mean."""
    return math.exp(fmean(map(math.log, figures))) if all(figures) else 0.0


def as_shipped(
    rows: Iterable[ResultRow], pairs: Collection[Pair], *, shares: Mapping[str, float] | None = None
) -> tuple[DefaultSummary, ...]:
    """How each policy does on these pairs at its default setting, by name.

    Args:
        shares: by scenario, the share of requests that must not miss; `SLO_SHARE` if not named.
    """
    by_policy: dict[str, list[ResultRow]] = defaultdict(list)
    for row in rows:
        if row.default and (row.trace, row.scenario) in pairs:
            by_policy[row.policy].append(row)
    least = {_workload(row): row.allocation_hours for row in by_policy[ORACLE]}
    return tuple(
        _as_shipped(policy, by_policy[policy], least, shares or {})
        for policy in sorted(by_policy)
        if by_policy[policy]
    )


def _workload(row: ResultRow) -> tuple[str, str, int]:
    return row.trace, row.scenario, row.seed


def _as_shipped(
    policy: str,
    rows: Sequence[ResultRow],
    least: Mapping[tuple[str, str, int], float],
    shares: Mapping[str, float],
) -> DefaultSummary:
    by_pair = aggregates(rows)
    compared = [row for row in rows if least.get(_workload(row))]

    def relative_hours(some: Sequence[ResultRow]) -> float:
        return _geometric_mean([row.allocation_hours / least[_workload(row)] for row in some])

    return DefaultSummary(
        policy=policy,
        pairs=len(by_pair),
        met=sum(each.meets(shares.get(each.scenario, SLO_SHARE)) for each in by_pair),
        worst_violation_fraction=max(each.violation_fraction.value for each in by_pair),
        violation_fraction=_over_seeds(rows, _violation_fraction),
        relative_hours=_over_seeds(compared, relative_hours) if compared else None,
        changes_per_hour=_over_seeds(rows, _changes_per_hour),
        reversals_per_day=_over_seeds(rows, _reversals_per_day),
    )


def _over_seeds(rows: Iterable[ResultRow], figure: Callable[[Sequence[ResultRow]], float]) -> Mean:
    """The mean of a figure that all rows of a seed give together."""
    by_seed: dict[int, list[ResultRow]] = defaultdict(list)
    for row in rows:
        by_seed[row.seed].append(row)
    return mean([figure(by_seed[seed]) for seed in sorted(by_seed)])


def _violation_fraction(rows: Sequence[ResultRow]) -> float:
    return sum(row.violations for row in rows) / max(sum(row.requests for row in rows), 1)


def _changes_per_hour(rows: Sequence[ResultRow]) -> float:
    return fmean(row.changes * 3600.0 / row.simulated_s for row in rows)


def _reversals_per_day(rows: Sequence[ResultRow]) -> float:
    return fmean(row.reversals * 86_400.0 / row.simulated_s for row in rows)


def at_cost_of(reference: str, aggregates: Iterable[Aggregate]) -> tuple[EqualCostSummary, ...]:
    """What each policy misses with the hours that the reference takes as shipped, by name.

    None at all counts as half a request, so that there is a ratio. Pairs on which a policy takes
    more than those hours at every setting do not count.
    """
    found = frontiers(aggregates)
    theirs = {
        (trace, scenario): point
        for (trace, scenario, policy), frontier in found.items()
        if policy == reference
        for point in frontier.points
        if point.default
    }
    by_policy: dict[str, list[tuple[float, bool]]] = {policy: [] for *_, policy in found}
    for (trace, scenario, policy), frontier in found.items():
        given = theirs.get((trace, scenario))
        if given is not None and (compared := _violations_beside(frontier, given)) is not None:
            by_policy[policy].append(compared)
    return tuple(_at_cost(policy, by_policy[policy]) for policy in sorted(by_policy))


def _at_cost(policy: str, compared: Sequence[tuple[float, bool]]) -> EqualCostSummary:
    ratios = [ratio for ratio, _ in compared]
    return EqualCostSummary(
        policy=policy,
        relative_violations=Ratio(_geometric_mean(ratios), len(ratios)) if ratios else None,
        more=sum(ratio > 1.0 for ratio in ratios),
        beyond_sweep=sum(beyond for _, beyond in compared),
    )


def _violations_beside(frontier: Frontier, given: Aggregate) -> tuple[float, bool] | None:
    """Misses relative to those of the standing at its cost, and whether there may be fewer yet."""
    violations = frontier.violations_at(given.allocation_hours.value)
    if violations is None:
        return None
    least = 0.5 / max(given.requests, 1)
    ratio = max(violations.fraction, least) / max(given.violation_fraction.value, least)
    return ratio, violations.beyond_sweep
