"""What results of back-tests say, in Markdown."""

import math
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from autoscaler.backtest.results.comparison import ORACLE, Mean, Pair, aggregates
from autoscaler.backtest.results.file import Results
from autoscaler.backtest.results.rows import ResultRow
from autoscaler.backtest.results.summary import (
    DefaultSummary,
    EqualCostSummary,
    PolicySummary,
    Ratio,
    as_shipped,
    at_cost_of,
    summarise,
)
from autoscaler.backtest.results.table import attainment
from benchmarks.evidence import Evidence, gathered
from benchmarks.markdown import figure, table, wrapped

OURS, NATIVE = "slo", "adaptive-9"

SHOWN = (OURS, "utilisation", NATIVE, "hpa", "kpa", "keda", "aws-predictive", ORACLE)
SHOWN_IN = ("short-three-nodes", "long-three-nodes")
"""Policies and scenarios that are shown trace by trace."""

SHIPPED = """
The {pairs} pairs that can be held count here and in the next two tables. *Worst* is the lowest
share in time on any of them; *out of SLO* is the share of all their requests that waited too long,
were refused or timed out; *hours* are allocation-hours as a multiple of the clairvoyant's, the
geometric mean over pairs. Reversals are changes of direction within five minutes. ± is the 95 %
confidence interval over seeds, which is what chance does to these traces; other traces may differ
by more.
"""

EQUAL_ATTAINMENT = """
{seeds}. On the left, the one setting that holds most pairs. On the right, each policy is
tuned for each pair, in hindsight, so that it just holds it: the allocation-hours for that, as a
multiple of another's. These are geometric means over the pairs that both can hold at some setting,
whose number is in brackets; a policy that can hold only the easy ones is compared on these alone.
"""

EQUAL_COST = """
{seeds}. Each policy is given the allocation-hours that {native} takes as shipped: the
share of requests that miss then, as a multiple of {native}'s, the geometric mean over pairs, where
no miss at all counts as half a request. A pair is left out if the policy takes more at every
setting tried; in *hours to spare*, the dearest one tried takes less, so there may be fewer misses
yet.
"""

TRACE_BY_TRACE = """
Percent of the requests in time, rounded down, and allocation-hours, as shipped, means over seeds.
"""


def told(results: Sequence[Results]) -> str:
    """All there is to say.

    Raises:
        UserError: the results do not go together, or there are none.
    """
    evidence = gathered(results)
    seeds = _seeds(evidence.swept)
    return "\n\n".join(
        [
            what_was_run(evidence, results),
            _commands(results),
            what_is_held(evidence),
            "### As shipped",
            wrapped(SHIPPED.format(pairs=len(evidence.pairs))),
            shipped_table(evidence),
            "### At equal attainment",
            wrapped(EQUAL_ATTAINMENT.format(seeds=seeds)),
            attainment_table(evidence),
            "### At equal cost",
            wrapped(EQUAL_COST.format(seeds=seeds, native=NATIVE)),
            cost_table(evidence),
            "### Trace by trace",
            wrapped(TRACE_BY_TRACE),
            *trace_tables(evidence.shipped),
        ]
    )


def what_was_run(evidence: Evidence, results: Sequence[Results]) -> str:
    """How much of what, and by which program."""
    rows, missing = evidence.rows, sum(each.missing for each in results)
    programs = " and ".join(sorted({each.program for each in results}))
    traces, scenarios, policies = (
        len({getattr(row, name) for row in rows}) for name in ("trace", "scenario", "policy")
    )
    settings = len({(row.policy, row.setting) for row in rows})
    return wrapped(
        f"{_count(traces, 'trace')} in {_count(scenarios, 'scenario')}, "
        f"{_count(policies, 'policy', 'policies')}: as shipped with "
        f"{_count(len(_seeds_of(evidence.shipped)), 'seed')}, and at all "
        f"{_count(settings, 'setting')} with {_count(len(_seeds_of(evidence.swept)), 'seed')}. "
        f"{_count(len(rows), 'run')} of {_count(sum(row.requests for row in rows), 'request')} "
        f"in all, {sum(row.elapsed_s for row in rows):,.0f} s of computing with {programs}"
        + (f"; {_count(missing, 'part')} of it failed." if missing else ".")
    )


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _seeds_of(rows: Iterable[ResultRow]) -> list[int]:
    return sorted({row.seed for row in rows})


def _seeds(rows: Iterable[ResultRow]) -> str:
    seeds = _seeds_of(rows)
    return f"{'Seed' if len(seeds) == 1 else 'Seeds'} {', '.join(map(str, seeds))}"


def _commands(results: Iterable[Results]) -> str:
    return "\n".join(["```sh", *(_without_folders(each.command) for each in results), "```"])


def _without_folders(command: str) -> str:
    """Where files lay on some machine tells nobody else anything."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in shlex.split(command)]
    return shlex.join(words)


def what_is_held(evidence: Evidence) -> str:
    """What that means, and the pairs that nobody holds, by trace."""
    definition = (
        "A policy holds a pair, a trace in a scenario, if as large a share of the requests is in "
        "time as the scenario asks for, which is 99 % in all the standard ones."
    )
    if not evidence.hopeless:
        return wrapped(f"{definition} Each pair is held by somebody.")
    hopeless, tried = _by_trace(evidence.hopeless), _by_trace(evidence.pairs, evidence.hopeless)
    named = ", ".join(
        f"{trace} ({'all' if scenarios == tried[trace] else ', '.join(scenarios)})"
        for trace, scenarios in hopeless.items()
    )
    return wrapped(
        f"{definition} Of {sum(map(len, tried.values()))} pairs, {len(evidence.hopeless)} cannot "
        f"be held even by the clairvoyant: {named}."
    )


def _by_trace(*pairs: Iterable[Pair]) -> dict[str, list[str]]:
    scenarios: dict[str, list[str]] = defaultdict(list)
    for trace, scenario in sorted(chain(*pairs)):
        scenarios[trace].append(scenario)
    return scenarios


def shipped_table(evidence: Evidence) -> str:
    """Those first that hold most, and of equals the cheapest."""
    found = as_shipped(evidence.shipped, evidence.pairs, shares=evidence.shares)

    def merit(policy: DefaultSummary) -> tuple[float, float]:
        hours = policy.relative_hours
        return -policy.met / policy.pairs, hours.value if hours else math.inf

    headings = "policy|held|worst, %|out of SLO, %|hours|changes/h|reversals/d"
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
            for each in sorted(found, key=merit)
        ],
    )


def attainment_table(evidence: Evidence) -> str:
    """Those first whose best setting holds most, and of equals the cheapest."""
    able = [each for each in aggregates(evidence.swept) if each.pair in evidence.pairs]
    found = summarise(able, references=(ORACLE, OURS), shares=evidence.shares).policies

    def merit(policy: PolicySummary) -> tuple[float, float]:
        cost = policy.relative_cost.get(ORACLE)
        return -policy.met_by_best / policy.pairs, cost.value if cost else math.inf

    return table(
        ["policy", "best setting", "held", f"hours to {ORACLE}'s", f"hours to {OURS}'s"],
        [
            [
                each.policy,
                (each.best_setting if each.met_by_best else "") or "-",
                f"{each.met_by_best} of {each.pairs}",
                _ratio(each.relative_cost.get(ORACLE)),
                _ratio(each.relative_cost.get(OURS)),
            ]
            for each in sorted(found, key=merit)
        ],
        left=2,
    )


def cost_table(evidence: Evidence) -> str:
    """Those first that miss least."""
    able = [each for each in aggregates(evidence.swept) if each.pair in evidence.pairs]

    def merit(policy: EqualCostSummary) -> float:
        return policy.relative_violations.value if policy.relative_violations else math.inf

    return table(
        ["policy", f"misses to {NATIVE}'s", "pairs", "with more misses", "with hours to spare"],
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
            for each in sorted(at_cost_of(NATIVE, able), key=merit)
        ],
    )


def trace_tables(rows: Iterable[ResultRow]) -> list[str]:
    """A heading and a table for each of the scenarios that are shown."""
    cells: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for each in aggregates(rows):
        cell = (
            f"{attainment(each.violation_fraction.value)} / {figure(each.allocation_hours.value)}"
        )
        cells[each.scenario][each.trace][each.policy] = cell
    return [
        part
        for scenario in SHOWN_IN
        if scenario in cells
        for part in (
            f"#### {scenario}",
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
