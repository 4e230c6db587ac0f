"""Forecasts over fixed horizons, scored when they are due.

There are four point forecasts: the present load; the trend, which continues for a while; the
seasonal profile; and the load of a day earlier. The first and the last are naive forecasts, the
standard of comparison for any other. The centre of a forecast is their mean, weighted by their
accuracy over that horizon in the recent past.
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
"""Time constant of the level, in seconds. 30 s: as much noise and lag as the mean of one minute."""

TREND_S = 600.0
"""Time constant of the slower mean, in seconds. Its distance from the level determines the
slope."""

DAMPING_S = 300.0
"""Time constant with which a slope decays, in seconds. Without damping, an overshoot follows every
rise."""

ERROR_GAIN = 0.02
"""Weight of one outcome in the mean errors. 0.02: an average over about fifty forecasts."""

WEIGHT_EXPONENT = 4
"""Point forecasts are weighted by the inverse of this power of their error. 4: twice the error
gives a sixteenth of the weight."""

PointForecasts = tuple[float, float, float, float]
"""Loads at the horizon, in erlangs: unchanged; following the trend; following the profile; as a day
earlier. The present load replaces unknown ones."""


class HorizonRecord(Value, frozen=True, kw_only=True):
    """The accuracy of forecasts over one horizon. Errors are mean absolute errors, in erlangs."""

    calibration: Calibration
    seasonal: int = 0  # outcomes for which the load of a day earlier was known
    point_errors: PointForecasts = (0.0, 0.0, 0.0, 0.0)
    weights: PointForecasts = (1.0, 0.0, 0.0, 0.0)
    error: float = 0.0

    def centre(self, points: PointForecasts) -> float:
        """The forecast before its margin: the higher of the present level and the weighted mean."""
        return max(points[0], _mean(self.weights, points))


class PendingForecast(Value, frozen=True, kw_only=True):
    """A forecast that is not due yet."""

    due_at: float
    points: PointForecasts
    seasonal: bool  # whether the load of a day earlier was known
    highest: float = 0.0  # level since the forecast was made


def pending_forecast(
    profile: SeasonalProfile, at: float, level: float, slow_level: float, horizon_s: float
) -> PendingForecast:
    """A forecast to be scored later, made at `at` from the level and the slower mean."""
    return PendingForecast(
        due_at=at + horizon_s,
        points=point_forecasts(profile, at, level, slow_level, horizon_s),
        seasonal=_yesterday(profile, at + horizon_s) >= 0.0,
    )


def point_forecasts(
    profile: SeasonalProfile, at: float, level: float, slow_level: float, horizon_s: float
) -> PointForecasts:
    """The point forecasts for `horizon_s` seconds after `at`, from the level and the slower
    mean."""
    # On a ramp, the means lag by their time constants, so their distance is the slope times the
    # difference of the time constants.
    slope = (level - slow_level) / (TREND_S - SMOOTHING_S)
    trend = max(0.0, level - slope * DAMPING_S * math.expm1(-horizon_s / DAMPING_S))
    seasonal_level, yesterday = (
        interpolated(profile, at + horizon_s),
        _yesterday(profile, at + horizon_s),
    )
    return (
        level,
        trend,
        seasonal_level if seasonal_level >= 0.0 else level,
        yesterday if yesterday >= 0.0 else level,
    )


def _yesterday(profile: SeasonalProfile, at: float) -> float:
    return slot_mean(profile, int(at // SLOT_S) - SLOTS_PER_DAY)


def with_margin(centre: float, margin: float) -> float:
    """The load above the centre by a margin in square roots, because square roots of counts have
    about the same noise at any level (M. S. Bartlett, 1936)."""
    return max(0.0, math.sqrt(centre) + margin) ** 2


def scored(
    record: HorizonRecord, quantile: float, forecast: PendingForecast, highest: float, level: float
) -> HorizonRecord:
    """The record after a forecast is due: the load is now `level`, and was at most `highest`.

    The forecast must have been made with this record.
    """
    points = forecast.points
    score = math.sqrt(highest) - math.sqrt(record.centre(points))
    calibration = updated_calibration(record.calibration, quantile, score)
    seasonal = record.seasonal + forecast.seasonal
    # The first outcomes with a known load of a day earlier outweigh all without it.
    gain = max(ERROR_GAIN, 1.0 / (seasonal + 1 if forecast.seasonal else calibration.outcomes))
    one, two, three, four = record.point_errors
    errors = (
        one + gain * (abs(points[0] - level) - one),
        two + gain * (abs(points[1] - level) - two),
        three + gain * (abs(points[2] - level) - three),
        four + gain * (abs(points[3] - level) - four),
    )
    mean_error = abs(_mean(record.weights, points) - level)
    return HorizonRecord(
        calibration=calibration,
        seasonal=seasonal,
        point_errors=errors,
        weights=_weights(errors),
        error=record.error + gain * (mean_error - record.error),
    )


def _weights(errors: PointForecasts) -> PointForecasts:
    """Weights by the inverse of a power of the errors; equal ones for point forecasts without
    error, if there are any."""
    smallest = min(errors)
    if smallest <= 0.0:
        weights = [1.0 if error <= 0.0 else 0.0 for error in errors]
    else:
        weights = [(smallest / error) ** WEIGHT_EXPONENT for error in errors]
    one, two, three, four = weights
    total = one + two + three + four
    return one / total, two / total, three / total, four / total


def _mean(weights: PointForecasts, points: PointForecasts) -> float:
    one, two, three, four = points
    return weights[0] * one + weights[1] * two + weights[2] * three + weights[3] * four
