"""The time of a cluster that a test advances."""

import asyncio
import heapq

_START = 1_760_000_000.0
"""The instant at which the time of each cluster begins, in Unix seconds; arbitrary."""


class SteppedClock:
    """Time that stands still until it is advanced or a task sleeps."""

    def __init__(self) -> None:
        self._now = _START
        self._due: list[float] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Let time pass; tasks continue in the order of their due times."""
        due = self._now + max(0.0, seconds)
        heapq.heappush(self._due, due)
        await asyncio.sleep(0)
        while self._due[0] < due:
            await asyncio.sleep(0)
        heapq.heappop(self._due)
        self._now = max(self._now, due)
