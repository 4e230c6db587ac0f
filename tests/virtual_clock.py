"""Time for a daemon and an emulated cluster together, that passes when a test says so."""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


class VirtualClock:
    """Time that stands still until it is told to pass, and passes without waiting.

    Before each jump everything on the event loop is given the chance to finish what it can do
    without time passing, requests over loopback included. Sleepers wake in order of their instants.
    """

    # More passes of the event loop than any chain of loopback events takes; a request takes twenty.
    _SETTLING_PASSES = 100

    def __init__(self, start: float = 1_760_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0.0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        end = self._now + seconds
        await self._settle()
        while self._next() <= end:
            self._wake_next()
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
                if self._sleepers:
                    self._wake_next()
                else:
                    # A thread is at work, of which the event loop knows nothing.
                    await asyncio.wait([task], timeout=0.001)
            return await task
        finally:
            task.cancel()

    async def _settle(self) -> None:
        for _ in range(self._SETTLING_PASSES):
            await asyncio.sleep(0)

    def _next(self) -> float:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else float("inf")

    def _wake_next(self) -> None:
        if self._next() == float("inf"):
            return
        at, _, future = heapq.heappop(self._sleepers)
        self._now = max(self._now, at)
        future.set_result(None)
