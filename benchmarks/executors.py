"""What does a Dask scheduler cost, compared with processes? `python -m benchmarks.executors`

The same runs are computed by two processes of this machine, by two Dask workers on the loopback
interface, and by two Dask workers of which one is killed in the middle. The load of each deployment
is a daily cycle of its own. With `--deployments 1000 --days 30`, nothing is extrapolated.
"""

import argparse
import importlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console

from autoscaler.backtest.batch import Executors, run_all
from autoscaler.backtest.executors.chosen import LOCAL, chosen_executors
from autoscaler.backtest.progress import progress_on
from autoscaler.backtest.tasks import Task, compile_loops, run_task
from autoscaler.backtest.trial import TrialSpec
from autoscaler.backtest.world.days import Days, played_days
from autoscaler.backtest.world.scenario import standard
from autoscaler.errors import UserError
from autoscaler.simulation.traces import Trace
from benchmarks.frontier import publish
from benchmarks.loopback_dask import LoopbackCluster, loopback_cluster
from benchmarks.markdown import table, wrapped

POLICIES = ("slo", "adaptive-9", "hpa", "keda")
WORKERS = 2

FULL_DEPLOYMENTS, FULL_DAYS = 1000, 30
"""What core-hours are stated for."""

GOAL = 0.10
"""Overhead of Dask over the processes, as a fraction of their processor time."""

DAY_S, BIN_S = 86_400.0, 60.0
IDLE_S = 20.0
"""Seconds for which an idle cluster is measured."""

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class TimedResult(Struct, frozen=True, kw_only=True):
    """The rows of a task as JSON, without how long they took, and its processor time."""

    rows: bytes
    processor_s: float


class Measurement(Struct, frozen=True, kw_only=True):
    """One way of computing all tasks."""

    name: str
    duration_s: float
    tasks: int
    tasks_s: float  # processor time in tasks
    others_s: float  # the same of all processes beside that, without their start
    idle_per_s: float  # the same in each second in which there is nothing to do
    rows: bytes

    @property
    def per_task_s(self) -> float:
        """Processor time beside each task, without what idleness takes as well."""
        return max(0.0, self.others_s - self.idle_per_s * self.duration_s) / self.tasks

    def without_other_load_s(self, tasks_s: float) -> float:
        """Processor time in total on a machine whose cores have no other work."""
        return tasks_s + self.per_task_s * self.tasks + self.idle_per_s * tasks_s / WORKERS


def section(deployments: int, days: int) -> str:
    """The table and what follows from it."""
    tasks = list(tasks_of(deployments, days))
    with tempfile.TemporaryDirectory() as folder:
        measured = [_local(tasks), *_on_dask(tasks, Path(folder))]
    local, dask, _ = measured
    lines = [
        [
            each.name,
            f"{each.duration_s:,.0f} s",
            f"{each.tasks_s:,.1f} s",
            f"{1000.0 * each.per_task_s:,.0f} ms",
            f"{1000.0 * each.idle_per_s:,.0f} ms",
            "the same" if each.rows == local.rows else "others",
        ]
        for each in measured
    ]
    head = ["", "duration", "in tasks", "beside each task", "in an idle second", "rows"]
    runs = len(tasks) * len(POLICIES)
    before_s, after_s = (each.without_other_load_s(local.tasks_s) for each in (local, dask))
    return "\n\n".join(
        [
            wrapped(
                f"{deployments:,} deployments × {days} days × {len(POLICIES)} policies "
                f"({', '.join(POLICIES)}): {runs:,} runs of a day in {len(tasks):,} tasks, with "
                f"{WORKERS} workers on this machine. Processor time in tasks, and of all processes "
                "beside them."
            ),
            table(head, lines),
            wrapped(
                f"Where the workers have all cores to themselves, Dask therefore takes "
                f"{after_s / before_s - 1.0:.1%} more processor time than the processes; the goal "
                f"is at most {GOAL:.0%}. {_hours_text(before_s, runs)}"
            ),
        ]
    )


def _hours_text(processor_s: float, runs: int) -> str:
    full = FULL_DEPLOYMENTS * FULL_DAYS * len(POLICIES)
    per_run_s = processor_s / runs
    hours = f"{per_run_s * full / 3600.0:,.0f} core-hours"
    amount = f"{FULL_DEPLOYMENTS:,} deployments × {FULL_DAYS} days × {len(POLICIES)} policies"
    if runs >= full:
        return f"{amount} took {hours}."
    return (
        f"A run took {per_run_s:.2f} s of processor time. Extrapolated, and not measured: {amount} "
        f"are {full:,} such runs, and take {hours}."
    )


def tasks_of(deployments: int, days: int) -> Iterator[Task]:
    """A task for each deployment and day."""
    scenario = standard()[1]
    entries = tuple(TrialSpec(policy=name) for name in POLICIES)
    for number in range(deployments):
        for played in played_days(_trace(number, days), scenario, Days(whole=True)):
            yield Task(played=played, seed=1, entries=entries)


def _trace(number: int, days: int) -> Trace:
    """A daily cycle, with noise that differs by deployment."""
    rng = np.random.default_rng(number)
    at = BIN_S * np.arange(max(2, days) * DAY_S / BIN_S)
    peak_h, swing = 24.0 * rng.random(), 0.3 + 0.6 * rng.random()
    cycle = 1.0 + swing * np.cos(2.0 * math.pi * (at / DAY_S - peak_h / 24.0))
    counts = rng.poisson(600.0 * cycle * rng.gamma(20.0, 0.05, len(at)))
    whole = Trace(name=f"deployment {number}", bin_s=BIN_S, counts=counts.astype(np.int64))
    return whole if days > 1 else replace(whole, counts=whole.counts[: int(DAY_S / BIN_S)])


def timed(task: Task) -> TimedResult:
    """Run a task on a worker."""
    begin_s = time.thread_time()
    rows = [replace(trial.row, elapsed_s=0.0) for trial in run_task(task)]
    took_s = time.thread_time() - begin_s
    return TimedResult(rows=b"\n".join(map(msgspec.json.encode, rows)), processor_s=took_s)


class _Start(Struct, frozen=True):
    """A task that does nothing but what comes before the first one."""

    name: str = "start"


def _start(_: _Start) -> None:
    compile_loops()


def _local(tasks: Sequence[Task]) -> Measurement:
    """Measure processes, which have ended when their pool is closed and are counted as children."""
    compile_loops()
    with chosen_executors(LOCAL, WORKERS, compile_loops) as executors:
        begin_s = _own_s()
        run_all([_Start()] * WORKERS, _start, executors=executors)
        started_s = _own_s()
        without_start_s = started_s + (started_s - begin_s)
        name = f"{WORKERS} processes"
        return _measured(name, tasks, executors, lambda: _own_s() - without_start_s)


def _on_dask(tasks: Sequence[Task], folder: Path) -> Iterator[Measurement]:
    for name, kills in ((f"{WORKERS} Dask workers", False), ("the same, one killed", True)):
        inside = folder / name.replace(" ", "-")
        inside.mkdir()
        with _started(inside) as cluster:
            option = cluster.option
            with chosen_executors(option, None, compile_loops) as executors:
                idle = _meter(cluster)
                time.sleep(IDLE_S)
                idle_per_s = idle() / IDLE_S
                meter = _meter(cluster)
                on_half = cluster.workers[0].kill if kills else None
                found = _measured(name, tasks, executors, meter, on_half)
                yield replace(found, idle_per_s=idle_per_s)


@contextmanager
def _started(folder: Path) -> Iterator[LoopbackCluster]:
    with loopback_cluster(folder) as cluster:
        for _ in range(WORKERS):
            cluster.add_worker("--no-nanny")
        yield cluster


def _measured(
    name: str,
    tasks: Sequence[Task],
    executors: Executors,
    processor_s: Callable[[], float],
    on_half: Callable[[], None] | None = None,
) -> Measurement:
    begin = time.perf_counter()
    with progress_on(Console(stderr=True), name) as show:

        def progress(done: int, total: int) -> None:
            show(done, total)
            if on_half is not None and done == total // 2:
                on_half()

        batch = run_all(tasks, timed, executors=executors, progress=progress)
    duration_s = time.perf_counter() - begin
    if batch.missing:
        raise UserError(f"{name}: {batch.failures[0].message if batch.failures else batch.stopped}")
    tasks_s = sum(result.processor_s for result in batch.results)
    return Measurement(
        name=name,
        duration_s=duration_s,
        tasks=len(tasks),
        tasks_s=tasks_s,
        others_s=max(0.0, processor_s() - tasks_s),
        idle_per_s=0.0,
        rows=b"\n".join(result.rows for result in batch.results),
    )


def _meter(cluster: LoopbackCluster) -> Callable[[], float]:
    """Processor time from now on, of this process and those of the cluster that are alive."""
    pids = [process.pid for process in (cluster.scheduler, *cluster.workers)]
    before = {pid: _processor_s(pid) for pid in pids}
    own_s = _own_s()
    return lambda: _own_s() - own_s + sum(_processor_s(pid) - before[pid] for pid in pids)


def _own_s() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _processor_s(pid: int) -> float:
    """Of a process, also of one that has ended and was not waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.executors", description=__doc__)
    parser.add_argument("--deployments", type=int, default=12)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--document", type=Path, help="replace the section of this file as well")
    given = parser.parse_args(arguments)
    try:
        publish(lambda: section(given.deployments, given.days), "executors", given.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    # The workers import the functions by this name, and not from `__main__`.
    importlib.import_module("benchmarks.executors").main(sys.argv[1:])
