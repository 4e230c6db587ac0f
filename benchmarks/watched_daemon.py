"""The unmodified daemon, and how punctual its event loop is.

`python -m benchmarks.watched_daemon FILE` is `autoscaler run`. Beside it, a callback is due every
`BEAT_S`. How late it came, when each cycle should have begun and did, and which callbacks kept the
loop for long, is in the file when the process has ended.
"""

import asyncio
import sys
import time
from array import array
from pathlib import Path

import msgspec
from msgspec import Struct

BEAT_S = 0.005
"""Seconds between two callbacks. 5 ms: no delay above the goal is missed, and 200 callbacks a
second take less than one percent of a processor."""


HELD_S = 0.0005
"""Seconds of the processor from which on a callback is noted. Unlike a delay, they do not depend on
what other processes do."""


class Beats(Struct, frozen=True):
    """What was late, in seconds of the monotonic clock, which all processes share."""

    at: list[float]  # when each callback was due
    late_s: list[float]  # and by how much it came later
    cycle_at: list[float]  # when each cycle was due, the first excepted
    cycle_late_s: list[float]
    held_at: list[float]  # when callbacks ended that took long
    held_s: list[float]  # and the seconds of the processor that each took


class _Watch:
    """Compact, because its memory is measured with the daemon's."""

    def __init__(self) -> None:
        self.at, self.late_s = array("d"), array("d")
        self.cycle_at, self.cycle_late_s = array("d"), array("d")
        self.held_at, self.held_s = array("d"), array("d")
        self._cycle_due: float | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(BEAT_S, self._beat, loop, loop.time() + BEAT_S)

    def _beat(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self.at.append(due)
        self.late_s.append(max(0.0, now - due))
        loop.call_at(now + BEAT_S, self._beat, loop, now + BEAT_S)

    def cycle_began(self, now: float) -> None:
        if self._cycle_due is not None:
            self.cycle_at.append(self._cycle_due)
            self.cycle_late_s.append(max(0.0, now - self._cycle_due))

    def cycle_ended(self, due: float) -> None:
        self._cycle_due = due

    def ran(self, handle_s: float) -> None:
        if handle_s >= HELD_S:
            self.held_at.append(time.monotonic())
            self.held_s.append(handle_s)

    def beats(self) -> Beats:
        beats, cycles = (self.at, self.late_s), (self.cycle_at, self.cycle_late_s)
        columns = (*beats, *cycles, self.held_at, self.held_s)
        return Beats(*(column.tolist() for column in columns))


def _watched(watch: _Watch) -> None:
    """Let every event loop and every cycle of this process be watched."""
    from autoscaler.control_loop import ControlLoop  # noqa: PLC0415 - after `rich` is hidden

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            loop = super().new_event_loop()
            watch.begin(loop)
            return loop

    run_cycle = ControlLoop.run_cycle

    async def watched_cycle(self: ControlLoop) -> float:
        began = time.monotonic()
        watch.cycle_began(began)
        interval_s = await run_cycle(self)
        watch.cycle_ended(began + interval_s)
        return interval_s

    run_handle = asyncio.Handle._run

    def watched_handle(self: asyncio.Handle) -> None:
        began_s = time.thread_time()
        run_handle(self)
        watch.ran(time.thread_time() - began_s)

    asyncio.set_event_loop_policy(Policy())
    asyncio.Handle._run = watched_handle  # type: ignore[method-assign]
    ControlLoop.run_cycle = watched_cycle  # type: ignore[method-assign]


def main(path: Path) -> None:
    # structlog imports these where there are any: only for development.
    for name in ("rich", "greenlet"):
        sys.modules[name] = None  # type: ignore[assignment]
    watch = _Watch()
    _watched(watch)
    from autoscaler.cli import main as run_command  # noqa: PLC0415 - the same

    try:
        run_command(["run"])
    finally:
        path.write_bytes(msgspec.json.encode(watch.beats()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
