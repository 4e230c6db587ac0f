"""Batches that do not run again what is in a file of finished runs."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, Protocol, TypeVar

import numpy as np
from msgspec import Struct, msgpack
from msgspec.structs import replace

from autoscaler.backtest.batch import Batch, Executors, run_all
from autoscaler.backtest.finished_runs import FinishedRuns
from autoscaler.backtest.program import Program, this_program


class TaskOfRuns(Protocol):
    """A task whose result is a list: one result for each of its runs, in their order."""

    @property
    def name(self) -> str: ...

    def runs(self) -> Sequence[Struct]:
        """Each run, with all that its result depends on beside the program."""

    def only(self, indices: Sequence[int]) -> Any:
        """The same task with these runs only."""


OneTask = TypeVar("OneTask", bound=TaskOfRuns)
Run = TypeVar("Run", bound=Struct)


class RunKeys:
    """Keys of runs: digests of everything that their results depend on.

    Arrays are digested once, because many runs share them.
    """

    def __init__(self, work: Callable[..., Any], program: Program | None = None) -> None:
        self._prefix = msgpack.encode(
            (program or this_program(), f"{work.__module__}.{work.__qualname__}")
        )
        self._arrays: dict[int, tuple[np.ndarray[Any, Any], bytes]] = {}  # by id

    def of(self, run: Struct) -> str:
        """The key of a run, 64 hexadecimal digits."""
        content = msgpack.encode(run, enc_hook=self._encodable, order="deterministic")
        name = f"{type(run).__module__}.{type(run).__qualname__}".encode()
        return hashlib.sha256(b"\0".join((self._prefix, name, content))).hexdigest()

    def _encodable(self, value: object) -> object:
        if isinstance(value, np.ndarray):
            return value.dtype.str, value.shape, self._digest(value)
        if isinstance(value, PurePath):
            return str(value)
        raise NotImplementedError(f"a run depends on {type(value)}, which has no digest")

    def _digest(self, array: np.ndarray[Any, Any]) -> bytes:
        known = self._arrays.get(id(array))
        if known is None:
            digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
            known = self._arrays[id(array)] = (array, digest)  # kept, so that the id stays its own
        return known[1]


def run_remaining(
    tasks: Sequence[OneTask],
    work: Callable[[OneTask], list[Run]],
    finished_runs: FinishedRuns[Run],
    *,
    executors: Executors,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Batch[list[Run]]:
    """Run what is not among the finished runs, and add it to them. Otherwise as `run_all`.

    Args:
        say: called with a sentence that states how many runs are already finished.
    """
    keys = RunKeys(work)
    by_task = [[keys.of(run) for run in task.runs()] for task in tasks]
    known = [[finished_runs.get(key) for key in of_task] for of_task in by_task]
    missing = [[i for i, run in enumerate(of_task) if run is None] for of_task in known]
    todo = [index for index, of_task in enumerate(missing) if of_task]
    total = sum(map(len, known))
    finished_before = total - sum(map(len, missing))
    if finished_before:
        say(f"{finished_before} of {total} runs are finished already")

    def keep(place: int, results: list[Run]) -> None:
        task = todo[place]
        for index, result in zip(missing[task], results, strict=True):
            known[task][index] = result
            finished_runs.add(by_task[task][index], result)

    done = run_all(
        [tasks[index].only(missing[index]) for index in todo],
        work,
        executors=executors,
        progress=progress,
        finished=keep,
    )
    complete = (
        [run for run in of_task if run is not None]
        for of_task in known
        if all(run is not None for run in of_task)
    )
    return replace(done, results=tuple(complete), total=len(tasks))
