"""An event loop whose time passes only while there is nothing to do.

Time-outs, pauses and delayed responses then take no time, and happen in the order of their
instants: a daemon and a server on one such loop behave as they would over hours.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")

START = 1_760_000_000.0

# Polls of the sockets before time passes: more than any chain of loopback events needs.
_LOOKS = 100


class LoopClock:
    """The time of the running loop, as the Clock of a daemon."""

    def now(self) -> float:
        return START + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def run_in_virtual_time(main: Coroutine[Any, Any, Result], *, sockets: bool = True) -> Result:
    """Run `main` on a separate loop, which begins at 0 s.

    Args:
        sockets: whether anything on the loop uses sockets, which must then settle before time
            passes. Without them, time passes several times as fast.
    """
    with asyncio.Runner(loop_factory=partial(VirtualLoop, sockets=sockets)) as runner:
        return runner.run(main)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, *, sockets: bool = True) -> None:
        self._elapsed_s = 0.0
        super().__init__(_Selector(self.skip, _LOOKS if sockets else 1))
        self.set_default_executor(_Inline())

    def time(self) -> float:
        return self._elapsed_s

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to wait for, as `_Inline` has no threads. That of asyncio waits for a thread that
        it starts, up to 300 s, and these pass before the thread runs if the machine is busy."""

    def skip(self, seconds: float) -> None:
        """Let time pass at once, as if the process had been suspended: nothing runs meanwhile."""
        self._elapsed_s += seconds


class _Selector(selectors.DefaultSelector):
    """Has time pass instead of waiting."""

    def __init__(self, time_passes: Callable[[float], None], looks: int) -> None:
        super().__init__()
        self._time_passes = time_passes
        self._looks = looks

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        for _ in range(self._looks if timeout is None or timeout > 0.0 else 1):
            if ready := super().select(0.0):
                return ready
        if timeout is None:
            return super().select(None)
        self._time_passes(max(0.0, timeout))
        return []


class _Inline(ThreadPoolExecutor):
    """Runs functions at once, because the loop does not see threads, and time would pass."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
