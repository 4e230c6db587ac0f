"""The host's clock, at its own speed or another."""

import asyncio
import time


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

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self._speed)


_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""On Linux, the monotonic clock stops while the host is suspended, and this one does not."""


def _elapsed_s() -> float:
    """Seconds since some instant."""
    return time.clock_gettime(_CLOCK)
