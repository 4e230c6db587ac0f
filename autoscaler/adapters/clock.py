"""The host's clock, at its own speed or another."""

import asyncio
import time


class HostClock:
    """Unix seconds that never jump: the time at start, plus what the monotonic clock adds.

    Args:
        speed: seconds of this clock per second of the host. Other than 1 only with an emulated
            cluster whose time runs at the same speed.
    """

    def __init__(self, speed: float = 1.0) -> None:
        assert speed > 0.0, speed
        self._speed = speed
        self._started_at = time.time()
        self._monotonic_then = time.monotonic()

    def now(self) -> float:
        return self._started_at + self._speed * (time.monotonic() - self._monotonic_then)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self._speed)
