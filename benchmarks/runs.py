"""Runs of the policy `slo` with other values of its constants, on all cores."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from rich.console import Console

from autoscaler.backtest.batch import Task, run_all
from autoscaler.backtest.drivers import PlanDriver
from autoscaler.backtest.executors.local import LocalProcesses
from autoscaler.backtest.policy_specs import PolicySpec
from autoscaler.backtest.progress import progress_on
from autoscaler.backtest.results import file as files
from autoscaler.backtest.results.comparison import SLO_TARGET
from autoscaler.backtest.results.rows import ResultRow
from autoscaler.backtest.trial import TrialRunner
from autoscaler.backtest.world.scenario import BacktestScenario, standard
from autoscaler.backtest.world.traces import TraceSource, find_traces
from autoscaler.errors import InputError, UserError
from benchmarks.evidence import Evidence, combined

OURS = "slo"
SEED = 1

Result = TypeVar("Result")


class Case(Struct, frozen=True, kw_only=True):
    """One trace in one scenario, with the requests of `SEED`."""

    source: TraceSource
    scenario: BacktestScenario

    @property
    def name(self) -> str:
        return f"{self.source.name}, {self.scenario.name}"


class SloRun(Struct, frozen=True, kw_only=True):
    """The result of one run."""

    row: ResultRow
    polls: int

    @property
    def met(self) -> bool:
        """Whether it meets the SLO of the standard scenarios."""
        return self.row.violation_fraction <= 1.0 - SLO_TARGET + 1e-9

    @property
    def changes_per_hour(self) -> float:
        return self.row.changes * 3600.0 / self.row.simulated_s

    @property
    def polls_per_hour(self) -> float:
        return self.polls * 3600.0 / self.row.simulated_s


def cases(traces: Iterable[str]) -> list[Case]:
    """The traces in the standard scenarios with three nodes.

    Raises:
        UserError: there is no such trace.
    """
    scenarios = [each for each in standard() if each.nodes > 1]
    return [
        Case(source=source, scenario=scenario)
        for source in find_traces(traces)
        for scenario in scenarios
    ]


def slo_run(runner: TrialRunner, spec: PolicySpec) -> SloRun:
    """One run of `slo`, or of a variant of it."""
    driver = runner.driver(spec, SLO_TARGET)
    plant = runner.run_driver(driver, version=spec.version)
    assert isinstance(driver, PlanDriver), "the daemon runs policy `slo`"
    return SloRun(row=runner.row(plant, OURS, refused=driver.refused), polls=driver.polls)


def of_all(
    planned: Iterable[Task], work: Callable[[Task], list[Result]], label: str
) -> list[Result]:
    """The results of all tasks, in their order.

    Args:
        work: a function of a module or a partial one, because worker processes import it.

    Raises:
        UserError: a case failed, or Ctrl-C was pressed.
    """
    todo = list(planned)
    with progress_on(Console(stderr=True), label) as progress:
        executors = LocalProcesses(os.cpu_count() or 1)
        done = run_all(todo, work, executors=executors, progress=progress)
    if done.failures:
        raise UserError(done.failures[0].message)
    if done.interrupted:
        raise UserError(f"interrupted after {len(done.results)} of {done.total} cases")
    return [each for found in done.results for each in found]


def evidence_of(paths: Iterable[Path]) -> Evidence:
    """Results of back-tests, which say on which pairs the SLO can be met.

    Raises:
        UserError: they cannot be read or are inconsistent.
    """
    return combined([files.read(path) for path in paths])


def ensure_same_requests(evidence: Evidence, rows: Iterable[ResultRow]) -> None:
    """
    Raises:
        InputError: a pair is absent from the evidence, or has other requests there.
    """
    known = {(row.trace, row.scenario): row.requests for row in evidence.rows if row.seed == SEED}
    for row in rows:
        requests = known.get((row.trace, row.scenario))
        if requests != row.requests:
            have = "no run" if requests is None else f"{requests:,} requests"
            raise InputError(
                f"the result files have {have} of {row.trace} in {row.scenario} with seed {SEED}, "
                f"which has {row.requests:,} requests; run `make frontier` with the same traces"
            )
