"""Policies over many pairs: with default settings, at equal attainment, and at equal cost.

Infeasible pairs, on which not even the oracle meets the SLO, are not counted.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import fmean

from autoscaler.backtest.results.comparison import (
    ORACLE,
    SLO_TARGET,
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
    """Geometric mean over pairs of a policy's value divided by that of a reference."""

    value: float
    pairs: int  # on which both have a value


class PolicySummary(Value, frozen=True, kw_only=True):
    """One policy over many pairs."""

    policy: str
    pairs: int  # feasible ones on which it was tried
    met_by_default: int | None  # None: not tried at its default setting
    best_setting: str  # meets the SLO on most pairs; of equal ones, the cheapest
    met_by_best: int
    relative_cost: Mapping[str, Ratio]  # at equal attainment, by reference; absent: no common pair


class Summary(Value, frozen=True, kw_only=True):
    """All policies over many pairs."""

    policies: tuple[PolicySummary, ...]  # by name
    infeasible: tuple[Pair, ...]  # no policy meets the SLO on them, including the oracle


class DefaultSummary(Value, frozen=True, kw_only=True):
    """One policy at its default setting over some pairs. Means over seeds."""

    policy: str
    pairs: int
    met: int
    worst_violation_fraction: float  # of any pair
    violation_fraction: Mean  # of the requests of all pairs
    # Of the oracle's mean over its seeds, geometric mean over pairs; None: unknown.
    relative_hours: Mean | None
    changes_per_hour: Mean
    reversals_per_day: Mean


class EqualCostSummary(Value, frozen=True, kw_only=True):
    """The violations of one policy at the allocation-hours of a reference."""

    policy: str
    relative_violations: Ratio | None  # None: every setting costs more, on every pair
    more: int  # pairs with more violations than the reference
    beyond_sweep: int  # pairs with hours to spare at the costliest setting: there may be fewer


def summarise(
    aggregates: Sequence[Aggregate],
    *,
    references: Sequence[str] = (ORACLE, "slo"),
    targets: Mapping[str, float] | None = None,
) -> Summary:
    """Summarise each policy over all pairs.

    Args:
        references: the policies with whose costs the others are compared.
        targets: SLO targets by scenario; `SLO_TARGET` for those absent.
    """
    target = {each.scenario: (targets or {}).get(each.scenario, SLO_TARGET) for each in aggregates}
    # The rows of a rule with its own SLO show nothing about the scenario's.
    alike = [each for each in aggregates if each.slo_target is None]
    met = {each.pair for each in alike if each.meets(target[each.scenario])}
    infeasible = {each.pair for each in aggregates if each.policy == ORACLE} - met
    costs: dict[str, dict[Pair, float]] = defaultdict(dict)
    for (trace, scenario, policy), frontier in frontiers(alike).items():
        if cost := frontier.cost_at(target[scenario]):
            costs[policy][trace, scenario] = cost.allocation_hours
    by_policy: dict[str, list[Aggregate]] = defaultdict(list)
    for each in aggregates:
        if each.pair not in infeasible:
            by_policy[each.policy].append(each)
    return Summary(
        policies=tuple(
            _summary(by_policy[policy], target, _ratios(costs[policy], costs, references))
            for policy in sorted(by_policy)
        ),
        infeasible=tuple(sorted(infeasible)),
    )


def _summary(
    tried: Sequence[Aggregate], target: Mapping[str, float], relative_cost: Mapping[str, Ratio]
) -> PolicySummary:
    by_setting: dict[str, list[Aggregate]] = defaultdict(list)
    for each in tried:
        by_setting[each.setting].append(each)

    def met(some: Iterable[Aggregate]) -> int:
        return sum(each.meets(target[each.scenario]) for each in some)

    def rank(setting: str) -> tuple[int, float, str]:
        hours = [each.allocation_hours.value for each in by_setting[setting]]
        return -met(by_setting[setting]), _geometric_mean(hours), setting

    best = min(by_setting, key=rank)
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
    """0 if any value is 0."""
    return math.exp(fmean(map(math.log, figures))) if all(figures) else 0.0


def default_summaries(
    rows: Iterable[ResultRow],
    pairs: Collection[Pair],
    *,
    targets: Mapping[str, float] | None = None,
) -> tuple[DefaultSummary, ...]:
    """Each policy at its default setting on these pairs, by name.

    Args:
        targets: SLO targets by scenario; `SLO_TARGET` for those absent.
    """
    by_policy: dict[str, list[ResultRow]] = defaultdict(list)
    for row in rows:
        if row.default and (row.trace, row.scenario) in pairs:
            by_policy[row.policy].append(row)
    lowest = {each.pair: each.allocation_hours.value for each in aggregates(by_policy[ORACLE])}
    return tuple(
        _default_summary(policy, by_policy[policy], lowest, targets or {})
        for policy in sorted(by_policy)
        if by_policy[policy]
    )


def _pair(row: ResultRow) -> Pair:
    return row.trace, row.scenario


def _default_summary(
    policy: str,
    rows: Sequence[ResultRow],
    lowest: Mapping[Pair, float],
    targets: Mapping[str, float],
) -> DefaultSummary:
    by_pair = aggregates(rows)
    compared = [row for row in rows if lowest.get(_pair(row))]

    def relative_hours(some: Sequence[ResultRow]) -> float:
        return _geometric_mean([row.allocation_hours / lowest[_pair(row)] for row in some])

    return DefaultSummary(
        policy=policy,
        pairs=len(by_pair),
        met=sum(each.meets(targets.get(each.scenario, SLO_TARGET)) for each in by_pair),
        worst_violation_fraction=max(each.violation_fraction.value for each in by_pair),
        violation_fraction=_over_seeds(rows, _violation_fraction),
        relative_hours=_over_seeds(compared, relative_hours) if compared else None,
        changes_per_hour=_over_seeds(rows, _changes_per_hour),
        reversals_per_day=_over_seeds(rows, _reversals_per_day),
    )


def _over_seeds(rows: Iterable[ResultRow], figure: Callable[[Sequence[ResultRow]], float]) -> Mean:
    """The mean over seeds of a figure computed from all rows of a seed."""
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


def equal_cost_summaries(
    reference: str, aggregates: Iterable[Aggregate]
) -> tuple[EqualCostSummary, ...]:
    """The violations of each policy at the cost of the reference with default settings, by name.

    No violations count as half a request, so that there is a ratio. Pairs on which every setting of
    a policy costs more are not counted.
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
        if given is not None and (compared := _violations_ratio(frontier, given)) is not None:
            by_policy[policy].append(compared)
    return tuple(_equal_cost_summary(policy, by_policy[policy]) for policy in sorted(by_policy))


def _equal_cost_summary(policy: str, compared: Sequence[tuple[float, bool]]) -> EqualCostSummary:
    ratios = [ratio for ratio, _ in compared]
    return EqualCostSummary(
        policy=policy,
        relative_violations=Ratio(_geometric_mean(ratios), len(ratios)) if ratios else None,
        more=sum(ratio > 1.0 for ratio in ratios),
        beyond_sweep=sum(beyond for _, beyond in compared),
    )


def _violations_ratio(frontier: Frontier, given: Aggregate) -> tuple[float, bool] | None:
    """The ratio of violations at the cost of an aggregate, and whether there may be fewer."""
    violations = frontier.violations_at(given.allocation_hours.value)
    if violations is None:
        return None
    minimum = 0.5 / max(given.requests, 1)
    ratio = max(violations.fraction, minimum) / max(given.violation_fraction.value, minimum)
    return ratio, violations.beyond_sweep
