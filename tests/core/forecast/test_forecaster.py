"""Forecasts of loads with a known course, and when they are trusted."""

import math
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.forecast.forecaster import HORIZONS_S, MAX_GAP_S, Forecaster
from autoscaler.core.forecast.seasonality import SLOT_S, slot_mean

FORECASTER = Forecaster()
MONDAY = 1_767_571_200.0  # 5 January 2026, 0:00 UTC
DAY_S = 86_400.0
POLL_S = 10.0


def daily(at):
    """Between 2 and 18 erlangs, most at noon."""
    return 10.0 - 8.0 * math.cos(2.0 * math.pi * at / DAY_S)


def weekly(at):
    return daily(at) * (0.25 if (at - MONDAY) // DAY_S % 7 >= 5 else 1.0)


def steady(at):
    return 10.0


def instants(start, days):
    return [start + POLL_S * poll for poll in range(1, round(days * DAY_S / POLL_S) + 1)]


def memory_after(load, days, memory=None, start=MONDAY, noise=0.0, seed=1):
    memory, dice = memory or FORECASTER.begin(), random.Random(seed)
    for at in instants(start, days):
        measured = max(0.0, load(at) + noise * math.sqrt(load(at)) * dice.gauss(0.0, 1.0))
        memory = FORECASTER.updated(memory, at, measured, POLL_S)
    return memory


def forecast_for(memory, horizon_s=70.0):
    return FORECASTER.predict(memory, memory.at, horizon_s)


def test_the_first_measurement_counts_with_its_duration():
    memory = FORECASTER.begin()
    for at in range(100, 1_000, 100):
        memory = FORECASTER.updated(memory, MONDAY + at, 4.0, 100.0)
    assert slot_mean(memory.state.profile, int(MONDAY // SLOT_S)) == pytest.approx(4.0, rel=1e-3)


class TestAccuracy:
    def test_before_the_first_measurement_there_is_no_forecast(self):
        forecast = FORECASTER.predict(FORECASTER.begin(), MONDAY, 70.0)
        assert (forecast.load, forecast.trusted) == (0.0, False)
        assert forecast.accuracy is forecast.coverage is None

    def test_it_is_trusted_after_a_day(self):
        before = memory_after(daily, 0.99)
        assert not forecast_for(before).trusted
        assert forecast_for(memory_after(daily, 0.02, before, before.at)).trusted

    def test_a_daily_cycle_is_predicted(self):
        memory = memory_after(daily, 4.25)
        for horizon_s in (600.0, 1800.0):
            forecast = forecast_for(memory, horizon_s)
            assert forecast.expected == pytest.approx(daily(memory.at + horizon_s), rel=0.03)
            assert forecast.trusted

    def test_a_weekly_cycle_is_predicted(self):
        """On a Monday morning, after two quiet days."""
        start = MONDAY + 14 * DAY_S
        memory = memory_after(weekly, 14.25, noise=0.05)
        assert memory.at > start
        forecast = forecast_for(memory, 1800.0)
        assert forecast.expected == pytest.approx(weekly(memory.at + 1800.0), rel=0.05)
        assert forecast.trusted

    def test_it_is_about_as_accurate_as_a_naive_forecast_of_noise(self):
        accuracy = forecast_for(memory_after(steady, 3, noise=0.5), 600.0).accuracy
        assert accuracy is not None
        assert accuracy < 1.1

    def test_the_forecast_rises_with_the_horizon(self):
        memory = memory_after(daily, 3.25, noise=0.5)
        loads = [forecast_for(memory, horizon_s).load for horizon_s in (70.0, 600.0, 1800.0)]
        assert loads == sorted(loads)


class TestTrust:
    def test_a_change_of_regime_ends_the_trust_for_some_hours(self):
        """A steady load becomes a cycle of another size."""
        memory, hour = memory_after(steady, 2, noise=0.2), round(3600.0 / POLL_S)
        assert forecast_for(memory, 600.0).trusted
        trusted = []
        for at in instants(memory.at, 4):
            memory = FORECASTER.updated(memory, at, 5.0 * daily(at), POLL_S)
            trusted.append(forecast_for(memory, 600.0).trusted)
        assert not all(trusted[: 12 * hour])
        assert all(trusted[-12 * hour :])

    def test_an_inverted_cycle_is_not_followed(self):
        """The load falls when the profile rises."""
        memory = memory_after(daily, 4.25)
        memory = memory_after(lambda at: daily(at + DAY_S / 2), 0.25, memory, memory.at)
        forecast = forecast_for(memory, 1800.0)
        assert forecast.expected < 4.0 or not forecast.trusted

    def test_an_old_measurement_is_not_trusted(self):
        memory = memory_after(daily, 2)
        assert forecast_for(memory).trusted
        assert not FORECASTER.predict(memory, memory.at + MAX_GAP_S + 1.0, 70.0).trusted

    def test_a_horizon_beyond_the_longest_scored_one_is_not_trusted(self):
        memory = memory_after(daily, 3, noise=0.1)
        assert forecast_for(memory, HORIZONS_S[-1]).trusted
        assert not forecast_for(memory, HORIZONS_S[-1] + 1.0).trusted


class TestCoverage:
    @pytest.mark.parametrize("horizon_s", [70.0, 600.0])
    @pytest.mark.parametrize("load", [steady, daily, weekly])
    def test_it_equals_the_quantile(self, load, horizon_s):
        assert self.covered(load, horizon_s, noise=0.3) == pytest.approx(0.95, abs=0.02)

    @pytest.mark.parametrize("horizon_s", [70.0, 600.0])
    def test_also_for_a_random_walk(self, horizon_s):
        dice, logarithms = random.Random(2), [2.0]
        for _ in range(8 * 1440):
            logarithms.append(2.0 + 0.98 * (logarithms[-1] - 2.0) + dice.gauss(0.0, 0.1))

        def random_walk(at):
            return math.exp(logarithms[int((at - MONDAY) // 60.0)])

        assert self.covered(random_walk, horizon_s, noise=0.2) == pytest.approx(0.95, abs=0.02)

    @staticmethod
    def covered(load, horizon_s, noise):
        """The fraction of forecasts of a week, after the first day, that were not exceeded."""
        dice, memory = random.Random(11), FORECASTER.begin()
        levels, loads = [], []
        for poll, at in enumerate(instants(MONDAY, 8)):
            measured = max(0.0, load(at) + noise * math.sqrt(load(at)) * dice.gauss(0.0, 1.0))
            memory = FORECASTER.updated(memory, at, measured, POLL_S)
            levels.append(memory.level)
            if at > MONDAY + DAY_S and poll % 7 == 0:
                loads.append((poll, forecast_for(memory, horizon_s).load))
        polls = round(horizon_s / POLL_S)
        hits = [
            max(levels[poll + 1 : poll + 1 + polls]) <= predicted
            for poll, predicted in loads
            if poll + polls < len(levels)
        ]
        return sum(hits) / len(hits)


class TestRobustness:
    @staticmethod
    def size(memory):
        season, records = memory.state.profile, memory.state.records
        parts = [season.week, season.recent, season.daily, season.weekly, season.outlook]
        for record in records:
            parts += [record.calibration.scores, record.calibration.ranked]
        return sum(map(sys.getsizeof, parts))

    def test_memory_is_bounded(self):
        memory = FORECASTER.from_history([1.0 + n % 7 for n in range(2016)], MONDAY)
        sizes = {self.size(memory_after(daily, days, memory)) for days in (3, 6)}
        assert len(sizes) == 1
        assert sizes.pop() < 25_000

    def test_after_a_gap_the_profile_is_still_used(self):
        memory = memory_after(daily, 3)
        later = memory_after(daily, 0.25, memory, memory.at + 6 * 3600.0)
        forecast = forecast_for(later, 600.0)
        assert forecast.trusted
        assert forecast.load == pytest.approx(daily(later.at + 600.0), rel=0.1)

    @pytest.mark.parametrize("step_s", [-30.0, -3600.0, -3 * DAY_S, 3600.0, 40 * DAY_S])
    def test_it_recovers_after_the_clock_was_set(self, step_s):
        memory = memory_after(daily, 3)
        later = memory_after(daily, 1.5, memory, memory.at + step_s)
        forecast = forecast_for(later, 600.0)
        assert forecast.load == pytest.approx(daily(later.at + 600.0), rel=0.2)

    @pytest.mark.parametrize("load", [math.nan, math.inf, -1.0, 1e300])
    def test_an_invalid_load_is_ignored(self, load):
        memory = memory_after(daily, 0.1)
        assert FORECASTER.updated(memory, memory.at + POLL_S, load, POLL_S) is memory

    def test_within_a_slot_only_sums_change(self):
        memory = memory_after(steady, 1)
        while memory.next_due_at <= memory.at + POLL_S:
            memory = FORECASTER.updated(memory, memory.at + POLL_S, 10.0, POLL_S)
        after = FORECASTER.updated(memory, memory.at + POLL_S, 12.0, POLL_S)
        assert after.state is memory.state
        assert after.slot_erlang_s == memory.slot_erlang_s + 120.0

    measurements = st.lists(
        st.tuples(
            st.sampled_from(
                [10.0, 10.0, 10.0, 3.0, 61.0, 300.0, 4000.0, 2e5, 2e6, 0.0, -5.0, -9e4]
            ),
            st.floats(0.0, 1e6) | st.sampled_from([0.0, 1e-300, math.nan, -1.0, math.inf]),
            st.sampled_from([10.0, 0.0, 1e-9, 300.0, 1e9, math.nan, math.inf]),
        ),
        max_size=150,
    )

    @settings(max_examples=60, deadline=None)
    @given(measurements, st.floats(1.0, 7200.0))
    def test_after_any_measurements_the_forecast_is_finite(self, measurements, horizon_s):
        memory, at = FORECASTER.begin(), MONDAY
        for step_s, load, interval_s in measurements:
            at += step_s
            memory = FORECASTER.updated(memory, at, load, interval_s)
            forecast = FORECASTER.predict(memory, at, horizon_s)
            assert 0.0 <= forecast.expected <= forecast.load < math.inf
            assert forecast.accuracy is None or 0.0 <= forecast.accuracy < math.inf
            assert forecast.coverage is None or 0.0 <= forecast.coverage <= 1.0

    @settings(max_examples=30, deadline=None)
    @given(measurements)
    def test_the_same_measurements_give_the_same_memory(self, measurements):
        memories = []
        for _ in range(2):
            memory, at = FORECASTER.begin(), MONDAY
            for step_s, load, interval_s in measurements:
                at += step_s
                memory = FORECASTER.updated(memory, at, load, interval_s)
            memories.append(repr(memory))
        assert memories[0] == memories[1]


class TestHistory:
    @staticmethod
    def recorded(days):
        starts = [MONDAY + SLOT_S * (slot + 0.5) for slot in range(round(days * 288))]
        return [daily(at) for at in starts]

    def test_recorded_slots_are_used_at_once(self):
        ends_at = MONDAY + 3.25 * DAY_S
        memory = FORECASTER.from_history(self.recorded(3.25), ends_at)
        assert memory.at == ends_at
        memory = memory_after(daily, 0.01, memory, ends_at)
        forecast = forecast_for(memory, 600.0)
        assert forecast.trusted
        assert forecast.load == pytest.approx(daily(memory.at + 600.0), rel=0.1)

    def test_unknown_slots_are_nan(self):
        slots = self.recorded(3.25)
        slots[100:150] = [math.nan] * 50
        memory = FORECASTER.from_history(slots, MONDAY + 3.25 * DAY_S)
        assert forecast_for(memory, 600.0).trusted

    def test_an_empty_history_is_the_first_memory(self):
        assert FORECASTER.from_history([], MONDAY) == FORECASTER.begin()
