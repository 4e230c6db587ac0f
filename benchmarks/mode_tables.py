"""Both control modes compared, in Markdown: with default settings, and at equal cost."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.results.comparison import (
    SLO_TARGET,
    Aggregate,
    Frontier,
    Pair,
    aggregates,
    frontiers,
)
from autoscaler.backtest.results.rows import ResultRow
from benchmarks.markdown import figure, table, wrapped

DIRECT, BOUNDS = "slo", "slo-bounds"
ADAPTIVE, OLD_ADAPTIVE = "adaptive-9", "adaptive-8.16"
THRESHOLDS, MINIMUM = "adaptive-9, other thresholds", "adaptive-9, fixed minimum"

SEASONAL = ("diurnal_smooth", "diurnal_bursty", "m_large_diurnal", "jul95", "nyc_taxi")
"""Parts of the names of traces with a daily cycle."""

DEFAULT_SETTINGS = """
*SLO met* counts the pairs on which {target:g}% of the requests met the SLO; *late* is the
percentage of all requests of these pairs that exceeded the max queue wait, were rejected or timed
out; *hours* are allocation-hours as a multiple of {adaptive}'s, the geometric mean over pairs;
*changes* are those of the allocation count from any source, *updates* the calls of `_update` from
outside. A setting is shown where it is not the default.
"""

EQUAL_COST = """
For each SLO target of `slo-bounds`: the late requests of {adaptive} alone at the same
allocation-hours, as a multiple of those of `slo-bounds`, the geometric mean over pairs, where no
late request at all counts as half a request. The cost of {adaptive} is raised by other thresholds,
which no version allows to be configured, or by a fixed minimum; between settings the logarithm of
the late requests is assumed to be linear in the hours. A pair is left out where no setting of
{adaptive} is costly enough. *Worse* are the pairs on which `slo-bounds` has more late requests,
*least* is the smallest multiple.
"""

AT_COST = """
The reverse: the late requests of each policy with default settings, as a multiple of those of
slo-bounds at the same hours, over all SLO targets. Pairs are left out where even the lowest SLO
target takes more hours; a minimum that the daemon sets only adds to the allocations that {adaptive}
would choose alone.
"""


class Run(Struct, frozen=True, kw_only=True):
    """The result of one policy on one workload."""

    row: ResultRow
    updates: int  # calls of `_update` from outside


Advantages = Mapping[Pair, float]
"""Violations of another policy at equal cost, as a multiple of those of `slo-bounds`, by pair."""


def section(runs: Sequence[Run]) -> str:
    """The text of the comparison."""
    found = aggregates(_with_default_end(each.row for each in runs))
    swept = frontiers(found)
    pairs = {each.pair for each in found}
    seasonal = {pair for pair in pairs if is_seasonal(pair[0])}
    with_season = [each for each in runs if is_seasonal(each.row.trace)]
    seeds = len({each.row.seed for each in runs})
    settings = dict.fromkeys(each.row.setting for each in runs if each.row.policy == BOUNDS)
    compared = {
        (other, setting): advantages(swept, other, found, setting)
        for other in (THRESHOLDS, MINIMUM)
        for setting in settings
    }
    at_cost = {name: advantages_at_cost_of(name, swept, found) for name in (ADAPTIVE, DIRECT)}
    return "\n\n".join(
        [
            f"{len(pairs)} pairs, {len(seasonal)} of them with a season; seeds: {seeds}.",
            wrapped(DEFAULT_SETTINGS.format(target=100 * SLO_TARGET, adaptive=ADAPTIVE)),
            _default_table("all pairs", runs),
            *([_default_table("with a season", with_season)] if with_season else []),
            wrapped(EQUAL_COST.format(adaptive=ADAPTIVE)),
            _advantage_table(
                {f"{other}|{setting}": own for (other, setting), own in compared.items()}
            ),
            wrapped(AT_COST.format(adaptive=ADAPTIVE)),
            _advantage_table({f"{name}, default|any": own for name, own in at_cost.items()}),
            *_worse(compared),
        ]
    )


def is_seasonal(trace: str) -> bool:
    return any(part in trace for part in SEASONAL)


def _with_default_end(rows: Iterable[ResultRow]) -> list[ResultRow]:
    """The rows, and the default of adaptive allocations as a setting of both costlier variants."""
    given = list(rows)
    return given + [
        replace(row, policy=other, setting="default")
        for row in given
        if row.policy == ADAPTIVE
        for other in (THRESHOLDS, MINIMUM)
    ]


def advantages(
    swept: Mapping[tuple[str, str, str], Frontier],
    other: str,
    found: Iterable[Aggregate],
    setting: str,
) -> Advantages:
    """The advantages of `slo-bounds` at one setting, where the other policy can cost as much."""
    ratios = {}
    for ours in found:
        if (ours.policy, ours.setting) != (BOUNDS, setting):
            continue
        frontier, hours = swept[*ours.pair, other], ours.allocation_hours.value
        theirs = frontier.violations_at(hours)
        if theirs is not None and hours <= frontier.points[-1].allocation_hours.value:
            ratios[ours.pair] = _ratio(
                theirs.fraction, ours.violation_fraction.value, ours.requests
            )
    return ratios


def advantages_at_cost_of(
    name: str, swept: Mapping[tuple[str, str, str], Frontier], found: Iterable[Aggregate]
) -> Advantages:
    """The advantages of `slo-bounds` at the cost of another policy's default, where possible."""
    ratios = {}
    for theirs in found:
        if theirs.policy == name:
            ours = swept[*theirs.pair, BOUNDS].violations_at(theirs.allocation_hours.value)
            if ours is not None:
                fraction = theirs.violation_fraction.value
                ratios[theirs.pair] = _ratio(fraction, ours.fraction, theirs.requests)
    return ratios


def _ratio(theirs: float, ours: float, requests: int) -> float:
    minimum = 0.5 / max(requests, 1)
    return max(theirs, minimum) / max(ours, minimum)


def _default_table(title: str, runs: Sequence[Run]) -> str:
    by_name: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.row.policy not in (THRESHOLDS, MINIMUM):
            by_name[run.row.policy, "" if run.row.default else run.row.setting].append(run)
    adaptive = {_workload(run): run.row.allocation_hours for run in by_name[ADAPTIVE, ""]}

    def line(name: tuple[str, str]) -> list[str]:
        own = by_name[name]
        late = sum(run.row.violations for run in own) / sum(run.row.requests for run in own)
        hours = [run.row.allocation_hours / adaptive[_workload(run)] for run in own]
        by_pair = aggregates(run.row for run in own)
        return [
            " ".join(part for part in name if part),
            f"{sum(each.meets(SLO_TARGET) for each in by_pair)} of {len(by_pair)}",
            f"{100.0 * late:.2f}",
            f"{_geometric_mean(hours):.2f}",
            f"{fmean(run.row.changes * 3600.0 / run.row.simulated_s for run in own):.1f}",
            f"{fmean(run.updates * 3600.0 / run.row.simulated_s for run in own):.1f}",
        ]

    headings = [title, "SLO met", "late, %", "hours", "changes/h", "updates/h"]
    return table(headings, [line(name) for name in by_name])


def _workload(run: Run) -> tuple[str, str, int]:
    return run.row.trace, run.row.scenario, run.row.seed


def _advantage_table(rows: Mapping[str, Advantages]) -> str:
    headings = ["compared with", "slo-bounds at", "pairs", "worse", "times fewer", "least"]
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


def _worse(compared: Mapping[tuple[str, str], Advantages]) -> list[str]:
    """A line for each pair and policy, with the SLO target at which `slo-bounds` is worst."""
    worst: dict[tuple[Pair, str], tuple[float, str]] = {}
    for (other, setting), own in compared.items():
        for pair, ratio in own.items():
            if ratio < 1.0:
                key = pair, other
                worst[key] = min(worst.get(key, (ratio, setting)), (ratio, setting))
    if not worst:
        return []
    lines = [
        [*pair, other, setting, figure(ratio)]
        for (pair, other), (ratio, setting) in sorted(worst.items())
    ]
    headings = ["trace", "scenario", "compared with", "slo-bounds at", "times fewer"]
    text = "Pairs on which slo-bounds is worse, at its worst SLO target:"
    return [text, table(headings, lines, left=4)]


def _geometric_mean(figures: Sequence[float]) -> float:
    return math.exp(fmean(map(math.log, figures)))
