"""Samples become a load."""

import pytest

from autoscaler.core.flow.estimation import estimate
from autoscaler.core.values import ROUNDING_LOSS_S, Sample


def interval(at, completed=0, **given):
    fields = {"timed": completed, "timed_busy_s": 0.04 * completed} | given
    return Sample(at=at, interval_s=10.0, completed=completed, **fields)


def test_the_rate_is_that_of_the_window():
    load = estimate([interval(10.0, 100), interval(20.0, 110), interval(30.0, 90)], None)
    assert load.arrival_rate_per_s == pytest.approx(10.0)
    assert load.window_s == 30.0


def test_a_load_jump_counts_in_its_first_interval():
    steady = [interval(10.0 * i, 100) for i in range(1, 6)]
    load = estimate([*steady, interval(60.0, 500)], None)
    assert load.arrival_rate_per_s == pytest.approx(50.0)


def test_random_variation_is_not_a_load_jump():
    steady = [interval(10.0 * i, 100) for i in range(1, 6)]
    load = estimate([*steady, interval(60.0, 125)], None)
    assert load.arrival_rate_per_s == pytest.approx(625 / 60)


def test_a_decrease_of_the_load_counts_as_the_window_moves_on():
    steady = [interval(10.0 * i, 100) for i in range(1, 6)]
    load = estimate([*steady, interval(60.0, 0)], None)
    assert load.arrival_rate_per_s == pytest.approx(500 / 60)


def test_service_time_makes_up_for_truncated_milliseconds():
    assert estimate([interval(10.0, 100)], None).service_time_s == pytest.approx(
        0.04 + ROUNDING_LOSS_S
    )


def test_a_model_faster_than_a_millisecond_is_not_free():
    load = estimate([interval(10.0, 50_000, timed_busy_s=0.0)], None)
    assert load.offered_load == pytest.approx(2.5)


def test_an_idle_window_keeps_the_last_known_service_time():
    load = estimate([interval(10.0, queue_growth=30)], 0.5)
    assert (load.service_time_s, load.offered_load) == (0.5, pytest.approx(1.5))


def test_arrivals_that_were_never_timed_are_an_unknown_load():
    assert estimate([interval(10.0, queue_growth=30)], None).offered_load is None


def test_no_arrivals_are_no_load_even_if_nothing_was_ever_timed():
    assert estimate([interval(10.0)], None).offered_load == 0.0


def test_cache_hits_are_no_load():
    load = estimate([interval(10.0, 100, cache_hits=75, timed=25, timed_busy_s=1.0)], None)
    assert load.cache_hit_fraction == 0.75
    assert load.offered_load == pytest.approx(10.0 * 0.25 * 0.0405)
