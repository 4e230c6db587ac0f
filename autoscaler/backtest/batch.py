"""Many tasks over all cores: whatever fails or stops half-way, what is finished is not lost."""

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
    """What is to be done, and what it is called in an error."""

    @property
    def name(self) -> str: ...


Task = TypeVar("Task", bound=Named)
Result = TypeVar("Result")


class Failure(Struct, frozen=True):
    """Why a task has no result, in one sentence that names it."""

    sentence: str


class Batch(Struct, Generic[Result], frozen=True, kw_only=True):
    """What came of the tasks. The results are in the order of the tasks, however they finished."""

    results: tuple[Result, ...]
    failures: tuple[Failure, ...]
    total: int
    interrupted: bool

    @property
    def missing(self) -> int:
        """Tasks that have no result."""
        return self.total - len(self.results)


TaskResult = tuple[int, Result | Failure]
"""What came of a task, by its number."""


def run_all(
    tasks: Sequence[Task],
    work: Callable[[Task], Result],
    *,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Batch[Result]:
    """Do all tasks, at most `workers` at a time, each in a process of its own; 1: in this one.

    Args:
        work: a function of a module, for the processes import it; so must tasks and results be
            fit for pickling.
        progress: told how many tasks are over, and of how many.

    A task that raises, or whose process dies, is a failure, and the others go on. Ctrl-C ends the
    batch early: what is under way is thrown away, what is finished is returned.
    """
    outcomes: dict[int, Result | Failure] = {}
    interrupted = False
    workers = min(workers, len(tasks))
    finishing = _in_process(tasks, work) if workers <= 1 else _in_workers(tasks, work, workers)
    try:
        with closing(finishing):
            for number, outcome in finishing:
                outcomes[number] = outcome
                progress(len(outcomes), len(tasks))
    except KeyboardInterrupt:
        interrupted = True
    in_order = [outcomes[number] for number in sorted(outcomes)]
    return Batch(
        results=tuple(each for each in in_order if not isinstance(each, Failure)),
        failures=tuple(each for each in in_order if isinstance(each, Failure)),
        total=len(tasks),
        interrupted=interrupted,
    )


def _in_process(
    tasks: Sequence[Task], work: Callable[[Task], Result]
) -> Generator[TaskResult[Result], None, None]:
    for number, task in enumerate(tasks):
        yield number, _attempt(work, task)


def _attempt(work: Callable[[Task], Result], task: Task) -> Result | Failure:
    """The result, or why there is none: an exception might not survive pickling, words do."""
    try:
        return work(task)
    except UserError as mistake:
        return Failure(f"{task.name}: {mistake}")
    except Exception as defect:
        frame = traceback.extract_tb(defect.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        return Failure(
            f"{task.name}: an error of the program itself, please report it: {defect!r} ({place})"
        )


def _in_workers(
    tasks: Sequence[Task], work: Callable[[Task], Result], workers: int
) -> Generator[TaskResult[Result], None, None]:
    waiting = deque(enumerate(tasks))
    while waiting:
        suspects = yield from _until_one_dies(waiting, work, workers)
        # Which of those under way it was that took its process down shows when each runs alone.
        for number, task in suspects:
            if (yield from _until_one_dies(deque([(number, task)]), work, 1)):
                yield number, Failure(f"{task.name}: its process died, perhaps for want of memory")


def _until_one_dies(
    waiting: deque[tuple[int, Task]], work: Callable[[Task], Result], workers: int
) -> Generator[TaskResult[Result], None, list[tuple[int, Task]]]:
    """Take and do what is waiting. Returns what was under way when a process died, if one did.

    No more is handed out than there are processes, so that only that many can come under
    suspicion.
    """
    running: dict[Future[Result | Failure], tuple[int, Task]] = {}
    lost: list[tuple[int, Task]] = []
    broken = False
    with _processes(workers) as pool:
        while running or (waiting and not broken):
            while waiting and not broken and len(running) < workers:
                try:
                    with _interrupts_held_back():
                        future = pool.submit(_attempt, work, waiting[0][1])
                        running[future] = waiting.popleft()
                except BrokenProcessPool:
                    broken = True
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda each: running[each][0]):
                number, task = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    broken = True
                    lost.append((number, task))
                else:
                    yield number, future.result()
    return lost


@contextmanager
def _processes(number: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that start afresh, for a copy of this one could inherit a lock that is held."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), _end_with_the_parent)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        with _interrupts_held_back():
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """A Ctrl-C comes to this process afterwards, and never to processes started meanwhile.

    A terminal sends it to all of them, but it is for the parent to decide.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_the_parent() -> None:
    """A process of a pool would wait for ever for the next task of a parent that was killed."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def progress_on(console: Console, told: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a batch is: a bar on a terminal, elsewhere a line at every tenth of the way."""
    if not console.is_terminal:
        yield _Lines(console, told)
        return
    columns = (TextColumn(told), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        drawn = bar.add_task(told, total=None)
        yield lambda done, total: bar.update(drawn, completed=done, total=total)


class _Lines:
    def __init__(self, console: Console, told: str) -> None:
        self._console = console
        self._told = told
        self._tenths = 0

    def __call__(self, done: int, total: int) -> None:
        tenths = 10 * done // total
        if tenths > self._tenths:
            self._tenths = tenths
            self._console.print(f"{self._told}: {done} of {total}", highlight=False, markup=False)
