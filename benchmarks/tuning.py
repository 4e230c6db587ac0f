"""Is the policy fitted to the loads it was tested on? `python -m benchmarks.tuning TRACES`

One parameter trades late requests for allocations everywhere: the planned fraction of the error
budget. For each family of traces it is chosen on all other families, and the result of the choice
on this family is compared with that of the default. The runs use the two standard scenarios with
one node and one seed.
"""

import argparse
import math
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.drivers import PlanDriver, as_configured, drive
from autoscaler.backtest.policy_specs import RunInputs, policy_spec
from autoscaler.backtest.results import scoring
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import standard
from autoscaler.backtest.world.traces import TraceSource, find_traces
from autoscaler.backtest.world.workload import workload_of
from autoscaler.core.slo.error_budget import WeightSettings
from autoscaler.core.slo.policy import SloPolicy
from benchmarks.markdown import table

DEFAULT = WeightSettings().planned_fraction
SETTINGS = (0.5, DEFAULT, 0.8)

FAMILIES = {
    "daily cycle": ("diurnal", "jul95", "taxi"),
    "flash crowd": ("flash", "plateau", "launch", "aapl"),
    "spikes and noise": ("minute_spikes", "conv", "elb"),
    "idle gaps": ("idle", "fleet"),
    "on and off": ("square", "regime"),
    "levels and growth": ("levels", "growth"),
    "mixed": ("servegen",),
}
"""Families by parts of the names of their traces; the first match counts."""

INITIAL_HEADROOM = 2
"""Allocations above the minimum at the beginning of a run."""


class Outcome(Struct, frozen=True, kw_only=True):
    """One trace in one scenario at one setting."""

    family: str
    pair: tuple[str, str]
    setting: float
    attainment: float
    hours: float


def family_of(trace: str) -> str:
    return next(
        (name for name, parts in FAMILIES.items() if any(part in trace for part in parts)), "other"
    )


def outcomes_of(source: TraceSource) -> list[Outcome]:
    """Every setting on one trace."""
    trace, found = source.read(), []
    for scenario in standard():
        if scenario.nodes > 1:
            continue
        workload = workload_of(trace, scenario, 1)
        slo = scoring.RequestSlo(scenario.slo_wait_s, scenario.slo_target)
        build = policy_spec("slo").build
        assert build is not None
        for setting in SETTINGS:
            policy = build(scenario.slo_target, RunInputs(workload=workload, scenario=scenario))
            assert isinstance(policy, SloPolicy)
            policy = replace(policy, weight_settings=WeightSettings(planned_fraction=setting))
            plant = Plant(
                scenario, workload, allocations=scenario.min_allocations + INITIAL_HEADROOM
            )
            drive(plant, PlanDriver(as_configured(policy, scenario), scenario.poll_interval_s))
            fleet = plant.fleet
            score = scoring.request_score(
                workload, fleet.waits_s, fleet.outcomes, slo, plant.allocation_spans
            )
            found.append(
                Outcome(
                    family=family_of(trace.name),
                    pair=(trace.name, scenario.name),
                    setting=setting,
                    attainment=1.0 - score.violations / score.requests,
                    hours=scoring.cost(plant.allocation_spans, *plant.span).allocation_hours,
                )
            )
    return found


def met_and_hours(outcomes: Iterable[Outcome], setting: float) -> tuple[int, float]:
    """Pairs on which a setting meets an SLO of 99%, and the mean logarithm of its hours."""
    own = [each for each in outcomes if each.setting == setting]
    met = sum(each.attainment >= 0.99 for each in own)
    return met, sum(math.log(each.hours) for each in own) / max(1, len(own))


def folds(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """A row for each family: the setting chosen without it, and the results of this setting."""
    rows = []
    by_family: dict[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        by_family[each.family].append(each)
    for family, own in by_family.items():
        others = [each for each in outcomes if each.family != family]

        def rank(setting: float, others: Sequence[Outcome] = others) -> tuple[int, float]:
            met, hours = met_and_hours(others, setting)
            return met, -hours

        chosen = max(SETTINGS, key=rank)
        (met, hours), (default_met, default_hours) = (
            met_and_hours(own, setting) for setting in (chosen, DEFAULT)
        )
        pairs = len({each.pair for each in own})
        ratio = math.exp(hours - default_hours)
        rows.append([family, str(pairs), f"{chosen:g}", str(met), str(default_met), f"{ratio:.3f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("traces", nargs="+", type=Path, help="files or folders of traces")
    sources = find_traces(map(str, parser.parse_args().traces))
    with multiprocessing.Pool(os.cpu_count()) as pool:
        outcomes = [each for found in pool.imap(outcomes_of, sources) for each in found]
    headings = ["family left out", "pairs", "chosen", "SLO met", "with default", "hours, × default"]
    print(table(headings, folds(outcomes), left=1))
    for setting in SETTINGS:
        met, _ = met_and_hours(outcomes, setting)
        pairs = len(outcomes) // len(SETTINGS)
        print(f"planned_fraction = {setting:g}: SLO met on {met} of {pairs}")


if __name__ == "__main__":
    main()
