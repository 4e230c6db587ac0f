"""Time for a daemon and an emulated cluster, which a test advances."""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


class VirtualClock:
    """Time that stands still until it is advanced, and then passes without waiting.

    Before each jump, everything on the event loop can finish what needs no time, requests over
    loopback included. Calls of `sleep` return in the order of their instants.
    """

    # Passes of the event loop: more than any chain of loopback events needs; a request needs 20.
    _SETTLING_PASSES = 100

    def __init__(self, start: float = 1_760_000_000.0) -> None:
        self._now = start
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0.0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self._now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        end = self._now + seconds
        await self._settle()
        while self._next() <= end:
            self._release_next()
            await self._settle()
        self._now = end

    async def run(self, awaitable: Awaitable[Result]) -> Result:
        """Let as much time pass as `awaitable` needs to complete, and no more."""
        task = asyncio.ensure_future(awaitable)
        try:
            while not task.done():
                await self._settle()
                if task.done():
                    break
                if self._waiting:
                    self._release_next()
                else:
                    # A thread is running, which the event loop does not see.
                    await asyncio.wait([task], timeout=0.001)
            return await task
        finally:
            task.cancel()

    async def _settle(self) -> None:
        for _ in range(self._SETTLING_PASSES):
            await asyncio.sleep(0)

    def _next(self) -> float:
        while self._waiting and self._waiting[0][2].done():
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else float("inf")

    def _release_next(self) -> None:
        if self._next() == float("inf"):
            return
        at, _, future = heapq.heappop(self._waiting)
        self._now = max(self._now, at)
        future.set_result(None)
