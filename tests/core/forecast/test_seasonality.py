"""The profile of the day and of the week, learned from slots."""

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
"""Relative precision of a stored load: half of the last bit of a 16-bit float."""


def daily(slot):
    return 5.0 + 4.0 * math.sin(2.0 * math.pi * slot / SLOTS_PER_DAY)


def weekly(slot):
    """Two days of seven are quiet."""
    return daily(slot) * (0.2 if slot // SLOTS_PER_DAY % 7 < 2 else 1.0)


def profile_of(load, slots, first=FIRST):
    profile = initial_profile(first)
    for slot in range(first, first + slots):
        profile = after_slot(profile, slot, load(slot))
    return profile


def middle(slot):
    return (slot + 0.5) * SLOT_S


def test_a_slot_that_has_not_been_observed_is_unknown():
    profile = profile_of(daily, SLOTS_PER_DAY // 2)
    assert math.isnan(interpolated(profile, middle(profile.slot + 1)))
    assert math.isnan(slot_mean(profile, profile.slot + 1))


def test_a_daily_profile_is_known_after_a_day():
    profile = profile_of(daily, SLOTS_PER_DAY + 24)
    for ahead in range(1, 7):
        expected = daily(profile.slot + ahead)
        assert interpolated(profile, middle(profile.slot + ahead)) == pytest.approx(expected, 1e-3)


def test_a_weekly_profile_is_known_after_a_week():
    for day in range(7):
        profile = profile_of(weekly, 2 * SLOTS_PER_WEEK + day * SLOTS_PER_DAY + 6)
        expected = weekly(profile.slot + 2)
        assert interpolated(profile, middle(profile.slot + 2)) == pytest.approx(expected, rel=0.02)


def test_the_daily_profile_is_the_median_of_the_last_three_days_alone():
    """And not of this day a week ago, which is the entry of the week's profile."""
    of_day = {1: 100.0, 5: 3.0, 6: 4.0, 7: 2.0}
    profile = profile_of(
        lambda slot: of_day.get((slot - FIRST) // SLOTS_PER_DAY, 1.0), 8 * SLOTS_PER_DAY + 24
    )
    assert (profile.daily[-1], profile.weekly[-1]) == (3.0, 100.0)


def test_a_busier_day_raises_its_profile():
    profile = profile_of(
        lambda slot: daily(slot) * (2.0 if slot >= FIRST + SLOTS_PER_DAY else 1.0),
        SLOTS_PER_DAY + 90,
    )
    slot = profile.slot + 3
    assert interpolated(profile, middle(slot)) == pytest.approx(2.0 * daily(slot), rel=1e-3)


def test_the_ratio_to_the_profile_is_bounded():
    profile = profile_of(
        lambda slot: 100.0 if slot >= FIRST + SLOTS_PER_DAY else 1.0, SLOTS_PER_DAY + 90
    )
    assert interpolated(profile, middle(profile.slot + 1)) == MAX_LEVEL_RATIO


def test_a_single_unusual_day_has_no_effect():
    unlike = range(FIRST + 2 * SLOTS_PER_DAY, FIRST + 3 * SLOTS_PER_DAY)
    profile = profile_of(lambda slot: 50.0 if slot in unlike else 5.0, 3 * SLOTS_PER_DAY + 30)
    assert interpolated(profile, middle(profile.slot + 1)) == pytest.approx(5.0)


def test_between_the_middles_of_slots_it_is_interpolated():
    profile = profile_of(daily, 2 * SLOTS_PER_DAY)
    slot = profile.slot + 2
    one, two = (interpolated(profile, middle(each)) for each in (slot, slot + 1))
    assert interpolated(profile, middle(slot) + SLOT_S / 4) == pytest.approx(one + (two - one) / 4)


def test_skipped_slots_are_unknown_and_the_others_are_kept():
    profile = profile_of(daily, 2 * SLOTS_PER_DAY)
    later = after_slot(profile, profile.slot + 20, 3.0)
    assert math.isnan(slot_mean(later, profile.slot + 1))
    assert slot_mean(later, profile.slot) == pytest.approx(daily(profile.slot), rel=KEPT)
    assert slot_mean(later, later.slot) == 3.0


def test_skipped_slots_are_equal_to_unmeasured_ones():
    profile = skipped = profile_of(daily, 2 * SLOTS_PER_DAY)
    for slot in range(profile.slot + 1, profile.slot + 30):
        profile = after_slot(profile, slot, UNKNOWN)
    slot = profile.slot + 1
    profile, skipped = after_slot(profile, slot, 4.0), after_slot(skipped, slot, 4.0)
    assert repr(profile) == repr(skipped)


def test_after_months_without_a_measurement_there_is_no_profile():
    profile = profile_of(daily, 2 * SLOTS_PER_DAY)
    later = after_slot(profile, profile.slot + 9 * SLOTS_PER_WEEK, 3.0)
    assert math.isnan(interpolated(later, middle(later.slot + 1)))


def test_after_a_clock_was_set_back_slots_recur():
    profile = profile_of(daily, 3 * SLOTS_PER_DAY)
    again = profile.slot - 12
    back = after_slot(profile, again, daily(again))
    assert back.slot == again
    assert interpolated(back, middle(again + 2)) == pytest.approx(daily(again + 2), rel=1e-3)
