"""Many tasks on all cores. Results are kept when a task fails or the batch is interrupted."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from autoscaler.errors import UserError


class Named(Protocol):
    """A task, with its name in error messages."""

    @property
    def name(self) -> str: ...


Task = TypeVar("Task", bound=Named)
Result = TypeVar("Result")


class Failure(Struct, frozen=True):
    """Why a task has no result."""

    message: str  # begins with the name of the task


class Batch(Struct, Generic[Result], frozen=True, kw_only=True):
    """The results of the tasks, in the order of the tasks."""

    results: tuple[Result, ...]
    failures: tuple[Failure, ...]
    total: int
    interrupted: bool

    @property
    def missing(self) -> int:
        """Tasks that have no result."""
        return self.total - len(self.results)


TaskResult = tuple[int, Result | Failure]
"""The index of a task, and its result."""


def run_all(
    tasks: Sequence[Task],
    work: Callable[[Task], Result],
    *,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Batch[Result]:
    """Run all tasks, at most `workers` at a time, in worker processes; with 1, in this process.

    Args:
        work: a function of a module, because worker processes import it. Tasks and results must be
            picklable.
        progress: called with the finished tasks and the total.

    A task that raises, or whose process dies, is a failure; the others continue. Ctrl-C ends the
    batch early: unfinished tasks are discarded, finished results are returned.
    """
    outcomes: dict[int, Result | Failure] = {}
    interrupted = False
    workers = min(workers, len(tasks))
    finishing = _in_process(tasks, work) if workers <= 1 else _in_workers(tasks, work, workers)
    try:
        with closing(finishing):
            for index, outcome in finishing:
                outcomes[index] = outcome
                progress(len(outcomes), len(tasks))
    except KeyboardInterrupt:
        interrupted = True
    in_order = [outcomes[index] for index in sorted(outcomes)]
    return Batch(
        results=tuple(each for each in in_order if not isinstance(each, Failure)),
        failures=tuple(each for each in in_order if isinstance(each, Failure)),
        total=len(tasks),
        interrupted=interrupted,
    )


def _in_process(
    tasks: Sequence[Task], work: Callable[[Task], Result]
) -> Generator[TaskResult[Result], None, None]:
    for index, task in enumerate(tasks):
        yield index, _attempt(work, task)


def _attempt(work: Callable[[Task], Result], task: Task) -> Result | Failure:
    """The result or the failure. Failures are texts, because some exceptions cannot be pickled."""
    try:
        return work(task)
    except UserError as error:
        return Failure(f"{task.name}: {error}")
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        return Failure(f"{task.name}: internal error, please report it: {error!r} ({place})")


def _in_workers(
    tasks: Sequence[Task], work: Callable[[Task], Result], workers: int
) -> Generator[TaskResult[Result], None, None]:
    waiting = deque(enumerate(tasks))
    while waiting:
        suspects = yield from _until_one_dies(waiting, work, workers)
        # Each running task is tried again alone, to find the one whose process dies.
        for index, task in suspects:
            if (yield from _until_one_dies(deque([(index, task)]), work, 1)):
                message = f"{task.name}: the worker process died, possibly out of memory"
                yield index, Failure(message)


def _until_one_dies(
    waiting: deque[tuple[int, Task]], work: Callable[[Task], Result], workers: int
) -> Generator[TaskResult[Result], None, list[tuple[int, Task]]]:
    """Run the waiting tasks. Returns the running tasks if a process dies.

    At most one task for each process is submitted, so that few tasks can have been the cause.
    """
    running: dict[Future[Result | Failure], tuple[int, Task]] = {}
    lost: list[tuple[int, Task]] = []
    broken = False
    with _processes(workers) as pool:
        while running or (waiting and not broken):
            while waiting and not broken and len(running) < workers:
                try:
                    with _interrupts_blocked():
                        future = pool.submit(_attempt, work, waiting[0][1])
                        running[future] = waiting.popleft()
                except BrokenProcessPool:
                    broken = True
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda each: running[each][0]):
                index, task = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    broken = True
                    lost.append((index, task))
                else:
                    yield index, future.result()
    return lost


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Spawned processes; a forked process could inherit a locked lock."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _end_with_the_parent)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        with _interrupts_blocked():
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Delay a Ctrl-C in this process, and block it in processes started meanwhile.

    A terminal sends it to all processes, but only this one handles it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_the_parent() -> None:
    """End this worker with its parent, which may be killed without closing the pool."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def progress_on(console: Console, label: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of a batch: a bar on a terminal, otherwise a line for each tenth."""
    if not console.is_terminal:
        yield _Lines(console, label)
        return
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(shown, completed=done, total=total)


class _Lines:
    def __init__(self, console: Console, label: str) -> None:
        self._console = console
        self._label = label
        self._tenths = 0

    def __call__(self, done: int, total: int) -> None:
        tenths = 10 * done // total
        if tenths > self._tenths:
            self._tenths = tenths
            self._console.print(f"{self._label}: {done} of {total}", highlight=False, markup=False)
