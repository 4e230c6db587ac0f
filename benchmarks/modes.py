"""The control modes compared with adaptive allocations: `python -m benchmarks.modes TRACES`

Policy `slo` in the modes `direct` and `bounds`, and adaptive allocations alone, in the standard
scenarios: with default settings, and at equal cost. For the latter, the cost of adaptive
allocations is raised by other thresholds, which cannot be configured, or by a fixed minimum.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.backtest.drivers import AdaptiveDriver, PlanDriver
from autoscaler.backtest.policy_specs import policy_spec
from autoscaler.backtest.trial import TrialRunner
from autoscaler.backtest.world.scenario import STANDARD, BacktestScenario, find_scenario
from autoscaler.backtest.world.traces import find_traces
from autoscaler.backtest.world.workload import Workload, workload_of
from autoscaler.errors import UserError
from autoscaler.simulation.adaptive_allocations_scaler import SHIPPED, Thresholds
from autoscaler.simulation.traces import Trace
from benchmarks.frontier import publish
from benchmarks.mode_tables import (
    ADAPTIVE,
    BOUNDS,
    DIRECT,
    MINIMUM,
    OLD_ADAPTIVE,
    THRESHOLDS,
    Run,
    section,
)
from benchmarks.runs import of_all

TARGETS = (0.5, 0.7, 0.9, 0.97, 0.99)
"""SLO targets in mode `bounds`; the last one is that of the standard scenarios."""

FACTORS = (0.85, 0.7, 0.55, 0.45, 0.35, 0.25)
"""Factors on the thresholds of adaptive allocations."""

MULTIPLES = (0.7, 1.0, 1.2, 1.4, 1.7, 2.0, 2.8, 4.0)
"""Fixed minima, as multiples of the mean offered load."""


class Task(Struct, frozen=True, kw_only=True):
    """All policies on the same requests."""

    trace: Trace
    scenario: BacktestScenario
    seed: int

    @property
    def name(self) -> str:
        return f"{self.trace.name}, {self.scenario.name}, seed {self.seed}"


def run_task(task: Task) -> list[Run]:
    """Run all policies."""
    workload = workload_of(task.trace, task.scenario, task.seed)
    runner = TrialRunner(task.scenario, workload, task.seed)
    return [*_slo(runner, task.scenario), *_adaptive(runner, task.scenario, workload)]


def _slo(runner: TrialRunner, scenario: BacktestScenario) -> Iterator[Run]:
    default_target = scenario.slo_target
    both = ((DIRECT, (default_target,)), (BOUNDS, sorted({*TARGETS, default_target})))
    for name, targets in both:
        spec = policy_spec(name)
        for target in targets:
            driver = runner.driver(spec, target)
            plant = runner.run_driver(driver, version=spec.version)
            assert isinstance(driver, PlanDriver), "the daemon runs policy `slo`"
            setting, default = spec.setting(target), target == default_target
            row = runner.row(plant, name, setting=setting, default=default, refused=driver.refused)
            yield Run(row=row, updates=driver.updates)


def _adaptive(runner: TrialRunner, scenario: BacktestScenario, workload: Workload) -> Iterator[Run]:
    lowest, highest = scenario.min_allocations, scenario.max_allocations

    def run(
        policy: str,
        setting: str,
        minimum: int,
        thresholds: Thresholds = SHIPPED,
        of: str = ADAPTIVE,
    ) -> Run:
        version = policy_spec(of).version
        plant = runner.run_driver(
            AdaptiveDriver(minimum, highest), version=version, thresholds=thresholds
        )
        return Run(row=runner.row(plant, policy, setting=setting, default=not setting), updates=0)

    for name in (ADAPTIVE, OLD_ADAPTIVE):
        yield run(name, "", lowest, of=name)
    for factor in FACTORS:
        thresholds = Thresholds(
            up_above=factor * SHIPPED.up_above, down_below=factor * SHIPPED.down_below
        )
        yield run(THRESHOLDS, f"thresholds={factor:g}", lowest, thresholds)
    mean = float(workload.work_s.sum()) / workload.duration_s
    for multiple in MULTIPLES:
        minimum = min(max(round_up(multiple * mean), lowest), highest)
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


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.modes", description=__doc__)
    parser.add_argument("traces", nargs="+", help="files or folders of traces, or generators")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--scenario", action="append", help="may be repeated; default: all standard scenarios"
    )
    parser.add_argument("--document", type=Path, help="replace the section `modes` of this file")
    chosen = parser.parse_args(arguments)
    try:
        planned = tasks(chosen.traces, chosen.scenario or STANDARD, chosen.seeds)

        def text() -> str:
            return section(of_all(planned, run_task, "modes"))

        publish(text, "modes", chosen.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
