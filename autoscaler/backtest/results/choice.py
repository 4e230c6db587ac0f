"""The cheapest policy and setting that met the SLO on all days, and how much that shows.

    rows of a scenario -> SettingCases of each setting -> Choice: the cheapest one that met the SLO
    in every case; the default, for comparison; and a check on days that the choice did not know

The choice is made with the days known, so the days cannot show how good it is. The check repeats it
without one day at a time, and counts how often its result met the SLO on the day left out
(leave-one-out cross-validation; Stone, J. R. Stat. Soc. B 36, 1974). Where there is one day only,
seeds take the place of days.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from autoscaler.backtest.results.cases import (
    Case,
    SettingCases,
    cases_of,
    infeasible_cases,
    settings_in_cases,
)
from autoscaler.backtest.results.comparison import SLO_TARGET
from autoscaler.backtest.results.rows import ResultRow
from autoscaler.core.values import Value

DEFAULT_POLICY = "slo"
"""The policy with which the cheapest one is compared, at its default setting."""

CONFIDENCE = 0.95

Usable = Mapping[str, Mapping[tuple[str, str], str]]
"""How to configure each policy and setting that an operator can use, by scenario."""


class LeftOut(Value, frozen=True, kw_only=True):
    """The choice, repeated without one day, or without one seed, at a time."""

    seeds: bool  # whether seeds were left out, because there is one day
    repetitions: int
    met: int  # the SLO was met in all cases left out, by the setting chosen without them
    met_by_default: int | None  # by the default; None: it was not tried


class Choice(Value, frozen=True, kw_only=True):
    """What some days show about the settings that an operator can use."""

    scenario: str
    load: str | None  # the trace, of one or several days; None: all traces together
    divided: bool  # whether there are days of a longer trace
    days: int
    seeds: int
    infeasible: tuple[Case, ...]  # not counted: not even the oracle met the SLO
    settings: tuple[SettingCases, ...]  # that can be used; by rising cost
    cheapest: SettingCases | None  # that met the SLO in every case; None: none did
    default: SettingCases | None  # `slo` at its default setting; None: it was not tried
    left_out: LeftOut | None  # None: there is one case only
    configuration: str  # of the cheapest one; empty: there is none


def choices(
    rows: Sequence[ResultRow], usable: Usable, *, targets: Mapping[str, float] | None = None
) -> tuple[Choice, ...]:
    """The choice for each trace and scenario, and for all traces of a scenario together.

    Args:
        usable: the settings to choose from. There is no choice where none of them was run.
        targets: SLO targets by scenario; `SLO_TARGET` for those absent.
    """
    return tuple(
        choice
        for scenario in dict.fromkeys(row.scenario for row in rows)
        for choice in _in_scenario(
            [row for row in rows if row.scenario == scenario],
            usable.get(scenario, {}),
            (targets or {}).get(scenario, SLO_TARGET),
        )
    )


def without_choice(
    rows: Sequence[ResultRow], *, targets: Mapping[str, float] | None = None
) -> tuple[tuple[str, str], ...]:
    """The traces and scenarios that no setting can be chosen for, because not even the oracle met
    the SLO in any case."""
    by_pair: dict[tuple[str, str], list[ResultRow]] = {}
    for row in rows:
        by_pair.setdefault((row.load, row.scenario), []).append(row)
    return tuple(
        (load, scenario)
        for (load, scenario), found in by_pair.items()
        if infeasible_cases(found, (targets or {}).get(scenario, SLO_TARGET)).issuperset(
            cases_of(found)
        )
    )


def _in_scenario(
    rows: Sequence[ResultRow], usable: Mapping[tuple[str, str], str], target: float
) -> Iterator[Choice]:
    loads = list(dict.fromkeys(row.load for row in rows))
    for load in [*([None] if len(loads) > 1 else []), *loads]:
        chosen = [row for row in rows if load in (None, row.load)]
        if (choice := _choice(chosen, load, usable, target)) is not None:
            yield choice


def _choice(
    rows: Sequence[ResultRow],
    load: str | None,
    usable: Mapping[tuple[str, str], str],
    target: float,
) -> Choice | None:
    candidates = [row for row in rows if (row.policy, row.setting) in usable]
    infeasible = infeasible_cases(rows, target)
    cases = [case for case in cases_of(candidates) if case not in infeasible]
    settings = settings_in_cases(candidates, cases, target)
    if not settings:
        return None
    everywhere = {(each.policy, each.setting) for each in settings}
    candidates = [row for row in candidates if (row.policy, row.setting) in everywhere]
    cheapest = _cheapest(settings)
    return Choice(
        scenario=rows[0].scenario,
        load=load,
        divided=any(row.recording is not None for row in rows),
        days=len({day for day, _ in cases}),
        seeds=len({seed for _, seed in cases}),
        infeasible=tuple(sorted(infeasible)),
        settings=tuple(sorted(settings, key=_by_cost)),
        cheapest=cheapest,
        default=_default(settings),
        left_out=_left_out(candidates, cases, target),
        configuration="" if cheapest is None else usable[cheapest.policy, cheapest.setting],
    )


def _by_cost(setting: SettingCases) -> tuple[float, float, str, str]:
    rank = setting.allocation_hours, setting.worst_violation_fraction
    return *rank, setting.policy, setting.setting


def _cheapest(settings: Iterable[SettingCases]) -> SettingCases | None:
    return min((each for each in settings if each.always), key=_by_cost, default=None)


def _default(settings: Iterable[SettingCases]) -> SettingCases | None:
    return next((each for each in settings if each.policy == DEFAULT_POLICY and each.default), None)


def _left_out(rows: Sequence[ResultRow], cases: Sequence[Case], target: float) -> LeftOut | None:
    """The check, with settings that were tried in all cases.

    Where no setting meets the SLO in all other cases, the one that does so most often is chosen.
    """
    by_seed = len({day for day, _ in cases}) == 1
    by_part: dict[str | int, list[Case]] = defaultdict(list)
    for day, seed in cases:
        by_part[seed if by_seed else day].append((day, seed))
    rows_by_part: dict[str | int, list[ResultRow]] = defaultdict(list)
    for row in rows:
        rows_by_part[row.seed if by_seed else row.trace].append(row)
    parts = [settings_in_cases(rows_by_part[part], some, target) for part, some in by_part.items()]
    if len(parts) < 2:
        return None
    found = [_chosen_without(part, parts) for part in parts]
    defaults = [default for part in parts if (default := _default(part)) is not None]
    return LeftOut(
        seeds=by_seed,
        repetitions=len(parts),
        met=sum(each.always for each in found),
        met_by_default=sum(each.always for each in defaults) if defaults else None,
    )


def _chosen_without(
    left_out: Sequence[SettingCases], parts: Iterable[Sequence[SettingCases]]
) -> SettingCases:
    """The setting that the other parts choose, in the part that is left out."""
    others: dict[tuple[str, str], list[SettingCases]] = defaultdict(list)
    for part in parts:
        if part is not left_out:
            for each in part:
                others[each.policy, each.setting].append(each)

    def rank(setting: SettingCases) -> tuple[int, float, str, str]:
        elsewhere = others[setting.policy, setting.setting]
        hours = sum(each.allocation_hours for each in elsewhere)
        return -sum(each.met for each in elsewhere), hours, setting.policy, setting.setting

    return min(left_out, key=rank)


def probability_of_no_miss(miss_fraction: float, days: int) -> float:
    """How probable it is that a setting which misses the SLO on this fraction of days meets it on
    all of so many independent days.

    >>> round(probability_of_no_miss(0.1, 3), 2)
    0.73
    """
    return math.pow(1.0 - miss_fraction, days)


def miss_fraction_not_excluded(days: int) -> float:
    """The fraction of days on which a setting may miss the SLO although it met it on all of so many
    independent days: the upper end of the one-sided 95% confidence interval (Clopper and Pearson,
    Biometrika 26, 1934, for no failure).

    >>> round(miss_fraction_not_excluded(3), 2)
    0.63
    """
    return 1.0 - math.pow(1.0 - CONFIDENCE, 1.0 / days)


def days_to_exclude(miss_fraction: float) -> int:
    """The days without a miss that exclude, at 95% confidence, a setting which misses the SLO on
    this fraction of days.

    >>> days_to_exclude(0.1)
    29
    """
    return math.ceil(math.log(1.0 - CONFIDENCE) / math.log(1.0 - miss_fraction))
