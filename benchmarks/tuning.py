"""Is the policy fitted to the loads it was tried on? `python -m benchmarks.tuning TRACES`

The one figure that trades late requests for allocations everywhere, the share of the error budget
that is meant to be used, is chosen anew for each family of traces, on all the others; and what the
choice does to the family left out is told beside what the shipped figure does there. All of it in
the two standard scenarios with one node, with one seed.
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

SHIPPED = WeightSettings().planned_fraction
SETTINGS = (0.5, SHIPPED, 0.8)

FAMILIES = {
    "daily cycle": ("diurnal", "jul95", "taxi"),
    "flash crowd": ("flash", "plateau", "launch", "aapl"),
    "spikes and noise": ("minute_spikes", "conv", "elb"),
    "idle gaps": ("idle", "fleet"),
    "on and off": ("square", "regime"),
    "levels and growth": ("levels", "growth"),
    "mixed": ("servegen",),
}
"""By parts of the names of traces; the first that fits."""

PROCESSORS_TO_SPARE = 2
"""More allocations than the busiest ten minutes keep busy, to begin with."""


class Outcome(Struct, frozen=True, kw_only=True):
    family: str
    pair: tuple[str, str]
    setting: float
    in_time: float
    hours: float


def family_of(trace: str) -> str:
    return next(
        (name for name, parts in FAMILIES.items() if any(part in trace for part in parts)), "other"
    )


def tried(source: TraceSource) -> list[Outcome]:
    """Every setting on one trace."""
    trace, found = source.read(), []
    for scenario in standard():
        if scenario.nodes > 1:
            continue
        demand = workload_of(trace, scenario, 1)
        promise = scoring.RequestSlo(scenario.slo_wait_s, scenario.slo_target)
        build = policy_spec("slo").build
        assert build is not None
        for setting in SETTINGS:
            policy = build(scenario.slo_target, RunInputs(workload=demand, scenario=scenario))
            assert isinstance(policy, SloPolicy)
            policy = replace(policy, weight_settings=WeightSettings(planned_fraction=setting))
            plant = Plant(
                scenario, demand, allocations=scenario.min_allocations + PROCESSORS_TO_SPARE
            )
            drive(plant, PlanDriver(as_configured(policy, scenario), scenario.poll_interval_s))
            fleet = plant.fleet
            met = scoring.request_score(
                demand, fleet.waits_s, fleet.outcomes, promise, plant.allocation_spans
            )
            found.append(
                Outcome(
                    family=family_of(trace.name),
                    pair=(trace.name, scenario.name),
                    setting=setting,
                    in_time=1.0 - met.violations / met.requests,
                    hours=scoring.cost(plant.allocation_spans, *plant.span).allocation_hours,
                )
            )
    return found


def held_and_hours(outcomes: Iterable[Outcome], setting: float) -> tuple[int, float]:
    """How many pairs a setting holds at 99 %, and the mean logarithm of its hours."""
    own = [each for each in outcomes if each.setting == setting]
    held = sum(each.in_time >= 0.99 for each in own)
    return held, sum(math.log(each.hours) for each in own) / max(1, len(own))


def folds(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """A row for each family: what is chosen without it, and what comes of it there."""
    rows = []
    by_family: dict[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        by_family[each.family].append(each)
    for family, own in by_family.items():
        others = [each for each in outcomes if each.family != family]

        def merit(setting: float, others: Sequence[Outcome] = others) -> tuple[int, float]:
            held, hours = held_and_hours(others, setting)
            return held, -hours

        chosen = max(SETTINGS, key=merit)
        (held, hours), (ours, our_hours) = (
            held_and_hours(own, setting) for setting in (chosen, SHIPPED)
        )
        pairs = len({each.pair for each in own})
        ratio = math.exp(hours - our_hours)
        rows.append([family, str(pairs), f"{chosen:g}", str(held), str(ours), f"{ratio:.3f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("traces", nargs="+", type=Path, help="files or folders of traces")
    sources = find_traces(map(str, parser.parse_args().traces))
    with multiprocessing.Pool(os.cpu_count()) as pool:
        outcomes = [each for found in pool.imap(tried, sources) for each in found]
    headings = ["family left out", "pairs", "chosen", "held", "as shipped", "hours to shipped"]
    print(table(headings, folds(outcomes), left=1))
    for setting in SETTINGS:
        held, _ = held_and_hours(outcomes, setting)
        print(f"used = {setting:g}: holds {held} of {len(outcomes) // len(SETTINGS)}")


if __name__ == "__main__":
    main()
