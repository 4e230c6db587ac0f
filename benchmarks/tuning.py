"""Are the constants of `slo` fitted to the loads of its tests? `-m benchmarks.tuning TRACES`

For each family of traces, each constant is chosen on all other families: the value with which the
SLO is met on most pairs, and of equals the cheapest. The result of this choice on the family that
was left out is compared with that of the value in the code, and with what the family itself would
choose. The runs use the two standard scenarios with three nodes and one seed.
"""

import argparse
import math
import multiprocessing
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from msgspec import Struct

from autoscaler.backtest.trial import TrialRunner
from autoscaler.backtest.world.scenario import standard
from autoscaler.backtest.world.traces import TraceSource, find_traces
from autoscaler.backtest.world.workload import workload_of
from autoscaler.errors import UserError
from benchmarks.constants import Constant, constant_of, parsed, with_value
from benchmarks.families import family_of, rank_of
from benchmarks.frontier import replace_section
from benchmarks.markdown import table, wrapped

SEED = 1

CONSTANTS = (
    ("SloPolicy.weight_settings.planned_fraction", 0.5, 0.65, 0.8),
    ("SloPolicy.weight_settings.exponent", 3.0, 4.0, 5.0),
    ("slo.load_distribution.SWITCHING_RATE", 0.025, 0.05, 0.1),
    ("slo.load_jump.JUMP_RATIO", 1.5, 2.0, 3.0),
    ("slo.cost_model.MIN_SAVING", 0.15, 0.3, 0.6),
    ("slo.cost_model.SCALE_DOWN_COST_S", 20.0, 40.0, 80.0),
)
"""The constants that trade late requests, allocations and changes for each other, with values to
try. The value in the code is tried in any case."""

EXPLANATION = """
*Chosen* is the value that all other families choose; *own choice* the one that this family would
choose alone. *SLO met* counts pairs with the value in the code and with the chosen one; *hours* are
those with the chosen value as a multiple of those with the value in the code, the geometric mean
over pairs. The choice ignores the changes per hour, which the table of the values shows.
"""


class Outcome(Struct, frozen=True, kw_only=True):
    """One trace in one scenario with one value of one constant."""

    family: str
    pair: tuple[str, str]
    constant: str
    value: Any
    met: bool
    hours: float
    changes_per_hour: float


def outcomes_of(constants: Sequence[Constant], source: TraceSource) -> list[Outcome]:
    """Every value of every constant on one trace. The values in the code are run once."""
    trace, found = source.read(), []
    for scenario in standard():
        if scenario.nodes == 1:
            continue
        workload = workload_of(trace, scenario, SEED)
        runner = TrialRunner(scenario, workload, SEED)

        def run(
            name: str,
            value: Any,
            runner: TrialRunner = runner,
            target: float = scenario.slo_target,
        ) -> tuple[bool, float, float]:
            with with_value(name, value) as spec:
                plant = runner.run_driver(runner.driver(spec, target), version=spec.version)
            row = runner.row(plant, "slo")
            met = row.violation_fraction <= 1.0 - target + 1e-9
            return met, row.allocation_hours, row.changes * 3600.0 / row.simulated_s

        as_coded = run(constants[0].name, constants[0].values[0])
        for constant in constants:
            for place, value in enumerate(constant.values):
                met, hours, changes = as_coded if place == 0 else run(constant.name, value)
                found.append(
                    Outcome(
                        family=family_of(trace.name),
                        pair=(trace.name, scenario.name),
                        constant=constant.name,
                        value=value,
                        met=met,
                        hours=hours,
                        changes_per_hour=changes,
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


def folds(outcomes: Sequence[Outcome], values: Sequence[Any]) -> list[list[str]]:
    """A row for each family: the value chosen without it, its own choice, and the results."""
    rows = []
    by_family: dict[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        by_family[each.family].append(each)
    for family in sorted(by_family, key=rank_of):
        own = by_family[family]
        others = [each for each in outcomes if each.family != family]
        chosen = choice(others, values)
        (met, hours), (coded_met, coded_hours) = (
            met_and_hours(own, value) for value in (chosen, values[0])
        )
        pairs = len({each.pair for each in own})
        figures = [str(pairs), _text(chosen), _text(choice(own, values)), str(coded_met), str(met)]
        rows.append([family, *figures, f"{math.exp(hours - coded_hours):.3f}"])
    return rows


def totals(outcomes: Sequence[Outcome], values: Sequence[Any]) -> list[list[str]]:
    """A row for each value over all families, beginning with the one in the code."""
    pairs = len({each.pair for each in outcomes})
    _, coded_hours = met_and_hours(outcomes, values[0])
    rows = []
    for value in values:
        met, hours = met_and_hours(outcomes, value)
        changes = fmean(each.changes_per_hour for each in outcomes if each.value == value)
        ratio = f"{math.exp(hours - coded_hours):.3f}"
        rows.append([_text(value), f"{met} of {pairs}", ratio, f"{changes:.1f}"])
    return rows


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def section(outcomes: Sequence[Outcome], constants: Sequence[Constant]) -> str:
    """The text about all constants."""
    by_constant: Mapping[str, list[Outcome]] = {
        constant.name: [each for each in outcomes if each.constant == constant.name]
        for constant in constants
    }
    all_choose = [
        [
            f"`{constant.name}`",
            _text(constant.values[0]),
            ", ".join(map(_text, constant.values[1:])),
            _text(choice(by_constant[constant.name], constant.values)),
        ]
        for constant in constants
    ]
    parts = [
        table(["constant", "in the code", "also tried", "all families choose"], all_choose),
        wrapped(EXPLANATION),
    ]
    headings = ["family left out", "pairs", "chosen", "own choice", "SLO met, code", "chosen"]
    for constant in constants:
        own = by_constant[constant.name]
        parts += [
            f"`{constant.name}`:",
            table(["value", "SLO met", "hours, × code", "changes/h"], totals(own, constant.values)),
            table([*headings, "hours, × code"], folds(own, constant.values)),
        ]
    return "\n\n".join(parts)


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
    parser.add_argument("--document", type=Path, help="replace a section of this file as well")
    parser.add_argument("--section", default="tuning", help="the name in the marker lines")
    chosen = parser.parse_args(arguments)
    try:
        constants = (
            [parsed(text) for text in chosen.constant]
            if chosen.constant
            else [constant_of(*each) for each in CONSTANTS]
        )
        sources = find_traces(chosen.traces)
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
            work = partial(outcomes_of, constants)
            outcomes = [each for found in pool.imap(work, sources) for each in found]
        text = section(outcomes, constants)
        print(text)
        if chosen.document is not None:
            replace_section(chosen.document, chosen.section, text)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
