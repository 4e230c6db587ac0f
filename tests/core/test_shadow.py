"""What is kept of a dry run: totals by day, and their intervals."""

import pytest

from autoscaler.core.shadow import (
    DAY_S,
    HOUR_S,
    MAX_DAYS,
    HourlyEstimate,
    ShadowAccount,
    ShadowPeriod,
    ShadowTotals,
    together,
)
from autoscaler.core.shadow_text import period_text

BEGIN = 20_000 * DAY_S


def hour(recorded=10.0, shadow=6.0, requests=3600.0, recorded_late=0.0, shadow_late=36.0):
    """The totals of an hour: allocations that ran, and those of the shadow."""
    return ShadowTotals(
        known_s=HOUR_S,
        judged_s=HOUR_S,
        recorded_s=recorded * HOUR_S,
        shadow_s=shadow * HOUR_S,
        requests=requests,
        recorded_late=recorded_late,
        shadow_late=shadow_late,
    )


def account(*hours, begin=BEGIN):
    found = ShadowAccount()
    for position, totals in enumerate(hours):
        found = found.after(begin + position * HOUR_S + 1800.0, totals)
    return found


def test_the_hours_of_a_day_are_added_up():
    (day,) = account(hour(), hour(), hour(shadow=3.0)).days
    assert day.begins_at == BEGIN
    assert day.totals.known_s == 3 * HOUR_S
    assert day.saved_hours.value == pytest.approx(15.0)
    assert day.shadow_late_fraction.value == pytest.approx(0.01)


def test_the_present_hour_is_in_it_before_it_has_ended():
    (day,) = account(hour()).days
    assert day.saved_hours == HourlyEstimate(4.0)


def test_hours_that_agree_leave_no_doubt():
    (day,) = account(*[hour()] * 12).days
    saved = day.saved_hours
    assert (saved.low, saved.high) == (pytest.approx(48.0), pytest.approx(48.0))


def test_hours_that_differ_widen_the_interval():
    (day,) = account(*[hour(shadow=4.0), hour(shadow=8.0)] * 6).days
    saved = day.saved_hours
    # Student's t with 11 degrees of freedom, and a standard deviation of 2.09 a hour.
    assert saved.value == pytest.approx(48.0)
    assert saved.high - saved.value == pytest.approx(2.201 * 2.0889 * 12**0.5, rel=1e-3)


def test_hours_count_for_the_late_fraction_by_their_requests():
    busy, quiet = hour(requests=9000.0, shadow_late=90.0), hour(requests=1000.0, shadow_late=10.0)
    (day,) = account(*[busy, quiet] * 3).days
    late = day.shadow_late_fraction
    assert (late.low, late.value, late.high) == pytest.approx((0.01, 0.01, 0.01))


def test_the_difference_is_surer_than_both_sides_where_they_vary_together():
    hours = [hour(recorded_late=late, shadow_late=late + 36.0) for late in (0.0, 400.0) * 6]
    (day,) = account(*hours).days
    difference, late = day.late_fraction_difference, day.shadow_late_fraction
    assert difference.value == pytest.approx(0.01)
    assert difference.high - difference.low < 0.01 * (late.high - late.low)


def test_each_day_is_kept_for_a_month():
    found = account(*[hour(shadow=day) for day in range(40) for _ in range(24)])
    days = found.days
    assert len(days) == MAX_DAYS
    assert [day.totals.shadow_s / HOUR_S for day in days] == pytest.approx(
        [24.0 * day for day in range(9, 40)]
    )
    assert len(found.past) == 68 * (MAX_DAYS - 1)


def test_days_without_a_dry_run_are_no_days():
    found = account(hour()).after(BEGIN + 5 * DAY_S, hour())
    assert [day.begins_at for day in found.days] == [BEGIN, BEGIN + 5 * DAY_S]


def test_a_clock_that_was_set_back_loses_nothing():
    found = account(hour(), hour()).after(BEGIN, hour())
    assert found.days[0].totals.known_s == 3 * HOUR_S


def test_a_clock_that_is_a_month_ahead_for_some_hours_loses_no_day():
    hours = [hour(shadow=day) for day in range(30) for _ in range(24)]
    found = account(*hours)
    for ahead in range(3):
        found = found.after(BEGIN + 75 * DAY_S + ahead * HOUR_S, hour(shadow=99.0))
    for later in range(24):
        found = found.after(BEGIN + 30 * DAY_S + later * HOUR_S, hour(shadow=30.0))
    right = [day for day in found.days if day.begins_at < BEGIN + 60 * DAY_S]
    assert [day.begins_at for day in right] == [BEGIN + day * DAY_S for day in range(1, 31)]
    assert [day.totals.known_s for day in right] == [24 * HOUR_S] * 30


def test_a_day_that_the_clock_returns_to_is_continued():
    found = account(*[hour()] * 24 * 3)
    found = found.after(BEGIN + 40 * DAY_S, hour()).after(BEGIN + 2 * DAY_S, hour())
    assert [day.begins_at for day in found.days] == [BEGIN + day * DAY_S for day in (0, 1, 40, 2)]
    assert found.days[-1].totals.known_s == pytest.approx(25 * HOUR_S)


def test_damaged_bytes_of_past_days_lose_only_those():
    found = account(*[hour()] * 48)
    (day,) = ShadowAccount(
        past=found.past[:-1], day=found.day, hour_at=found.hour_at, hour=found.hour
    ).days
    assert day.begins_at == BEGIN + DAY_S


def test_several_days_are_one_period():
    days = account(*[hour()] * 48).days
    period = together(days)
    assert period.saved_hours.value == pytest.approx(192.0)
    assert period.sums.hours == 48.0
    assert together(()) is None


def test_without_judged_requests_nothing_is_said_of_them():
    unjudged = ShadowPeriod(begins_at=0.0).plus(ShadowTotals(known_s=60.0, recorded_s=60.0))
    assert unjudged.shadow_late_fraction is None
    assert "late" not in period_text(unjudged)


def test_a_sentence_has_both_sides():
    (day,) = account(*[hour()] * 12).days
    assert period_text(day) == (
        "72.0 allocation-hours instead of 120.0 (saves 48.0, between 48.0 and 48.0), 1% of the "
        "requests late instead of 0%, both computed"
    )
    (day,) = account(*[hour(shadow=12.0)] * 12).days
    assert "144.0 allocation-hours instead of 120.0 (costs 24.0, between" in period_text(day)
