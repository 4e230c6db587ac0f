"""The sections of docs/benchmarks.md about policies, from result files: one about default settings
and one about other settings, for each population of traces."""

import math
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from autoscaler.backtest.results.comparison import (
    ORACLE,
    Aggregate,
    Mean,
    Pair,
    aggregates,
)
from autoscaler.backtest.results.file import Results
from autoscaler.backtest.results.hours_split import hours_splits
from autoscaler.backtest.results.quantities import attainment
from autoscaler.backtest.results.rows import ResultRow
from autoscaler.backtest.results.summary import (
    DefaultSummary,
    EqualCostSummary,
    PolicySummary,
    Ratio,
    default_summaries,
    equal_cost_summaries,
    summarise,
)
from benchmarks.evidence import Evidence, combined
from benchmarks.markdown import figure, table, wrapped
from benchmarks.split_tables import families_text, family_table, split_table, split_text

OURS, ADAPTIVE = "slo", "adaptive-9"

SHOWN = (OURS, "utilisation", ADAPTIVE, "hpa", "kpa", "keda", "aws-predictive", ORACLE)
SHOWN_IN = ("short-three-nodes", "long-three-nodes")
"""Policies and scenarios of the tables trace by trace."""

MAX_SHOWN_TRACES = 30
"""Traces up to which there is a table trace by trace. Of more, families are shown."""

DEFAULT_SETTINGS = """
The {pairs} feasible pairs count here. *Worst* is the lowest percentage of requests that met the SLO
on any of them; *late* is the percentage of all their requests that exceeded the max queue wait,
were rejected or timed out; *hours* are allocation-hours as a multiple of the oracle's, the
geometric mean over pairs. Reversals are changes of direction within five minutes. ± is the 95%
confidence interval over seeds, where there are several; it covers only the randomness within these
traces; other traces may differ by more.
"""

EQUAL_ATTAINMENT = """
{seeds}; {pairs} feasible pairs. *Best setting* is the one setting with which a policy meets the SLO
on most pairs. For the last two columns, each policy is tuned for each pair, in hindsight, so that
it only just meets the SLO; they show the allocation-hours for that as a multiple of another
policy's. They are geometric means over the pairs on which both policies can meet the SLO at some
setting; the number of these pairs is in brackets. A policy that can meet the SLO only on easy pairs
is compared on these alone.
"""

EQUAL_COST = """
{seeds}. Each policy is given the allocation-hours that {adaptive} uses with default settings. The
second column shows its late requests at that cost as a multiple of {adaptive}'s, the geometric mean
over pairs, where no late request at all counts as half a request. A pair is left out if the policy
uses more hours at every setting tried. On pairs *with hours to spare*, even the costliest setting
tried uses fewer hours, so fewer late requests may be possible.
"""

TRACE_BY_TRACE = """
Percent of the requests that met the SLO, rounded down, and allocation-hours, with default settings,
means over seeds.
"""


def default_section(results: Sequence[Results]) -> str:
    """The text about all policies with default settings.

    Raises:
        UserError: the results are inconsistent or empty.
    """
    evidence = combined(results)
    found = aggregates(evidence.by_default)
    splits = hours_splits(found, targets=evidence.targets)
    traces = {each.trace for each in found}
    parts = [
        *_heading(evidence, results),
        "#### With default settings",
        wrapped(DEFAULT_SETTINGS.format(pairs=len(evidence.pairs))),
        default_table(evidence),
    ]
    if splits:
        parts += [
            "#### Why more hours than the oracle",
            split_text(),
            split_table(splits),
        ]
    if any(each.policy == OURS for each in found):
        parts += [
            "#### By family",
            families_text(OURS),
            family_table(OURS, evidence, found),
        ]
    if len(traces) <= MAX_SHOWN_TRACES:
        parts += [
            "#### Trace by trace",
            wrapped(TRACE_BY_TRACE),
            *trace_tables(found),
        ]
    return "\n\n".join(parts)


def sweep_section(results: Sequence[Results]) -> str:
    """The text about policies at equal attainment and at equal cost.

    Raises:
        UserError: the results are inconsistent or empty.
    """
    evidence = combined(results)
    seeds = _seeds(evidence.swept)
    return "\n\n".join(
        [
            *_heading(evidence, results),
            "#### At equal attainment",
            wrapped(EQUAL_ATTAINMENT.format(seeds=seeds, pairs=len(evidence.pairs))),
            attainment_table(evidence),
            "#### At equal cost",
            wrapped(EQUAL_COST.format(seeds=seeds, adaptive=ADAPTIVE)),
            cost_table(evidence),
        ]
    )


def _heading(evidence: Evidence, results: Sequence[Results]) -> list[str]:
    """What was run, and on which pairs the policies are compared."""
    return [what_was_run(evidence, results), _commands(results), which_pairs_are_met(evidence)]


def what_was_run(evidence: Evidence, results: Sequence[Results]) -> str:
    """The extent of the runs, and the version of the program."""
    rows, missing = evidence.rows, sum(each.missing for each in results)
    programs = " and ".join(sorted({each.program for each in results}))
    traces, scenarios, policies = (
        len({getattr(row, name) for row in rows}) for name in ("trace", "scenario", "policy")
    )
    settings = len({(row.policy, row.setting) for row in rows})
    swept = (
        f", and at all {_count(settings, 'setting')} with "
        f"{_count(len(_seeds_of(evidence.swept)), 'seed')}"
        if settings > policies
        else ""
    )
    return wrapped(
        f"{_count(traces, 'trace')} in {_count(scenarios, 'scenario')}, "
        f"{_count(policies, 'policy', 'policies')}: with default settings and "
        f"{_seed_counts(evidence.by_default)}{swept}. "
        f"{_count(len(rows), 'run')} of {_count(sum(row.requests for row in rows), 'request')} "
        f"in total, {sum(row.elapsed_s for row in rows):,.0f} s of computing with {programs}"
        + (f"; {_count(missing, 'part')} failed." if missing else ".")
    )


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _seed_counts(rows: Iterable[ResultRow]) -> str:
    """How many seeds the policies have."""
    by_policy: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        by_policy[row.policy].add(row.seed)
    most: dict[int, list[str]] = defaultdict(list)
    for policy, seeds in sorted(by_policy.items()):
        most[len(seeds)].append(policy)
    if len(most) == 1:
        return _count(next(iter(most)), "seed")
    usual = max(most, key=lambda count: len(most[count]))
    others = [
        f"{_count(count, 'seed')} for {', '.join(policies)}"
        for count, policies in sorted(most.items())
        if count != usual
    ]
    return f"{_count(usual, 'seed')} ({'; '.join(others)})"


def _seeds_of(rows: Iterable[ResultRow]) -> list[int]:
    return sorted({row.seed for row in rows})


def _seeds(rows: Iterable[ResultRow]) -> str:
    seeds = _seeds_of(rows)
    return f"{'Seed' if len(seeds) == 1 else 'Seeds'} {', '.join(map(str, seeds))}"


def _commands(results: Iterable[Results]) -> str:
    return "\n".join(["```sh", *(_without_folders(each.command) for each in results), "```"])


def _without_folders(command: str) -> str:
    """The command without absolute paths, which differ between machines."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in shlex.split(command)]
    return shlex.join(words)


def which_pairs_are_met(evidence: Evidence) -> str:
    """The definition of meeting the SLO, and the infeasible pairs by trace."""
    definition = (
        "A policy meets the SLO on a pair, which is a trace in a scenario, if the fraction of the "
        "requests that met the SLO is at least the SLO target, which is 99% in all standard "
        "scenarios."
    )
    if not evidence.infeasible:
        return wrapped(f"{definition} On each pair, at least one policy meets the SLO.")
    infeasible = _by_trace(evidence.infeasible)
    tried = _by_trace(evidence.pairs, evidence.infeasible)
    named = ", ".join(
        f"{trace} ({'all' if scenarios == tried[trace] else ', '.join(scenarios)})"
        for trace, scenarios in infeasible.items()
    )
    return wrapped(
        f"{definition} On {len(evidence.infeasible)} of {sum(map(len, tried.values()))} pairs no "
        f"policy meets the SLO, not even the oracle, so these pairs are infeasible: {named}."
    )


def _by_trace(*pairs: Iterable[Pair]) -> dict[str, list[str]]:
    scenarios: dict[str, list[str]] = defaultdict(list)
    for trace, scenario in sorted(chain(*pairs)):
        scenarios[trace].append(scenario)
    return scenarios


def default_table(evidence: Evidence) -> str:
    """A line for each policy: the most pairs first, then the cheapest."""
    found = default_summaries(evidence.by_default, evidence.pairs, targets=evidence.targets)

    def rank(policy: DefaultSummary) -> tuple[float, float]:
        hours = policy.relative_hours
        return -policy.met / policy.pairs, hours.value if hours else math.inf

    headings = "policy|SLO met|worst, %|late, %|hours|changes/h|reversals/d"
    return table(
        headings.split("|"),
        [
            [
                each.policy,
                f"{each.met} of {each.pairs}",
                attainment(each.worst_violation_fraction),
                _with_interval(each.violation_fraction, 2, scale=100.0),
                _with_interval(each.relative_hours, 2),
                _with_interval(each.changes_per_hour, 1),
                _with_interval(each.reversals_per_day, 0),
            ]
            for each in sorted(found, key=rank)
        ],
    )


def attainment_table(evidence: Evidence) -> str:
    """A line for each policy: the most pairs at the best setting first, then the cheapest."""
    feasible = [each for each in aggregates(evidence.swept) if each.pair in evidence.pairs]
    found = summarise(feasible, references=(ORACLE, OURS), targets=evidence.targets).policies

    def rank(policy: PolicySummary) -> tuple[float, float]:
        cost = policy.relative_cost.get(ORACLE)
        return -policy.met_by_best / policy.pairs, cost.value if cost else math.inf

    return table(
        ["policy", "best setting", "SLO met", f"hours, × {ORACLE}", f"hours, × {OURS}"],
        [
            [
                each.policy,
                (each.best_setting if each.met_by_best else "") or "-",
                f"{each.met_by_best} of {each.pairs}",
                _ratio(each.relative_cost.get(ORACLE)),
                _ratio(each.relative_cost.get(OURS)),
            ]
            for each in sorted(found, key=rank)
        ],
        left=2,
    )


def cost_table(evidence: Evidence) -> str:
    """A line for each policy, the fewest late requests first."""
    feasible = [each for each in aggregates(evidence.swept) if each.pair in evidence.pairs]

    def rank(policy: EqualCostSummary) -> float:
        return policy.relative_violations.value if policy.relative_violations else math.inf

    return table(
        ["policy", f"late, × {ADAPTIVE}", "pairs", "with more late", "with hours to spare"],
        [
            [
                each.policy,
                figure(ratio.value),
                str(ratio.pairs),
                str(each.more),
                str(each.beyond_sweep),
            ]
            if (ratio := each.relative_violations)
            else [each.policy, "-", "0", "-", "-"]
            for each in sorted(equal_cost_summaries(ADAPTIVE, feasible), key=rank)
        ],
    )


def trace_tables(found: Iterable[Aggregate]) -> list[str]:
    """A heading and a table for each scenario of `SHOWN_IN`."""
    cells: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for each in found:
        cell = (
            f"{attainment(each.violation_fraction.value)} / {figure(each.allocation_hours.value)}"
        )
        cells[each.scenario][each.trace][each.policy] = cell
    return [
        part
        for scenario in SHOWN_IN
        if scenario in cells
        for part in (
            f"##### {scenario}",
            table(
                ["trace", *SHOWN],
                [
                    [trace, *(by_policy.get(policy, "-") for policy in SHOWN)]
                    for trace, by_policy in cells[scenario].items()
                ],
            ),
        )
    ]


def _with_interval(figure: Mean | None, places: int, *, scale: float = 1.0) -> str:
    if figure is None:
        return "-"
    shown = f"{scale * figure.value:.{places}f}"
    if figure.half_width is None:
        return shown
    return f"{shown} ±{scale * figure.half_width:.{places}f}"


def _ratio(ratio: Ratio | None) -> str:
    return f"{ratio.value:.2f} ({ratio.pairs})" if ratio else "-"
