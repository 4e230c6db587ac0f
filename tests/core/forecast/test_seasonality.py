"""A profile of the day and of the week is learnt from slots."""

import math

import pytest

from autoscaler.core.forecast.seasonality import (
    MAX_LEVEL_RATIO,
    SLOT_S,
    SLOTS_PER_DAY,
    SLOTS_PER_WEEK,
    UNKNOWN,
    after_slot,
    initial_profile,
    interpolated,
    slot_mean,
)

FIRST = 10 * SLOTS_PER_WEEK
KEPT = 2.0**-11
"""Of a level: how exactly it is kept."""


def daily(number):
    return 5.0 + 4.0 * math.sin(2.0 * math.pi * number / SLOTS_PER_DAY)


def weekly(number):
    """Two days of seven are quiet."""
    return daily(number) * (0.2 if number // SLOTS_PER_DAY % 7 < 2 else 1.0)


def learnt(load, slots, first=FIRST):
    season = initial_profile(first)
    for number in range(first, first + slots):
        season = after_slot(season, number, load(number))
    return season


def middle(number):
    return (number + 0.5) * SLOT_S


def test_nothing_is_known_of_a_time_that_never_was():
    season = learnt(daily, SLOTS_PER_DAY // 2)
    assert math.isnan(interpolated(season, middle(season.number + 1)))
    assert math.isnan(slot_mean(season, season.number + 1))


def test_a_day_is_known_after_a_day():
    season = learnt(daily, SLOTS_PER_DAY + 24)
    for ahead in range(1, 7):
        expected = daily(season.number + ahead)
        assert interpolated(season, middle(season.number + ahead)) == pytest.approx(expected, 1e-3)


def test_a_week_is_known_after_a_week():
    for day in range(7):
        season = learnt(weekly, 2 * SLOTS_PER_WEEK + day * SLOTS_PER_DAY + 6)
        expected = weekly(season.number + 2)
        assert interpolated(season, middle(season.number + 2)) == pytest.approx(expected, rel=0.02)


def test_a_busier_day_raises_its_profile():
    season = learnt(
        lambda number: daily(number) * (2.0 if number >= FIRST + SLOTS_PER_DAY else 1.0),
        SLOTS_PER_DAY + 90,
    )
    number = season.number + 3
    assert interpolated(season, middle(number)) == pytest.approx(2.0 * daily(number), rel=1e-3)


def test_a_ratio_is_believed_only_so_far():
    season = learnt(
        lambda number: 100.0 if number >= FIRST + SLOTS_PER_DAY else 1.0, SLOTS_PER_DAY + 90
    )
    assert interpolated(season, middle(season.number + 1)) == MAX_LEVEL_RATIO


def test_one_day_unlike_the_others_is_outvoted():
    unlike = range(FIRST + 2 * SLOTS_PER_DAY, FIRST + 3 * SLOTS_PER_DAY)
    season = learnt(lambda number: 50.0 if number in unlike else 5.0, 3 * SLOTS_PER_DAY + 30)
    assert interpolated(season, middle(season.number + 1)) == pytest.approx(5.0)


def test_between_the_middles_of_slots_lies_a_line():
    season = learnt(daily, 2 * SLOTS_PER_DAY)
    number = season.number + 2
    one, two = (interpolated(season, middle(each)) for each in (number, number + 1))
    assert interpolated(season, middle(number) + SLOT_S / 4) == pytest.approx(one + (two - one) / 4)


def test_slots_left_out_are_unknown_and_the_rest_is_kept():
    season = learnt(daily, 2 * SLOTS_PER_DAY)
    later = after_slot(season, season.number + 20, 3.0)
    assert math.isnan(slot_mean(later, season.number + 1))
    assert slot_mean(later, season.number) == pytest.approx(daily(season.number), rel=KEPT)
    assert slot_mean(later, later.number) == 3.0


def test_it_is_the_same_whether_slots_are_left_out_or_unmeasured():
    season = skipped = learnt(daily, 2 * SLOTS_PER_DAY)
    for number in range(season.number + 1, season.number + 30):
        season = after_slot(season, number, UNKNOWN)
    number = season.number + 1
    season, skipped = after_slot(season, number, 4.0), after_slot(skipped, number, 4.0)
    assert repr(season) == repr(skipped)


def test_after_months_without_a_measurement_nothing_is_known():
    season = learnt(daily, 2 * SLOTS_PER_DAY)
    later = after_slot(season, season.number + 9 * SLOTS_PER_WEEK, 3.0)
    assert math.isnan(interpolated(later, middle(later.number + 1)))


def test_a_clock_set_back_lets_slots_come_again():
    season = learnt(daily, 3 * SLOTS_PER_DAY)
    again = season.number - 12
    back = after_slot(season, again, daily(again))
    assert back.number == again
    assert interpolated(back, middle(again + 2)) == pytest.approx(daily(again + 2), rel=1e-3)
