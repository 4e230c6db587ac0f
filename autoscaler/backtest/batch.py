"""Many tasks, on executors. Results are kept when a task fails or the batch ends early."""

import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from autoscaler.errors import UserError

ALIVE_CHECK_S = 5.0
"""Seconds without a finished task after which the executors are checked."""


class Named(Protocol):
    """A task, with its name in error messages."""

    @property
    def name(self) -> str: ...


Task = TypeVar("Task", bound=Named)
Result = TypeVar("Result")


class Executors(Protocol):
    """Where tasks run: this process, other processes, or other machines."""

    def at_once(self) -> int:
        """How many tasks to submit before the first of them is finished. It may change."""

    def opened(self, tasks: int, *, suspect: bool = False) -> AbstractContextManager[Executor]:
        """An executor for so many tasks. An error cancels them.

        Args:
            suspect: the task may end its process, which must not be this one.
        """

    def is_death(self, error: BaseException) -> bool:
        """Whether a task has this error because its process died, not because it raised it."""

    def ensure_alive(self) -> None:
        """Called when no task finishes for a while, and when one is cancelled.

        Raises:
            UserError: no task can finish any more.
        """


class Failure(Struct, frozen=True):
    """Why a task has no result."""

    message: str  # begins with the name of the task


class Batch(Struct, Generic[Result], frozen=True, kw_only=True):
    """The results of the tasks, in the order of the tasks."""

    results: tuple[Result, ...]
    failures: tuple[Failure, ...]
    total: int
    interrupted: bool
    stopped: str | None = (
        None  # why no task could finish any more; None: it was complete, or Ctrl-C
    )

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
    executors: Executors,
    progress: Callable[[int, int], None] = lambda done, total: None,
    finished: Callable[[int, Result], None] = lambda index, result: None,
) -> Batch[Result]:
    """Run all tasks.

    Args:
        work: a function of a module, because worker processes import it. Tasks and results must be
            picklable.
        progress: called with the finished tasks and the total.
        finished: called with the index of each task that has a result, and the result.

    A task that raises, or whose process dies, is a failure; the others continue. Ctrl-C ends the
    batch early: unfinished tasks are discarded, finished results are returned. So does the loss of
    the executors.
    """
    outcomes: dict[int, Result | Failure] = {}
    interrupted, stopped = False, None
    try:
        with closing(_outcomes(tasks, work, executors)) as finishing:
            for index, outcome in finishing:
                outcomes[index] = outcome
                if not isinstance(outcome, Failure):
                    finished(index, outcome)
                progress(len(outcomes), len(tasks))
    except KeyboardInterrupt:
        interrupted = True
    except UserError as error:
        stopped = str(error)
    in_order = [outcomes[index] for index in sorted(outcomes)]
    return Batch(
        results=tuple(each for each in in_order if not isinstance(each, Failure)),
        failures=tuple(each for each in in_order if isinstance(each, Failure)),
        total=len(tasks),
        interrupted=interrupted,
        stopped=stopped,
    )


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


def _outcomes(
    tasks: Sequence[Task], work: Callable[[Task], Result], executors: Executors
) -> Generator[TaskResult[Result], None, None]:
    waiting = deque(enumerate(tasks))
    while waiting:
        suspects = yield from _until_one_dies(waiting, work, executors)
        # Each running task is tried again alone, to find the one whose process dies.
        for index, task in suspects:
            alone = deque([(index, task)])
            if (yield from _until_one_dies(alone, work, executors, suspect=True)):
                message = f"{task.name}: the worker process died, possibly out of memory"
                yield index, Failure(message)


def _until_one_dies(
    waiting: deque[tuple[int, Task]],
    work: Callable[[Task], Result],
    executors: Executors,
    *,
    suspect: bool = False,
) -> Generator[TaskResult[Result], None, list[tuple[int, Task]]]:
    """Run the waiting tasks. Returns the tasks that may have been the cause if a process dies.

    Few tasks are submitted at a time, so that few can have been the cause.
    """
    running: dict[Future[Result | Failure], tuple[int, Task]] = {}
    lost: list[tuple[int, Task]] = []
    broken = False
    with executors.opened(len(waiting), suspect=suspect) as executor:
        while running or (waiting and not broken):
            while waiting and not broken and len(running) < executors.at_once():
                try:
                    future = executor.submit(_attempt, work, waiting[0][1])
                    running[future] = waiting.popleft()
                except BrokenExecutor:
                    broken = True
            done, _ = wait(running, ALIVE_CHECK_S, return_when=FIRST_COMPLETED)
            if not done:
                executors.ensure_alive()
            for future in sorted(done, key=lambda each: running[each][0]):
                index, task = running.pop(future)
                error = _error_of(future, executors)
                if error is None:
                    yield index, future.result()
                elif executors.is_death(error):
                    broken = True
                    lost.append((index, task))
                else:
                    yield index, Failure(f"{task.name}: {error}")
    return lost


def _error_of(future: Future[Result | Failure], executors: Executors) -> BaseException | None:
    """The error of a finished future that is not one of its task.

    Raises:
        UserError: no task can finish any more.
    """
    try:
        error = future.exception()
    except CancelledError as cancelled:
        executors.ensure_alive()
        return cancelled
    if isinstance(error, UserError):
        raise error
    return error
