"""Scores and costs of runs, in worked examples."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.backtest.results.scoring import (
    RequestSlo,
    cost,
    request_score,
    timeline,
    violations,
)
from autoscaler.backtest.world.kernel import COMPLETED, LOST, REJECTED, TIMED_OUT
from autoscaler.backtest.world.plant import AllocationSpan
from tests.backtest.workloads import workload

NEVER = math.nan
START = 1_767_225_600.0


def load_of(at, work_s=1.0, duration_s=60.0):
    return workload(at, work_s, duration_s=duration_s, start=START)


def spans(*lines):
    """Requested and running, by seconds since the start."""
    return [AllocationSpan(START + at, requested, running) for at, requested, running in lines]


def score_of(
    waits, outcomes=None, *, at=None, target=0.99, duration_s=60.0, allocated=((0.0, 1, 1),)
):
    at = np.zeros(len(waits)) if at is None else at
    outcomes = np.full(len(waits), COMPLETED) if outcomes is None else np.array(outcomes)
    load = load_of(at, duration_s=duration_s)
    return request_score(
        load, np.array(waits), outcomes.astype(np.int8), RequestSlo(0.5, target), spans(*allocated)
    )


class TestViolations:
    def test_they_are_long_waits_and_all_failures(self):
        waits = np.array([0.0, 0.5, 0.5001, 0.1, NEVER, NEVER, 0.2, NEVER])
        outcomes = [COMPLETED] * 3 + [TIMED_OUT, TIMED_OUT, REJECTED, LOST, LOST]
        violated = violations(waits, np.array(outcomes, np.int8), RequestSlo(0.5, 0.99))
        assert violated.tolist() == [False, False, True, True, True, True, True, True]
        counts = score_of(waits, outcomes)
        assert (counts.requests, counts.violations) == (8, 6)
        assert (counts.rejected, counts.timed_out) == (3, 2)  # lost requests count as rejected

    def test_without_requests_there_are_no_violations(self):
        nothing = score_of([], duration_s=30.0)
        assert (nothing.requests, nothing.violations, nothing.violation_minutes) == (0, 0, 0)
        assert nothing.wait_p50_s is nothing.wait_p99_s is None
        assert nothing.max_backlog_s == 0.0


class TestViolationMinutes:
    @pytest.mark.parametrize(
        ("late", "of", "target", "violated"),
        [
            (1, 100, 0.99, 0),
            (2, 100, 0.99, 1),
            (1, 99, 0.99, 1),
            (0, 1, 1.0, 0),
            (1, 1000, 1.0, 1),
            (1, 10, 0.9, 0),
            (2, 10, 0.8, 0),
            (3, 10, 0.7, 0),
            (3, 10, 0.8, 1),
        ],
    )
    def test_they_are_minutes_that_exceed_the_error_budget(self, late, of, target, violated):
        waits = [1.0] * late + [0.0] * (of - late)
        assert score_of(waits, target=target).violation_minutes == violated

    def test_they_count_from_the_start_by_time_of_arrival(self):
        at = [0.0, 59.9, 60.0, 119.9, 120.0, 185.0]
        waits = [0.0, 100.0, 0.0, 0.0, 1.0, 1.0]
        assert score_of(waits, at=at, duration_s=200.0).violation_minutes == 3

    def test_a_minute_without_requests_does_not_count(self):
        assert score_of([0.0, 1.0], at=[0.0, 600.0], duration_s=610.0).violation_minutes == 1


class TestPercentiles:
    def test_they_are_waits_that_this_fraction_did_not_exceed(self):
        waits = np.arange(1, 101) / 100.0
        figures = score_of(np.random.default_rng(1).permutation(waits))
        assert (figures.wait_p50_s, figures.wait_p95_s, figures.wait_p99_s) == (0.5, 0.95, 0.99)

    def test_of_one_request_they_are_its_wait(self):
        figures = score_of([0.25])
        assert (figures.wait_p50_s, figures.wait_p95_s, figures.wait_p99_s) == (0.25,) * 3

    @pytest.mark.parametrize(
        ("unserved", "percentiles"),
        [
            (1, (1.0, 1.0, 1.0)),
            (2, (1.0, 1.0, None)),
            (5, (1.0, 1.0, None)),
            (6, (1.0, None, None)),
            (50, (1.0, None, None)),
            (51, (None, None, None)),
        ],
    )
    def test_requests_never_served_have_the_longest_waits(self, unserved, percentiles):
        waits = [NEVER] * unserved + [1.0] * (100 - unserved)
        outcomes = [TIMED_OUT] * unserved + [COMPLETED] * (100 - unserved)
        figures = score_of(waits, outcomes)
        assert (figures.wait_p50_s, figures.wait_p95_s, figures.wait_p99_s) == percentiles


class TestLongestBacklog:
    def backlog(self, at, waits, *, allocated=((0.0, 1, 1),), duration_s=100.0):
        return score_of(waits, at=at, allocated=allocated, duration_s=duration_s).max_backlog_s

    def test_a_queue_no_longer_than_the_allocations_does_not_count(self):
        assert self.backlog([5.0], [50.0]) == 0.0
        assert self.backlog([5.0, 5.0], [50.0, 50.0], allocated=((0.0, 2, 2),)) == 0.0

    def test_it_lasts_while_the_queue_is_longer(self):
        # Two wait at the ends of the slots from 0 to 40, one until 50, and two again at 80.
        at, waits = [5.0, 5.0, 75.0, 75.0], [40.0, 50.0, 9.0, 9.0]
        assert self.backlog(at, waits) == 40.0

    def test_it_is_the_longest_and_not_the_sum(self):
        at = [5.0, 5.0, 45.0, 45.0]
        assert self.backlog(at, [10.0, 10.0, 30.0, 30.0]) == 30.0

    def test_only_running_allocations_count(self):
        at, waits = [5.0] * 3, [70.0] * 3
        allocated = ((0.0, 3, 1), (30.0, 3, 3), (60.0, 2, 3), (61.0, 2, 2))
        # More than the running allocations at the ends of the slots at 10 and 20, and at 70.
        assert self.backlog(at, waits, allocated=allocated) == 20.0
        assert self.backlog(at, waits, allocated=((-100.0, 2, 2),)) == 70.0

    def test_requests_never_served_are_no_backlog(self):
        assert self.backlog([5.0] * 9, [NEVER] * 9) == 0.0

    def test_a_backlog_that_outlasts_the_run_counts_until_its_end(self):
        assert self.backlog([55.0, 55.0], [500.0, 500.0]) == 50.0


class TestCost:
    def test_hours_are_those_requested_and_running_within_the_time(self):
        allocated = spans((0.0, 2, 2), (600.0, 4, 2), (660.0, 4, 4), (3000.0, 1, 1))
        spent = cost(allocated, START, START + 3600.0)
        assert spent.allocation_hours == pytest.approx((600 * 2 + 2400 * 4 + 600) / 3600)
        assert spent.running_allocation_hours == pytest.approx((660 * 2 + 2340 * 4 + 600) / 3600)

    def test_allocations_before_the_time_do_not_count(self):
        allocated = spans((-500.0, 9, 9), (-1.0, 3, 3))
        assert cost(allocated, START, START + 1800.0).allocation_hours == pytest.approx(1.5)

    def test_the_first_span_also_counts_before_it_begins(self):
        allocated = spans((600.0, 3, 3))
        assert cost(allocated, START, START + 1800.0).allocation_hours == pytest.approx(1.5)

    def test_changes_are_those_of_requested_allocations_within_the_time(self):
        allocated = spans((-10.0, 1, 1), (0.0, 2, 1), (0.2, 2, 2), (50.0, 4, 2), (100.0, 3, 2))
        assert cost(allocated, START, START + 101.0).changes == 3
        assert cost(allocated, START, START + 100.0).changes == 2  # the last one is at the end

    @pytest.mark.parametrize(
        ("lines", "reversals"),
        [
            ([(10.0, 3), (310.0, 2)], 1),
            ([(10.0, 3), (310.5, 2)], 0),
            ([(10.0, 3), (20.0, 4), (30.0, 6)], 0),
            ([(10.0, 3), (20.0, 2), (30.0, 3), (400.0, 2)], 2),
            ([(10.0, 3), (250.0, 4), (500.0, 3)], 1),  # since the last change in either direction
            ([(10.0, 3), (250.0, 3), (310.0, 1)], 1),  # with another event in between
        ],
    )
    def test_reversals_are_changes_of_direction_within_five_minutes(self, lines, reversals):
        allocated = spans((0.0, 1, 1), *((at, count, count) for at, count in lines))
        assert cost(allocated, START + 5.0, START + 3600.0).reversals == reversals

    def test_starting_processes_are_no_change_and_no_reversal(self):
        allocated = spans((0.0, 1, 1), (10.0, 3, 1), (70.0, 3, 3), (100.0, 2, 3), (100.2, 2, 2))
        spent = cost(allocated, START, START + 600.0)
        assert (spent.changes, spent.reversals) == (2, 1)


class TestTimeline:
    AT = (0.0, 1.0, 9.5, 10.0, 19.0, 20.0, 24.0)
    WORK_S = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    WAITS = (0.0, 0.25, 0.75, NEVER, 0.5, 1.0, 2.0)
    ALLOCATED = ((0.0, 1, 1), (5.0, 3, 1), (15.0, 3, 3), (22.0, 2, 2))

    def timeline(self):
        outcomes = np.where(np.isnan(self.WAITS), REJECTED, COMPLETED).astype(np.int8)
        load = load_of(self.AT, self.WORK_S, duration_s=25.0)
        slo = RequestSlo(0.5, 0.99)
        return timeline(load, np.array(self.WAITS), outcomes, slo, spans(*self.ALLOCATED), 10.0)

    def test_each_step_has_its_means_and_the_last_is_shorter(self):
        found = self.timeline()
        assert found.step_s == 10.0
        assert found.offered_load == [0.6, 0.9, 2.6]
        assert found.requested == [2.0, 3.0, 2.4]
        assert found.running == [1.0, 2.0, 2.4]
        assert found.violations == [1, 1, 2]
        assert found.wait_p99_s == [0.75, None, 2.0]

    def test_a_step_without_requests_has_no_wait(self):
        load = load_of([25.0], duration_s=30.0)
        found = timeline(
            load,
            np.zeros(1),
            np.ones(1, np.int8),
            RequestSlo(0.5, 0.99),
            spans((0.0, 1, 1)),
            10.0,
        )
        assert found.wait_p99_s == [None, None, 0.0]
        assert found.offered_load == [0.0, 0.0, 0.1]

    @given(
        seed=st.integers(0, 1000), duration_s=st.floats(1.0, 4000.0), step_s=st.floats(7.0, 900.0)
    )
    def test_its_sums_are_the_totals(self, seed, duration_s, step_s):
        rng = np.random.default_rng(seed)
        at = np.sort(rng.random(50) * duration_s * 0.999)
        load = load_of(at, rng.random(50), duration_s=duration_s)
        waits = np.where(rng.random(50) < 0.2, NEVER, rng.random(50))
        outcomes = np.where(np.isnan(waits), TIMED_OUT, COMPLETED).astype(np.int8)
        instants = np.sort(rng.random(5) * duration_s)
        allocated = spans((-9.0, 1, 1), *((at, n, n - 1) for n, at in enumerate(instants, start=2)))
        slo = RequestSlo(0.5, 0.99)
        found = timeline(load, waits, outcomes, slo, allocated, step_s)
        score = request_score(load, waits, outcomes, slo, allocated)
        assert sum(found.violations) == score.violations
        lengths_s = np.minimum(step_s, duration_s - step_s * np.arange(len(found.violations)))
        assert lengths_s.sum() == pytest.approx(duration_s)
        assert (lengths_s > 0.0).all()
        spent = cost(allocated, START, START + duration_s)
        for figures, total in [
            (found.offered_load, load.work_s.sum()),
            (found.requested, 3600.0 * spent.allocation_hours),
            (found.running, 3600.0 * spent.running_allocation_hours),
        ]:
            # Each figure is rounded to thousandths.
            assert lengths_s @ figures == pytest.approx(total, abs=5.1e-4 * duration_s)
