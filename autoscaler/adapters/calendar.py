"""Schedule windows, which open when a cron expression fires in a time zone."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

from autoscaler.core.values import Schedule


class CronCalendar:
    """Fires like Debian's cron.

    A local time that is skipped when clocks go forward fires right afterwards; a time that occurs
    twice when clocks go back fires the first time only. Expressions whose minute or hour begins
    with a star follow elapsed time. The length of a window is elapsed time as well: a window of ten
    hours that opened the night before closes an hour later on the clock if that went forward.
    """

    def __init__(self) -> None:
        self._window_states: dict[Schedule, _WindowState] = {}

    def open_at(self, at: float, schedules: Iterable[Schedule]) -> frozenset[Schedule]:
        known = self._window_states
        self._window_states = {
            schedule: state
            if (state := known.get(schedule)) and state.since <= at < state.until
            else _window_state(schedule, at)
            for schedule in schedules
        }
        return frozenset(
            [schedule for schedule, state in self._window_states.items() if state.is_open]
        )

    def utc_offset_s(self, at: float, timezone: str) -> float:
        offset = datetime.fromtimestamp(at, ZoneInfo(timezone)).utcoffset()
        return 0.0 if offset is None else offset.total_seconds()


def opens_within(schedule: Schedule, start: float, end: float) -> bool:
    """Whether the window is open at some instant from `start` to before `end`."""
    return _next_firing(schedule, start - schedule.length_s) < end


class _WindowState(NamedTuple):
    """Whether a window is open, at any instant from `since` to before `until`."""

    is_open: bool
    since: float
    until: float


def _window_state(schedule: Schedule, at: float) -> _WindowState:
    """A window is open if its expression has fired within the window's length before `at`; it then
    stays open until that length has passed. Otherwise it opens at the next firing."""
    opens_at = _next_firing(schedule, at - schedule.length_s)
    if opens_at > at:
        return _WindowState(False, at, opens_at)
    return _WindowState(True, opens_at, opens_at + schedule.length_s)


def _next_firing(schedule: Schedule, after: float) -> float:
    """The first instant later than `after` at which the expression fires."""
    zone = ZoneInfo(schedule.timezone)
    for fires in CronSim(schedule.cron, datetime.fromtimestamp(after, UTC).astimezone(zone)):
        # In the hour that occurs twice, the iterator begins with the first of the two.
        if (fires_at := fires.timestamp()) > after:
            return fires_at
    return math.inf
