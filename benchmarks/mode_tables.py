"""What trying both levers says, in Markdown: as shipped, and at equal cost."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.results.comparison import (
    SLO_SHARE,
    Aggregate,
    Frontier,
    Pair,
    aggregates,
    frontiers,
)
from autoscaler.backtest.results.rows import ResultRow
from benchmarks.markdown import figure, table, wrapped

DIRECT, BOUNDS = "slo", "slo-bounds"
NATIVE, OLD_NATIVE = "adaptive-9", "adaptive-8.16"
THRESHOLDS, MINIMUM = "adaptive-9, other thresholds", "adaptive-9, fixed minimum"

SEASONAL = ("diurnal_smooth", "diurnal_bursty", "m_large_diurnal", "jul95", "nyc_taxi")
"""Parts of the names of traces that follow the time of day."""

AS_SHIPPED = """
*Held* are pairs with {share:g} % of the requests in time; *out of SLO* is the share of all requests
of these pairs that waited too long, were refused or timed out; *hours* are allocation-hours as a
multiple of {native}'s, the geometric mean over pairs; *changes* are those of the number, whoever
made them, *updates* the calls of `_update` from outside. What is not as shipped has its setting.
"""

EQUAL_COST = """
For each promise that moving the bounds is told: the misses that {native} alone has for the same
allocation-hours, as a multiple of those with moving bounds, the geometric mean over pairs, where no
miss at all counts as half a request. The cost of {native} is raised by other thresholds, which no
version can be told, or by a fixed minimum; between settings the logarithm of the misses is taken to
be linear in the hours. A pair is left out where no setting of {native} is dear enough. *Worse* are
pairs on which moving the bounds misses more, *least* the smallest multiple.
"""

AT_COST = """
The other way round: the misses of somebody as shipped, as a multiple of those that moving the
bounds has for the same hours, over all promises. Pairs are left out where the least promise takes
more hours already; a minimum that moves only adds to what {native} would have alone.
"""


class Run(Struct, frozen=True, kw_only=True):
    """What somebody made of a demand."""

    row: ResultRow
    updates: int  # calls of `_update` from outside


Advantages = Mapping[Pair, float]
"""On each pair, misses of the others as a multiple of ours, at equal cost."""


def told(runs: Sequence[Run]) -> str:
    """All there is to say."""
    found = aggregates(_with_the_shipped_end(each.row for each in runs))
    swept = frontiers(found)
    pairs = {each.pair for each in found}
    seasonal = {pair for pair in pairs if is_seasonal(pair[0])}
    with_season = [each for each in runs if is_seasonal(each.row.trace)]
    seeds = len({each.row.seed for each in runs})
    promises = dict.fromkeys(each.row.setting for each in runs if each.row.policy == BOUNDS)
    beside = {
        (rival, setting): advantages(swept, rival, found, setting)
        for rival in (THRESHOLDS, MINIMUM)
        for setting in promises
    }
    at_cost = {name: advantages_at_cost_of(name, swept, found) for name in (NATIVE, DIRECT)}
    return "\n\n".join(
        [
            f"{len(pairs)} pairs, {len(seasonal)} of them with a season; seeds: {seeds}.",
            wrapped(AS_SHIPPED.format(share=100 * SLO_SHARE, native=NATIVE)),
            _shipped_table("all pairs", runs),
            *([_shipped_table("with a season", with_season)] if with_season else []),
            wrapped(EQUAL_COST.format(native=NATIVE)),
            _advantage_table({f"{rival}|{share}": own for (rival, share), own in beside.items()}),
            wrapped(AT_COST.format(native=NATIVE)),
            _advantage_table({f"{name}, as shipped|any": own for name, own in at_cost.items()}),
            *_worse(beside),
        ]
    )


def is_seasonal(trace: str) -> bool:
    return any(part in trace for part in SEASONAL)


def _with_the_shipped_end(rows: Iterable[ResultRow]) -> list[ResultRow]:
    """The rows, and the scaler as shipped as one more setting of each way to make it dearer."""
    given = list(rows)
    return given + [
        replace(row, policy=rival, setting="as shipped")
        for row in given
        if row.policy == NATIVE
        for rival in (THRESHOLDS, MINIMUM)
    ]


def advantages(
    swept: Mapping[tuple[str, str, str], Frontier],
    rival: str,
    found: Iterable[Aggregate],
    setting: str,
) -> Advantages:
    """What moving the bounds at one setting saves, on the pairs where the rival costs as much."""
    ratios = {}
    for ours in found:
        if (ours.policy, ours.setting) != (BOUNDS, setting):
            continue
        frontier, hours = swept[*ours.pair, rival], ours.allocation_hours.value
        theirs = frontier.violations_at(hours)
        if theirs is not None and hours <= frontier.points[-1].allocation_hours.value:
            ratios[ours.pair] = _ratio(
                theirs.fraction, ours.violation_fraction.value, ours.requests
            )
    return ratios


def advantages_at_cost_of(
    name: str, swept: Mapping[tuple[str, str, str], Frontier], found: Iterable[Aggregate]
) -> Advantages:
    """What moving the bounds saves at somebody's cost as shipped, where it can be so cheap."""
    ratios = {}
    for theirs in found:
        if theirs.policy == name:
            ours = swept[*theirs.pair, BOUNDS].violations_at(theirs.allocation_hours.value)
            if ours is not None:
                fraction = theirs.violation_fraction.value
                ratios[theirs.pair] = _ratio(fraction, ours.fraction, theirs.requests)
    return ratios


def _ratio(theirs: float, ours: float, requests: int) -> float:
    least = 0.5 / max(requests, 1)
    return max(theirs, least) / max(ours, least)


def _shipped_table(title: str, runs: Sequence[Run]) -> str:
    by_name: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.row.policy not in (THRESHOLDS, MINIMUM):
            by_name[run.row.policy, "" if run.row.default else run.row.setting].append(run)
    native = {_demand(run): run.row.allocation_hours for run in by_name[NATIVE, ""]}

    def line(name: tuple[str, str]) -> list[str]:
        own = by_name[name]
        missed = sum(run.row.violations for run in own) / sum(run.row.requests for run in own)
        hours = [run.row.allocation_hours / native[_demand(run)] for run in own]
        by_pair = aggregates(run.row for run in own)
        return [
            " ".join(part for part in name if part),
            f"{sum(each.meets(SLO_SHARE) for each in by_pair)} of {len(by_pair)}",
            f"{100.0 * missed:.2f}",
            f"{_geometric_mean(hours):.2f}",
            f"{fmean(run.row.changes * 3600.0 / run.row.simulated_s for run in own):.1f}",
            f"{fmean(run.updates * 3600.0 / run.row.simulated_s for run in own):.1f}",
        ]

    headings = [title, "held", "out of SLO, %", "hours", "changes/h", "updates/h"]
    return table(headings, [line(name) for name in by_name])


def _demand(run: Run) -> tuple[str, str, int]:
    return run.row.trace, run.row.scenario, run.row.seed


def _advantage_table(rows: Mapping[str, Advantages]) -> str:
    headings = ["beside", "bounds, told", "pairs", "worse", "times fewer", "least"]
    headings += ["seasonal pairs", "worse", "times fewer", "least"]
    return table(
        headings,
        [
            [
                *name.split("|"),
                *_figures(list(own.values())),
                *_figures([ratio for pair, ratio in own.items() if is_seasonal(pair[0])]),
            ]
            for name, own in rows.items()
        ],
        left=2,
    )


def _figures(ratios: Sequence[float]) -> list[str]:
    if not ratios:
        return ["0", "-", "-", "-"]
    worse = sum(ratio < 1.0 for ratio in ratios)
    return [str(len(ratios)), str(worse), figure(_geometric_mean(ratios)), figure(min(ratios))]


def _worse(beside: Mapping[tuple[str, str], Advantages]) -> list[str]:
    """A line for each pair and rival, with the promise at which it is worst."""
    worst: dict[tuple[Pair, str], tuple[float, str]] = {}
    for (rival, setting), own in beside.items():
        for pair, ratio in own.items():
            if ratio < 1.0:
                key = pair, rival
                worst[key] = min(worst.get(key, (ratio, setting)), (ratio, setting))
    if not worst:
        return []
    lines = [
        [*pair, rival, setting, figure(ratio)]
        for (pair, rival), (ratio, setting) in sorted(worst.items())
    ]
    headings = ["trace", "scenario", "beside", "bounds, told", "times fewer"]
    return ["Where moving the bounds is worse, at its worst:", table(headings, lines, left=4)]


def _geometric_mean(figures: Sequence[float]) -> float:
    return math.exp(fmean(map(math.log, figures)))
