"""Loads that recur by the clock: they are found, expected in time, and given up when they end."""

import math
import random

import pytest

from autoscaler.core.slo.count_history import SLOT_S, SLOTS, CountHistory, Lookback, with_count
from autoscaler.core.slo.recurrence import (
    MAX_ERROR,
    MAX_NAIVE,
    MEMORY_PERIODS,
    MIN_VARIANCE,
    MINUTE,
    PERIODS_S,
    SHORT,
    SIMILAR,
    PeriodError,
    Recurrence,
    after_count,
    expected_peaks,
    expected_rates,
    mean_rate,
    next_change_s,
    unchanged_s,
)

START = 1_700_000_000.0 // 7200.0 * 7200.0


class Job:
    """A job that is busy for `busy_s` of every `period_s`, at other times nearly idle."""

    def __init__(self, period_s, busy_s, rate=30.0, idle=0.1, seed=1, phase_s=0.0):
        self.period_s, self.busy_s, self.rate, self.idle = period_s, busy_s, rate, idle
        self.phase_s, self.dice = phase_s, random.Random(seed)

    def mean(self, since, until):
        """The mean rate, second by second."""
        seconds = round(until - since)
        busy = sum(
            (since + second + 0.5 - START - self.phase_s) % self.period_s < self.busy_s
            for second in range(seconds)
        )
        return (busy * self.rate + (seconds - busy) * self.idle) / seconds

    def count(self, since, until):
        mean = self.mean(since, until) * (until - since)
        return max(0, round(self.dice.gauss(mean, math.sqrt(mean))))


def observed(job, periods, poll_s=10.0, known=None, at=START):
    """The recurrence after so many periods."""
    known = known or Recurrence()
    for _ in range(round(periods * job.period_s / poll_s)):
        known = after_count(known, job.count(at, at + poll_s), at + poll_s, poll_s)
        at += poll_s
    return known, at


class TestPeriods:
    @pytest.mark.parametrize("period_s", [each for each in PERIODS_S if each >= 120.0])
    def test_a_job_is_found_within_three_periods(self, period_s):
        known, _ = observed(Job(period_s, max(60.0, period_s / 30.0)), 3.0)
        assert known.period is not None
        assert PERIODS_S[known.period] == period_s

    @pytest.mark.parametrize("seed", range(5))
    def test_a_constant_load_does_not_recur(self, seed):
        known, _ = observed(Job(600.0, 600.0, rate=20.0, seed=seed), 12.0)
        assert known.period is None

    @pytest.mark.parametrize("seed", range(5))
    def test_nor_does_a_load_that_switches_at_random(self, seed):
        dice, known, at, rate = random.Random(seed), Recurrence(), START, 30.0
        found = 0
        for _ in range(1_000):
            if dice.random() < 0.1:
                rate = 30.0 - rate
            known = after_count(known, round(rate * 10.0), at + 10.0, 10.0)
            found += known.period is not None
            at += 10.0
        assert found <= 150

    @pytest.mark.parametrize("hours", [1.0, 3.0, 24.0])
    def test_nor_does_a_load_that_rises_and_falls_slowly(self, hours):
        known, at, dice = Recurrence(), START, random.Random(1)
        found = 0
        for poll in range(2_000):
            rate = 100.0 + 90.0 * math.sin(2.0 * math.pi * poll * 10.0 / (hours * 3600.0))
            count = dice.gauss(rate * 10.0, math.sqrt(rate * 10.0))
            known = after_count(known, max(0, round(count)), at + 10.0, 10.0)
            found += known.period is not None and PERIODS_S[known.period] < hours * 3600.0
            at += 10.0
        assert found <= 20

    def test_nor_does_a_single_step(self):
        known, at = Recurrence(), START
        for poll in range(1_000):
            rate = 5.0 if poll < 200 else 50.0
            known = after_count(known, round(rate * 10.0), at + 10.0, 10.0)
            assert known.period is None
            at += 10.0

    def test_a_job_that_stops_is_given_up_within_three_periods(self):
        job = Job(300.0, 60.0)
        known, at = observed(job, 12.0)
        job.rate = job.idle
        known, at = observed(job, 3.0, known=known, at=at)
        assert known.period is None or mean_rate(expected_peaks(known, at, at + 300.0)) < 3.0

    def test_long_intervals_are_no_evidence(self):
        """The same rate in all seconds of an interval would look as if it recurred."""
        known, at = Recurrence(), START
        for poll in range(100):
            known = after_count(known, (poll % 2) * 1_000, at + 60.0, 60.0)
            assert known.period is None
            at += 60.0


def straightforward(errors, period, before, history):
    """The errors and the period once the slots up to those of `history` have ended: slot by slot,
    as the module describes it, without anything that makes it faster."""
    errors = list(errors)
    for slot in range(max(before.slot, history.slot - 10_000), history.slot):
        minute_ends = slot % MINUTE == MINUTE - 1
        for index, period_s in enumerate(PERIODS_S):
            span = 1 if index < SHORT else MINUTE
            if span == 1 or minute_ends:
                kept = math.exp(-span * SLOT_S / (MEMORY_PERIODS * period_s))
                errors[index] = compared(errors[index], history, slot, span, period_s, kept)
        if minute_ends:
            period = shortest(errors)
    return tuple(errors), period


def compared(error, history, slot, span, period_s, kept):
    lag = round(period_s / SLOT_S)
    shifts = (0, lag, min(MINUTE, lag // 2))
    slots = range(slot - span + 1, slot + 1)
    rate, earlier, naive = (sum(history.rate(each - n) for each in slots) / span for n in shifts)
    if math.isnan(rate + earlier + naive):
        return error
    return PeriodError(
        slots=kept * error.slots + 1.0,
        rate=kept * error.rate + rate,
        square=kept * error.square + rate * rate,
        error=kept * error.error + (rate - earlier) * (rate - earlier),
        naive=kept * error.naive + (rate - naive) * (rate - naive),
    )


def shortest(errors):
    fractions = {}
    for index, (error, period_s) in enumerate(zip(errors, PERIODS_S, strict=True)):
        span_s = SLOT_S * (1 if index < SHORT else MINUTE)
        whole = MEMORY_PERIODS * period_s / span_s * -math.expm1(-1.0 / MEMORY_PERIODS)
        if error.slots < 0.99 * whole:
            continue
        fraction = error.error / max(1e-300, 2.0 * error.variance * error.slots)
        recurs = fraction < MAX_ERROR and error.error < MAX_NAIVE * error.naive
        if recurs and error.variance > MIN_VARIANCE * error.rate / error.slots / span_s:
            fractions[index] = fraction
    least = min(fractions.values(), default=0.0)
    return min((each for each in fractions if fractions[each] <= least + SIMILAR), default=None)


class TestFastComparison:
    @pytest.mark.parametrize("seed", range(6))
    def test_it_is_the_straightforward_one(self, seed):
        """Polls of any length, some of them much later."""
        dice = random.Random(seed)
        job = Job(dice.choice(PERIODS_S[:8]), 60.0, seed=seed)
        known, at = Recurrence(), START + dice.uniform(-1e5, 1e5)
        errors, period = known.errors, None
        for _ in range(300):
            poll_s = dice.choice((2.0, 10.0, 10.0, 10.0, 19.9, 20.0))
            if dice.random() < 0.03:
                at += dice.choice((7.0, 300.0, 8_000.0, 40_000.0))
            if dice.random() < 0.03:
                poll_s = dice.choice((20.1, 90.0, 4_000.0, 20_000.0))
            at += poll_s
            count = 0 if dice.random() < 0.05 else job.count(at - poll_s, at)
            after = after_count(known, count, at, poll_s)
            errors, period = straightforward(errors, period, known.history, after.history)
            assert after.period == period
            if period is not None or after.history.slot % MINUTE == 0:
                assert after.errors == errors
            known = after

    @pytest.mark.parametrize("seed", range(5))
    def test_rates_are_read_at_once_as_one_by_one(self, seed):
        dice, known = random.Random(seed), CountHistory()
        for poll in range(2 * SLOTS):
            known = with_count(known, dice.randrange(100), 10.0 * (poll + 1), 10.0)
        lags = [dice.randrange(SLOTS) for _ in range(4)]
        lookback = Lookback(lags)
        for slot in range(known.slot - SLOTS - 5, known.slot + 5):
            rates = lookback.rates(known, slot)
            for lag in (0, *lags):
                rate = known.rate(slot - lag)
                assert rates[lookback.index(lag)] == pytest.approx(rate, rel=0.0, nan_ok=True)


@pytest.fixture
def known():
    """A job that begins at each full five minutes; 12 periods were observed."""
    return observed(Job(300.0, 60.0), 12.0)


class TestExpectation:
    def test_the_load_is_expected_when_it_is_due(self, known):
        known, at = known
        assert mean_rate(expected_peaks(known, at, at + 6.0)) == pytest.approx(30.0, rel=0.2)
        assert mean_rate(expected_peaks(known, at + 60.0, at + 66.0)) < 3.0
        assert mean_rate(expected_rates(known, at + 50.0, at + 70.0)) == pytest.approx(
            15.0, rel=0.3
        )

    def test_a_poll_is_due_before_it_begins_and_when_it_ends(self, known):
        known, at = known
        assert next_change_s(known, at + 100.0, 14.0, 4.0) is None
        assert next_change_s(known, at + 48.0, 14.0, 4.0) == pytest.approx(8.0)
        assert next_change_s(known, at + 61.0, 14.0, 4.0) == 0.0

    def test_a_poll_is_due_when_the_job_ended_the_last_time_and_not_the_time_before(self):
        known, at = observed(Job(7200.0, 600.0), 4.0)
        known, at = observed(Job(7200.0, 660.0), 1.0, 10.0, known, at)
        assert next_change_s(known, at + 580.0, 30.0, 4.0) is None
        assert next_change_s(known, at + 640.0, 30.0, 4.0) == pytest.approx(16.0)

    def test_a_quiet_time_lasts_until_it_begins(self, known):
        known, at = known
        assert unchanged_s(known, at + 60.0, 0.1) == pytest.approx(240.0, abs=SLOT_S)

    def test_nothing_is_expected_of_a_load_that_does_not_recur(self):
        assert expected_peaks(Recurrence(), START, START + 60.0) == ()
        assert next_change_s(Recurrence(), START, 60.0, 4.0) is None
        assert unchanged_s(Recurrence(), START, 1.0) == 0.0


class TestHistory:
    def test_requests_are_counted_in_their_slots(self):
        known = CountHistory(slot=round(START / SLOT_S))
        for poll in range(10):
            known = with_count(known, poll, START + 2.0 * (poll + 1), 2.0)
        slot = round(START / SLOT_S)
        assert known.rate(slot) == pytest.approx((0 + 1 + 2 + 3 + 4) / SLOT_S, rel=1e-3)
        assert known.rate(slot + 1) == pytest.approx((5 + 6 + 7 + 8 + 9) / SLOT_S, rel=1e-3)

    @pytest.mark.parametrize("back", [1, 7, SLOTS - 1, SLOTS, 5 * SLOTS])
    def test_a_clock_that_is_set_back_leaves_no_rate_at_another_time(self, back):
        known = CountHistory()
        for slot in range(SLOTS + 5):
            known = with_count(known, slot, START + SLOT_S * (slot + 1), SLOT_S)
        first = round(START / SLOT_S)
        last = first + SLOTS + 4 - back
        known = with_count(known, 10, SLOT_S * (last + 1), SLOT_S)
        assert known.rate(last) == 1.0
        for slot in range(last - SLOTS - 1, last):
            rate = known.rate(slot)
            assert math.isnan(rate) or rate == pytest.approx((slot - first) / SLOT_S, rel=1e-3)

    def test_a_gap_is_unknown(self):
        known = with_count(CountHistory(), 100, START + 10.0, 10.0)
        known = with_count(known, 100, START + 110.0, 10.0)
        slot = round(START / SLOT_S)
        assert known.rate(slot) == pytest.approx(10.0)
        assert math.isnan(known.rate(slot + 5))
        assert known.rate(slot + 10) == pytest.approx(10.0)
        assert math.isnan(known.mean_rate(START, START + 60.0))
