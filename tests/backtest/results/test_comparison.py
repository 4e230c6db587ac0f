"""Comparisons: worked examples, and properties for any figures."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.results.comparison import (
    CostAtTarget,
    Mean,
    ViolationsAtCost,
    aggregates,
    frontiers,
    mean,
    student_t,
)
from tests.backtest.synthetic import row, trials


def frontier_of(*points, requests=1_000_000):
    """One policy on one pair, from (allocation-hours, violation fraction)."""
    (frontier,) = frontiers(aggregates(swept(points, requests))).values()
    return frontier


def swept(points, requests=1_000_000, **given):
    return [
        row(
            setting=f"target={n}",
            default=n == 0,
            allocation_hours=hours,
            violation_fraction=fraction,
            requests=requests,
            **given,
        )
        for n, (hours, fraction) in enumerate(points)
    ]


class TestMeans:
    def test_the_interval_of_three_seeds_is_that_of_the_textbook(self):
        # Mean 4, standard deviation 2; 4.303 x 2 / sqrt(3).
        assert mean([2.0, 4.0, 6.0]) == Mean(4.0, pytest.approx(4.969, abs=1e-3))

    def test_one_seed_has_no_interval(self):
        assert mean([0.3]) == Mean(0.3, None)

    @pytest.mark.parametrize(
        ("degrees", "quantile"),
        [(1, 12.706), (2, 4.303), (10, 2.228), (11, 2.201), (15, 2.131), (60, 2.000)],
    )
    def test_the_quantiles_are_those_of_the_tables(self, degrees, quantile):
        assert student_t(degrees) == pytest.approx(quantile, abs=6e-4)

    @given(st.integers(1, 500))
    def test_the_quantile_falls_towards_that_of_the_normal_distribution(self, degrees):
        assert student_t(degrees) > student_t(degrees + 1) > 1.9599


class TestAggregates:
    def test_the_seeds_of_a_setting_are_combined(self):
        (aggregate,) = aggregates(
            [
                row(
                    seed=1,
                    violations=10,
                    violation_fraction=0.01,
                    allocation_hours=20.0,
                    changes=24,
                ),
                row(
                    seed=2,
                    violations=30,
                    violation_fraction=0.03,
                    allocation_hours=22.0,
                    changes=72,
                ),
            ]
        )
        assert (aggregate.seeds, aggregate.requests) == (2, 2000)
        assert aggregate.violations.value == 20.0
        assert aggregate.violation_fraction.value == 0.02
        assert aggregate.allocation_hours == Mean(21.0, pytest.approx(12.706))
        assert aggregate.changes_per_hour.value == 2.0  # of a day each

    def test_a_percentile_that_is_undefined_in_one_seed_is_undefined(self):
        (aggregate,) = aggregates([row(seed=1, wait_p99_s=0.2), row(seed=2, wait_p99_s=None)])
        assert aggregate.wait_p99_s is None
        assert aggregate.wait_p95_s == pytest.approx(0.05)

    ROWS = tuple(each.row for each in trials(seeds=(1, 2, 3)))

    @given(st.integers(0, 2**32))
    @settings(deadline=None, max_examples=10)
    def test_the_order_of_the_rows_does_not_matter(self, seed):
        rows = self.ROWS
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert aggregates(shuffled) == aggregates(rows)


class TestCostAtTarget:
    def test_between_two_settings_the_scale_is_logarithmic(self):
        # 1% lies half-way from 10% to 0.1%.
        frontier = frontier_of((10.0, 0.1), (20.0, 0.001))
        assert frontier.cost_at(0.99) == CostAtTarget(pytest.approx(15.0), False)

    def test_no_violation_counts_as_half_a_request(self):
        # 0.5 of 50 000 requests is 0.001%; from 1% that is three decades, of which one.
        frontier = frontier_of((10.0, 0.01), (40.0, 0.0), requests=50_000)
        assert frontier.cost_at(0.999) == CostAtTarget(pytest.approx(20.0), False)

    def test_a_target_that_no_setting_meets_is_none(self):
        assert frontier_of((10.0, 0.1), (20.0, 0.02)).cost_at(0.99) is None

    def test_a_sweep_that_begins_above_the_target_is_marked(self):
        assert frontier_of((10.0, 0.009), (20.0, 0.001)).cost_at(0.99) == CostAtTarget(10.0, True)

    def test_a_policy_without_settings_has_its_own_cost(self):
        assert frontier_of((10.0, 0.009)).cost_at(0.99) == CostAtTarget(10.0, False)

    def test_exactly_the_target_is_enough(self):
        frontier = frontier_of((10.0, 0.1), (20.0, 0.01), (30.0, 0.001))
        assert frontier.cost_at(0.99) == CostAtTarget(pytest.approx(20.0), False)

    def test_a_setting_both_costlier_and_worse_is_ignored(self):
        frontier = frontier_of((10.0, 0.1), (15.0, 0.2), (20.0, 0.001))
        assert [each.allocation_hours.value for each in frontier.efficient] == [10.0, 20.0]
        assert frontier.cost_at(0.99) == CostAtTarget(pytest.approx(15.0), False)


class TestViolationsAtCost:
    FRONTIER = frontier_of((10.0, 0.1), (20.0, 0.001))

    def test_half_way_between_two_settings(self):
        assert self.FRONTIER.violations_at(15.0) == ViolationsAtCost(pytest.approx(0.01), False)

    def test_at_the_cost_of_a_setting_they_are_those_of_the_setting(self):
        assert self.FRONTIER.violations_at(10.0) == ViolationsAtCost(0.1, False)
        assert self.FRONTIER.violations_at(20.0) == ViolationsAtCost(0.001, False)

    def test_a_higher_cost_than_any_setting_is_marked(self):
        assert self.FRONTIER.violations_at(25.0) == ViolationsAtCost(0.001, True)

    def test_a_lower_cost_than_any_setting_is_none(self):
        assert self.FRONTIER.violations_at(9.0) is None


points = st.lists(
    st.tuples(
        st.floats(1.0, 1000.0),
        st.one_of(st.just(0.0), st.floats(-6.0, 0.0).map(lambda power: 10.0**power)),
    ),
    min_size=2,
    max_size=8,
)
targets = st.floats(0.5, 0.9999)


class TestAnyFrontier:
    @given(points, targets, targets)
    def test_more_attainment_never_costs_less(self, tried, one, other):
        frontier = frontier_of(*tried)
        less, more = (frontier.cost_at(target) for target in sorted((one, other)))
        if more is not None:
            assert less is not None
            assert less.allocation_hours <= more.allocation_hours * (1 + 1e-9)

    @given(points, st.floats(1.0, 1000.0), st.floats(1.0, 1000.0))
    def test_more_cost_never_means_more_violations(self, tried, one, other):
        frontier = frontier_of(*tried)
        less, more = (frontier.violations_at(hours) for hours in sorted((one, other)))
        if less is not None:
            assert more is not None
            assert more.fraction <= less.fraction * (1 + 1e-9)

    @given(points, targets)
    def test_the_cost_is_within_the_sweep(self, tried, target):
        cost = frontier_of(*tried).cost_at(target)
        if cost is not None:
            hours = [each for each, _ in tried]
            assert min(hours) * (1 - 1e-9) <= cost.allocation_hours <= max(hours) * (1 + 1e-9)

    @given(points, st.data(), st.floats(0.0, 100.0), st.floats(1.0, 2.0), targets)
    def test_a_setting_worse_and_costlier_than_another_changes_nothing(
        self, tried, data, costlier, worse, target
    ):
        hours, late = data.draw(st.sampled_from(tried))
        dominated = (hours + costlier, min(1.0, late * worse))
        before, after = frontier_of(*tried), frontier_of(*tried, dominated)
        assert [_place(each) for each in after.efficient] == [
            _place(each) for each in before.efficient
        ]
        assert after.cost_at(target) == before.cost_at(target)
        assert after.violations_at(hours) == before.violations_at(hours)

    @given(points, st.integers(0, 2**32))
    def test_the_order_of_the_settings_does_not_matter(self, tried, seed):
        rows = swept(tried)
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert frontiers(aggregates(shuffled)) == frontiers(aggregates(rows))


def _place(aggregate):
    return aggregate.allocation_hours.value, aggregate.violation_fraction.value
