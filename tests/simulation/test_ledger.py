"""The totals of a run."""

import math

import numpy as np
import pytest

from autoscaler.simulation.ledger import Ledger


def test_waits_are_counted_exactly_at_round_limits():
    ledger = Ledger(0.0)
    waits = np.random.default_rng(1).exponential(0.5, 50_000).tolist()
    ledger.book(requests=50_000, completed=50_000, waits_s=waits)
    for limit in (0.001, 0.1, 0.2, 0.5, 1.0, 2.0):
        assert ledger.waited_longer_than(limit) == sum(wait > limit for wait in waits)


def test_a_wait_equal_to_the_limit_is_not_longer():
    ledger = Ledger(0.0)
    ledger.book(requests=3, completed=3, waits_s=[0.2, 0.2000001, 0.1])
    assert ledger.waited_longer_than(0.2) == 1


def test_other_limits_and_percentiles_are_exact_within_a_hundredth():
    ledger = Ledger(0.0)
    waits = np.random.default_rng(2).exponential(0.5, 50_000)
    ledger.book(requests=50_000, completed=50_000, waits_s=waits.tolist())
    between = ledger.waited_longer_than(0.37)
    assert (waits > 0.37 * 1.012).sum() <= between <= (waits > 0.37).sum()
    for level in (0.5, 0.9, 0.99):
        exact = float(np.quantile(waits, level, method="inverted_cdf"))
        assert exact <= ledger.wait_percentile(level) <= exact * 1.012


def test_requests_served_at_once_or_never_count_in_percentiles():
    ledger = Ledger(0.0)
    ledger.book(requests=100, served_at_once=50, waits_s=[1.0] * 40, never_served=10, rejected=10)
    assert [ledger.wait_percentile(level) for level in (0.5, 0.51, 0.9, 0.91)] == [
        0.0,
        1.0,
        1.0,
        math.inf,
    ]
    assert ledger.waited_longer_than(1e4) == 10


def test_an_empty_ledger():
    assert math.isnan(Ledger(0.0).wait_percentile(0.5))
    assert Ledger(0.0).waited_longer_than(1.0) == 0


def test_allocation_seconds_are_charged_from_one_change_to_the_next():
    ledger = Ledger(100.0, 2)
    ledger.accrue(110.0, requested=2, running=2)
    ledger.accrue(120.0, requested=5, running=2)
    ledger.accrue(130.0, requested=5, running=5)
    assert ledger.requested_allocation_s == pytest.approx(20 + 20 + 50)
    assert ledger.running_allocation_s == pytest.approx(0 + 20 + 20)
    assert ledger.changes == 1
