"""The host's clock, at its own speed or another."""

import asyncio
import time

from autoscaler.ports import Clock

MAX_DIFFERENCE_S = 60.0
"""Seconds by which the clock of the host may differ from the time since the start. 60 s: a clock
that is kept right is adjusted by less."""


class HostClock:
    """Unix seconds that never jump: the time at start, plus the time that has passed since.

    The time for which the host was suspended has passed, too: the cluster worked meanwhile.

    Args:
        speed: seconds of this clock per second of the host. Other than 1 only with an emulated
            cluster whose time runs at the same speed.
    """

    def __init__(self, speed: float = 1.0) -> None:
        assert speed > 0.0, speed
        self._speed = speed
        self._started_at = time.time()
        self._elapsed_then = _elapsed_s()

    def now(self) -> float:
        return self._started_at + self._speed * (_elapsed_s() - self._elapsed_then)

    def agrees(self) -> bool:
        """Whether the clock of the host shows this time."""
        return abs(self.set_by_s()) <= MAX_DIFFERENCE_S

    def set_by_s(self) -> float:
        """Seconds by which the clock of the host has been set forward since the start; 0 at another
        speed. One of the two is wrong then, perhaps this one."""
        return 0.0 if self._speed != 1.0 else time.time() - self.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self._speed)


_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""On Linux, the monotonic clock stops while the host is suspended, and this one does not."""


def _elapsed_s() -> float:
    """Seconds since some instant."""
    return time.clock_gettime(_CLOCK)


async def wait_for_any(clock: Clock, seconds: float, *events: asyncio.Event) -> bool:
    """Wait for one of the events, but no longer than `seconds`. Returns whether one is set."""
    waits = [
        asyncio.ensure_future(clock.sleep(seconds)),
        *(asyncio.ensure_future(event.wait()) for event in events),
    ]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return any(event.is_set() for event in events)
