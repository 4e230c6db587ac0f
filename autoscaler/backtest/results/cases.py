"""How often each policy and setting met the SLO: on which days, with which seeds.

A case is one day with one seed, in one scenario. A day is one of several of a trace, or the part of
a trace that was simulated. In contrast to `Aggregate.meets`, the mean over seeds does not count: a
setting meets the SLO in a case, or not.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean

from autoscaler.backtest.results.comparison import ORACLE, within_budget
from autoscaler.backtest.results.rows import ResultRow
from autoscaler.core.values import Value

Case = tuple[str, int]
"""A day, by the name of its trace in the results, and a seed."""


class DayCases(Value, frozen=True, kw_only=True):
    """One policy and setting on one day, over the seeds."""

    day: str  # the name of the trace in the results
    cases: int
    met: int
    worst_violation_fraction: float
    allocation_hours: float  # mean


class SettingCases(Value, frozen=True, kw_only=True):
    """One policy and setting on some days."""

    policy: str
    setting: str
    default: bool
    cases: int
    met: int
    worst_day: str  # the one with the largest fraction of late requests with any seed
    worst_violation_fraction: float
    allocation_hours: float  # sum over the days
    days: tuple[DayCases, ...]  # in the order of the rows

    @property
    def always(self) -> bool:
        """Whether the SLO was met in every case."""
        return self.met == self.cases


def cases_of(rows: Iterable[ResultRow]) -> tuple[Case, ...]:
    """The cases of some rows, in their order."""
    return tuple(dict.fromkeys((row.trace, row.seed) for row in rows))


def infeasible_cases(rows: Sequence[ResultRow], target: float) -> frozenset[Case]:
    """The cases in which no policy met the SLO, and the oracle neither.

    Without the oracle none is known to be infeasible.

    Args:
        rows: of one scenario, whose SLO target is `target`.
    """
    alike = [row for row in rows if row.slo_target is None]
    met = {(row.trace, row.seed) for row in alike if _met(row, target)}
    tried = {(row.trace, row.seed) for row in rows if row.policy == ORACLE}
    return frozenset(tried - met)


def settings_in_cases(
    rows: Iterable[ResultRow], cases: Collection[Case], target: float
) -> tuple[SettingCases, ...]:
    """Each policy and setting that was tried in all these cases, in the order of the rows.

    A rule that states an SLO is left out, because it is judged by another SLO.

    Args:
        rows: of one scenario, whose SLO target is `target`.
    """
    counted = frozenset(cases)
    tried: dict[tuple[str, str], dict[Case, ResultRow]] = defaultdict(dict)
    for row in rows:
        if row.slo_target is None and (case := (row.trace, row.seed)) in counted:
            tried[row.policy, row.setting][case] = row
    return tuple(_setting(found, target) for found in tried.values() if len(found) == len(counted))


def _setting(found: Mapping[Case, ResultRow], target: float) -> SettingCases:
    by_day: dict[str, list[ResultRow]] = defaultdict(list)
    for row in found.values():
        by_day[row.trace].append(row)
    days = tuple(
        DayCases(
            day=day,
            cases=len(rows),
            met=sum(_met(row, target) for row in rows),
            worst_violation_fraction=max(row.violation_fraction for row in rows),
            allocation_hours=fmean(row.allocation_hours for row in rows),
        )
        for day, rows in by_day.items()
    )
    worst = max(days, key=lambda each: each.worst_violation_fraction)
    first = next(iter(found.values()))
    return SettingCases(
        policy=first.policy,
        setting=first.setting,
        default=first.default,
        cases=len(found),
        met=sum(each.met for each in days),
        worst_day=worst.day,
        worst_violation_fraction=worst.worst_violation_fraction,
        allocation_hours=sum(each.allocation_hours for each in days),
        days=days,
    )


def _met(row: ResultRow, target: float) -> bool:
    return within_budget(row.violation_fraction, target)
