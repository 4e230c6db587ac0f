"""What does each part of `slo` contribute? `-m benchmarks.ablation TRACES --results FILE`

Each part is switched off in turn, by constants that make it ineffective. The runs use the standard
scenarios with three nodes and one seed. The result files of `make frontier` say on which pairs the
SLO can be met, and the oracle's hours.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.results.comparison import ORACLE
from autoscaler.backtest.results.summary import default_summaries
from autoscaler.backtest.results.table import attainment
from autoscaler.backtest.trial import TrialRunner
from autoscaler.backtest.world.workload import workload_of
from autoscaler.core.slo.callers import DEFAULTS
from autoscaler.core.slo.error_budget import MAX_CONSUMPTION
from autoscaler.core.values import Callers
from autoscaler.errors import UserError
from benchmarks.constants import with_values
from benchmarks.evidence import Evidence
from benchmarks.frontier import publish
from benchmarks.markdown import table, wrapped
from benchmarks.runs import (
    SEED,
    Case,
    SloRun,
    cases,
    ensure_same_requests,
    evidence_of,
    of_all,
    slo_run,
)

ROUTINE_S = 10.0
"""Seconds between polls while nothing is at risk, in the standard scenarios."""


class Part(Struct, frozen=True, kw_only=True):
    """A part of the policy."""

    title: str
    instead: str  # what the policy does without it; "": that follows from others
    off: Mapping[str, Any]  # constants by name, with the values that switch it off


WHOLE = Part(title="nothing", instead="the policy as it is", off={})

EARLY_POLLS = Part(
    title="early polls",
    instead="a poll every ten seconds, as with `min_poll_interval = poll_interval`",
    off={"config.polling.DEFAULT_MIN_POLL_INTERVAL_S": ROUTINE_S},
)
RECURRENCE = Part(
    title="load that recurs by the clock",
    instead="no period is accepted",
    off={"slo.recurrence.MAX_ERROR": 0.0},
)
BURSTS = Part(
    title="bursts within seconds",
    instead="the dispersion of counts is that of windows of ten seconds",
    off={"slo.short_counts.MIN_PAIRS": math.inf},
)
PREVENTABLE = Part(
    title="what could be prevented",
    instead="late requests that nothing could prevent raise the violation weight like all others",
    off={"slo.error_budget.MAX_UNPREVENTABLE": MAX_CONSUMPTION},
)
PARTS = (EARLY_POLLS, RECURRENCE, BURSTS, PREVENTABLE)
ALL_PARTS = Part(
    title="all of these",
    instead="",
    off={name: value for part in PARTS for name, value in part.off.items()},
)

CALLER_TIMEOUT = Part(
    title="the callers' timeout",
    instead="callers are assumed to wait ten seconds, so a backlog is drained within `drain` too",
    off={"SloPolicy.caller_timeout_s": DEFAULTS[Callers.UNKNOWN].seconds},
)
CHEAPEST_DRAIN = Part(
    title="the cheapest time to drain a backlog",
    instead="each backlog is drained within `drain`",
    off={"slo.backlog.TIMEOUT_FRACTION": 0.0},
)


class Group(Struct, frozen=True, kw_only=True):
    """Variants of the policy for the same callers."""

    title: str
    variants: tuple[Part, ...]  # what each is without, beginning with nothing
    caller_timeout_s: float | None = None  # None: that of the scenario


GROUPS = (
    Group(
        title="Callers that wait ten seconds, as in the standard scenarios",
        variants=(WHOLE, *PARTS, ALL_PARTS),
    ),
    Group(
        title="Callers that wait two hours, as ingest pipelines do",
        variants=(WHOLE, CALLER_TIMEOUT, CHEAPEST_DRAIN),
        caller_timeout_s=DEFAULTS[Callers.INGEST].seconds,
    ),
)


class Outcome(Struct, frozen=True, kw_only=True):
    """A variant of the policy on one pair."""

    group: str
    variant: str
    run: SloRun


def outcomes_of(groups: Sequence[Group], case: Case) -> list[Outcome]:
    """All variants of all groups on one pair."""
    trace, found = case.source.read(), []
    for group in groups:
        scenario = case.scenario
        if group.caller_timeout_s is not None:
            scenario = replace(scenario, timeout_s=group.caller_timeout_s)
        runner = TrialRunner(scenario, workload_of(trace, scenario, SEED), SEED)
        for variant in group.variants:
            with with_values(variant.off) as spec:
                run = slo_run(runner, spec)
            found.append(Outcome(group=group.title, variant=variant.title, run=run))
    return found


EXPLANATION = """
Each part of `slo` is switched off in turn, in the scenarios with three nodes, with seed {seed}. The
figures are of the {pairs} pairs on which the SLO can be met. *Hours* are multiples of the oracle's
and of those of the whole policy, geometric means over pairs; *polls* are a multiple of one every
ten seconds, the median over pairs; the other columns are those of the tables above.
"""

OTHER_CALLERS = """
The standard scenarios have callers that wait ten seconds, which is also what is assumed where the
callers are not known. So what depends on how long they wait is shown by callers that wait longer,
on the same pairs.
"""


def section(outcomes: Sequence[Outcome], groups: Sequence[Group], evidence: Evidence) -> str:
    """The text about all groups.

    Raises:
        InputError: the evidence is of other requests.
    """
    ensure_same_requests(evidence, (each.run.row for each in outcomes))
    tried = {(each.run.row.trace, each.run.row.scenario) for each in outcomes}
    known = replace(evidence, pairs=evidence.pairs & tried)
    parts = [each for group in groups for each in group.variants if each.instead and each.off]
    named = [[part.title, part.instead, _constants(part)] for part in parts]
    texts = [
        wrapped(EXPLANATION.format(pairs=len(known.pairs), seed=SEED)),
        table(["switched off", "what happens instead", "by"], named, left=3),
    ]
    for group in groups:
        if group.caller_timeout_s is not None:
            texts.append(wrapped(OTHER_CALLERS))
        own = [each for each in outcomes if each.group == group.title]
        texts += [f"{group.title}:", variants_table(own, group, known)]
    return "\n\n".join(texts)


def _constants(part: Part) -> str:
    return ", ".join(f"`{name} = {value:g}`" for name, value in part.off.items())


def variants_table(outcomes: Iterable[Outcome], group: Group, evidence: Evidence) -> str:
    """A line for each variant of a group, beginning with the whole policy."""
    runs: dict[str, list[SloRun]] = {variant.title: [] for variant in group.variants}
    for each in outcomes:
        if (each.run.row.trace, each.run.row.scenario) in evidence.pairs:
            runs[each.variant].append(each.run)
    rows = [replace(run.row, policy=title) for title, own in runs.items() for run in own]
    oracle = [row for row in evidence.by_default if row.policy == ORACLE]
    summaries = {
        each.policy: each
        for each in default_summaries([*rows, *oracle], evidence.pairs, targets=evidence.targets)
    }
    whole = summaries[WHOLE.title]
    lines = []
    for title, own in runs.items():
        each = summaries[title]
        hours, of_whole = each.relative_hours, whole.relative_hours
        ratio = hours.value / of_whole.value if hours and of_whole else None
        lines.append(
            [
                title,
                f"{each.met} of {each.pairs}",
                attainment(each.worst_violation_fraction),
                f"{100.0 * each.violation_fraction.value:.2f}",
                f"{hours.value:.2f}" if hours else "-",
                f"{ratio:.3f}" if ratio else "-",
                f"{each.changes_per_hour.value:.1f}",
                f"{median(run.polls_per_hour for run in own) * ROUTINE_S / 3600.0:.2f}",
            ]
        )
    headings = f"switched off|SLO met|worst, %|late, %|hours, × {ORACLE}|× whole|changes/h|polls"
    return table(headings.split("|"), lines)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("traces", nargs="+", help="files or folders of traces")
    parser.add_argument(
        "--results",
        nargs="+",
        type=Path,
        required=True,
        help="files written by `backtest --json` that contain the oracle on the same traces",
    )
    parser.add_argument("--document", type=Path, help="replace a section of this file as well")
    parser.add_argument("--section", default="ablation", help="the name in the marker lines")
    chosen = parser.parse_args(arguments)
    try:
        evidence, planned = evidence_of(chosen.results), cases(chosen.traces)

        def text() -> str:
            outcomes = of_all(planned, partial(outcomes_of, GROUPS), "ablation")
            return section(outcomes, GROUPS, evidence)

        publish(text, chosen.section, chosen.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
