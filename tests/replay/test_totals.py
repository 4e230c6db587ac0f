"""All deployments of a replay together, and what a month would use."""

import pytest
from msgspec.structs import replace

from autoscaler.replay.results import Estimate
from autoscaler.replay.totals import MONTH_H, hours_difference, late_difference, totals_of
from tests.replay.replays import refused, replayed, results


def test_only_deployments_with_a_verdict_count():
    totals = totals_of(results(replayed("a"), replayed("b"), refused()))
    assert (totals.deployments, totals.without_verdict) == (2, 1)
    assert totals.recorded_hours == 144.0
    assert totals.hours_difference == Estimate(
        pytest.approx(-0.31 * 144), pytest.approx(-0.34 * 144), pytest.approx(-0.28 * 144)
    )
    assert totals_of(results(refused())) is None


def test_late_requests_are_weighted_by_the_requests():
    small = replace(replayed("small"), requests=0)
    large = replayed("large")
    totals = totals_of(results(small, large))
    assert totals.late.value == pytest.approx(large.policies[0].late_fraction.value)


def test_a_month_is_extrapolated_from_the_record_of_each_deployment():
    totals = totals_of(results(replayed()))
    assert totals.month_recorded_hours == pytest.approx(72.0 / 24.0 * MONTH_H)
    assert totals.month_difference.low == pytest.approx(-0.34 * 72.0 / 24.0 * MONTH_H)


def test_time_without_known_load_does_not_make_a_month_smaller():
    whole = totals_of(results(replayed()))
    half = totals_of(results(replace(replayed(), known_s=43_200.0)))
    assert half.month_recorded_hours == pytest.approx(2.0 * whole.month_recorded_hours)
    assert half.month_hours.high == pytest.approx(2.0 * whole.month_hours.high)


def test_without_a_difference_of_its_own_the_bounds_are_the_widest():
    one = replayed()
    policy = replace(one.policies[0], hours_difference=None, late_difference=None)
    difference = hours_difference(policy, one.observed)
    assert difference.low == pytest.approx(policy.hours.low - one.observed.hours.high)
    assert late_difference(policy, one.observed).high == pytest.approx(
        policy.late_fraction.high - one.observed.late_fraction.low
    )
