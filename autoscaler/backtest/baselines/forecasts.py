"""Forecasts of an allocation count from its past values."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.core.values import Value

DAY = 1440
"""Points of a day, one a minute: the length of a season in `HoltWinters`."""

STORED_SEASONS = 4
POINT_S = 60.0


class ForecastModel(Protocol):
    """Forecasts a count. Pure: its state is an argument and part of the result."""

    @property
    def name(self) -> str: ...

    def begin(self) -> Any:
        """The state without any history."""

    def from_history(self, counts: Sequence[int]) -> Any:
        """The state after a history of one count a minute, the last of them now."""

    def forecast(self, at: float, count: int, memory: Any) -> tuple[int, Any]:
        """The count expected after `count` was observed at `at`, and the next state."""


Points = tuple[tuple[float, int], ...]
"""Instants and counts."""


class Linear(Value, frozen=True, kw_only=True):
    """Extrapolates the least-squares line through the last counts."""

    name: ClassVar[str] = "linear"

    look_ahead_s: float
    history: int = 6  # points

    def begin(self) -> Points:
        return ()

    def from_history(self, counts: Sequence[int]) -> Points:
        """Empty: points a minute apart would not fit those of the polls."""
        return ()

    def forecast(self, at: float, count: int, memory: Points) -> tuple[int, Points]:
        """Rounded up, and at least 0."""
        points = (*memory, (at, count))[-self.history :]
        times = [since - at for since, _ in points]
        mean_time = sum(times) / len(points)
        mean_count = sum([past for _, past in points]) / len(points)
        spread = sum([(time - mean_time) ** 2 for time in times])
        if spread == 0.0:
            return count, points
        slope = (
            sum(
                [
                    (time - mean_time) * (past - mean_count)
                    for time, (_, past) in zip(times, points, strict=True)
                ]
            )
            / spread
        )
        return max(0, round_up(mean_count + slope * (self.look_ahead_s - mean_time))), points


class Smoothing(Value, frozen=True, kw_only=True):
    """Level, trend and season after a point (additive)."""

    level: float
    trend: float  # from point to point
    season: tuple[float, ...]  # beginning with the value of the next point


class HoltWintersState(Value, frozen=True, kw_only=True):
    """The counts collected so far, or the smoothing that they led to."""

    collected: tuple[int, ...] = ()  # until there are two seasons
    smoothing: Smoothing | None = None
    at: float | None = None  # of the last point
    expected: int = 0  # at the next one


class HoltWinters(Value, frozen=True, kw_only=True):
    """Triple exponential smoothing of one point a minute, seasons of a day, one point ahead.

    The original has no default parameters. The example in its manual uses 0.9 for each, for seasons
    of six points; with one point a minute, that would turn noise into trends.
    """

    name: ClassVar[str] = "holt-winters"

    alpha: float = 0.5  # level
    beta: float = 0.01  # trend
    gamma: float = 0.3  # season

    def begin(self) -> HoltWintersState:
        return HoltWintersState()

    def from_history(self, counts: Sequence[int]) -> HoltWintersState:
        """Smooth over the whole seasons of the history; fewer than two are only collected."""
        seasons = min(len(counts) // DAY, STORED_SEASONS)
        if seasons < 2:
            return HoltWintersState(collected=tuple(counts))
        kept = counts[len(counts) - seasons * DAY :]
        smoothing = _begun(kept[: 2 * DAY])
        for count in kept[2 * DAY :]:
            smoothing = self._after(smoothing, count)
        return HoltWintersState(smoothing=smoothing, expected=_next(smoothing))

    def forecast(
        self, at: float, count: int, memory: HoltWintersState
    ) -> tuple[int, HoltWintersState]:
        """Rounded up, and at least 0; 0 until two seasons are known. Valid for a minute."""
        if memory.at is not None and at - memory.at < POINT_S:
            return memory.expected, memory
        collected, smoothing = memory.collected, memory.smoothing
        if smoothing is not None:
            smoothing = self._after(smoothing, count)
        elif len(collected) + 1 < 2 * DAY:
            collected = (*collected, count)
        else:
            collected, smoothing = (), _begun((*collected, count))
        expected = 0 if smoothing is None else _next(smoothing)
        return expected, HoltWintersState(
            collected=collected, smoothing=smoothing, at=at, expected=expected
        )

    def _after(self, before: Smoothing, count: int) -> Smoothing:
        """Source: Winters, 1960."""
        season = before.season[0]
        level = self.alpha * (count - season) + (1.0 - self.alpha) * (before.level + before.trend)
        trend = self.beta * (level - before.level) + (1.0 - self.beta) * before.trend
        season = self.gamma * (count - level) + (1.0 - self.gamma) * season
        return Smoothing(level=level, trend=trend, season=(*before.season[1:], season))


def _begun(counts: Sequence[int]) -> Smoothing:
    """From two seasons: the line through their means, and each point's distance from it."""
    first, second = counts[:DAY], counts[DAY:]
    trend = (sum(second) - sum(first)) / DAY**2
    middle = (sum(first) + sum(second)) / (2 * DAY)

    def line(point: int) -> float:
        return middle + trend * (point - (2 * DAY - 1) / 2)

    season = [
        (first[point] - line(point) + second[point] - line(point + DAY)) / 2 for point in range(DAY)
    ]
    return Smoothing(level=line(2 * DAY - 1), trend=trend, season=tuple(season))


def _next(smoothing: Smoothing) -> int:
    return max(0, round_up(smoothing.level + smoothing.trend + smoothing.season[0]))
