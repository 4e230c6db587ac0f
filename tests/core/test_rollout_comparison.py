"""Whether the active blocks of a gradual rollout lose."""

import math
import random
from statistics import variance

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
    nearly = minutes([1.0] * 3 + [0.05])
    assert is_gross_loss(minutes([1.0], evidence=nearly), 0.01)
    assert not is_gross_loss(observed(nearly, 100.0, 100.0, 0.0, 5.0, 0.01), 0.01)


def test_nor_does_a_minute_with_one_request_count_as_one_whose_requests_are_all_late():
    nearly = minutes([1.0] * 3 + [0.05])
    assert not is_gross_loss(observed(nearly, 1.0, 1.0, 0.0, 60.0, 0.01), 0.01)


def test_ten_requests_in_a_minute_are_enough_for_an_observation():
    assert observed(Evidence(), 10.0, 10.0, 0.0, 60.0, 0.01).run_requests == 10.0
    assert observed(Evidence(), 9.0, 9.0, 0.0, 60.0, 0.01).run_requests == 0.0


def test_a_minute_that_has_begun_is_no_loss_while_more_late_requests_are_to_be_expected_in_it():
    """Half of all; a sixth of them have come, and all of these were late."""
    nearly = minutes([1.0] * 4)
    assert not is_gross_loss(observed(nearly, 100.0, 100.0, 50.0, 10.0, 0.01), 0.01)


def test_requests_that_are_late_in_another_minute_than_they_came_in_are_at_most_all_of_it():
    assert minutes([3.0] * 3).log_capital == minutes([1.0] * 3).log_capital
    found = minutes([1.0] * 3)
    expected = minutes([3.0], unavoidable=3.0, evidence=found)
    assert expected.log_capital == pytest.approx(found.log_capital)
    assert BlockTotals(requests=100.0, late=300.0).late_fraction == 1.0


def test_a_minute_without_late_requests_halves_the_evidence_however_many_were_to_be_expected():
    found = minutes([1.0] * 3)
    for before, after in zip(
        found.log_capital, minutes([0.0], unavoidable=0.9, evidence=found).log_capital, strict=True
    ):
        assert before - after == pytest.approx(math.log(2.0))


def test_an_slo_that_allows_no_late_request_has_gross_losses_too():
    assert is_gross_loss(minutes([1.0] * 5, allowed=0.0), 0.0)
    assert not is_gross_loss(minutes([0.0] * 50, allowed=0.0), 0.0)


def test_with_six_requests_a_minute_all_of_them_late_ten_minutes_are_enough():
    found, minutes_passed = Evidence(), 0
    while not is_gross_loss(found, 0.01):
        found = observed(found, 6.0, 6.0, 0.0, 60.0, 0.01)
        minutes_passed += 1
    assert minutes_passed <= 10


def test_the_evidence_is_stated_as_a_fraction_of_what_reverts():
    assert evidence_of_loss(Evidence()) == 0.0
    assert 0.5 < evidence_of_loss(minutes([1.0] * 3)) < 1.0
    assert evidence_of_loss(minutes([1.0] * 20)) == 1.0


def hours(fractions, requests=1000.0):
    totals = BlockTotals()
    for fraction in fractions:
        totals = with_hour(totals, BlockHour(requests=requests, late=fraction * requests))
    return totals


def test_there_is_no_interval_with_few_hours_of_either_kind():
    assert difference(hours([0.0] * MIN_HOURS), hours([0.0] * (MIN_HOURS - 1))) is None
    assert difference(hours([0.0] * (MIN_HOURS - 1)), hours([0.0] * MIN_HOURS)) is None
    assert difference(hours([0.0] * MIN_HOURS), hours([0.0] * MIN_HOURS)) is not None
    assert not is_small_loss(hours([0.5] * 5), hours([0.0] * 5), allowed=0.01)


def test_hours_without_requests_are_none():
    few = with_hour(hours([0.0] * (MIN_HOURS - 1)), BlockHour())
    assert difference(few, hours([0.0] * MIN_HOURS)) is None


def test_the_interval_has_three_standard_errors_of_what_hours_show_on_either_side():
    active, before = [0.0, 0.02, 0.01, 0.05] * 6, [0.0, 0.01] * 12
    error = math.sqrt((variance(active) + variance(before)) / 24.0)
    found = difference(hours(active), hours(before))
    assert found.half_width == pytest.approx(3.035 * error, rel=1e-3)


def test_more_hours_of_one_kind_do_not_make_few_of_the_other_certain():
    none = {count: hours([0.0] * count) for count in (6, 24)}
    six = hours([0.01, 0.05, 0.03] * 2)
    assert difference(six, none[24]) == difference(six, none[6])
    steady = 0.0596  # 3.1 standard errors above the allowed fraction, if hours have 1000 requests
    assert not is_small_loss(hours([steady] * 6), none[24], allowed=0.05)
    assert is_small_loss(hours([steady] * 24), none[24], allowed=0.05)


def test_a_steady_loss_of_two_points_is_seen_within_days():
    active, before = hours([0.03, 0.035, 0.025] * 8), hours([0.0, 0.005, 0.01] * 8)
    assert is_small_loss(active, before, allowed=0.01)
    found = difference(active, before)
    assert found.estimate == pytest.approx(0.025)
    assert found.half_width < 0.01


def test_what_the_slo_allows_is_no_small_loss_either():
    assert not is_small_loss(hours([0.009] * 400), hours([0.0] * 400), allowed=0.01)


def test_what_exceeds_what_the_slo_allows_by_chance_is_none():
    """It is more than before, by more than the interval; than allowed it is only a fifth more."""
    active, before = hours([0.0, 0.024] * 12), hours([0.0] * 24)
    found = difference(active, before)
    assert found.estimate > found.half_width
    assert not is_small_loss(active, before, allowed=0.01)


def test_fewer_late_requests_than_before_are_no_loss_although_the_slo_allows_fewer_still():
    assert not is_small_loss(hours([0.05] * 24), hours([0.2] * 24), allowed=0.01)


def test_few_requests_that_are_late_by_chance_are_none():
    """One in each hour, which does not differ between the hours."""
    assert not is_small_loss(hours([0.02] * 6, 50.0), hours([0.0] * 6, 50.0), allowed=0.01)


def test_hours_that_differ_widely_leave_a_wide_interval():
    """One bad hour in eight is no evidence."""
    active = hours([0.0] * 7 + [0.3])
    assert not is_small_loss(active, hours([0.0] * 8), allowed=0.01)
    assert difference(active, hours([0.0] * 8)).half_width > 0.1
    assert not is_small_loss(hours([0.08] * 8), active, allowed=0.01)


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
