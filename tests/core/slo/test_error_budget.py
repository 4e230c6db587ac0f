"""The violation weight, as the error budget is consumed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.slo.error_budget import (
    ErrorBudget,
    WeightSettings,
    after_interval,
    consumption,
    violation_weight,
)

SETTINGS = WeightSettings()
ALLOWED = 0.01
POLL_S = 10.0
HOUR_S = 3600.0
DAY_S = 86_400.0


def budget_after(fraction, hours, budget=None, requests=1000, settings=SETTINGS, allowed=ALLOWED):
    """The budget after some hours in which this fraction was late."""
    budget = budget or ErrorBudget()
    for _ in range(round(hours * HOUR_S / POLL_S)):
        late = fraction * requests
        budget = after_interval(budget, requests, late, late, POLL_S, allowed, settings)
    return budget


def weight_of(budget, settings=SETTINGS, allowed=ALLOWED):
    return violation_weight(budget, allowed, settings)


class TestViolationWeight:
    def test_it_starts_at_the_initial_weight(self):
        assert weight_of(ErrorBudget()) == pytest.approx(SETTINGS.initial_weight / ALLOWED)

    def test_it_rises_while_more_are_late_than_planned(self):
        weights = [
            weight_of(budget_after(3.0 * ALLOWED, hours)) for hours in (0.0, 0.2, 1.0, 3.0, 6.0)
        ]
        assert weights == sorted(weights)
        assert weights[2] > 2.0 * weights[0]

    def test_it_falls_while_fewer_are_late_than_planned(self):
        weights = [weight_of(budget_after(0.0, hours)) for hours in (0.0, 0.2, 1.0, 3.0, 12.0)]
        assert weights == sorted(weights, reverse=True)
        assert weights[2] < 0.5 * weights[0]

    def test_it_stays_while_as_many_are_late_as_planned(self):
        before = budget_after(SETTINGS.planned_fraction * ALLOWED, 24.0)
        assert weight_of(before) == pytest.approx(SETTINGS.initial_weight / ALLOWED, rel=1e-6)

    def test_it_keeps_rising_until_violations_fall(self):
        one, more = (budget_after(2.0 * ALLOWED, hours) for hours in (24.0, 30.0))
        assert weight_of(one) < weight_of(more) or weight_of(more) == SETTINGS.max_weight / ALLOWED

    def test_an_outage_does_not_exceed_the_maximum(self):
        assert weight_of(budget_after(1.0, 10.0)) == SETTINGS.max_weight / ALLOWED

    def test_a_week_without_violations_does_not_go_below_the_minimum(self):
        assert weight_of(budget_after(0.0, 7 * 24.0)) == SETTINGS.min_weight / ALLOWED

    def test_an_outage_of_half_an_hour_has_no_effect_after_two_days(self):
        before = budget_after(0.9 * SETTINGS.planned_fraction * ALLOWED, 48.0)
        after_outage = budget_after(1.0, 0.5, before)
        assert weight_of(budget_after(0.0, 48.0, after_outage)) < 2.0 * weight_of(before)

    def test_an_outage_of_two_minutes_does_not_reach_the_maximum(self):
        before = budget_after(0.9 * SETTINGS.planned_fraction * ALLOWED, 48.0)
        assert weight_of(budget_after(1.0, 1 / 30, before)) < SETTINGS.max_weight / ALLOWED

    def test_it_does_not_depend_on_when_the_budget_was_used(self):
        """A weight that goes up and down costs more than a constant one."""
        early = budget_after(0.0, 3.0, budget_after(ALLOWED, 1.0))
        late = budget_after(ALLOWED, 1.0, budget_after(0.0, 3.0))
        assert weight_of(late) < 2.0 * weight_of(early)

    def test_violations_that_nothing_could_prevent_use_up_half_of_the_budget_at_most(self):
        """A day on which a fiftieth is late in any case, and no other, counts as one on which half
        of the planned ones are late."""
        budget = ErrorBudget()
        for _ in range(round(DAY_S / POLL_S)):
            budget = after_interval(budget, 1000, 20.0, 0.0, POLL_S, ALLOWED, SETTINGS)
        half = budget_after(0.5 * SETTINGS.planned_fraction * ALLOWED, 24.0)
        assert consumption(budget, ALLOWED, SETTINGS) == pytest.approx(
            consumption(half, ALLOWED, SETTINGS), rel=0.1
        )
        assert budget.attainment == pytest.approx(0.98)

    @pytest.mark.parametrize("hours", [1.0, 10.0])
    def test_an_outage_uses_up_twice_the_planned_violations_at_most(self, hours):
        """However long it is; what exceeds them is written off."""
        budget = budget_after(1.0, hours)
        planned = SETTINGS.planned_fraction * ALLOWED * budget.requests
        assert budget.counted_violations > planned
        assert 2.0 < consumption(budget, ALLOWED, SETTINGS) < 3.0
        assert budget.counted_violations < 2.0 * planned * (1.0 + HOUR_S / budget.time_s) + 60.0

    @pytest.mark.parametrize(("fraction", "capped_s"), [(1.0, 12 * HOUR_S), (0.0, -6 * HOUR_S)])
    def test_it_counts_half_a_day_of_debt_and_six_hours_of_savings_at_most(
        self, fraction, capped_s
    ):
        by_overspending = WeightSettings(exponent=0.0, min_weight=0.0, max_weight=1e9)
        expected = by_overspending.initial_weight * math.exp(
            capped_s / by_overspending.overspending_s
        )
        for hours in (48.0, 96.0):
            weight = weight_of(budget_after(fraction, hours), by_overspending)
            assert weight == pytest.approx(expected / ALLOWED)

    def test_the_hour_that_is_assumed_at_the_start_counts_as_time_in_which_was_overspent(self):
        by_overspending = WeightSettings(exponent=0.0, min_weight=0.0, max_weight=1e9)
        budget = budget_after(ALLOWED, 0.5)
        overspent_s = (consumption(budget, ALLOWED, by_overspending) - 1.0) * 1.5 * HOUR_S
        weight = weight_of(budget, by_overspending)
        growth = weight * ALLOWED / by_overspending.initial_weight
        assert by_overspending.overspending_s * math.log(growth) == pytest.approx(
            overspent_s, rel=0.02
        )

    def test_it_returns_from_either_bound(self):
        """Once the violations of some days are different."""
        high, low = budget_after(1.0, 10.0), budget_after(0.0, 7 * 24.0)
        assert weight_of(budget_after(0.0, 5 * 24.0, high)) < SETTINGS.max_weight / ALLOWED
        assert weight_of(budget_after(5.0 * ALLOWED, 24.0, low)) > SETTINGS.min_weight / ALLOWED

    def test_it_is_inversely_proportional_to_the_allowed_fraction(self):
        strict = budget_after(0.0007, 1.0, allowed=0.001)
        loose = budget_after(0.007, 1.0)
        assert weight_of(strict, allowed=0.001) == pytest.approx(10.0 * weight_of(loose))

    histories = st.lists(
        st.tuples(st.integers(0, 10**6), st.floats(0.0, 1.0), st.sampled_from([10.0, 60.0, 0.1])),
        max_size=50,
    )

    @given(histories, st.sampled_from([0.5, 0.1, 0.01, 0.0001]))
    def test_it_stays_within_its_bounds(self, history, allowed):
        budget = ErrorBudget()
        for requests, fraction, interval_s in history:
            late = fraction * requests
            budget = after_interval(budget, requests, late, late, interval_s, allowed, SETTINGS)
            found = weight_of(budget, allowed=allowed) * allowed
            assert SETTINGS.min_weight * 0.999 <= found <= SETTINGS.max_weight * 1.001
            assert budget.attainment is None or -1e-9 <= budget.attainment <= 1.0

    @given(histories, st.integers(1, 10**6))
    def test_another_violation_never_lowers_it(self, history, requests):
        budget = ErrorBudget()
        for count, fraction, interval_s in history:
            late = fraction * count
            budget = after_interval(budget, count, late, late, interval_s, ALLOWED, SETTINGS)
        one, other = (
            after_interval(budget, requests, violations, violations, POLL_S, ALLOWED, SETTINGS)
            for violations in (0.0, 1.0)
        )
        assert weight_of(one) <= weight_of(other)


class TestBudget:
    def test_without_requests_there_is_no_attainment(self):
        assert ErrorBudget().attainment is None
        assert budget_after(0.0, 1.0, requests=0).attainment is None

    def test_attainment_is_the_fraction_that_met_the_slo(self):
        assert budget_after(0.03, 5.0).attainment == pytest.approx(0.97)

    def test_the_weight_of_a_request_decays_by_e_in_a_day(self):
        bad_then_good = budget_after(0.0, 24.0, budget_after(0.1, 240.0))
        assert 1.0 - bad_then_good.attainment == pytest.approx(0.1 / math.e, rel=0.01)

    def test_the_first_violations_do_not_use_up_the_budget(self):
        budget = after_interval(ErrorBudget(), 100, 5.0, 5.0, POLL_S, ALLOWED, SETTINGS)
        assert consumption(budget, ALLOWED, SETTINGS) < 1.03

    def test_an_interval_without_requests_does_not_change_the_weight(self):
        """At night there are no violations, but no other requests either."""
        before = budget_after(SETTINGS.planned_fraction * ALLOWED, 5.0)
        assert weight_of(budget_after(0.0, 8.0, before, requests=0)) == pytest.approx(
            weight_of(before), rel=0.01
        )
