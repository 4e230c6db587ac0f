"""Forecasts over fixed horizons, which are judged when their time has come.

What the load will be is guessed in four ways: that it stays as it is; that it goes on rising or
falling for a while; what the season says; that it is as yesterday. The first and the last are naive
forecasts, by which any other has to be measured. The centre of a forecast is the mean of the
guesses, weighted by how well each did of late over that horizon.
"""

import math

from autoscaler.core.forecast.calibration import Calibration, updated_calibration
from autoscaler.core.forecast.seasonality import (
    SLOT_S,
    SLOTS_PER_DAY,
    SeasonalProfile,
    interpolated,
    slot_mean,
)
from autoscaler.core.values import Value

SMOOTHING_S = 30.0
"""Time constant of the level. It is as noisy, and lags as much, as the mean of a minute."""

TREND_S = 600.0
"""Time constant of the slower mean. How far the level is from it tells the slope."""

DAMPING_S = 300.0
"""Time constant with which a slope wears off. Undamped, every rise is followed by an overshoot."""

ERROR_GAIN = 0.02
"""Of mean errors: a memory of about fifty forecasts."""

WEIGHT_EXPONENT = 4
"""A guess that errs twice as much weighs so many binary orders less."""

PointForecasts = tuple[float, float, float, float]
"""Levels at the horizon: as now; following the trend; following the season; as yesterday. Now's
level stands for those that are not known."""


class HorizonRecord(Value, frozen=True, kw_only=True):
    """How forecasts over one horizon did. Errors are means of absolute ones, in erlangs."""

    calibration: Calibration
    seasonal: int = 0  # outcomes for which yesterday's load was known
    guess_errors: PointForecasts = (0.0, 0.0, 0.0, 0.0)
    weights: PointForecasts = (1.0, 0.0, 0.0, 0.0)
    error: float = 0.0

    def centre(self, guesses: PointForecasts) -> float:
        """Before its margin: the highest load on the way from the present level to the guesses."""
        return max(guesses[0], _mean(self.weights, guesses))


class PendingForecast(Value, frozen=True, kw_only=True):
    """A forecast whose time has not come."""

    due_at: float
    guesses: PointForecasts
    seasonal: bool  # whether yesterday's load was known
    highest: float = 0.0  # level since then


def pending_forecast(
    season: SeasonalProfile, at: float, level: float, slow: float, horizon_s: float
) -> PendingForecast:
    """A forecast to be judged, made at `at`, when the load is at `level` and was about `slow`."""
    return PendingForecast(
        due_at=at + horizon_s,
        guesses=point_forecasts(season, at, level, slow, horizon_s),
        seasonal=_yesterday(season, at + horizon_s) >= 0.0,
    )


def point_forecasts(
    season: SeasonalProfile, at: float, level: float, slow: float, horizon_s: float
) -> PointForecasts:
    """What the load may be `horizon_s` after `at`, when it is at `level` and was about `slow`."""
    # On a ramp the two means lag by their time constants, so their distance is its slope times
    # the difference of these.
    slope = (level - slow) / (TREND_S - SMOOTHING_S)
    trend = max(0.0, level - slope * DAMPING_S * math.expm1(-horizon_s / DAMPING_S))
    usual, yesterday = interpolated(season, at + horizon_s), _yesterday(season, at + horizon_s)
    return (
        level,
        trend,
        usual if usual >= 0.0 else level,
        yesterday if yesterday >= 0.0 else level,
    )


def _yesterday(season: SeasonalProfile, at: float) -> float:
    return slot_mean(season, int(at // SLOT_S) - SLOTS_PER_DAY)


def with_margin(centre: float, margin: float) -> float:
    """Square roots of counts are about equally noisy at any level (M. S. Bartlett, 1936)."""
    return max(0.0, math.sqrt(centre) + margin) ** 2


def scored(
    record: HorizonRecord, quantile: float, probe: PendingForecast, highest: float, level: float
) -> HorizonRecord:
    """The record after a forecast whose time has come: the load is now `level`, and was `highest`.

    The forecast must have been made with this record.
    """
    guesses = probe.guesses
    score = math.sqrt(highest) - math.sqrt(record.centre(guesses))
    calibration = updated_calibration(record.calibration, quantile, score)
    seasonal = record.seasonal + probe.seasonal
    # The first outcomes that yesterday could have told weigh more than all that it could not.
    gain = max(ERROR_GAIN, 1.0 / (seasonal + 1 if probe.seasonal else calibration.outcomes))
    one, two, three, four = record.guess_errors
    errors = (
        one + gain * (abs(guesses[0] - level) - one),
        two + gain * (abs(guesses[1] - level) - two),
        three + gain * (abs(guesses[2] - level) - three),
        four + gain * (abs(guesses[3] - level) - four),
    )
    error = abs(_mean(record.weights, guesses) - level)
    return HorizonRecord(
        calibration=calibration,
        seasonal=seasonal,
        guess_errors=errors,
        weights=_weights(errors),
        error=record.error + gain * (error - record.error),
    )


def _weights(errors: PointForecasts) -> PointForecasts:
    """By the inverse of a power of the errors; all to those that were never wrong, if there are."""
    least = min(errors)
    if least <= 0.0:
        weights = [1.0 if each <= 0.0 else 0.0 for each in errors]
    else:
        weights = [(least / each) ** WEIGHT_EXPONENT for each in errors]
    one, two, three, four = weights
    total = one + two + three + four
    return one / total, two / total, three / total, four / total


def _mean(weights: PointForecasts, guesses: PointForecasts) -> float:
    one, two, three, four = guesses
    return weights[0] * one + weights[1] * two + weights[2] * three + weights[3] * four
