"""Tasks in processes of this machine, or in this process."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


class LocalProcesses:
    """At most so many processes at once; one task at a time runs in this process."""

    def __init__(self, processes: int) -> None:
        self._processes = processes

    def at_once(self) -> int:
        """One task for each process, so that few are the cause if one dies."""
        return self._processes

    @contextmanager
    def opened(self, tasks: int, *, suspect: bool = False) -> Iterator[Executor]:
        """A pool of new processes. If one dies, all its running tasks are lost."""
        processes = min(self._processes, tasks)
        if processes == 1 and not suspect:
            yield _ThisProcess()
            return
        with _pool(processes) as pool:
            yield pool

    def is_death(self, error: BaseException) -> bool:
        return isinstance(error, BrokenExecutor)

    def ensure_alive(self) -> None:
        """Nothing to check: if a process dies, its tasks have an error at once."""


class _ThisProcess(Executor):
    """Runs a task when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class _Pool(ProcessPoolExecutor):
    """Starts processes that ignore a Ctrl-C."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with _interrupts_blocked():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Spawned processes; a forked process could inherit a locked lock."""
    others = set(multiprocessing.active_children())
    pool = _Pool(count, multiprocessing.get_context("spawn"), _end_with_the_parent)
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
