"""AWS: target tracking, and predictive scaling as its lower limit."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.baselines.aws import PredictiveScaling, TargetTracking, Tracking
from tests.backtest.baselines.polls import Obedient, poll, recorded

TRACKING = TargetTracking(target=0.7)
PREDICTIVE = PredictiveScaling(tracking=TRACKING, ahead_s=120.0)
HOUR_S, DAY_MINUTES = 3600.0, 1440


def between(begin_s, end_s, load, otherwise):
    return lambda at: load if begin_s <= at < end_s else otherwise


class TestTargetTracking:
    def test_two_minutes_above_the_target_are_not_acted_upon(self):
        deployment = Obedient(TRACKING, 10, load=between(600.0, 720.0, 10.0, 7.0))
        assert deployment.watch(1500.0) == {}

    def test_the_third_minute_adds_what_is_missing(self):
        deployment = Obedient(TRACKING, 10, load=between(600.0, 1e9, 9.0, 7.0))
        # 10 x 0.9 / 0.7 = 12.9
        assert deployment.watch(3600.0) == {720.0: 13}

    def test_fourteen_minutes_below_are_not_acted_upon(self):
        deployment = Obedient(TRACKING, 10, load=between(600.0, 600.0 + 14 * 60.0, 2.0, 7.0))
        assert deployment.watch(7200.0) == {}

    def test_the_fifteenth_minute_removes_what_no_minute_needed(self):
        def load(at):
            return 7.0 if at < 600.0 else 4.0 if at < 660.0 else 2.0

        deployment = Obedient(TRACKING, 10, load=load)
        assert deployment.watch(600.0 + 14 * 60.0) == {1440.0: 6}

    def test_a_little_below_the_target_is_not_low(self):
        deployment = Obedient(TRACKING, 10, load=lambda _: 6.4)
        assert deployment.watch(7200.0) == {}

    def test_after_a_removal_it_waits_five_minutes(self):
        deployment = Obedient(TRACKING, 40, load=lambda at: 20.0 if at < 60.0 else 1.0)
        changes = deployment.watch(3600.0)
        assert all(later - earlier >= 300.0 for earlier, later in pairwise(sorted(changes)))
        assert min(changes.values()) == 2  # 1 erlang at 0.7

    def test_while_it_cools_down_only_a_larger_request_adds_the_difference(self):
        deployment = Obedient(TRACKING, 4, load=lambda _: 40.0)
        # Saturated: 4 -> 6 adds 2; of 6, 3 more exceed that by 1; of 7, 3 more do not exceed it.
        assert deployment.watch(420.0) == {120.0: 6, 180.0: 7}
        assert deployment.watch(480.0) == {480.0: 10}

    def test_an_out_alarm_cancels_the_cool_down_of_removing(self):
        memory = Tracking(points=(0.9,) * 2, in_at=0.0)
        step, memory = TRACKING.recommend(poll(60.0, current=10, interval_s=60.0, busy=9.0), memory)
        assert (step.after, memory.in_at) == (13, None)

    def test_a_minute_without_any_allocation_has_no_point(self):
        memory = Tracking(points=(0.9,) * 2)
        step, after = TRACKING.recommend(poll(60.0, current=4, running=0, interval_s=60.0), memory)
        assert (step.after, after) == (4, memory)

    def test_one_allocation_always_remains(self):
        deployment = Obedient(TRACKING, 5, minimum=0)
        deployment.watch(7200.0)
        assert deployment.allocations == 1


def days(count, hour_of_load, load=20.0, otherwise=2.0):
    """Minutes of `count` days with one busy hour each, beginning at midnight."""
    day = np.full(DAY_MINUTES, otherwise)
    day[hour_of_load * 60 : hour_of_load * 60 + 60] = load
    return np.tile(day, count)


class TestPredictiveScaling:
    def test_the_capacity_of_a_busy_hour_runs_before_it_begins(self):
        memory = PREDICTIVE.from_history(recorded(days(2, 9)), 1, 100)
        deployment = Obedient(PREDICTIVE, 3, load=lambda _: 2.0, memory=memory)
        changes = deployment.watch(11 * HOUR_S)
        # Polls are a minute apart and the launch is two minutes ahead.
        first = min(changes)
        assert 9 * HOUR_S - 180.0 <= first <= 9 * HOUR_S - 120.0
        assert changes[first] == math.ceil(20.0 / 0.7)

    def test_only_target_tracking_removes_capacity(self):
        memory = PREDICTIVE.from_history(recorded(days(2, 9)), 1, 100)
        deployment = Obedient(PREDICTIVE, 3, load=lambda _: 2.0, memory=memory)
        changes = deployment.watch(11 * HOUR_S)
        falls = [at for at, allocations in changes.items() if allocations < math.ceil(20.0 / 0.7)]
        assert falls
        assert min(falls) >= 10 * HOUR_S

    def test_less_than_a_day_predicts_nothing(self):
        memory = PREDICTIVE.from_history(recorded(days(1, 9)[1:-4]), 1, 100)
        deployment = Obedient(PREDICTIVE, 3, load=lambda _: 2.0, memory=memory)
        assert deployment.watch(60.0) == {}
        assert deployment.memory.season.loads  # although some history is known

    def test_a_run_becomes_history_a_day_later(self):
        load = between(9 * HOUR_S, 10 * HOUR_S, 20.0, 2.0)
        deployment = Obedient(PREDICTIVE, 3, load=lambda at: load(at % (24 * HOUR_S)))
        first_day = deployment.watch(24 * HOUR_S)
        second_day = deployment.watch(48 * HOUR_S)
        assert min(first_day) > 9 * HOUR_S
        assert 24 * HOUR_S < min(at for at in second_day if second_day[at] > 20) < 33 * HOUR_S

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60), st.integers(1, 30))
    def test_the_forecast_never_lowers_the_result(self, utilisations, current):
        memory = PREDICTIVE.from_history(recorded(days(2, 0, load=15.0)), 1, 100)
        plain = TRACKING.begin()
        for minute, utilisation in enumerate(utilisations, 1):
            situation = poll(
                minute * 60.0, current=current, interval_s=60.0, busy=utilisation * current
            )
            step, memory = PREDICTIVE.recommend(situation, memory)
            without, plain = TRACKING.recommend(situation, plain)
            assert step.after == max(without.after, math.ceil(15.0 / 0.7))

    @pytest.mark.parametrize("weeks", [1, 2])
    def test_after_a_week_a_day_is_like_the_same_day_of_the_week(self, weeks):
        week = np.concatenate([days(5, 9), days(2, 9, load=2.0)])
        memory = PREDICTIVE.from_history(
            recorded(np.tile(week, weeks)[: 7 * weeks * DAY_MINUTES]), 1, 99
        )
        deployment = Obedient(PREDICTIVE, 3, load=lambda _: 2.0, memory=memory)
        rises = [
            at / 86_400.0
            for at, allocations in deployment.watch(7 * 86_400.0).items()
            if allocations > 20
        ]
        assert {int(day) for day in rises} == {0, 1, 2, 3, 4}
