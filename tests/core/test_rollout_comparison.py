"""Whether the active blocks of a gradual rollout lose."""

import random

import pytest

from autoscaler.core.rollout_comparison import (
    MIN_HOURS,
    BlockHour,
    BlockTotals,
    Evidence,
    difference,
    evidence_of_loss,
    is_gross_loss,
    is_small_loss,
    observed,
    with_hour,
)


def minutes(fractions, *, allowed=0.01, unavoidable=0.0, requests=100.0, evidence=None):
    """The evidence after minutes with these fractions of late requests."""
    found = evidence or Evidence()
    for fraction in fractions:
        for _ in range(6):
            late = requests * fraction / 6.0
            sixth = requests / 6.0
            found = observed(found, sixth, late, unavoidable * sixth, 10.0, allowed)
    return found


def test_five_minutes_in_which_all_requests_are_late_are_a_gross_loss():
    assert not is_gross_loss(minutes([1.0] * 4), 0.01)
    assert is_gross_loss(minutes([1.0] * 5), 0.01)


def test_a_burst_of_two_minutes_is_none():
    assert not is_gross_loss(minutes([1.0, 1.0] + [0.0] * 30 + [1.0, 1.0]), 0.01)


def test_two_bursts_of_three_minutes_that_are_near_are_one_although_a_day_may_allow_them():
    assert is_gross_loss(minutes([1.0] * 3 + [0.0] * 40 + [1.0] * 3), 0.01)
    assert not is_gross_loss(minutes([1.0] * 3 + [0.0] * 120 + [1.0] * 3), 0.01)


def test_late_minutes_that_are_independent_and_as_many_as_the_slo_allows_are_no_loss():
    """For a month of active hours; the seed is drawn at random."""
    rng, found = random.Random(20_261_129), Evidence()
    for _ in range(43_200):
        late = 100.0 if rng.random() < 0.01 else 0.0
        found = observed(found, 100.0, late, 0.0, 60.0, 0.01)
        assert not is_gross_loss(found, 0.01)


def test_minutes_without_requests_between_bursts_neither_count_nor_delay():
    found = Evidence()
    for _ in range(5):
        found = minutes([1.0], evidence=found)
        for _ in range(18):
            found = observed(found, 0.0, 0.0, 0.0, 10.0, 0.01)
    assert is_gross_loss(found, 0.01)


def test_what_the_slo_allows_is_no_loss_however_long_it_lasts():
    assert not is_gross_loss(minutes([0.01] * 2000), 0.01)
    assert not is_gross_loss(minutes([0.02] * 10), 0.01)


def test_a_tenth_that_is_late_is_a_gross_loss_within_half_an_hour():
    assert is_gross_loss(minutes([0.1] * 30), 0.01)


def test_late_requests_that_were_to_be_expected_before_are_no_loss():
    assert not is_gross_loss(minutes([1.0] * 30, unavoidable=1.0), 0.01)
    assert not is_gross_loss(minutes([0.3] * 30, unavoidable=0.4), 0.01)


def test_weeks_without_a_late_request_do_not_delay_a_revert():
    good = minutes([0.0] * 5000)
    assert is_gross_loss(minutes([1.0] * 5, evidence=good), 0.01)


def test_a_few_requests_are_not_a_minute():
    found = Evidence()
    for _ in range(20):  # two minutes with nine requests, all of them late
        found = observed(found, 0.45, 0.45, 0.0, 6.0, 0.01)
    assert not is_gross_loss(found, 0.01)
    assert found.run_requests == 0.0


def test_a_minute_counts_before_its_end_once_its_late_requests_suffice():
    found = minutes([1.0] * 4)
    seconds = 0
    while not is_gross_loss(found, 0.01):
        found = observed(found, 10.0, 10.0, 0.0, 10.0, 0.01)
        seconds += 10
    assert 10 <= seconds <= 30
    assert is_gross_loss(observed(found, 0.0, 0.0, 0.0, 5.0, 0.01), 0.01)


def test_the_first_seconds_of_a_minute_do_not_stand_for_the_rest_of_it():
    found = observed(minutes([1.0] * 3), 100.0, 100.0, 0.0, 5.0, 0.01)
    assert not is_gross_loss(found, 0.01)


def test_with_six_requests_a_minute_all_of_them_late_ten_minutes_are_enough():
    found, minutes_passed = Evidence(), 0
    while not is_gross_loss(found, 0.01):
        found = observed(found, 6.0, 6.0, 0.0, 60.0, 0.01)
        minutes_passed += 1
    assert minutes_passed <= 10


def test_the_evidence_is_stated_as_a_fraction_of_what_reverts():
    assert evidence_of_loss(Evidence()) == 0.0
    assert 0.5 < evidence_of_loss(minutes([1.0] * 3)) < 1.0


def hours(fractions, requests=1000.0):
    totals = BlockTotals()
    for fraction in fractions:
        totals = with_hour(totals, BlockHour(requests=requests, late=fraction * requests))
    return totals


def test_there_is_no_interval_with_few_hours_of_either_kind():
    assert difference(hours([0.0] * MIN_HOURS), hours([0.0] * (MIN_HOURS - 1))) is None
    assert difference(hours([0.0] * MIN_HOURS), hours([0.0] * MIN_HOURS)) is not None


def test_a_steady_loss_of_two_points_is_seen_within_days():
    active, before = hours([0.03, 0.035, 0.025] * 8), hours([0.0, 0.005, 0.01] * 8)
    assert is_small_loss(active, before, allowed=0.01)
    found = difference(active, before)
    assert found.estimate == pytest.approx(0.025)
    assert found.half_width < 0.01


def test_what_the_slo_allows_is_no_small_loss_either():
    assert not is_small_loss(hours([0.009] * 400), hours([0.0] * 400), allowed=0.01)


def test_hours_that_differ_widely_leave_a_wide_interval():
    """One bad hour in eight is no evidence."""
    active = hours([0.0] * 7 + [0.3])
    assert not is_small_loss(active, hours([0.0] * 8), allowed=0.01)
    assert difference(active, hours([0.0] * 8)).half_width > 0.1


def test_checked_after_each_hour_a_loss_that_is_none_is_seldom_found():
    """At most one in twenty, by the interval; the hours are skewed as those of bursts are."""
    rng = random.Random(4)
    found = 0
    for _ in range(200):
        active, before = BlockTotals(), BlockTotals()
        for _ in range(60):
            draws = [
                BlockHour(requests=1000.0, late=1000.0 * min(1.0, rng.expovariate(1.0 / 0.02)))
                for _ in range(2)
            ]
            active, before = with_hour(active, draws[0]), with_hour(before, draws[1])
            if is_small_loss(active, before, allowed=0.0):
                found += 1
                break
    assert found <= 10
