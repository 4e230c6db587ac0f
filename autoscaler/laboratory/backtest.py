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
from autoscaler.laboratory import files, report, table
from autoscaler.laboratory.batch import Batch, progress_on, run_all
from autoscaler.laboratory.contestants import USUAL, contestant, ensure_usable, names
from autoscaler.laboratory.demand import demand_of, ensure_playable
from autoscaler.laboratory.results import Trial
from autoscaler.laboratory.scenario import Scenario, find_scenario, standard
from autoscaler.laboratory.scenario_words import in_words
from autoscaler.laboratory.traces import find_traces
from autoscaler.laboratory.trial import Arena, Entry
from autoscaler.mistakes import Mistake
from autoscaler.simulation.traces import Trace

TASKS_A_WORKER = 4
"""So many at least, so that none waits long for another at the end."""


SHOWN = ("slo", "native-9", "clairvoyant")
"""Drawn over time at first; the reader of a report may choose others."""


class WrongUsage(Mistake):
    """Of the command line."""

    exit_code = 2


class Interrupted(Mistake):
    """Somebody was in a hurry."""

    exit_code = 130


class Wish(Struct, frozen=True, kw_only=True):
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
    scenario: Scenario
    seed: int
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        return f"{self.trace.name}, {self.scenario.name}, seed {self.seed}"


def play(task: Task) -> list[Trial]:
    """Try them."""
    demand = demand_of(task.trace, task.scenario, task.seed)
    arena = Arena(task.scenario, demand, task.seed)
    return [arena.run(entry) for entry in task.entries]


def backtest(wish: Wish, out: Console, progress: Console) -> None:
    """Run it all, and show it.

    Raises:
        Mistake: what was asked for is not to be had, and nothing was run; or some runs failed, and
            what is finished was shown and kept.
        Interrupted: the same after a Ctrl-C.
    """
    for path in (wish.json, wish.report):
        if path is not None:
            files.ensure_writable(path)
    if wish.report is not None:
        report.plotly_js()
    scenarios = standard() if wish.scenario is None else (find_scenario(wish.scenario),)
    for scenario in scenarios:
        for name in wish.policies:
            ensure_usable(name, scenario)
    traces = [source.read() for source in find_traces(wish.traces)]
    for trace in traces:
        for scenario in scenarios:
            ensure_playable(trace, scenario)
    workers = wish.workers or os.cpu_count() or 1
    tasks = list(tasks_of(wish, traces, scenarios, workers))
    with progress_on(progress, "back-test") as tell:
        done = run_all(tasks, play, workers=workers, progress=tell)
    trials = [trial for result in done.results for trial in result]
    _keep(wish, scenarios, trials, done)
    if trials:
        shares = {scenario.name: scenario.slo_share for scenario in scenarios}
        table.show(out, [trial.row for trial in trials], shares=shares)
    for failure in done.failures:
        progress.print(failure.sentence, style="red", markup=False, highlight=False, soft_wrap=True)
    if done.missing:
        kept = f"{done.missing} of {done.total} parts of it are missing from what is shown"
        raise Interrupted(kept) if done.interrupted else Mistake(kept)


def tasks_of(
    wish: Wish, traces: Sequence[Trace], scenarios: Sequence[Scenario], workers: int
) -> Iterator[Task]:
    """All runs, those on the same requests together, but in several parts if there are few."""
    groups = len(traces) * len(scenarios) * wish.seeds
    parts = math.ceil(TASKS_A_WORKER * workers / groups)
    for trace in traces:
        for scenario in scenarios:
            for seed in range(1, wish.seeds + 1):
                entries = tuple(entries_of(wish, first=seed == 1))
                size = math.ceil(len(entries) / parts)
                for begin in range(0, len(entries), size):
                    yield Task(
                        trace=trace,
                        scenario=scenario,
                        seed=seed,
                        entries=entries[begin : begin + size],
                    )


def entries_of(wish: Wish, *, first: bool) -> Iterator[Entry]:
    """Who is tried with a seed: as shipped, and with the `first` at all settings if wished."""
    for name in wish.policies or USUAL:
        yield Entry(policy=name, with_timeline=first and wish.report is not None)
        tried = contestant(name)
        if first and wish.sweep:
            for value in tried.sweep:
                if value != tried.default:
                    yield Entry(policy=name, value=value)


def chosen_policies(texts: Iterable[str]) -> tuple[str, ...]:
    """The names in such lists as `hpa,kpa`.

    Raises:
        WrongUsage: there is no policy of such a name.
    """
    wanted = [name.strip() for text in texts for name in text.split(",")]
    known = names()
    for name in wanted:
        if name not in known:
            raise WrongUsage(
                f"--policy: there is no policy {name!r}; choose from {', '.join(known)}"
            )
    return tuple(dict.fromkeys(wanted))


def _keep(
    wish: Wish, scenarios: Sequence[Scenario], trials: Sequence[Trial], done: Batch[list[Trial]]
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
    if wish.json is not None:
        files.write(wish.json, files.to_json(results))
    if wish.report is not None:
        files.write(wish.report, report.render(_report(results, scenarios, trials)))


def _report(
    results: files.Results, scenarios: Sequence[Scenario], trials: Sequence[Trial]
) -> report.Report:
    tried = {trial.row.policy for trial in trials}
    return report.Report(
        title="Back-test",
        made_at=results.made_at,
        command=results.command,
        scenarios={
            scenario.name: report.Setting(
                facts=in_words(scenario),
                slo_wait_s=scenario.slo_wait_s,
                slo_share=scenario.slo_share,
            )
            for scenario in scenarios
        },
        policies={name: contestant(name).title for name in names() if name in tried},
        shown=[name for name in SHOWN if name in tried] or sorted(tried)[:3],
        trials=trials,
    )
