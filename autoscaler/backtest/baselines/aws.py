"""AWS: target tracking by two alarms, and predictive scaling as its lower limit.

Source: the user guides of Application Auto Scaling and of EC2 Auto Scaling. They do not
say how fast capacity falls; here it is sized for the busiest of the minutes that raised the alarm.
"""

import math
from typing import ClassVar

from autoscaler.backtest.baselines.baseline import LoadHistoryView
from autoscaler.backtest.baselines.seasonal_history import DAY, SeasonalHistory
from autoscaler.backtest.baselines.sizing import hold, round_up, utilisation
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

POINT_S = 60.0
OUT_AFTER, IN_AFTER = 3, 15  # points in a row
IN_BELOW = 0.9  # of the target
COOL_DOWN_S = 300.0
HOUR_S = 3600.0


class Tracking(Value, frozen=True, kw_only=True):
    """The state of target tracking."""

    points: tuple[float, ...] = ()  # utilisation, a minute each
    out_at: float | None = None  # when capacity was last added
    before: int = 0  # allocations before the first addition of the cool-down
    in_at: float | None = None  # when capacity was last removed; None: never, or it was added since


class TargetTracking(Value, frozen=True, kw_only=True):
    """Keeps utilisation at a target: out after 3 minutes above it, in after 15 minutes below."""

    name: ClassVar[str] = "aws-target-tracking"
    poll_interval_s: ClassVar[float] = POINT_S
    sampling_s: ClassVar[float] = POINT_S
    load_window_s: ClassVar[float] = POINT_S

    target: float  # a fraction

    def begin(self) -> Tracking:
        """No point has been measured."""
        return Tracking()

    def recommend(self, situation: Situation, memory: Tracking) -> tuple[Step, Tracking]:
        """In proportion to utilisation while an alarm is active, subject to the cool-down."""
        point = utilisation(situation)
        if point is None:
            return hold(situation), memory
        points = (*memory.points, point)[-IN_AFTER:]
        memory = Tracking(
            points=points, out_at=memory.out_at, before=memory.before, in_at=memory.in_at
        )
        after = situation.current
        if len(points) >= OUT_AFTER and min(points[-OUT_AFTER:]) > self.target:
            after, memory = self._out(situation, memory)
        elif len(points) == IN_AFTER and max(points) < IN_BELOW * self.target:
            after, memory = self._in(situation, memory)
        inputs = {"utilisation": point, "target_utilisation": self.target}
        return Step(Reason.RECOMMENDATION, situation.current, after, inputs), memory

    def _out(self, situation: Situation, memory: Tracking) -> tuple[int, Tracking]:
        """During the cool-down, only what exceeds the capacity already added counts."""
        at, current = situation.at, situation.current
        added = round_up(current * memory.points[-1] / self.target) - current
        cooling = memory.out_at is not None and at - memory.out_at < COOL_DOWN_S
        before = memory.before if cooling else current
        after = max(current, before + added)
        out_at = at if after > current else memory.out_at
        return after, Tracking(points=memory.points, out_at=out_at, before=before)

    def _in(self, situation: Situation, memory: Tracking) -> tuple[int, Tracking]:
        """One allocation always remains: without any, utilisation could not be measured."""
        at, current = situation.at, situation.current
        if memory.in_at is not None and at - memory.in_at < COOL_DOWN_S:
            return current, memory
        after = min(current, max(1, round_up(current * max(memory.points) / self.target)))
        in_at = at if after < current else memory.in_at
        return after, Tracking(
            points=memory.points, out_at=memory.out_at, before=memory.before, in_at=in_at
        )


class Predicting(Value, frozen=True, kw_only=True):
    """The state of target tracking and the load history."""

    tracking: Tracking = Tracking()
    season: SeasonalHistory = SeasonalHistory()


class PredictiveScaling(Value, frozen=True, kw_only=True):
    """Target tracking, with the forecast for the hour as its lower limit.

    The capacity for an hour is launched before it begins. The forecast of an hour is the peak of
    the mean of such hours. It needs a day of history.
    """

    name: ClassVar[str] = "aws-predictive"
    poll_interval_s: ClassVar[float] = POINT_S
    sampling_s: ClassVar[float] = POINT_S
    load_window_s: ClassVar[float] = POINT_S

    tracking: TargetTracking
    ahead_s: float  # how long before the hour its capacity is launched

    def begin(self) -> Predicting:
        """No history: for the first day, target tracking alone."""
        return Predicting()

    def from_history(
        self, history: LoadHistoryView, min_allocations: int, max_allocations: int
    ) -> Predicting:
        """Begin with the recorded load."""
        return Predicting(season=SeasonalHistory.of(history))

    def recommend(self, situation: Situation, memory: Predicting) -> tuple[Step, Predicting]:
        """The result of target tracking, but at least the forecast."""
        season = memory.season.after(situation)
        step, tracking = self.tracking.recommend(situation, memory.tracking)
        forecast = self._forecast(season, situation.at)
        floor = round_up(forecast / self.tracking.target)
        inputs = {**step.inputs, "forecast": forecast}
        step = Step(Reason.RECOMMENDATION, step.before, max(step.after, floor), inputs)
        return step, Predicting(tracking=tracking, season=season)

    def _forecast(self, season: SeasonalHistory, at: float) -> float:
        """The peak of the hours that begin before the launches of the next poll are ready."""
        if len(season.loads) < DAY:
            return 0.0
        last_at = at + self.poll_interval_s + self.ahead_s
        return season.peak(math.floor(at / HOUR_S) * HOUR_S, math.ceil(last_at / HOUR_S) * HOUR_S)
