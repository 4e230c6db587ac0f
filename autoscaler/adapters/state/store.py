"""The port `StateStore` in a SQLite file. One thread writes, so that a slow disk does not delay the
control loop: at most one checkpoint at a time, and the newest state replaces those that wait."""

import asyncio
import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog
from msgspec.structs import replace

from autoscaler.adapters.state.former_file import FormerFile
from autoscaler.adapters.state.history import HistoryLimits
from autoscaler.adapters.state.mounts import outlives_the_process
from autoscaler.adapters.state.restore import SHARED, opened_text, restored
from autoscaler.adapters.state.session import DEFAULT_LIMITS, Session
from autoscaler.ages import always
from autoscaler.core.instructions import Instructions
from autoscaler.core.policies import AnyPolicy
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.ports import Clock, StateNotSaved
from autoscaler.sqlite_files import DatabaseUnusable
from autoscaler.threads import AbandonableThreads
from autoscaler.wire.history import Event, HistoryEntry, HistoryQuery
from autoscaler.wire.instruction_document import encode_instructions
from autoscaler.wire.state import encode_stopped

MAX_WRITING_FRACTION = 0.1
"""Maximum fraction of the time in which the thread writes checkpoints. 0.1, so that thousands of
deployments on a slow disk leave the processor to the control loop."""

MAX_WAITING_EVENTS = 10_000
"""Events that wait to be written at most; later ones replace the oldest. 10,000: a few for each of
thousands of deployments."""

SAVE_TIMEOUT_S = 5.0
"""Seconds to wait for the disk before an update is sent without its record, and before a stop is
withheld. 5 s: a disk that takes longer does not respond at all."""

Result = TypeVar("Result")


class StoreStatus(NamedTuple):
    """Where the state is, how large, and why it is not saved; "" if it is."""

    path: Path
    size_bytes: int
    problem: str


class SqliteStore:
    """A StateStore in one file of a directory, which is created if it does not exist.

    Args:
        limits: what is kept of the history.
        clock_agrees: whether the clock of the host agrees with `clock`.
        former: the file from which stopped deployments are taken over when this one begins.
        outlives: whether a directory outlives the process, as far as is known.
        in_thread: False: the caller writes, and waits. For commands, and for tests whose time is
            virtual.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        *,
        limits: HistoryLimits = DEFAULT_LIMITS,
        clock_agrees: Callable[[], bool] = always,
        former: FormerFile | None = None,
        outlives: Callable[[Path], bool] = outlives_the_process,
        in_thread: bool = True,
    ) -> None:
        self._session = Session(directory, former, limits, clock_agrees)
        self._clock = clock
        self._log = log
        self._outlives = outlives
        self._in_thread = in_thread
        self._executor: Executor | None = None  # None: not open
        self._newest: State | None = None  # to be written as soon as the thread is free
        self._events: deque[Event] = deque(maxlen=MAX_WAITING_EVENTS)  # to be written, too
        self._unwritten: tuple[Event, ...] = ()  # of the last attempt, which has failed
        self._busy = False  # the thread writes a checkpoint, or rests after one
        self._problem = ""  # why nothing is saved at present

    @property
    def status(self) -> StoreStatus:
        return StoreStatus(self._session.path, self._session.size_bytes, self._problem)

    async def open(self, policies: Iterable[AnyPolicy]) -> State:
        """See `StateStore`.

        Raises:
            StateInUse: another process has the store.
            FormerFileUnreadable: the former file cannot be read.
        """
        self._executor = AbandonableThreads(1, "state") if self._in_thread else _Caller()
        self._problem = ""
        try:
            contents, problems = await self._run(self._session.take)
        except BaseException:
            self._executor.submit(self._session.give_up)  # the thread may still take it
            self._executor.shutdown(wait=False)
            self._executor = None
            raise
        for problem in problems:
            self._problem = problem
            self._log.error("state.unusable", message=problem)
        found = restored(contents, policies, self._clock.now())
        for message in found.messages:
            self._log.warning("state.not_restored", message=message)
        path, size_bytes, _ = self.status
        if self._session.is_usable or contents.documents:
            self._log.info("state.opened", message=opened_text(path, size_bytes, found))
        if problems or SHARED in contents.documents or not self._session.is_alone:
            return found.state
        return replace(found.state, is_first_start=self._outlives(path.parent))

    @property
    def is_open(self) -> bool:
        """See `StateStore`."""
        return self._executor is not None

    @property
    def problem(self) -> str:
        """See `StateStore`."""
        return self._problem

    async def bind(self, cluster_uuid: str) -> str:
        """See `StateStore`."""
        if not self._session.binds_anew(cluster_uuid.encode()):
            return ""
        try:
            return await self._run_in_time(self._session.begin_for_cluster)
        except (TimeoutError, DatabaseUnusable, sqlite3.Error, OSError) as error:
            self._report(self._text(error))
            return f"{self._session.path} is of another cluster, and cannot be set aside"

    async def save_stopped(self, stopped: Mapping[str, StoppedDeployment]) -> None:
        """See `StateStore`."""
        try:
            await self._run_in_time(self._session.write_stopped, encode_stopped(stopped))
        except (TimeoutError, DatabaseUnusable, sqlite3.Error, OSError) as error:
            raise StateNotSaved(self._text(error)) from error

    async def save_instructions(self, instructions: Instructions) -> None:
        """See `StateStore`."""
        content = encode_instructions(instructions)
        try:
            await self._run_in_time(self._session.write_instructions, content)
        except (TimeoutError, DatabaseUnusable, sqlite3.Error, OSError) as error:
            raise StateNotSaved(self._text(error)) from error

    async def save_before_updates(self, state: State, deployment_ids: Collection[str]) -> None:
        """See `StateStore`."""
        self._newest = None  # an older state
        if self._executor is None:
            return  # given up meanwhile, or never opened, which has been logged
        some = {name: known for name, known in state.deployments.items() if name in deployment_ids}
        try:
            await self._run_in_time(self._write_some, replace(state, deployments=some))
        except (TimeoutError, DatabaseUnusable, sqlite3.Error, OSError) as error:
            self._report(self._text(error))

    def checkpoint(self, state: State) -> None:
        """See `StateStore`."""
        self._newest = state
        if not self._busy:
            self._begin_checkpoint()

    def record(self, events: list[Event]) -> None:
        """Add events to the history soon, without waiting."""
        self._events.extend(events)
        if not self._busy:
            self._begin_checkpoint()

    @property
    def place(self) -> str:
        """See `StoredHistory`."""
        return str(self._session.path)

    def read_history(self, query: HistoryQuery) -> list[HistoryEntry] | None:
        """See `StoredHistory`."""
        executor = self._executor
        if executor is None:
            return None
        try:
            return executor.submit(self._session.history, query).result(SAVE_TIMEOUT_S)
        except (TimeoutError, DatabaseUnusable, sqlite3.Error, OSError, RuntimeError):
            return None  # RuntimeError: the store has just been closed

    async def close(self) -> None:
        """See `StateStore`."""
        # From here on, nothing more is for this file: another process may have it in a moment.
        executor, self._executor = self._executor, None
        if executor is None:
            return
        end = partial(self._write_the_rest, *self._taken(), self._clock.now())
        with contextlib.suppress(DatabaseUnusable, sqlite3.Error, OSError):
            try:
                async with asyncio.timeout(SAVE_TIMEOUT_S):
                    await _result(executor.submit(end))
            except TimeoutError:  # the end of the wait has cancelled the call, unless it has begun
                executor.submit(end)
        executor.shutdown(wait=False)

    def _begin_checkpoint(self) -> None:
        if self._executor is None:
            return
        if self._newest is None and not self._events:
            return
        state, events = self._taken()
        self._busy = True
        written = self._executor.submit(self._write_all, state, events, self._clock.now())
        if written.done():
            self._checkpoint_written(events, written)
        else:
            asyncio.wrap_future(written).add_done_callback(
                partial(self._checkpoint_written, events)
            )

    def _checkpoint_written(
        self, events: tuple[Event, ...], written: "Future[float] | asyncio.Future[float]"
    ) -> None:
        error = None if written.cancelled() else written.exception()
        if error is not None:
            self._unwritten = events[-MAX_WAITING_EVENTS:]
        self._report("" if error is None else self._text(error))
        if not self._in_thread:
            self._busy = False
            return
        took_s = 0.0 if error is not None or written.cancelled() else written.result()
        rest_s = took_s * (1.0 / MAX_WRITING_FRACTION - 1.0)
        asyncio.get_running_loop().call_later(rest_s, self._rested)

    def _rested(self) -> None:
        self._busy = False
        self._begin_checkpoint()

    def _taken(self) -> tuple[State | None, tuple[Event, ...]]:
        """What waits to be written."""
        state, events = self._newest, (*self._unwritten, *self._events)
        self._newest, self._unwritten = None, ()
        self._events.clear()
        return state, events

    def _write_all(self, state: State | None, events: tuple[Event, ...], now: float) -> float:
        """
        Args:
            now: by the clock, which belongs to the thread of the loop.
        """
        began_at = time.monotonic()
        if state is not None:
            self._session.write(state, complete=True)
        if events:
            self._session.append(events, now)
        return time.monotonic() - began_at

    def _write_the_rest(self, state: State | None, events: tuple[Event, ...], now: float) -> None:
        """Write what waits, as far as it can be written, and give the file up."""
        try:
            self._write_all(state, events, now)
        finally:
            self._session.give_up()

    def _write_some(self, state: State) -> None:
        self._session.write(state, complete=False)

    def _report(self, problem: str) -> None:
        """Log a problem once, and its end."""
        if problem and not self._problem:
            self._log.error("state.not_saved", message=problem)
        elif self._problem and not problem:
            message = f"the state is saved in {self._session.path} again"
            self._log.info("state.saved", message=message)
        self._problem = problem

    def _text(self, error: BaseException) -> str:
        if isinstance(error, DatabaseUnusable):
            return str(error)
        if isinstance(error, TimeoutError):
            error = TimeoutError(f"the disk has not responded within {SAVE_TIMEOUT_S:g} s")
        return (
            f"{self._session.path} cannot be written: {error}; use a disk with free space, to "
            "which the autoscaler may write"
        )

    async def _run_in_time(self, function: Callable[..., Result], *arguments: Any) -> Result:
        async with asyncio.timeout(SAVE_TIMEOUT_S):
            return await self._run(function, *arguments)

    async def _run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        if self._executor is None:
            raise DatabaseUnusable(f"{self._session.path} is not open")
        return await _result(self._executor.submit(function, *arguments))


async def _result(future: "Future[Result]") -> Result:
    return future.result() if future.done() else await asyncio.wrap_future(future)


class _Caller(Executor):
    """Runs each function at once, where it is called."""

    def submit(  # type: ignore[override]
        self, function: Callable[..., Result], /, *arguments: Any
    ) -> "Future[Result]":
        future: Future[Result] = Future()
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future
