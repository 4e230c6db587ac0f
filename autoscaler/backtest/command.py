"""The command: which runs there are to do, doing them, and telling what came of it."""

import math
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct
from rich.console import Console

from autoscaler import __version__
from autoscaler.backtest.batch import Batch, progress_on, run_all
from autoscaler.backtest.policy_specs import DEFAULT_POLICIES, ensure_usable, names, policy_spec
from autoscaler.backtest.results import file as files
from autoscaler.backtest.results import report, table
from autoscaler.backtest.results.rows import Trial
from autoscaler.backtest.trial import TrialRunner, TrialSpec
from autoscaler.backtest.world.scenario import BacktestScenario, find_scenario, standard
from autoscaler.backtest.world.scenario_text import scenario_text
from autoscaler.backtest.world.traces import find_traces
from autoscaler.backtest.world.workload import ensure_playable, workload_of
from autoscaler.errors import UserError
from autoscaler.simulation.traces import Trace

TASKS_A_WORKER = 4
"""So many at least, so that none waits long for another at the end."""


DEFAULT_SHOWN = ("slo", "adaptive-9", "oracle")
"""Drawn over time at first; the reader of a report may choose others."""


class UsageError(UserError):
    """Of the command line."""

    exit_code = 2


class Interrupted(UserError):
    """Somebody was in a hurry."""

    exit_code = 130


class BacktestOptions(Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    traces: tuple[str, ...]
    policies: tuple[str, ...]  # none: all
    scenario: str | None  # a file, or the name of a standard one; None: all of those
    seeds: int
    sweep: bool  # also every other setting, with the first seed
    json: Path | None
    report: Path | None
    workers: int | None  # None: as many as there are cores


class Task(Struct, frozen=True, kw_only=True):
    """Policies to try on the same requests."""

    trace: Trace
    scenario: BacktestScenario
    seed: int
    entries: tuple[TrialSpec, ...]

    @property
    def name(self) -> str:
        return f"{self.trace.name}, {self.scenario.name}, seed {self.seed}"


def run_task(task: Task) -> list[Trial]:
    """Try them."""
    workload = workload_of(task.trace, task.scenario, task.seed)
    runner = TrialRunner(task.scenario, workload, task.seed)
    return [runner.run(entry) for entry in task.entries]


def backtest(options: BacktestOptions, out: Console, progress: Console) -> None:
    """Run it all, and show it.

    Raises:
        UserError: the options or input files are invalid, and nothing was run; or some runs failed,
            and the results of the others were shown and written.
        Interrupted: the same after Ctrl-C.
    """
    for path in (options.json, options.report):
        if path is not None:
            files.ensure_writable(path)
    if options.report is not None:
        report.plotly_js()
    scenarios = standard() if options.scenario is None else (find_scenario(options.scenario),)
    for scenario in scenarios:
        for name in options.policies:
            ensure_usable(name, scenario)
    traces = [source.read() for source in find_traces(options.traces)]
    for trace in traces:
        for scenario in scenarios:
            ensure_playable(trace, scenario)
    workers = options.workers or os.cpu_count() or 1
    tasks = list(tasks_of(options, traces, scenarios, workers))
    with progress_on(progress, "back-test") as tell:
        done = run_all(tasks, run_task, workers=workers, progress=tell)
    trials = [trial for result in done.results for trial in result]
    _keep(options, scenarios, trials, done)
    if trials:
        shares = {scenario.name: scenario.slo_target for scenario in scenarios}
        table.show(out, [trial.row for trial in trials], shares=shares)
    for failure in done.failures:
        progress.print(failure.sentence, style="red", markup=False, highlight=False, soft_wrap=True)
    if done.missing:
        kept = f"{done.missing} of {done.total} parts of it are missing from what is shown"
        raise Interrupted(kept) if done.interrupted else UserError(kept)


def tasks_of(
    options: BacktestOptions,
    traces: Sequence[Trace],
    scenarios: Sequence[BacktestScenario],
    workers: int,
) -> Iterator[Task]:
    """All runs, those on the same requests together, but in several parts if there are few."""
    groups = len(traces) * len(scenarios) * options.seeds
    parts = math.ceil(TASKS_A_WORKER * workers / groups)
    for trace in traces:
        for scenario in scenarios:
            for seed in range(1, options.seeds + 1):
                entries = tuple(entries_of(options, first=seed == 1))
                size = math.ceil(len(entries) / parts)
                for begin in range(0, len(entries), size):
                    yield Task(
                        trace=trace,
                        scenario=scenario,
                        seed=seed,
                        entries=entries[begin : begin + size],
                    )


def entries_of(options: BacktestOptions, *, first: bool) -> Iterator[TrialSpec]:
    """Who is tried with a seed: as shipped, and with the `first` at all settings if wished."""
    for name in options.policies or DEFAULT_POLICIES:
        yield TrialSpec(policy=name, with_timeline=first and options.report is not None)
        tried = policy_spec(name)
        if first and options.sweep:
            for value in tried.sweep:
                if value != tried.default:
                    yield TrialSpec(policy=name, value=value)


def chosen_policies(texts: Iterable[str]) -> tuple[str, ...]:
    """The names in such lists as `hpa,kpa`.

    Raises:
        WrongUsage: there is no policy of such a name.
    """
    wanted = [name.strip() for text in texts for name in text.split(",")]
    known = names()
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"--policy: there is no policy {name!r}; choose from {', '.join(known)}"
            )
    return tuple(dict.fromkeys(wanted))


def _keep(
    options: BacktestOptions,
    scenarios: Sequence[BacktestScenario],
    trials: Sequence[Trial],
    done: Batch[list[Trial]],
) -> None:
    """Write the files that were asked for."""
    results = files.Results(
        program=f"autoscaler {__version__}",
        command=shlex.join(["autoscaler", *sys.argv[1:]]),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        scenarios={scenario.name: scenario.facts() for scenario in scenarios},
        missing=done.missing,
        rows=tuple(trial.row for trial in trials),
    )
    if options.json is not None:
        files.write(options.json, files.to_json(results))
    if options.report is not None:
        files.write(options.report, report.render(_report(results, scenarios, trials)))


def _report(
    results: files.Results, scenarios: Sequence[BacktestScenario], trials: Sequence[Trial]
) -> report.Report:
    tried = {trial.row.policy for trial in trials}
    return report.Report(
        title="Back-test",
        made_at=results.made_at,
        command=results.command,
        scenarios={
            scenario.name: report.ScenarioSummary(
                facts=scenario_text(scenario),
                slo_wait_s=scenario.slo_wait_s,
                slo_target=scenario.slo_target,
            )
            for scenario in scenarios
        },
        policies={name: policy_spec(name).title for name in names() if name in tried},
        shown=[name for name in DEFAULT_SHOWN if name in tried] or sorted(tried)[:3],
        trials=trials,
    )
