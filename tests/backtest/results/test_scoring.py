"""What callers met and what it cost, added up by hand."""

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
from tests.backtest.workloads import demand

NEVER = math.nan
START = 1_767_225_600.0


def load_of(at, work_s=1.0, duration_s=60.0):
    return demand(at, work_s, duration_s=duration_s, start=START)


def holdings(*lines):
    """Requested and running, by seconds since the start."""
    return [AllocationSpan(START + at, requested, running) for at, requested, running in lines]


def met_by(waits, fates=None, *, at=None, share=0.99, duration_s=60.0, held=((0.0, 1, 1),)):
    at = np.zeros(len(waits)) if at is None else at
    fates = np.full(len(waits), COMPLETED) if fates is None else np.array(fates)
    load = load_of(at, duration_s=duration_s)
    return request_score(
        load, np.array(waits), fates.astype(np.int8), RequestSlo(0.5, share), holdings(*held)
    )


class TestMisses:
    def test_they_are_waits_beyond_the_promise_and_all_that_fails(self):
        waits = np.array([0.0, 0.5, 0.5001, 0.1, NEVER, NEVER, 0.2, NEVER])
        fates = [COMPLETED] * 3 + [TIMED_OUT, TIMED_OUT, REJECTED, LOST, LOST]
        misses = violations(waits, np.array(fates, np.int8), RequestSlo(0.5, 0.99))
        assert misses.tolist() == [False, False, True, True, True, True, True, True]
        counts = met_by(waits, fates)
        assert (counts.requests, counts.violations) == (8, 6)
        assert (counts.rejected, counts.timed_out) == (3, 2)  # who is lost is refused

    def test_nothing_asked_is_nothing_missed(self):
        nothing = met_by([], duration_s=30.0)
        assert (nothing.requests, nothing.violations, nothing.violation_minutes) == (0, 0, 0)
        assert nothing.wait_p50_s is nothing.wait_p99_s is None
        assert nothing.max_backlog_s == 0.0


class TestViolationMinutes:
    @pytest.mark.parametrize(
        ("late", "of", "share", "violated"),
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
    def test_are_those_in_which_more_miss_than_may(self, late, of, share, violated):
        waits = [1.0] * late + [0.0] * (of - late)
        assert met_by(waits, share=share).violation_minutes == violated

    def test_are_minutes_since_the_start_by_when_requests_came(self):
        at = [0.0, 59.9, 60.0, 119.9, 120.0, 185.0]
        waits = [0.0, 100.0, 0.0, 0.0, 1.0, 1.0]
        assert met_by(waits, at=at, duration_s=200.0).violation_minutes == 3

    def test_a_minute_without_requests_is_none(self):
        assert met_by([0.0, 1.0], at=[0.0, 600.0], duration_s=610.0).violation_minutes == 1


class TestPercentiles:
    def test_are_waits_that_so_many_did_not_exceed(self):
        waits = np.arange(1, 101) / 100.0
        figures = met_by(np.random.default_rng(1).permutation(waits))
        assert (figures.wait_p50_s, figures.wait_p95_s, figures.wait_p99_s) == (0.5, 0.95, 0.99)

    def test_of_one_request_they_are_its_wait(self):
        figures = met_by([0.25])
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
    def test_who_was_never_served_waited_longest_of_all(self, unserved, percentiles):
        waits = [NEVER] * unserved + [1.0] * (100 - unserved)
        fates = [TIMED_OUT] * unserved + [COMPLETED] * (100 - unserved)
        figures = met_by(waits, fates)
        assert (figures.wait_p50_s, figures.wait_p95_s, figures.wait_p99_s) == percentiles


class TestLongestBacklog:
    def backlog(self, at, waits, *, held=((0.0, 1, 1),), duration_s=100.0):
        return met_by(waits, at=at, held=held, duration_s=duration_s).max_backlog_s

    def test_as_many_waiting_as_allocations_are_none(self):
        assert self.backlog([5.0], [50.0]) == 0.0
        assert self.backlog([5.0, 5.0], [50.0, 50.0], held=((0.0, 2, 2),)) == 0.0

    def test_it_lasts_while_more_wait(self):
        # Two wait at the ends of the slots from 0 to 40, one until 50, and again two at 80.
        at, waits = [5.0, 5.0, 75.0, 75.0], [40.0, 50.0, 9.0, 9.0]
        assert self.backlog(at, waits) == 40.0

    def test_it_is_the_longest_and_not_the_sum(self):
        at = [5.0, 5.0, 45.0, 45.0]
        assert self.backlog(at, [10.0, 10.0, 30.0, 30.0]) == 30.0

    def test_what_runs_is_what_counts(self):
        at, waits = [5.0] * 3, [70.0] * 3
        held = ((0.0, 3, 1), (30.0, 3, 3), (60.0, 2, 3), (61.0, 2, 2))
        # More than run at the ends of the slots at 10 and 20, and at 70.
        assert self.backlog(at, waits, held=held) == 20.0
        assert self.backlog(at, waits, held=((-100.0, 2, 2),)) == 70.0

    def test_who_is_never_served_is_no_backlog(self):
        assert self.backlog([5.0] * 9, [NEVER] * 9) == 0.0

    def test_one_that_outlasts_the_run_counts_until_its_end(self):
        assert self.backlog([55.0, 55.0], [500.0, 500.0]) == 50.0


class TestCost:
    def test_hours_are_what_was_asked_for_and_what_ran_in_the_span(self):
        held = holdings((0.0, 2, 2), (600.0, 4, 2), (660.0, 4, 4), (3000.0, 1, 1))
        spent = cost(held, START, START + 3600.0)
        assert spent.allocation_hours == pytest.approx((600 * 2 + 2400 * 4 + 600) / 3600)
        assert spent.running_allocation_hours == pytest.approx((660 * 2 + 2340 * 4 + 600) / 3600)

    def test_what_was_held_before_the_span_does_not_count(self):
        held = holdings((-500.0, 9, 9), (-1.0, 3, 3))
        assert cost(held, START, START + 1800.0).allocation_hours == pytest.approx(1.5)

    def test_what_is_held_from_some_instant_on_was_held_before(self):
        held = holdings((600.0, 3, 3))
        assert cost(held, START, START + 1800.0).allocation_hours == pytest.approx(1.5)

    def test_changes_are_of_what_is_asked_for_within_the_span(self):
        held = holdings((-10.0, 1, 1), (0.0, 2, 1), (0.2, 2, 2), (50.0, 4, 2), (100.0, 3, 2))
        assert cost(held, START, START + 101.0).changes == 3
        assert cost(held, START, START + 100.0).changes == 2  # the last comes with the end

    @pytest.mark.parametrize(
        ("lines", "reversals"),
        [
            ([(10.0, 3), (310.0, 2)], 1),
            ([(10.0, 3), (310.5, 2)], 0),
            ([(10.0, 3), (20.0, 4), (30.0, 6)], 0),
            ([(10.0, 3), (20.0, 2), (30.0, 3), (400.0, 2)], 2),
            ([(10.0, 3), (250.0, 4), (500.0, 3)], 1),  # since the last change, whichever way
            ([(10.0, 3), (250.0, 3), (310.0, 1)], 1),  # something else happened in between
        ],
    )
    def test_reversals_are_turns_within_five_minutes(self, lines, reversals):
        held = holdings((0.0, 1, 1), *((at, number, number) for at, number in lines))
        assert cost(held, START + 5.0, START + 3600.0).reversals == reversals

    def test_processes_that_get_ready_are_no_reversal_and_no_change(self):
        held = holdings((0.0, 1, 1), (10.0, 3, 1), (70.0, 3, 3), (100.0, 2, 3), (100.2, 2, 2))
        spent = cost(held, START, START + 600.0)
        assert (spent.changes, spent.reversals) == (2, 1)


class TestTimeline:
    AT = (0.0, 1.0, 9.5, 10.0, 19.0, 20.0, 24.0)
    WORK_S = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    WAITS = (0.0, 0.25, 0.75, NEVER, 0.5, 1.0, 2.0)
    HELD = ((0.0, 1, 1), (5.0, 3, 1), (15.0, 3, 3), (22.0, 2, 2))

    def course(self):
        fates = np.where(np.isnan(self.WAITS), REJECTED, COMPLETED).astype(np.int8)
        load = load_of(self.AT, self.WORK_S, duration_s=25.0)
        promise = RequestSlo(0.5, 0.99)
        return timeline(load, np.array(self.WAITS), fates, promise, holdings(*self.HELD), 10.0)

    def test_each_step_has_its_means_and_the_last_is_cut_short(self):
        course = self.course()
        assert course.step_s == 10.0
        assert course.offered_load == [0.6, 0.9, 2.6]
        assert course.requested == [2.0, 3.0, 2.4]
        assert course.running == [1.0, 2.0, 2.4]
        assert course.violations == [1, 1, 2]
        assert course.wait_p99_s == [0.75, None, 2.0]

    def test_a_step_without_requests_has_no_wait(self):
        load = load_of([25.0], duration_s=30.0)
        course = timeline(
            load,
            np.zeros(1),
            np.ones(1, np.int8),
            RequestSlo(0.5, 0.99),
            holdings((0.0, 1, 1)),
            10.0,
        )
        assert course.wait_p99_s == [None, None, 0.0]
        assert course.offered_load == [0.0, 0.0, 0.1]

    @given(
        seed=st.integers(0, 1000), duration_s=st.floats(1.0, 4000.0), step_s=st.floats(7.0, 900.0)
    )
    def test_its_sums_are_the_totals(self, seed, duration_s, step_s):
        rng = np.random.default_rng(seed)
        at = np.sort(rng.random(50) * duration_s * 0.999)
        load = load_of(at, rng.random(50), duration_s=duration_s)
        waits = np.where(rng.random(50) < 0.2, NEVER, rng.random(50))
        fates = np.where(np.isnan(waits), TIMED_OUT, COMPLETED).astype(np.int8)
        turns = np.sort(rng.random(5) * duration_s)
        held = holdings((-9.0, 1, 1), *((at, n, n - 1) for n, at in enumerate(turns, start=2)))
        promise = RequestSlo(0.5, 0.99)
        course = timeline(load, waits, fates, promise, held, step_s)
        assert sum(course.violations) == request_score(load, waits, fates, promise, held).violations
        lengths_s = np.minimum(step_s, duration_s - step_s * np.arange(len(course.violations)))
        assert lengths_s.sum() == pytest.approx(duration_s)
        assert (lengths_s > 0.0).all()
        spent = cost(held, START, START + duration_s)
        for figures, total in [
            (course.offered_load, load.work_s.sum()),
            (course.requested, 3600.0 * spent.allocation_hours),
            (course.running, 3600.0 * spent.running_allocation_hours),
        ]:
            # Each figure is rounded to thousandths.
            assert lengths_s @ figures == pytest.approx(total, abs=5.1e-4 * duration_s)
