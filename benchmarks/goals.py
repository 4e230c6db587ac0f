"""The goals of the policy `slo` on recorded loads, with what it achieves."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.results.comparison import (
    MINUTE_RATE_ORACLE,
    SLO_TARGET,
    Aggregate,
    Frontier,
    Pair,
    aggregates,
    frontiers,
)
from autoscaler.backtest.results.file import Results
from autoscaler.backtest.results.summary import DefaultSummary, default_summaries
from autoscaler.errors import UserError
from benchmarks.evidence import Evidence, combined
from benchmarks.families import CHOSEN_SHAPES, CROSS_SECTION, population_of
from benchmarks.markdown import figure, table, wrapped

OURS, KPA = "slo", "kpa"
SHORT = "short-three-nodes"


class Findings(Struct, frozen=True, kw_only=True):
    """What the runs on one population show."""

    ours: DefaultSummary
    by_default: Mapping[tuple[str, Pair], Aggregate]  # by policy and pair
    frontiers: Mapping[tuple[str, Pair], Frontier]  # of feasible pairs with several settings


Figure = Callable[[Findings], float | None]
"""None: the runs do not show it."""


class Goal(Struct, frozen=True, kw_only=True):
    """A goal, with its limit by population."""

    text: str
    figure: Figure
    limits: Mapping[str, float]
    at_least: bool = False  # otherwise at most


def _met(findings: Findings) -> float:
    return 100.0 * findings.ours.met / findings.ours.pairs


def _worst(findings: Findings) -> float:
    return 100.0 * (1.0 - findings.ours.worst_violation_fraction)


def _hours(findings: Findings) -> float | None:
    hours = findings.ours.relative_hours
    return None if hours is None else hours.value


def _hours_of_rates(findings: Findings) -> float | None:
    """Geometric mean over the pairs on which both meet the SLO."""
    ratios = [
        own.allocation_hours.value / other.allocation_hours.value
        for (policy, pair), own in findings.by_default.items()
        if policy == OURS
        and own.meets(SLO_TARGET)
        and (other := findings.by_default.get((MINUTE_RATE_ORACLE, pair))) is not None
        and other.meets(SLO_TARGET)
    ]
    return math.exp(fmean(map(math.log, ratios))) if ratios else None


def _changes(findings: Findings) -> float:
    return findings.ours.changes_per_hour.value


def _hours_on(trace: str, findings: Findings) -> float | None:
    found = findings.by_default.get((OURS, (trace, SHORT)))
    return None if found is None else found.allocation_hours.value


def _both_frontiers(findings: Findings) -> list[tuple[Frontier, Frontier]]:
    """Of `slo` and of KPA, on the pairs on which both can meet the SLO."""
    return [
        (ours, theirs)
        for (policy, pair), ours in findings.frontiers.items()
        if policy == OURS
        and (theirs := findings.frontiers.get((KPA, pair))) is not None
        and ours.cost_at(SLO_TARGET)
        and theirs.cost_at(SLO_TARGET)
    ]


def _hours_of_kpa(findings: Findings) -> float | None:
    """Geometric mean, with both at the setting that only just meets the SLO."""
    logarithms = [
        math.log(cost.allocation_hours / other.allocation_hours)
        for ours, theirs in _both_frontiers(findings)
        if (cost := ours.cost_at(SLO_TARGET)) and (other := theirs.cost_at(SLO_TARGET))
    ]
    return math.exp(fmean(logarithms)) if logarithms else None


def _changes_of_kpa(findings: Findings) -> float | None:
    """Ratio of the means, with both at the cheapest setting that meets the SLO."""
    both = _both_frontiers(findings)
    if not both:
        return None
    ours, theirs = (fmean(_changes_at_target(each[place]) for each in both) for place in (0, 1))
    return ours / theirs if theirs > 0.0 else None


def _changes_at_target(frontier: Frontier) -> float:
    enough = next(each for each in frontier.efficient if each.meets(SLO_TARGET))
    return enough.changes_per_hour.value


GOALS = (
    Goal(
        text="pairs on which the SLO is met, %",
        figure=_met,
        limits={CROSS_SECTION: 90.0, CHOSEN_SHAPES: 94.0},
        at_least=True,
    ),
    Goal(
        text="requests that meet the SLO on the worst pair, %",
        figure=_worst,
        limits={CROSS_SECTION: 96.0, CHOSEN_SHAPES: 97.0},
        at_least=True,
    ),
    Goal(
        text="hours, × oracle",
        figure=_hours,
        limits={CROSS_SECTION: 1.45, CHOSEN_SHAPES: 1.40},
    ),
    Goal(
        text=f"hours, × {MINUTE_RATE_ORACLE}",
        figure=_hours_of_rates,
        limits={CROSS_SECTION: 1.18, CHOSEN_SHAPES: 1.15},
    ),
    Goal(
        text="changes per hour",
        figure=_changes,
        limits={CROSS_SECTION: 25.0, CHOSEN_SHAPES: 25.0},
    ),
    Goal(
        text="hours, × kpa, tuned for each pair",
        figure=_hours_of_kpa,
        limits={CROSS_SECTION: 0.80},
    ),
    Goal(
        text="changes, × kpa, tuned for each pair",
        figure=_changes_of_kpa,
        limits={CROSS_SECTION: 0.25},
    ),
    Goal(
        text="hours on `azure_fn_square_wave`, short requests, three nodes",
        figure=partial(_hours_on, "azure_fn_square_wave"),
        limits={CHOSEN_SHAPES: 65.0},
    ),
    Goal(
        text="hours on `azure_fn_fleet_dev`, the same",
        figure=partial(_hours_on, "azure_fn_fleet_dev"),
        limits={CHOSEN_SHAPES: 54.0},
    ),
)

EXPLANATION = """
The first five rows and the last two are of default settings, on the feasible pairs of each set. The
hours of {minute} are compared on the pairs on which both meet the SLO, in the scenarios with three
nodes. In the rows about `kpa`, both policies are at the setting that only just meets the SLO, on
the pairs on which both can.
"""


def goals_section(results: Sequence[Results]) -> str:
    """The text about all goals, from the runs on both populations.

    Raises:
        UserError: the results are inconsistent or empty.
    """
    found = {
        population: findings_of(combined(own))
        for population in (CROSS_SECTION, CHOSEN_SHAPES)
        if (own := _of_population(population, results))
    }
    if not found:
        raise UserError(
            "these files contain no runs; name files written by `autoscaler backtest --json`"
        )
    lines = [
        [goal.text, *(cell for each in found.items() for cell in _cells(goal, *each))]
        for goal in GOALS
    ]
    headings = [cell for population in found for cell in (f"{population}, goal", "result")]
    explanation = wrapped(EXPLANATION.format(minute=f"`{MINUTE_RATE_ORACLE}`"))
    return "\n\n".join([table(["", *headings], lines), explanation])


def _of_population(population: str, results: Iterable[Results]) -> list[Results]:
    parts = (
        replace(each, rows=tuple(r for r in each.rows if population_of(r.trace) == population))
        for each in results
    )
    return [each for each in parts if each.rows]


def findings_of(evidence: Evidence) -> Findings:
    """What the runs on one population show.

    Raises:
        UserError: none of them are of `slo` on a feasible pair.
    """
    summaries = default_summaries(evidence.by_default, evidence.pairs, targets=evidence.targets)
    swept = frontiers(each for each in aggregates(evidence.swept) if each.pair in evidence.pairs)
    ours = next((each for each in summaries if each.policy == OURS), None)
    if ours is None:
        raise UserError(
            f"the files have no run of {OURS} on a pair that any policy meets; name those of "
            "`make frontier`"
        )
    return Findings(
        ours=ours,
        by_default={
            (each.policy, each.pair): each
            for each in aggregates(evidence.by_default)
            if each.pair in evidence.pairs
        },
        frontiers={
            (policy, (trace, scenario)): frontier
            for (trace, scenario, policy), frontier in swept.items()
            if len(frontier.points) > 1
        },
    )


def _cells(goal: Goal, population: str, findings: Findings) -> tuple[str, str]:
    """The limit, and the result with a word about it."""
    limit, result = goal.limits.get(population), goal.figure(findings)
    shown = "-" if result is None else figure(result)
    if limit is None:
        return "", shown if result is not None else ""
    sign = "≥" if goal.at_least else "≤"
    if result is not None:
        met = result >= limit if goal.at_least else result <= limit
        shown += ", met" if met else ", not met"
    return f"{sign} {limit:g}", shown
