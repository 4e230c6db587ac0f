"""Summaries over many pairs: worked examples, and properties for any figures."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.results.comparison import Mean, aggregates
from autoscaler.backtest.results.summary import (
    EqualCostSummary,
    Ratio,
    default_summaries,
    equal_cost_summaries,
    summarise,
)
from tests.backtest.synthetic import row, trials


def on(trace, policy, *points, **given):
    """One policy on one trace, from (allocation-hours, violation fraction), the default first."""
    return [
        row(
            trace=trace,
            policy=policy,
            setting=f"target={n}",
            default=n == 0,
            allocation_hours=hours,
            violation_fraction=fraction,
            violations=round(fraction * 1_000_000),
            requests=1_000_000,
            **given,
        )
        for n, (hours, fraction) in enumerate(points)
    ]


ROWS = tuple(each.row for each in trials(seeds=(1, 2, 3)))


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=10)
def test_the_order_of_the_rows_does_not_matter(seed):
    shuffled = random.Random(seed).sample(ROWS, len(ROWS))
    pairs = {(each.trace, each.scenario) for each in ROWS}
    assert summarise(aggregates(shuffled)) == summarise(aggregates(ROWS))
    assert default_summaries(shuffled, pairs) == default_summaries(ROWS, pairs)
    assert equal_cost_summaries("adaptive", aggregates(shuffled)) == equal_cost_summaries(
        "adaptive", aggregates(ROWS)
    )


class TestSummary:
    def two_traces(self):
        """`a` meets the SLO on both by default; `b` on one, and on the other at another setting."""
        return [
            *on("one", "oracle", (8.0, 0.001)),
            *on("two", "oracle", (16.0, 0.001)),
            *on("one", "a", (16.0, 0.002), (24.0, 0.001)),
            *on("two", "a", (16.0, 0.01), (24.0, 0.001)),
            *on("one", "b", (10.0, 0.1), (20.0, 0.001)),
            *on("two", "b", (11.0, 0.008), (22.0, 0.001)),
        ]

    def test_met_by_default_and_at_the_best_single_setting(self):
        _, a, b = self.sorted(summarise(aggregates(self.two_traces())))
        assert (a.policy, a.pairs, a.met_by_default, a.met_by_best) == ("a", 2, 2, 2)
        assert a.best_setting == "target=0"  # both settings meet the SLO on both; this is cheaper
        assert (b.policy, b.pairs, b.met_by_default, b.met_by_best) == ("b", 2, 1, 2)
        assert b.best_setting == "target=1"

    def test_costs_are_compared_at_equal_attainment(self):
        _, a, b = self.sorted(summarise(aggregates(self.two_traces()), references=["oracle"]))
        # 16 to 8, and 16 to 16.
        assert a.relative_cost == {"oracle": Ratio(pytest.approx(math.sqrt(2.0)), 2)}
        # 15 to 8, half-way from 10 to 20; and 11 to 16, as the cheapest setting is good enough.
        expected = math.sqrt(15.0 / 8.0 * 11.0 / 16.0)
        assert b.relative_cost == {"oracle": Ratio(pytest.approx(expected), 2)}

    def test_a_rule_with_its_own_slo_shows_nothing_about_that_of_the_scenario(self):
        own = on("three", "rule:all", (4.0, 0.03), slo_target=0.95, slo_wait_s=0.2)
        rows = [*self.two_traces(), *on("three", "oracle", (8.0, 0.5)), *own]
        summary = summarise(
            aggregates([*rows, *on("one", "rule:all", (4.0, 0.03), slo_target=0.95)])
        )
        assert summary.infeasible == (("three", "small"),)
        rule = next(each for each in summary.policies if each.policy == "rule:all")
        assert (rule.pairs, rule.met_by_default, rule.relative_cost) == (1, 1, {})

    def test_a_reference_that_never_meets_the_target_is_left_out(self):
        rows = [*self.two_traces(), *on("one", "utilisation", (10.0, 0.5))]
        summary = summarise(aggregates(rows))
        assert all("utilisation" not in each.relative_cost for each in summary.policies)

    def test_infeasible_pairs_are_set_apart(self):
        rows = [
            *self.two_traces(),
            *on("three", "oracle", (8.0, 0.2)),
            *on("three", "a", (8.0, 0.4)),
        ]
        summary = summarise(aggregates(rows))
        assert summary.infeasible == (("three", "small"),)
        assert [each.pairs for each in summary.policies] == [2, 2, 2]

    def test_a_pair_on_which_any_policy_meets_the_slo_is_feasible(self):
        rows = [*on("one", "oracle", (8.0, 0.2)), *on("one", "a", (80.0, 0.001))]
        assert summarise(aggregates(rows)).infeasible == ()

    def test_every_scenario_has_its_own_target(self):
        rows = on("one", "a", (8.0, 0.04))
        (strict,) = summarise(aggregates(rows)).policies
        (lenient,) = summarise(aggregates(rows), targets={"small": 0.95}).policies
        assert (strict.met_by_default, lenient.met_by_default) == (0, 1)

    def test_a_policy_never_tried_by_default_is_marked(self):
        rows = [row(setting="target=0.5", default=False, violation_fraction=0.0)]
        (policy,) = summarise(aggregates(rows)).policies
        assert policy.met_by_default is None
        assert policy.met_by_best == 1

    @staticmethod
    def sorted(summary):
        return sorted(summary.policies, key=lambda each: (each.policy != "oracle", each.policy))


BOTH = {("one", "small"), ("two", "small")}


class TestDefaultSummaries:
    def of(self, policy, rows, pairs=BOTH, **given):
        found = {each.policy: each for each in default_summaries(rows, pairs, **given)}
        return found[policy]

    ROWS = (
        *on("one", "oracle", (8.0, 0.001)),
        *on("two", "oracle", (16.0, 0.001)),
        *on("one", "a", (16.0, 0.002), (99.0, 0.0)),
        *on("two", "a", (16.0, 0.03), (99.0, 0.0)),
    )

    def test_only_the_default_setting_counts(self):
        a = self.of("a", self.ROWS)
        assert (a.pairs, a.met, a.worst_violation_fraction) == (2, 1, 0.03)

    def test_every_request_counts_the_same_on_any_pair(self):
        rows = [
            row(trace="one", requests=100, violations=10, violation_fraction=0.1),
            row(trace="two", requests=900, violations=0, violation_fraction=0.0),
        ]
        assert self.of("utilisation", rows).violation_fraction == Mean(0.01, None)

    def test_hours_are_relative_to_those_of_the_oracle_on_the_same_pair(self):
        # 16 to 8, and 16 to 16.
        assert self.of("a", self.ROWS).relative_hours == Mean(pytest.approx(math.sqrt(2.0)), None)
        assert self.of("oracle", self.ROWS).relative_hours == Mean(pytest.approx(1.0), None)

    def test_the_oracle_may_have_fewer_seeds(self):
        rows = [
            *self.ROWS,
            *on("one", "a", (32.0, 0.002), seed=2),
            *on("two", "a", (64.0, 0.0), seed=2),
        ]
        ratios = math.sqrt(2.0), math.sqrt(16.0)
        assert self.of("a", rows).relative_hours.value == pytest.approx(sum(ratios) / 2)

    def test_without_the_oracle_there_are_no_relative_hours(self):
        assert self.of("a", on("one", "a", (16.0, 0.002))).relative_hours is None

    def test_the_interval_is_that_of_the_totals_of_each_seed(self):
        # Seeds give 0.01 and 0.03; the pairs of a seed differ by far more.
        rows = [
            *on("one", "a", (8.0, 0.0), seed=1),
            *on("two", "a", (8.0, 0.02), seed=1),
            *on("one", "a", (8.0, 0.06), seed=2),
            *on("two", "a", (8.0, 0.0), seed=2),
        ]
        found = self.of("a", rows).violation_fraction
        assert found == Mean(pytest.approx(0.02), pytest.approx(0.12706))

    def test_changes_are_per_hour_and_reversals_per_day(self):
        found = self.of("a", on("one", "a", (8.0, 0.0), changes=6, reversals=1, simulated_s=7200.0))
        assert found.changes_per_hour == Mean(3.0, None)
        assert found.reversals_per_day == Mean(12.0, None)

    def test_only_the_given_pairs_count(self):
        found = self.of("a", self.ROWS, {("one", "small")})
        assert (found.pairs, found.met) == (1, 1)
        assert default_summaries(self.ROWS, set()) == ()

    def test_every_scenario_has_its_own_target(self):
        assert self.of("a", self.ROWS, targets={"small": 0.95}).met == 2


class TestEqualCostSummaries:
    def of(self, policy, rows):
        found = {each.policy: each for each in equal_cost_summaries("adaptive-9", aggregates(rows))}
        return found[policy]

    def test_violations_are_interpolated_at_the_hours_of_the_reference(self):
        # Half-way from 10% to 0.1% is 1%, a quarter of the 4% of the reference.
        rows = [
            *on("one", "adaptive-9", (15.0, 0.04)),
            *on("one", "a", (10.0, 0.1), (20.0, 0.001)),
        ]
        assert self.of("a", rows) == EqualCostSummary(
            policy="a", relative_violations=Ratio(pytest.approx(0.25), 1), more=0, beyond_sweep=0
        )

    def test_no_violation_counts_as_half_a_request(self):
        rows = [*on("one", "adaptive-9", (15.0, 5e-6)), *on("one", "a", (15.0, 0.0))]
        assert self.of("a", rows).relative_violations == Ratio(pytest.approx(0.1), 1)
        rows = [*on("one", "adaptive-9", (15.0, 0.0)), *on("one", "a", (15.0, 0.0))]
        assert self.of("a", rows).relative_violations == Ratio(pytest.approx(1.0), 1)

    def test_the_reference_has_its_default_setting(self):
        rows = [
            *on("one", "adaptive-9", (15.0, 0.04), (30.0, 0.02)),
            *on("one", "a", (15.0, 0.02), (30.0, 0.01)),
        ]
        assert self.of("a", rows).relative_violations == Ratio(pytest.approx(0.5), 1)
        assert self.of("adaptive-9", rows).relative_violations == Ratio(pytest.approx(1.0), 1)

    def test_a_pair_on_which_a_policy_always_costs_more_does_not_count(self):
        rows = [
            *on("one", "adaptive-9", (15.0, 0.04)),
            *on("two", "adaptive-9", (15.0, 0.04)),
            *on("one", "a", (14.0, 0.08)),
            *on("two", "a", (16.0, 0.001)),
        ]
        found = self.of("a", rows)
        assert found.relative_violations == Ratio(pytest.approx(2.0), 1)
        assert found.more == 1
        assert self.of("a", rows[1:]).relative_violations is None

    def test_hours_to_spare_at_the_costliest_setting_are_counted(self):
        rows = [
            *on("one", "adaptive-9", (50.0, 0.04)),
            *on("one", "a", (10.0, 0.1), (20.0, 0.001)),
        ]
        assert self.of("a", rows).beyond_sweep == 1
