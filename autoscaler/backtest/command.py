"""The command: the runs to do, their execution and the output of their results."""

import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from msgspec import Struct
from rich.console import Console

from autoscaler import __version__
from autoscaler.adapters.calendar import opens_within
from autoscaler.backtest.batch import Batch, progress_on, run_all
from autoscaler.backtest.configured_rule import ConfiguredRule, configured_rule
from autoscaler.backtest.policy_specs import (
    DEFAULT_POLICIES,
    ensure_usable,
    names,
    policy_spec,
    rule_spec,
)
from autoscaler.backtest.results import file as files
from autoscaler.backtest.results import report, table
from autoscaler.backtest.results.rows import FORMER_POLICY_NAMES, Trial
from autoscaler.backtest.trial import TrialRunner, TrialSpec
from autoscaler.backtest.world.scenario import BacktestScenario, find_scenario, standard
from autoscaler.backtest.world.scenario_text import scenario_text
from autoscaler.backtest.world.traces import find_traces
from autoscaler.backtest.world.workload import (
    ensure_playable,
    played_span_s,
    scale_factor,
    workload_of,
)
from autoscaler.config.loader import read
from autoscaler.errors import UserError
from autoscaler.simulation.trace_files import Gaps
from autoscaler.simulation.traces import Trace

TASKS_A_WORKER = 4
"""Minimum tasks for each worker. 4, so that workers finish at nearly the same time."""

MAX_SCALE_LINES = 20
"""Traces for which the scale factor of each is printed."""

DEFAULT_SHOWN = ("slo", "adaptive-9", "oracle")
"""Policies whose timelines a report shows first; the reader can choose others."""


class UsageError(UserError):
    """An option of the command line is invalid."""

    exit_code = 2


class Interrupted(UserError):
    """The command was ended by Ctrl-C."""

    exit_code = 130


class BacktestOptions(Struct, frozen=True, kw_only=True):
    """The options of the command line."""

    traces: tuple[str, ...]
    policies: tuple[str, ...]  # empty: the default ones, or only the rule
    scenarios: tuple[str, ...]  # files, or names of standard ones; empty: all of those
    rule: ConfiguredRule | None = None  # of the configuration
    seeds: int
    sweep: bool  # also all other settings, with the first seed
    json: Path | None
    report: Path | None
    workers: int | None  # None: one for each core
    gaps: Gaps = Gaps.ZERO  # what missing bins of a file mean


class Task(Struct, frozen=True, kw_only=True):
    """Policies to run on the same requests."""

    trace: Trace
    scenario: BacktestScenario
    seed: int
    entries: tuple[TrialSpec, ...]

    @property
    def name(self) -> str:
        return f"{self.trace.name}, {self.scenario.name}, seed {self.seed}"


def run_task(task: Task) -> list[Trial]:
    """Run the policies of a task."""
    workload = workload_of(task.trace, task.scenario, task.seed)
    runner = TrialRunner(task.scenario, workload, task.seed)
    return [runner.run(entry) for entry in task.entries]


def backtest(options: BacktestOptions, out: Console, progress: Console) -> None:
    """Run everything, and show and write the results.

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
    warn = partial(
        progress.print, "autoscaler: warning:", markup=False, highlight=False, soft_wrap=True
    )
    scenarios = chosen_scenarios(options.scenarios, warn)
    for scenario in scenarios:
        if options.rule is not None:
            options.rule.in_scenario(scenario)
        for name in options.policies:
            ensure_usable(name, scenario)
    traces = [source.read(options.gaps) for source in find_traces(options.traces)]
    for note in dict.fromkeys(note for trace in traces for note in trace.notes):
        warn(note)
    for trace in traces:
        for scenario in scenarios:
            ensure_playable(trace, scenario)
    if options.rule is not None:
        for text in closed_schedules(options.rule, traces, scenarios):
            warn(text)
    workers = options.workers or os.cpu_count() or 1
    tasks = list(tasks_of(options, traces, scenarios, workers))
    with progress_on(progress, "back-test") as report_progress:
        done = run_all(tasks, run_task, workers=workers, progress=report_progress)
    trials = [trial for result in done.results for trial in result]
    _write_files(options, scenarios, trials, done)
    if trials:
        for line in scale_lines(traces, scenarios):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        targets = {scenario.name: scenario.slo_target for scenario in scenarios}
        table.show(out, [trial.row for trial in trials], targets=targets)
    for failure in done.failures:
        progress.print(failure.message, style="red", markup=False, highlight=False, soft_wrap=True)
    if done.missing:
        message = f"{done.missing} of {done.total} tasks are missing from the results"
        raise Interrupted(message) if done.interrupted else UserError(message)


def chosen_scenarios(
    arguments: Iterable[str], warn: Callable[[str], None]
) -> tuple[BacktestScenario, ...]:
    """The scenarios of the arguments; without any, the standard ones.

    Raises:
        BacktestScenarioError: there is no such scenario, or it is invalid.
        UsageError: two of them have the same name, so their results would be confused.
    """
    found = [find_scenario(argument, warn) for argument in dict.fromkeys(arguments)]
    names = [scenario.name for scenario in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"--scenario: two scenarios have the name {name}, that of their files; rename one "
                "of the files"
            )
    return tuple(found) or standard()


def scale_lines(traces: Sequence[Trace], scenarios: Sequence[BacktestScenario]) -> Iterator[str]:
    """A line for each scenario and trace: by which factor the load was scaled, and to what.

    With many traces, there is a line for each scenario, with the smallest and the largest factor.
    """
    for scenario in scenarios:
        factors = {trace.name: scale_factor(trace, scenario) for trace in traces}
        if len(traces) > MAX_SCALE_LINES:
            least, most = min(factors.values()), max(factors.values())
            yield (
                f"{scenario.name}: the loads of {len(traces)} traces were multiplied by "
                f"{least:.4g} to {most:.4g}"
            )
            continue
        for trace in traces:
            factor = factors[trace.name]
            yield (
                f"{scenario.name}: the load of {trace.name} was "
                + ("not scaled" if factor == 1.0 else f"multiplied by {factor:.4g}")
                + f"; its 99th percentile is {factor * trace.p99_per_s:.4g} requests/s"
            )


def closed_schedules(
    rule: ConfiguredRule, traces: Sequence[Trace], scenarios: Sequence[BacktestScenario]
) -> Iterator[str]:
    """A line for each schedule that has no effect on some traces."""
    closed: dict[str, set[str]] = {}
    for scenario in scenarios:
        _, resolved = rule.in_scenario(scenario)
        for trace in traces:
            start, end = (scenario.begins_at + each for each in played_span_s(trace, scenario))
            for schedule in resolved.schedules:
                if not opens_within(schedule, start, end):
                    closed.setdefault(schedule.name, set()).add(trace.name)
    for name, found in closed.items():
        which = "this trace" if len(traces) == 1 else f"these traces: {', '.join(sorted(found))}"
        yield (
            f"schedule {name} is never open in {which}; traces begin at `begins_at` of the scenario"
        )


def tasks_of(
    options: BacktestOptions,
    traces: Sequence[Trace],
    scenarios: Sequence[BacktestScenario],
    workers: int,
) -> Iterator[Task]:
    """All runs. Those on the same requests are one task, or several if there are few."""
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
    """The runs of one seed: default settings, and with the `first` all settings of a sweep."""
    with_timeline = first and options.report is not None
    if options.rule is not None:
        name = options.rule.policy
        yield TrialSpec(policy=name, rule=options.rule, with_timeline=with_timeline)
    for name in options.policies or (DEFAULT_POLICIES if options.rule is None else ()):
        yield TrialSpec(policy=name, with_timeline=with_timeline)
        tried = policy_spec(name)
        if first and options.sweep:
            for value in tried.sweep:
                if value != tried.default:
                    yield TrialSpec(policy=name, value=value)


def chosen_policies(
    texts: Iterable[str], warn: Callable[[str], None] = lambda _: None
) -> tuple[str, ...]:
    """The names in lists such as `hpa,kpa`. Former names are replaced, with a warning.

    Raises:
        UsageError: there is no policy of such a name.
    """
    chosen = []
    known = names()
    for name in [name.strip() for text in texts for name in text.split(",")]:
        current = name if name in known else FORMER_POLICY_NAMES.get(name, name)
        if current != name:
            warn(f"--policy: {name} is deprecated; use {current}")
        chosen.append(current)
        if current not in known:
            raise UsageError(
                f"--policy: there is no policy {name!r}; choose from {', '.join(known)}"
            )
    return tuple(dict.fromkeys(chosen))


def chosen_rule(
    config: Path | None,
    name: str | None,
    environ: Mapping[str, str],
    warn: Callable[[str], None] = lambda _: None,
) -> ConfiguredRule | None:
    """The rule to run; None without a configuration.

    Raises:
        ConfigError: the configuration cannot be read.
        RuleError: there is no such rule, or none was named and there are several.
        UsageError: a rule is named without a configuration.
    """
    if config is None:
        if name is not None:
            raise UsageError("--rule requires --config, the file that contains the rule")
        return None
    written = read(config, environ)
    for warning in written.warnings:
        warn(warning)
    return configured_rule(written, name)


def _write_files(
    options: BacktestOptions,
    scenarios: Sequence[BacktestScenario],
    trials: Sequence[Trial],
    done: Batch[list[Trial]],
) -> None:
    """Write the result file and the report, if they are requested."""
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
        files.write(options.report, report.render(_report(options, results, scenarios, trials)))


def _report(
    options: BacktestOptions,
    results: files.Results,
    scenarios: Sequence[BacktestScenario],
    trials: Sequence[Trial],
) -> report.Report:
    tried = {trial.row.policy for trial in trials}
    titles = {name: policy_spec(name).title for name in names() if name in tried}
    rule = options.rule
    if rule is not None and rule.policy in tried:
        slos = {text for trial in trials if (text := table.slo_text(trial.row))}
        judged = f"; judged by its own SLO: {' or '.join(sorted(slos))}" if slos else ""
        titles = {rule.policy: f"{rule_spec(rule).title}{judged}", **titles}
    shown = {*DEFAULT_SHOWN, rule.policy if rule is not None else ""}
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
        policies=titles,
        shown=[name for name in titles if name in shown] or sorted(tried)[:3],
        trials=trials,
    )
