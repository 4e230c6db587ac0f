"""Point forecasts are weighted by their accuracy."""

import pytest

from autoscaler.core.forecast.calibration import initial_calibration
from autoscaler.core.forecast.evaluation import (
    HorizonRecord,
    PendingForecast,
    point_forecasts,
    scored,
    with_margin,
)
from autoscaler.core.forecast.seasonality import initial_profile

NOTHING = initial_profile(100)


def record_after(points, level, times=50):
    record = HorizonRecord(calibration=initial_calibration(0.95))
    for _ in range(times):
        forecast = PendingForecast(due_at=0.0, points=points, seasonal=True)
        record = scored(record, 0.95, forecast, highest=level, level=level)
    return record


def test_a_point_forecast_without_error_gets_all_the_weight():
    record = record_after((5.0, 12.0, 10.0, 20.0), level=10.0)
    assert record.weights == (0.0, 0.0, 1.0, 0.0)
    assert record.centre((5.0, 8.0, 7.0, 9.0)) == 7.0


def test_twice_the_error_gives_a_sixteenth_of_the_weight():
    same, trend, season, yesterday = record_after((8.0, 11.0, 12.0, 30.0), level=10.0).weights
    assert same == pytest.approx(season)
    assert trend == pytest.approx(16.0 * same)
    assert yesterday == pytest.approx(same / 10_000)


def test_the_centre_of_a_falling_load_is_the_present_load():
    assert record_after((5.0, 12.0, 10.0, 20.0), level=10.0).centre((9.0, 3.0, 2.0, 4.0)) == 9.0


def test_the_slope_of_a_ramp_is_found_and_damped():
    # Two erlangs a minute: the means lag by 30 s and 600 s.
    level, slow_level, slope = 20.0, 20.0 - 570.0 / 30.0, 1.0 / 30.0
    at = 100.0 * 300.0
    _, soon, _, _ = point_forecasts(NOTHING, at, level, slow_level, 30.0)
    _, later, _, _ = point_forecasts(NOTHING, at, level, slow_level, 1800.0)
    assert soon == pytest.approx(level + 30.0 * slope, rel=0.01)
    assert later == pytest.approx(level + 300.0 * slope, rel=0.01)


def test_without_a_profile_the_load_stays():
    assert point_forecasts(NOTHING, 30_000.0, 4.0, 4.0, 600.0) == (4.0,) * 4


def test_no_point_forecast_is_negative():
    assert min(point_forecasts(NOTHING, 30_000.0, 0.1, 50.0, 1800.0)) == 0.0


def test_the_margin_is_in_square_roots():
    assert with_margin(4.0, 1.0) == 9.0
    assert with_margin(0.0, -1.0) == 0.0
