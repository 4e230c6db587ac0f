"""All deployments of a source, replayed in worker processes."""

from collections.abc import Callable

from msgspec.structs import replace
from rich.console import Console

from autoscaler.backtest.batch import run_all
from autoscaler.backtest.executors.chosen import chosen_executors
from autoscaler.backtest.progress import progress_on
from autoscaler.backtest.tasks import compile_loops
from autoscaler.config.loader import Written, rules_of
from autoscaler.core.selection import Rule
from autoscaler.errors import UserError
from autoscaler.replay import engine
from autoscaler.replay.advice import with_advice
from autoscaler.replay.engine import ReplayOptions
from autoscaler.replay.moments import with_moments
from autoscaler.replay.results import ReplayResults
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
    progress: Console,
    warn: Callable[[str], None],
) -> ReplayResults:
    """Replay the deployments of a source, with the moments and the advice.

    Args:
        executor: `local`, or the address of a Dask scheduler.
        workers: processes of this machine; None: one for each core.

    Raises:
        ConfigError: a rule is invalid.
        UserError: the source cannot be read, or has no intervals of these deployments.
        ReplayInterrupted: by Ctrl-C.
    """
    planned = engine.tasks_of(written, source.lines(warn), options)
    if not planned.tasks and not planned.left_out:
        raise UserError(source.nothing())
    with (
        chosen_executors(executor, workers, compile_loops) as executors,
        progress_on(progress, "replay") as report_progress,
    ):
        done = run_all(
            planned.tasks,
            engine.replay_deployment,
            executors=executors,
            progress=report_progress,
        )
    if done.stopped is not None:
        raise UserError(done.stopped)
    if done.interrupted:
        raise ReplayInterrupted("interrupted; nothing was written")
    failed = tuple(failure.message for failure in done.failures)
    planned = replace(planned, left_out=planned.left_out + failed)
    results = engine.results_of(planned, done.results, options)
    return with_advice(with_moments(results), _rules_by_name(written))


def _rules_by_name(written: Written) -> dict[str, Rule]:
    _, rules = rules_of(
        written, environ={}, poll_interval_s=10.0, min_allocations=1, max_allocations=1_000_000
    )
    return {rule.name: rule for rule in rules}
