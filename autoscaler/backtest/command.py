"""The command: the runs to do, their execution and the output of their results."""

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from rich.console import Console

from autoscaler import __version__
from autoscaler.adapters.calendar import opens_within
from autoscaler.backtest.batch import Batch, Executors, run_all
from autoscaler.backtest.configured_rule import ConfiguredRule
from autoscaler.backtest.executors.chosen import chosen_executors
from autoscaler.backtest.finished_runs import opened_runs
from autoscaler.backtest.options import (
    BacktestOptions,
    chosen_scenarios,
    inputs_of,
    outputs_of,
)
from autoscaler.backtest.policy_specs import ensure_usable, names, policy_spec, rule_spec
from autoscaler.backtest.progress import progress_on
from autoscaler.backtest.results import choice_markdown, choice_table, report, table
from autoscaler.backtest.results import file as files
from autoscaler.backtest.results.choice import Choice, Usable, choices, without_choice
from autoscaler.backtest.results.rows import ResultRow, Trial
from autoscaler.backtest.resumption import run_remaining
from autoscaler.backtest.tasks import Task, compile_loops, policies_of, run_task, tasks_of
from autoscaler.backtest.world.days import (
    DAY_H,
    Days,
    PlayedDay,
    is_divided,
    played_days,
    whole_days,
)
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.scenario_text import scenario_text
from autoscaler.backtest.world.traces import find_traces
from autoscaler.backtest.world.workload import ensure_playable, played_span_s, scale_factor
from autoscaler.errors import UserError
from autoscaler.simulation.traces import Trace

MAX_SCALE_LINES = 20
"""Traces for which the scale factor of each is printed."""

DEFAULT_SHOWN = ("slo", "adaptive-9", "oracle")
"""Policies whose timelines a report shows first; the reader can choose others."""


class Interrupted(UserError):
    """The command was ended by Ctrl-C."""

    exit_code = 130


def backtest(options: BacktestOptions, out: Console, progress: Console) -> None:
    """Run everything, and show and write the results.

    Raises:
        UserError: the options or input files are invalid, and nothing was run; or some runs failed,
            and the results of the others were shown and written.
        Interrupted: the same after Ctrl-C.
    """
    outputs = outputs_of(options)
    files.ensure_apart(outputs)
    for path in outputs.values():
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
    sources = find_traces(options.traces)
    files.ensure_apart(outputs, inputs_of(options, sources))
    traces = [source.read(options.gaps) for source in sources]
    for note in dict.fromkeys(note for trace in traces for note in trace.notes):
        warn(note)
    played = [
        each
        for trace in traces
        for scenario in scenarios
        for each in played_days(trace, scenario, options.days)
    ]
    for each in played:
        ensure_playable(each.trace, each.scenario)
    if options.rule is not None:
        for text in closed_schedules(options.rule, played):
            warn(text)
    with chosen_executors(options.executor, options.workers, compile_loops) as executors:
        tasks = list(tasks_of(options, played, executors.at_once()))
        done = _run(options, tasks, executors, progress, warn)
    trials = [trial for result in done.results for trial in result]
    targets = {scenario.name: scenario.slo_target for scenario in scenarios}
    rows = [trial.row for trial in trials]
    found = choices(rows, usable(options, scenarios), targets=targets)
    notes = (
        *missing_notes(done),
        *day_notes(traces, scenarios, options.days),
        *scale_notes(traces, scenarios),
        *infeasible_notes(rows, targets),
    )
    _write_files(options, scenarios, trials, found, notes, done)
    if trials:
        for line in scale_lines(traces, scenarios):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        table.show(out, rows, targets=targets)
        choice_table.show(out, found, notes if found else tuple(infeasible_notes(rows, targets)))
    for failure in done.failures:
        progress.print(failure.message, style="red", markup=False, highlight=False, soft_wrap=True)
    if done.missing:
        message = f"{done.missing} of {done.total} tasks are missing from the results"
        if done.stopped is not None:
            message = f"{done.stopped}; {message}"
        raise Interrupted(message) if done.interrupted else UserError(message)


def _run(
    options: BacktestOptions,
    tasks: Sequence[Task],
    executors: Executors,
    progress: Console,
    warn: Callable[[str], None],
) -> Batch[list[Trial]]:
    """Run all tasks; with a file of finished runs, only what is not in it."""
    with progress_on(progress, "back-test", total=len(tasks)) as report_progress:
        if options.resume is None:
            return run_all(tasks, run_task, executors=executors, progress=report_progress)
        say = partial(progress.print, markup=False, highlight=False, soft_wrap=True)
        with opened_runs(options.resume, Trial, warn) as finished:
            return run_remaining(
                tasks, run_task, finished, executors=executors, progress=report_progress, say=say
            )


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


def usable(options: BacktestOptions, scenarios: Sequence[BacktestScenario]) -> Usable:
    """How to configure the policies of the options that an operator can use, at each setting."""
    return {
        scenario.name: {
            (name, tried.setting(value)): text
            for name, tried in policies_of(options)
            for value in (tried.default_in(scenario), *tried.sweep)
            if (text := tried.configuration(value, scenario))
        }
        for scenario in scenarios
    }


def missing_notes(done: Batch[list[Trial]]) -> Iterator[str]:
    """A sentence if the results are incomplete, so that their files say it too."""
    if done.missing:
        yield (
            f"{done.missing} of {done.total} tasks are missing, because they failed or were "
            "interrupted: the settings are compared without them."
        )


def day_notes(
    traces: Sequence[Trace], scenarios: Sequence[BacktestScenario], days: Days
) -> Iterator[str]:
    """Sentences about which days of the traces were simulated."""
    divided = [trace for trace in traces if is_divided(trace)]
    if not divided or any(each.start_h is not None or each.hours != DAY_H for each in scenarios):
        return
    if days.whole:
        yield (
            "Day 1 of a trace is the first 24 hours from its first bin, by its own clock. Days "
            "without a request, and a part of a day at the end, are left out. Each day begins with "
            "new deployments, and policies that learn from history get the days before."
        )
        return
    names = ", ".join(f"{trace.name} ({_whole_days_text(trace)})" for trace in divided[:5])
    more = f" and {len(divided) - 5} more traces" if len(divided) > 5 else ""
    yield (
        f"Only the hardest day was simulated of {names}{more}; with --days all, each day is "
        "simulated, and the settings are compared on all of them."
    )


def _whole_days_text(trace: Trace) -> str:
    number = whole_days(trace)
    return "1 whole day" if number == 1 else f"{number} whole days"


def scale_notes(traces: Sequence[Trace], scenarios: Sequence[BacktestScenario]) -> Iterator[str]:
    """A sentence if the settings are those for another load than the recorded one."""
    if any(scale_factor(trace, scenario) != 1.0 for trace in traces for scenario in scenarios):
        yield (
            "The load was scaled, and the settings suit the scaled load. To choose a setting for "
            "your own deployment, state its service time and nodes in a scenario, with factor = 1."
        )


def infeasible_notes(rows: Sequence[ResultRow], targets: Mapping[str, float]) -> Iterator[str]:
    """A sentence for the traces that no setting can be chosen for."""
    found = without_choice(rows, targets=targets)
    if found:
        names = ", ".join(f"{load} in {scenario}" for load, scenario in found[:MAX_SCALE_LINES])
        others = len(found) - MAX_SCALE_LINES
        more = f" and {others} more" if others > 0 else ""
        yield (
            f"No setting can be chosen for {names}{more}: not even the oracle met the SLO there. "
            "More nodes, a larger maximum or a later deadline would change that."
        )


def closed_schedules(rule: ConfiguredRule, played: Sequence[PlayedDay]) -> Iterator[str]:
    """A line for each schedule that has no effect on some traces, on any of their days."""
    closed: dict[str, dict[tuple[str, str], bool]] = {}  # by schedule; by scenario and trace
    for each in played:
        scenario = each.scenario
        _, resolved = rule.in_scenario(scenario)
        start, end = (scenario.begins_at + at for at in played_span_s(each.trace, scenario))
        for schedule in resolved.schedules:
            by_trace, pair = closed.setdefault(schedule.name, {}), (scenario.name, each.load)
            by_trace[pair] = by_trace.get(pair, True) and not opens_within(schedule, start, end)
    several = len({each.load for each in played}) > 1
    for name, by_trace in closed.items():
        found = {trace for (_, trace), never in by_trace.items() if never}
        if not found:
            continue
        which = f"these traces: {', '.join(sorted(found))}" if several else "this trace"
        yield (
            f"schedule {name} is never open in {which}; traces begin at `begins_at` of the scenario"
        )


def _write_files(
    options: BacktestOptions,
    scenarios: Sequence[BacktestScenario],
    trials: Sequence[Trial],
    found: Sequence[Choice],
    notes: tuple[str, ...],
    done: Batch[list[Trial]],
) -> None:
    """Write the result file and the report, if they are requested."""
    results = files.Results(
        program=f"autoscaler {__version__}",
        command=shlex.join(["autoscaler", *sys.argv[1:]]),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        scenarios={scenario.name: scenario.facts() for scenario in scenarios},
        missing=done.missing,
        notes=notes,
        choices=tuple(found),
        rows=tuple(trial.row for trial in trials),
    )
    if options.json is not None:
        files.write(options.json, files.to_json(results))
    if options.markdown is not None:
        text = choice_markdown.render(
            found, command=results.command, made_at=results.made_at, notes=notes
        )
        files.write(options.markdown, text)
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
                facts=scenario_text(scenario, whole_days=options.days.whole),
                slo_wait_s=scenario.slo_wait_s,
                slo_target=scenario.slo_target,
            )
            for scenario in scenarios
        },
        policies=titles,
        notes=results.notes,
        choices=results.choices,
        shown=[name for name in titles if name in shown] or sorted(tried)[:3],
        trials=trials,
    )
