"""What a late request is worth, as the budget is spent."""

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

PRICING = WeightSettings()
ALLOWED = 0.01
POLL_S = 10.0
HOUR_S = 3600.0
DAY_S = 86_400.0


def spent(share, hours, budget=None, requests=1000, pricing=PRICING, allowed=ALLOWED):
    """The budget after so many hours in which such a share was late."""
    budget = budget or ErrorBudget()
    for _ in range(round(hours * HOUR_S / POLL_S)):
        budget = after_interval(budget, requests, share * requests, POLL_S, allowed, pricing)
    return budget


def price(budget, pricing=PRICING, allowed=ALLOWED):
    return violation_weight(budget, allowed, pricing)


class TestPrice:
    def test_it_begins_where_it_is_said_to(self):
        assert price(ErrorBudget()) == pytest.approx(PRICING.initial_weight / ALLOWED)

    def test_it_rises_while_the_budget_is_overdrawn(self):
        courses = [price(spent(3.0 * ALLOWED, hours)) for hours in (0.0, 0.2, 1.0, 3.0, 6.0)]
        assert courses == sorted(courses)
        assert courses[2] > 2.0 * courses[0]

    def test_it_falls_while_it_is_left_over(self):
        courses = [price(spent(0.0, hours)) for hours in (0.0, 0.2, 1.0, 3.0, 12.0)]
        assert courses == sorted(courses, reverse=True)
        assert courses[2] < 0.5 * courses[0]

    def test_it_stays_where_just_as_many_are_late_as_are_meant_to_be(self):
        kept = spent(PRICING.planned_fraction * ALLOWED, 24.0)
        assert price(kept) == pytest.approx(PRICING.initial_weight / ALLOWED, rel=1e-6)

    def test_it_goes_on_rising_while_nothing_gets_better(self):
        one, more = (spent(2.0 * ALLOWED, hours) for hours in (24.0, 30.0))
        assert more.log_weight > one.log_weight or price(more) == PRICING.max_weight / ALLOWED

    def test_a_disaster_does_not_buy_everything(self):
        assert price(spent(1.0, 10.0)) == PRICING.max_weight / ALLOWED

    def test_a_perfect_week_does_not_make_it_worthless(self):
        assert price(spent(0.0, 7 * 24.0)) == PRICING.min_weight / ALLOWED

    def test_an_outage_of_half_an_hour_is_paid_for_in_two_days(self):
        kept = spent(0.9 * PRICING.planned_fraction * ALLOWED, 48.0)
        after_outage = spent(1.0, 0.5, kept)
        assert price(after_outage) < PRICING.max_weight / ALLOWED
        assert price(spent(0.0, 48.0, after_outage)) < 2.0 * price(kept)

    def test_it_comes_back_from_either_end(self):
        """What is at an end is left once days are otherwise."""
        dear, cheap = spent(1.0, 10.0), spent(0.0, 7 * 24.0)
        assert price(spent(0.0, 5 * 24.0, dear)) < PRICING.max_weight / ALLOWED
        assert price(spent(5.0 * ALLOWED, 24.0, cheap)) > PRICING.min_weight / ALLOWED

    def test_a_stricter_promise_is_dearer(self):
        strict = spent(0.0007, 1.0, allowed=0.001)
        loose = spent(0.007, 1.0)
        assert price(strict, allowed=0.001) == pytest.approx(10.0 * price(loose))

    histories = st.lists(
        st.tuples(st.integers(0, 10**6), st.floats(0.0, 1.0), st.sampled_from([10.0, 60.0, 0.1])),
        max_size=50,
    )

    @given(histories, st.sampled_from([0.5, 0.1, 0.01, 0.0001]))
    def test_it_stays_within_its_bounds(self, history, allowed):
        budget = ErrorBudget()
        for requests, share, interval_s in history:
            budget = after_interval(
                budget, requests, share * requests, interval_s, allowed, PRICING
            )
            found = price(budget, allowed=allowed) * allowed
            assert PRICING.min_weight * 0.999 <= found <= PRICING.max_weight * 1.001
            assert budget.attainment is None or -1e-9 <= budget.attainment <= 1.0

    @given(histories, st.integers(1, 10**6))
    def test_one_more_late_request_makes_none_cheaper(self, history, requests):
        budget = ErrorBudget()
        for asked, share, interval_s in history:
            budget = after_interval(budget, asked, share * asked, interval_s, ALLOWED, PRICING)
        one, other = (
            after_interval(budget, requests, late, POLL_S, ALLOWED, PRICING) for late in (0.0, 1.0)
        )
        assert price(one) <= price(other)


class TestBudget:
    def test_without_requests_nothing_is_attained(self):
        assert ErrorBudget().attainment is None
        assert spent(0.0, 1.0, requests=0).attainment is None

    def test_what_is_attained_is_the_share_in_time(self):
        assert spent(0.03, 5.0).attainment == pytest.approx(0.97)

    def test_a_day_counts_and_the_day_before_a_third_of_it(self):
        bad_then_good = spent(0.0, 24.0, spent(0.1, 240.0))
        assert 1.0 - bad_then_good.attainment == pytest.approx(0.1 / math.e, rel=0.01)

    def test_at_the_beginning_few_late_ones_are_no_disaster(self):
        budget = after_interval(ErrorBudget(), 100, 5.0, POLL_S, ALLOWED, PRICING)
        assert consumption(budget, ALLOWED, PRICING) < 1.03

    def test_silence_moves_no_price(self):
        """Nobody is late at night, but then nobody is in time."""
        before = spent(PRICING.planned_fraction * ALLOWED, 5.0)
        assert price(spent(0.0, 8.0, before, requests=0)) == pytest.approx(price(before), rel=0.01)
