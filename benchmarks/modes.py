"""Is moving the bounds of Elasticsearch's own scaler worth it? `python -m benchmarks.modes TRACES`

Policy `slo` with either lever, against that scaler alone, in the standard scenarios: as shipped,
and at equal cost. For that the scaler is made dearer in two ways, of which its operators have only
the second: other thresholds, and a fixed minimum.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

from msgspec import Struct
from rich.console import Console

from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.backtest.batch import progress_on, run_all
from autoscaler.backtest.drivers import AdaptiveDriver, PlanDriver
from autoscaler.backtest.policy_specs import policy_spec
from autoscaler.backtest.trial import TrialRunner
from autoscaler.backtest.world.scenario import STANDARD, BacktestScenario, find_scenario
from autoscaler.backtest.world.traces import find_traces
from autoscaler.backtest.world.workload import Workload, workload_of
from autoscaler.errors import UserError
from autoscaler.simulation.adaptive_allocations_scaler import SHIPPED, Thresholds
from autoscaler.simulation.traces import Trace
from benchmarks.mode_tables import (
    BOUNDS,
    DIRECT,
    MINIMUM,
    NATIVE,
    OLD_NATIVE,
    THRESHOLDS,
    Run,
    told,
)

SHARES = (0.5, 0.7, 0.9, 0.97, 0.99)
"""Promises that the policy is told when it moves bounds, the last of them that of the scenarios."""

FACTORS = (0.85, 0.7, 0.55, 0.45, 0.35, 0.25)
"""What the thresholds are multiplied by."""

MULTIPLES = (0.7, 1.0, 1.2, 1.4, 1.7, 2.0, 2.8, 4.0)
"""Fixed minima, as multiples of the mean load of the demand."""


class Task(Struct, frozen=True, kw_only=True):
    """Everybody on the same requests."""

    trace: Trace
    scenario: BacktestScenario
    seed: int

    @property
    def name(self) -> str:
        return f"{self.trace.name}, {self.scenario.name}, seed {self.seed}"


def play(task: Task) -> list[Run]:
    """Try everybody."""
    demand = workload_of(task.trace, task.scenario, task.seed)
    arena = TrialRunner(task.scenario, demand, task.seed)
    return [*_ours(arena, task.scenario), *_theirs(arena, task.scenario, demand)]


def _ours(arena: TrialRunner, scenario: BacktestScenario) -> Iterator[Run]:
    shipped = scenario.slo_target
    for name, shares in ((DIRECT, (shipped,)), (BOUNDS, sorted({*SHARES, shipped}))):
        tried = policy_spec(name)
        for share in shares:
            driver = arena.driver(tried, share)
            plant = arena.run_driver(driver, version=tried.version)
            assert isinstance(driver, PlanDriver), "ours is at home in the daemon"
            setting, default = tried.setting(share), share == shipped
            row = arena.row(plant, name, setting=setting, default=default, refused=driver.refused)
            yield Run(row=row, updates=driver.updates)


def _theirs(arena: TrialRunner, scenario: BacktestScenario, demand: Workload) -> Iterator[Run]:
    least, most = scenario.min_allocations, scenario.max_allocations

    def run(
        policy: str, setting: str, minimum: int, thresholds: Thresholds = SHIPPED, of: str = NATIVE
    ) -> Run:
        version = policy_spec(of).version
        plant = arena.run_driver(
            AdaptiveDriver(minimum, most), version=version, thresholds=thresholds
        )
        return Run(row=arena.row(plant, policy, setting=setting, default=not setting), updates=0)

    for name in (NATIVE, OLD_NATIVE):
        yield run(name, "", least, of=name)
    for factor in FACTORS:
        thresholds = Thresholds(
            up_above=factor * SHIPPED.up_above, down_below=factor * SHIPPED.down_below
        )
        yield run(THRESHOLDS, f"thresholds={factor:g}", least, thresholds)
    mean = float(demand.work_s.sum()) / demand.duration_s
    for multiple in MULTIPLES:
        minimum = min(max(round_up(multiple * mean), least), most)
        yield run(MINIMUM, f"multiple={multiple:g}", minimum)


def tasks(traces: Sequence[str], scenarios: Sequence[str], seeds: int) -> list[Task]:
    """All pairs with all seeds.

    Raises:
        UserError: a trace or scenario cannot be used.
    """
    return [
        Task(trace=trace, scenario=scenario, seed=seed)
        for trace in [source.read() for source in find_traces(traces)]
        for scenario in map(find_scenario, scenarios)
        for seed in range(1, seeds + 1)
    ]


def tried(wanted: Sequence[Task], workers: int, progress: Console) -> list[Run]:
    """All runs, but for those that failed, which are told."""
    with progress_on(progress, "levers") as tell:
        done = run_all(wanted, play, workers=workers, progress=tell)
    for failure in done.failures:
        progress.print(failure.sentence, markup=False, highlight=False, soft_wrap=True)
    if done.missing:
        progress.print(f"{done.missing} of {done.total} parts of it are missing", highlight=False)
    return [run for result in done.results for run in result]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.modes", description=__doc__)
    parser.add_argument("traces", nargs="+", help="files or folders of traces, or generators")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--scenario", action="append", help="more than once; all standard ones")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args(arguments)
    progress = Console(stderr=True)
    try:
        wanted = tasks(chosen.traces, chosen.scenario or STANDARD, chosen.seeds)
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(mistake.exit_code)
    runs = tried(wanted, chosen.workers, progress)
    if runs:
        print(told(runs))


if __name__ == "__main__":
    main(sys.argv[1:])
