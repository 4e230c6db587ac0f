"""Values with intervals, from draws and from what was observed."""

import numpy as np
import pytest

from autoscaler.replay.estimates import (
    Observed,
    Spread,
    adjusted,
    coefficient,
    count_interval_of,
    interval_of,
    narrowed,
    t_quantile,
)
from autoscaler.replay.results import Estimate

DRAWS, HOURS = 16, 6


def draws(seed=1, mean=100.0):
    return np.random.default_rng(seed).normal(mean, 10.0, (DRAWS, HOURS))


def test_the_value_of_what_really_ran_is_what_was_observed():
    simulated = draws()
    observed = simulated.mean(axis=0) + 30.0
    found = adjusted(simulated, Observed(simulated=simulated, observed=observed), seed=1)
    assert found.value == pytest.approx(observed.sum(), rel=1e-6)
    assert found.deviation == pytest.approx(0.0, abs=1e-6)


def test_a_policy_that_follows_the_statistic_is_corrected_by_as_much():
    simulated = draws()
    statistic = Observed(simulated=simulated, observed=simulated.mean(axis=0) + 20.0)
    values = 0.5 * simulated + np.random.default_rng(2).normal(0.0, 0.1, simulated.shape)
    found = adjusted(values, statistic, seed=1)
    assert found.value == pytest.approx(values.mean(axis=0).sum() + HOURS * 10.0, rel=1e-2)


def test_a_policy_that_has_nothing_in_common_with_the_statistic_is_not_corrected():
    statistic = Observed(simulated=draws(1), observed=draws(1).mean(axis=0) + 50.0)
    assert coefficient(np.zeros((DRAWS, HOURS)), statistic) == 0.0
    found = adjusted(np.full((DRAWS, HOURS), 3.0), statistic, seed=1)
    assert (found.value, found.deviation) == (pytest.approx(3.0 * HOURS), 0.0)


def test_hours_in_which_nothing_was_observed_are_not_corrected():
    simulated = draws()
    observed = simulated.mean(axis=0)
    observed[3:] = np.nan
    statistic = Observed(simulated=simulated, observed=observed)
    assert adjusted(simulated, statistic, seed=1).value == pytest.approx(simulated.sum() / DRAWS)


def test_what_is_alike_in_all_hours_of_a_draw_does_not_cancel_out():
    common = np.repeat(np.arange(DRAWS, dtype=float)[:, None], HOURS, axis=1)
    none = Observed(simulated=np.zeros((DRAWS, HOURS)), observed=np.zeros(HOURS))
    found = adjusted(common, none, seed=1)
    assert found.deviation >= common.sum(axis=1).std()
    assert found.freedom == DRAWS - 1


def test_intervals_cover_and_are_not_below_zero():
    for value, deviation in ((0.0, 0.0), (0.0, 3.0), (2.0, 9.0), (500.0, 20.0), (-3.0, 1.0)):
        spread = Spread(value=value, deviation=deviation, freedom=7.0)
        for found in (interval_of(spread), count_interval_of(spread, 5.0)):
            assert 0.0 <= found.low <= found.value <= found.high


def test_a_count_that_was_zero_in_all_draws_may_be_more():
    found = count_interval_of(Spread(value=0.0, deviation=0.0, freedom=7.0), 5.0)
    assert found.low == 0.0
    assert 5.0 < found.high < 50.0


def test_few_degrees_of_freedom_make_intervals_wider():
    assert t_quantile(0.975, 5.0) == pytest.approx(2.571, abs=0.01)
    assert t_quantile(0.975, 1e9) == pytest.approx(1.96, abs=0.001)


def test_a_difference_is_certain_where_two_intervals_have_nothing_in_common():
    """0.2% to 2.8% of late requests are more than 0% to 0.1%, whatever the symmetric interval."""
    found = narrowed(
        Estimate(0.009, -0.005, 0.023), Estimate(0.009, 0.002, 0.028), Estimate(0.0, 0.0, 0.001)
    )
    assert found == Estimate(0.009, pytest.approx(0.001), 0.023)


def test_a_difference_of_counts_is_otherwise_as_it_is():
    difference = Estimate(0.001, -0.002, 0.004)
    assert narrowed(difference, Estimate(0.01, 0.0, 0.1), Estimate(0.01, 0.0, 0.1)) == difference
