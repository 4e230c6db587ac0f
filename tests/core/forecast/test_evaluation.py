"""Guesses are weighted by how well they did."""

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


def experienced(points, level, times=50):
    record = HorizonRecord(calibration=initial_calibration(0.95))
    for _ in range(times):
        forecast = PendingForecast(due_at=0.0, points=points, seasonal=True)
        record = scored(record, 0.95, forecast, highest=level, level=level)
    return record


def test_a_guess_that_comes_true_is_followed():
    record = experienced((5.0, 12.0, 10.0, 20.0), level=10.0)
    assert record.weights == (0.0, 0.0, 1.0, 0.0)
    assert record.centre((5.0, 8.0, 7.0, 9.0)) == 7.0


def test_a_guess_that_errs_twice_as_much_hardly_counts():
    same, trend, season, yesterday = experienced((8.0, 11.0, 12.0, 30.0), level=10.0).weights
    assert same == pytest.approx(season)
    assert trend == pytest.approx(16.0 * same)
    assert yesterday == pytest.approx(same / 10_000)


def test_the_highest_load_on_the_way_down_is_the_present_one():
    assert experienced((5.0, 12.0, 10.0, 20.0), level=10.0).centre((9.0, 3.0, 2.0, 4.0)) == 9.0


def test_the_slope_of_a_ramp_is_found_and_wears_off():
    # Two erlangs a minute: the means lag by 30 s and 600 s.
    level, slow, slope = 20.0, 20.0 - 570.0 / 30.0, 1.0 / 30.0
    at = 100.0 * 300.0
    _, soon, _, _ = point_forecasts(NOTHING, at, level, slow, 30.0)
    _, late, _, _ = point_forecasts(NOTHING, at, level, slow, 1800.0)
    assert soon == pytest.approx(level + 30.0 * slope, rel=0.01)
    assert late == pytest.approx(level + 300.0 * slope, rel=0.01)


def test_without_a_season_the_load_stays():
    assert point_forecasts(NOTHING, 30_000.0, 4.0, 4.0, 600.0) == (4.0,) * 4


def test_no_guess_is_negative():
    assert min(point_forecasts(NOTHING, 30_000.0, 0.1, 50.0, 1800.0)) == 0.0


def test_noise_is_taken_for_that_of_counts():
    assert with_margin(4.0, 1.0) == 9.0
    assert with_margin(0.0, -1.0) == 0.0
