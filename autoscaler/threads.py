"""Threads that the end of the process does not wait for.

A disk or a name server that does not respond keeps a thread busy for as long as it likes, and a
response of a hundred megabytes for a minute. The interpreter waits for the threads of
`concurrent.futures` before it ends, so a process with such a thread would ignore SIGTERM.
"""

import asyncio
import gc
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

SWITCH_INTERVAL_S = 0.001
"""Seconds for which one thread runs while others wait for the interpreter. 1 ms, where Python's
default is 5: the event loop waits so long, each time it has slept, while a response is made."""

DEFAULT_THREADS = 8
"""Threads of an event loop. 8: two responses that are made, the resolution of a few names, and as
many again that do not come back."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class AbandonableThreads(ThreadPoolExecutor):
    """An executor whose threads end with the process, whatever they do.

    Of its base, which event loops require, it uses nothing.
    """

    def __init__(self, max_threads: int, name: str) -> None:
        super().__init__(max_threads, name)
        self._max_threads, self._name = max_threads, name
        self._changed = threading.Condition()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._started = self._idle = 0
        self._ended = False

    def submit(
        self,
        function: Callable[Arguments, Result],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Future[Result]:
        """Call the function in one of the threads.

        Raises:
            RuntimeError: after `shutdown`.
        """
        future: Future[Result] = Future()
        with self._changed:
            if self._ended:
                raise RuntimeError("no calls after the shutdown")
            # While a thread hangs, nothing else forgets the calls whose callers have given up.
            self._calls = deque(call for call in self._calls if not call[0].cancelled())
            self._calls.append((future, partial(function, *args, **kwargs)))
            if len(self._calls) <= self._idle:
                self._changed.notify()
            elif self._started < self._max_threads:
                self._started += 1
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no further call. Never waits, as the base would by default."""
        with self._changed:
            self._ended = True
            if cancel_futures:
                while self._calls:
                    self._calls.popleft()[0].cancel()
            self._changed.notify_all()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            del call, future, function  # an idle thread keeps nothing alive

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """The next call; None: there is none, and will be none."""
        with self._changed:
            self._idle += 1
            while not self._calls and not self._ended:
                self._changed.wait()
            self._idle -= 1
            return self._calls.popleft() if self._calls else None


def without_collector(function: Callable[[], Result]) -> Result:
    """The result of a function, meanwhile without the collector of reference cycles; for a thread.

    What is made for a response or a request has none, but consists of so many objects that the
    collector would search all of the daemon's several times, for tens of milliseconds each, in
    which no other thread runs. Several threads may do so at a time: the last one ends it.
    """
    _collector.suspend()
    try:
        return function()
    finally:
        _collector.resume()


class _Collector:
    """The collector of reference cycles, which is off while anyone has suspended it.

    A thread that only remembered whether it was on could find it off because of another one, and
    turn it off again when that one has turned it on: then it would stay off for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._suspended = 0
        self._was_on = False

    def suspend(self) -> None:
        with self._lock:
            if self._suspended == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._suspended += 1

    def resume(self) -> None:
        with self._lock:
            self._suspended -= 1
            if self._suspended == 0 and self._was_on:
                gc.enable()


_collector = _Collector()


def run(command: Coroutine[Any, Any, Result]) -> Result:
    """As `asyncio.run`, but without waiting for threads at the end."""

    async def with_threads() -> Result:
        threads = AbandonableThreads(DEFAULT_THREADS, "worker")
        asyncio.get_running_loop().set_default_executor(threads)
        return await command

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    return asyncio.run(with_threads())
