"""Are the constants of `slo` fitted to the loads of its tests? `-m benchmarks.tuning TRACES`

For each family of traces, each constant is chosen on all other families: the value with which the
SLO is met on most pairs, and of equals the cheapest. The result of this choice on the family that
was left out is compared with that of the value in the code, and with what the family itself would
choose. The runs use the standard scenarios with three nodes and one seed.
"""

import argparse
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from autoscaler.backtest.policy_specs import policy_spec
from autoscaler.backtest.results.comparison import Pair
from autoscaler.backtest.trial import TrialRunner
from autoscaler.backtest.world.workload import workload_of
from autoscaler.errors import UserError
from benchmarks.constants import Constant, constant_of, parsed, with_value
from benchmarks.families import family_of, rank_of
from benchmarks.frontier import publish
from benchmarks.markdown import table, wrapped
from benchmarks.runs import OURS, SEED, Case, cases, evidence_of, of_all, slo_run

CONSTANTS = (
    ("SloPolicy.weight_settings.planned_fraction", 0.65, 0.75, 0.85),
    ("SloPolicy.weight_settings.overspending_s", 7_200.0, 14_400.0, 28_800.0),
    ("slo.error_budget.MAX_UNPREVENTABLE", 0.25, 0.5, 1.0),
    ("slo.cost_model.SCALE_DOWN_COST_S", 20.0, 40.0, 80.0),
    ("slo.increase.HOLD_RATIO", 5.0, 10.0, 20.0),
    ("slo.pacing.QUEUE_AT_RISK", 0.5, 0.75, 1.0),
    ("slo.pacing.POLL_SERVICE_TIMES", 2.5, 5.0, 10.0),
    ("slo.pacing.ALERT_S", 5.0, 10.0, 20.0),
)
"""The constants that trade late requests, allocations, changes and polls for each other, with
values to try. The value in the code is tried in any case."""

FORMER: Mapping[str, str] = MappingProxyType(
    {
        "SloPolicy.weight_settings.planned_fraction": "0.65",
        "SloPolicy.weight_settings.overspending_s": "none",
        "slo.error_budget.MAX_UNPREVENTABLE": "none",
        "slo.increase.HOLD_RATIO": "none",
        "slo.pacing.QUEUE_AT_RISK": "none",
        "slo.pacing.POLL_SERVICE_TIMES": "none",
        "slo.pacing.ALERT_S": "none",
    }
)
"""The values before the cross-section was used, of the constants that have changed since."""

EXPLANATION = """
*Before* is the value before the cross-section was used, where it was another. In brackets is the
number of families; *chosen without a family* is what all others choose, and *own choice* what the
family would choose alone. *SLO met* counts {pairs} with the value in the code and with the chosen
one; *hours* are those with the chosen value as a multiple of those with the value in the code, the
geometric mean over pairs. The choice ignores changes and polls, which the tables of the values
show.
"""

ALL_PAIRS, FEASIBLE_PAIRS = "all pairs", "the pairs on which the SLO can be met"


class Outcome(Struct, frozen=True, kw_only=True):
    """One trace in one scenario with one value of one constant."""

    family: str
    pair: Pair
    constant: str
    value: Any
    met: bool
    hours: float
    changes_per_hour: float
    polls_per_hour: float


def outcomes_of(constants: Sequence[Constant], case: Case) -> list[Outcome]:
    """Every value of every constant on one pair. The values in the code are run once."""
    trace, found = case.source.read(), []
    runner = TrialRunner(case.scenario, workload_of(trace, case.scenario, SEED), SEED)
    as_coded = slo_run(runner, policy_spec(OURS))
    for constant in constants:
        for place, value in enumerate(constant.values):
            run = as_coded
            if place > 0:
                with with_value(constant.name, value) as spec:
                    run = slo_run(runner, spec)
            found.append(
                Outcome(
                    family=family_of(trace.name),
                    pair=(trace.name, case.scenario.name),
                    constant=constant.name,
                    value=value,
                    met=run.met,
                    hours=run.row.allocation_hours,
                    changes_per_hour=run.changes_per_hour,
                    polls_per_hour=run.polls_per_hour,
                )
            )
    return found


def met_and_hours(outcomes: Iterable[Outcome], value: Any) -> tuple[int, float]:
    """Pairs on which a value meets the SLO, and the mean logarithm of its hours."""
    own = [each for each in outcomes if each.value == value]
    met = sum(each.met for each in own)
    return met, sum(math.log(each.hours) for each in own) / max(1, len(own))


def choice(outcomes: Sequence[Outcome], values: Sequence[Any]) -> Any:
    """The value that meets the SLO on most pairs, and of equals the cheapest. Of equals in both,
    the first, which is the one in the code."""

    def rank(value: Any) -> tuple[int, float]:
        met, hours = met_and_hours(outcomes, value)
        return met, -hours

    return max(values, key=rank)


def by_family(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each family, in the order of their names and numbers."""
    found: dict[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        found[each.family].append(each)
    return {family: found[family] for family in sorted(found, key=rank_of)}


def choices(outcomes: Sequence[Outcome], values: Sequence[Any]) -> dict[str, tuple[Any, Any]]:
    """By family: the value that is chosen without it, and its own choice."""
    return {
        family: (
            choice([each for each in outcomes if each.family != family], values),
            choice(own, values),
        )
        for family, own in by_family(outcomes).items()
    }


def folds(outcomes: Sequence[Outcome], values: Sequence[Any]) -> list[list[str]]:
    """A row for each family: the value chosen without it, its own choice, and the results."""
    rows, chosen_by = [], choices(outcomes, values)
    for family, own in by_family(outcomes).items():
        chosen, own_choice = chosen_by[family]
        (met, hours), (coded_met, coded_hours) = (
            met_and_hours(own, value) for value in (chosen, values[0])
        )
        pairs = len({each.pair for each in own})
        figures = [str(pairs), _text(chosen), _text(own_choice), str(coded_met), str(met)]
        rows.append([family, *figures, f"{math.exp(hours - coded_hours):.3f}"])
    return rows


def totals(outcomes: Sequence[Outcome], values: Sequence[Any]) -> list[list[str]]:
    """A row for each value over all families, beginning with the one in the code."""
    pairs = len({each.pair for each in outcomes})
    _, coded_hours = met_and_hours(outcomes, values[0])
    rows = []
    for value in values:
        met, hours = met_and_hours(outcomes, value)
        own = [each for each in outcomes if each.value == value]
        ratio = f"{math.exp(hours - coded_hours):.3f}"
        changes = fmean(each.changes_per_hour for each in own)
        polls = fmean(each.polls_per_hour for each in own)
        rows.append([_text(value), f"{met} of {pairs}", ratio, f"{changes:.1f}", f"{polls:.0f}"])
    return rows


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _counted(values: Iterable[Any]) -> str:
    """Each value with how often it is chosen, the most frequent first."""
    counts = Counter(map(_text, values)).most_common()
    return ", ".join(f"{value} ({count})" for value, count in counts)


def is_without_effect(outcomes: Iterable[Outcome]) -> bool:
    """Whether all values have the same results on each pair."""
    results = defaultdict(set)
    for each in outcomes:
        results[each.pair].add((each.met, each.hours, each.changes_per_hour, each.polls_per_hour))
    return all(len(found) == 1 for found in results.values())


def section(
    outcomes: Sequence[Outcome], constants: Sequence[Constant], pairs: str = ALL_PAIRS
) -> str:
    """The text about all constants.

    Args:
        pairs: which ones the outcomes are of.
    """
    by_constant: Mapping[str, list[Outcome]] = {
        constant.name: [each for each in outcomes if each.constant == constant.name]
        for constant in constants
    }
    summary, parts = [], []
    for constant in constants:
        own, values = by_constant[constant.name], constant.values
        without, alone = zip(*choices(own, values).values(), strict=True)
        summary.append(
            [
                f"`{constant.name}`",
                FORMER.get(constant.name, ""),
                _text(values[0]),
                ", ".join(map(_text, values[1:])),
                _text(choice(own, values)),
                _counted(without),
                _counted(alone),
            ]
        )
        parts += [
            f"`{constant.name}`:",
            table(TOTALS.split("|"), totals(own, values)),
            table(FOLDS.split("|"), folds(own, values)),
        ]
        if is_without_effect(own):
            parts.append("These values make no difference.")
    return "\n\n".join(
        [table(SUMMARY.split("|"), summary), wrapped(EXPLANATION.format(pairs=pairs)), *parts]
    )


SUMMARY = (
    "constant|before|in the code|also tried|all families choose|chosen without a family|own choice"
)
TOTALS = "value|SLO met|hours, × code|changes/h|polls/h"
FOLDS = "family left out|pairs|chosen|own choice|SLO met, code|chosen|hours, × code"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("traces", nargs="+", help="files or folders of traces")
    parser.add_argument(
        "--constant",
        action="append",
        metavar="NAME=VALUE,...",
        help="values to try besides the one in the code; may be repeated; default: "
        + ", ".join(name for name, *_ in CONSTANTS),
    )
    parser.add_argument(
        "--results",
        nargs="+",
        type=Path,
        help="files written by `backtest --json`; pairs on which no policy of them meets the SLO "
        "are left out, and those that are absent from them",
    )
    parser.add_argument("--document", type=Path, help="replace a section of this file as well")
    parser.add_argument("--section", default="tuning", help="the name in the marker lines")
    chosen = parser.parse_args(arguments)
    try:
        constants = (
            [parsed(text) for text in chosen.constant]
            if chosen.constant
            else [constant_of(*each) for each in CONSTANTS]
        )
        planned, pairs = cases(chosen.traces), ALL_PAIRS
        if chosen.results:
            feasible, pairs = evidence_of(chosen.results).pairs, FEASIBLE_PAIRS
            planned = [
                each for each in planned if (each.source.name, each.scenario.name) in feasible
            ]
        if not planned:
            raise UserError(
                "the result files have no run of these traces in which a policy meets the SLO; run "
                "`make frontier` with the same traces"
            )

        def text() -> str:
            outcomes = of_all(planned, partial(outcomes_of, constants), "tuning")
            return section(outcomes, constants, pairs)

        publish(text, chosen.section, chosen.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
