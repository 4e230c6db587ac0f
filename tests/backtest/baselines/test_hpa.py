"""Kubernetes' horizontal pod autoscaler, v2."""

import pytest

from autoscaler.backtest.baselines.hpa import (
    AverageInFlight,
    AverageUtilisation,
    Hpa,
    ScalingBehaviour,
    ScalingHistory,
)
from autoscaler.backtest.baselines.stabilisation import Stabilisation
from tests.backtest.baselines.polls import Obedient, poll

SYNC_S = 15.0


class TestCheckVectors:
    """Worked by hand from the documented rules: an external metric with an average target of 2."""

    HPA = Hpa(metric=AverageInFlight(target=2.0))

    def test_it_doubles_each_sync_and_stays_up_for_five_minutes(self):
        deployment = Obedient(
            self.HPA,
            4,
            in_flight=lambda at: 40 if 30.0 <= at <= 75.0 else 8,
            poll_interval_s=SYNC_S,
        )
        assert deployment.watch(1800.0) == {30.0: 8, 45.0: 16, 60.0: 20, 375.0: 4}

    @pytest.mark.parametrize(("total", "recommended"), [(87, 4), (89, 5), (73, 4), (59, 3)])
    def test_the_tolerance_is_a_tenth(self, total, recommended):
        """Ten times the totals and the target of the vector, because requests are whole."""
        situation = poll(0.0, current=4, interval_s=SYNC_S, in_flight=(total,))
        assert AverageInFlight(target=20.0).recommended(situation) == recommended


class TestUtilisation:
    METRIC = AverageUtilisation(target=0.7)

    def recommended(self, busy, *, current, running=None):
        return self.METRIC.recommended(
            poll(15.0, current=current, running=running, interval_s=SYNC_S, busy=busy)
        )

    @pytest.mark.parametrize(
        ("busy", "recommended"),
        [
            (10.0, 15),  # saturated: 100 / 70 of ten
            (7.6, 10),  # within the tolerance
            (7.8, 12),  # 78 / 70 = 1.114
            (6.3, 10),
            (6.2, 9),
            (0.0, 0),
        ],
    )
    def test_the_recommendation_follows_the_ratio(self, busy, recommended):
        assert self.recommended(busy, current=10) == recommended

    def test_the_percentage_is_truncated(self):
        # 82.9% would be 1.105 times the target, but 82% is 1.093 times, within the tolerance.
        situation = poll(15.0, current=10, interval_s=SYNC_S, busy=8.29)
        assert AverageUtilisation(target=0.75).recommended(situation) == 10

    def test_unready_allocations_count_as_idle_when_scaling_up(self):
        # Four busy of eight are 50%, which is below the target: no more are needed.
        assert self.recommended(4.0, current=8, running=4) == 8
        # Six busy of seven are 85%.
        assert self.recommended(6.0, current=7, running=6) == 9

    def test_unready_allocations_do_not_count_when_scaling_down(self):
        # 2 busy of 5 are 40%: 40 / 70 of five.
        assert self.recommended(2.0, current=8, running=5) == 3

    def test_without_any_ready_nothing_is_decided(self):
        assert self.recommended(0.0, current=3, running=0) is None
        hpa = Hpa(metric=self.METRIC)
        step, memory = hpa.recommend(
            poll(15.0, current=3, running=0, interval_s=SYNC_S), hpa.begin()
        )
        assert (step.after, memory) == (3, ScalingHistory())

    def test_at_saturation_one_step_is_the_inverse_of_the_target(self):
        deployment = Obedient(Hpa(metric=self.METRIC), 4, load=lambda _: 40.0)
        deployment.watch(45.0)
        assert deployment.allocations == 19  # 4 -> 6 -> 9 -> 13 -> 19, though 58 are needed


class TestFromZero:
    def test_there_is_no_tolerance(self):
        metric = AverageInFlight(target=2.0)
        assert metric.recommended(poll(0.0, current=0, interval_s=SYNC_S, in_flight=(1,))) == 1
        assert metric.recommended(poll(0.0, current=0, interval_s=SYNC_S, in_flight=(0,))) == 0


class TestBehaviour:
    def shaped(self, behaviour, recommended, current, history=None, at=0.0):
        situation = poll(at, current=current, interval_s=SYNC_S)
        return behaviour.shape(recommended, situation, history or ScalingHistory())

    @pytest.mark.parametrize(("current", "most"), [(0, 4), (1, 5), (4, 8), (5, 10), (30, 60)])
    def test_up_by_four_or_to_twice_as_many(self, current, most):
        assert self.shaped(ScalingBehaviour(), 1000, current)[0] == most

    def test_down_without_limit_once_the_window_has_nothing_higher(self):
        assert self.shaped(ScalingBehaviour(), 1, 50)[0] == 1

    def test_additions_of_the_period_count_against_the_limit(self):
        slow = ScalingBehaviour(max_added=2, max_added_percent=0.0, poll_interval_s=60.0)
        allocations, history, trail = 4, ScalingHistory(), []
        for sync in range(10):
            allocations, history = self.shaped(slow, 100, allocations, history, at=SYNC_S * sync)
            trail.append(allocations)
        # A change exactly as old as the period no longer counts.
        assert trail == [6, 6, 6, 6, 8, 8, 8, 8, 10, 10]

    def test_removals_of_the_period_count_against_the_limit(self):
        slow = ScalingBehaviour(
            stabilisation=Stabilisation(up_s=0.0, down_s=0.0),
            max_removed_percent=50.0,
            poll_interval_s=60.0,
        )
        allocations, history, trail = 15, ScalingHistory(), []
        for sync in range(6):
            allocations, history = self.shaped(slow, 1, allocations, history, at=SYNC_S * sync)
            trail.append(allocations)
        assert trail == [7, 7, 7, 7, 3, 3]

    def test_a_window_upwards_follows_the_lowest_recommendation(self):
        slow = ScalingBehaviour(stabilisation=Stabilisation(up_s=30.0, down_s=0.0))
        allocations, history = self.shaped(slow, 4, 4)
        allocations, history = self.shaped(slow, 8, allocations, history, at=15.0)
        assert allocations == 4
        allocations, history = self.shaped(slow, 7, allocations, history, at=30.0)
        assert allocations == 7
