"""Which days of a trace are simulated.

A day is 24 hours of the trace's own clock: day 1 begins with its first bin. It is no calendar day,
because a trace need not state its time zone.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.workload import HOUR_S
from autoscaler.errors import UserError
from autoscaler.simulation.traces import Trace

DAY_H = 24.0
_ROUNDING = 1e-9  # of a day


class DaysError(UserError):
    """The scenario states the part of the trace itself."""

    exit_code = 2


class Days(Struct, frozen=True):
    """The choice of the operator: the hardest day, or whole days."""

    whole: bool = False  # False: only the hardest day
    last: int | None = None  # so many whole days at the end; None: all of them


class PlayedDay(Struct, frozen=True, kw_only=True, eq=False):
    """A trace as it is simulated: in part or as a whole."""

    trace: Trace  # under the name that results have
    scenario: BacktestScenario  # with the part of the trace
    recording: str | None = None  # the trace of which this is one day; None: it is not divided
    day: int | None = None  # from 1

    @property
    def load(self) -> str:
        """The name of the trace, or of the one of which this is a day."""
        return self.trace.name if self.recording is None else self.recording


def whole_days(trace: Trace) -> int:
    """The whole days in a trace, from its first bin."""
    return int(trace.duration_s / (DAY_H * HOUR_S) + _ROUNDING)


def is_divided(trace: Trace) -> bool:
    """Whether the trace is longer than a day, so that whole days are parts of it."""
    return trace.duration_s > DAY_H * HOUR_S * (1.0 + _ROUNDING)


def played_days(trace: Trace, scenario: BacktestScenario, days: Days) -> Iterator[PlayedDay]:
    """The parts to simulate: the trace with the window of the scenario, or each chosen day.

    A trace that is not longer than a day is never divided. Days without a request are left out.

    Raises:
        DaysError: days are chosen, and the scenario has another window than 24 hours.
    """
    if not days.whole or not is_divided(trace):
        yield PlayedDay(trace=trace, scenario=scenario)
        return
    if scenario.start_h is not None or scenario.hours != DAY_H:
        raise DaysError(
            f"--days: the scenario {scenario.name} sets trace.window or trace.start, which choose "
            "another part; remove them, or leave --days out"
        )
    number = whole_days(trace)
    digits = len(str(number))  # so that names are sorted by day
    first = 1 if days.last is None else max(1, number - days.last + 1)
    for day in range(first, number + 1):
        begin_s = (day - 1) * DAY_H * HOUR_S
        if trace.between(begin_s, begin_s + DAY_H * HOUR_S).counts.any():
            yield PlayedDay(
                trace=replace(trace, name=f"{trace.name}, day {day:0{digits}}"),
                scenario=replace(scenario, start_h=(day - 1) * DAY_H),
                recording=trace.name,
                day=day,
            )
