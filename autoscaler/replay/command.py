"""All deployments of a source, replayed in worker processes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console

from autoscaler.backtest.batch import Batch, Executors, run_all
from autoscaler.backtest.executors.chosen import chosen_executors
from autoscaler.backtest.finished_runs import opened_runs
from autoscaler.backtest.progress import progress_on
from autoscaler.backtest.resumption import run_remaining
from autoscaler.backtest.tasks import compile_loops
from autoscaler.config.loader import Written, rules_of
from autoscaler.core.selection import Rule
from autoscaler.errors import UserError
from autoscaler.replay import engine
from autoscaler.replay.advice import with_advice
from autoscaler.replay.engine import Planned, ReplayOptions, ReplayTask
from autoscaler.replay.moments import with_moments
from autoscaler.replay.results import DeploymentReplay, ReplayResults
from autoscaler.replay.resuming import ResumableReplay, replay_resumably
from autoscaler.replay.source import LoadSource


class ReplayInterrupted(UserError):
    """The command was ended by Ctrl-C."""

    exit_code = 130


def replay_all(
    written: Written,
    source: LoadSource,
    options: ReplayOptions,
    *,
    executor: str = "local",
    workers: int | None = None,
    resume: Path | None = None,
    progress: Console,
    warn: Callable[[str], None],
) -> ReplayResults:
    """Replay the deployments of a source, with the moments and the advice.

    Args:
        executor: `local`, or the address of a Dask scheduler.
        workers: processes of this machine; None: one for each core.
        resume: a file of finished deployments, which are not simulated again.

    Raises:
        ConfigError: a rule is invalid.
        UserError: the source cannot be read, or no deployment of it can be replayed.
        ReplayInterrupted: by Ctrl-C.
    """
    planned = read_tasks(written, source, options, progress=progress, warn=warn)
    with (
        chosen_executors(executor, workers, compile_loops) as executors,
        progress_on(progress, "replay", total=len(planned.tasks)) as report_progress,
    ):
        done = _run(planned.tasks, resume, executors, report_progress, progress, warn)
    again = "" if resume is None else f"; finished deployments are in {resume}"
    if done.stopped is not None:
        raise UserError(f"{done.stopped}{again}")
    if done.interrupted:
        raise ReplayInterrupted(f"interrupted; no results were written{again}")
    failed = tuple(failure.message for failure in done.failures)
    planned = replace(planned, left_out=planned.left_out + failed)
    if not done.results:
        raise UserError(source.nothing(planned.left_out))
    found = tuple(each for of_task in done.results for each in of_task)
    results = replace(engine.results_of(planned, found, options), failed=len(failed))
    return with_advice(with_moments(results), _rules_by_name(written))


def read_tasks(
    written: Written,
    source: LoadSource,
    options: ReplayOptions,
    *,
    progress: Console,
    warn: Callable[[str], None],
) -> Planned:
    """Read a source, and show how much was read.

    Raises:
        ConfigError: a rule is invalid.
        UserError: the source cannot be read, or no deployment of it can be replayed.
    """
    with progress_on(progress, f"reading, {source.unit}") as report_progress:
        planned = engine.tasks_of(written, source.lines(warn, report_progress), options)
    if not planned.tasks:
        raise UserError(source.nothing(planned.left_out))
    return planned


def _run(
    tasks: Sequence[ReplayTask],
    resume: Path | None,
    executors: Executors,
    report_progress: Callable[[int, int], None],
    progress: Console,
    warn: Callable[[str], None],
) -> Batch[list[DeploymentReplay]]:
    """Run all tasks; with a file of finished deployments, only what is not in it."""
    resumable = [ResumableReplay(task=task) for task in tasks]
    if resume is None:
        return run_all(resumable, replay_resumably, executors=executors, progress=report_progress)
    say = partial(progress.print, markup=False, highlight=False, soft_wrap=True)
    with opened_runs(resume, DeploymentReplay, warn) as finished:
        return run_remaining(
            resumable,
            replay_resumably,
            finished,
            executors=executors,
            progress=report_progress,
            say=say,
        )


def _rules_by_name(written: Written) -> dict[str, Rule]:
    _, rules = rules_of(
        written, environ={}, poll_interval_s=10.0, min_allocations=1, max_allocations=1_000_000
    )
    return {rule.name: rule for rule in rules}
