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
from tests.backtest.baselines.polls import Obedient, look

SYNC_S = 15.0


class TestCheckVectors:
    """Worked by hand from the documented rules: an external metric with an average target of 2."""

    HPA = Hpa(metric=AverageInFlight(target=2.0))

    def test_it_doubles_each_sync_and_stays_up_for_five_minutes(self):
        deployment = Obedient(
            self.HPA, 4, in_flight=lambda at: 40 if 30.0 <= at <= 75.0 else 8, period_s=SYNC_S
        )
        assert deployment.watch(1800.0) == {30.0: 8, 45.0: 16, 60.0: 20, 375.0: 4}

    @pytest.mark.parametrize(("total", "wanted"), [(87, 4), (89, 5), (73, 4), (59, 3)])
    def test_the_tolerance_is_a_tenth(self, total, wanted):
        """Ten times the totals and the target of the vector, for requests are whole."""
        situation = look(0.0, current=4, interval_s=SYNC_S, in_flight=(total,))
        assert AverageInFlight(target=20.0).recommended(situation) == wanted


class TestUtilisation:
    METRIC = AverageUtilisation(target=0.7)

    def wanted(self, busy, *, current, live=None):
        return self.METRIC.recommended(
            look(15.0, current=current, live=live, interval_s=SYNC_S, busy=busy)
        )

    @pytest.mark.parametrize(
        ("busy", "wanted"),
        [
            (10.0, 15),  # saturated: 100 / 70 of ten
            (7.6, 10),  # within tolerance
            (7.8, 12),  # 78 / 70 = 1.114
            (6.3, 10),
            (6.2, 9),
            (0.0, 0),
        ],
    )
    def test_the_number_follows_the_ratio(self, busy, wanted):
        assert self.wanted(busy, current=10) == wanted

    def test_the_percentage_is_cut_to_a_whole_number(self):
        # 82.9 % would be 1.105 times the target, but 82 % is 1.093 times, which is tolerated.
        situation = look(15.0, current=10, interval_s=SYNC_S, busy=8.29)
        assert AverageUtilisation(target=0.75).recommended(situation) == 10

    def test_those_not_ready_count_as_idle_when_there_are_too_few(self):
        # Four busy of eight are 50 %, which is below the target: those coming will do.
        assert self.wanted(4.0, current=8, live=4) == 8
        # Six busy of seven are 85 %.
        assert self.wanted(6.0, current=7, live=6) == 9

    def test_those_not_ready_do_not_count_when_there_are_too_many(self):
        # 2 busy of 5 are 40 %: 40 / 70 of five.
        assert self.wanted(2.0, current=8, live=5) == 3

    def test_without_any_ready_nothing_is_decided(self):
        assert self.wanted(0.0, current=3, live=0) is None
        hpa = Hpa(metric=self.METRIC)
        step, memory = hpa.recommend(look(15.0, current=3, live=0, interval_s=SYNC_S), hpa.begin())
        assert (step.after, memory) == (3, ScalingHistory())

    def test_saturation_shows_only_as_the_inverse_of_the_target(self):
        deployment = Obedient(Hpa(metric=self.METRIC), 4, load=lambda _: 40.0)
        deployment.watch(45.0)
        assert deployment.allocations == 19  # 4 -> 6 -> 9 -> 13 -> 19, though 58 are needed


class TestFromNone:
    def test_there_is_no_tolerance(self):
        metric = AverageInFlight(target=2.0)
        assert metric.recommended(look(0.0, current=0, interval_s=SYNC_S, in_flight=(1,))) == 1
        assert metric.recommended(look(0.0, current=0, interval_s=SYNC_S, in_flight=(0,))) == 0


class TestBehaviour:
    def shaped(self, behaviour, wanted, current, course=None, at=0.0):
        situation = look(at, current=current, interval_s=SYNC_S)
        return behaviour.shape(wanted, situation, course or ScalingHistory())

    @pytest.mark.parametrize(("current", "most"), [(0, 4), (1, 5), (4, 8), (5, 10), (30, 60)])
    def test_up_by_four_or_to_twice_as_many(self, current, most):
        assert self.shaped(ScalingBehaviour(), 1000, current)[0] == most

    def test_down_without_limit_once_nothing_higher_is_remembered(self):
        assert self.shaped(ScalingBehaviour(), 1, 50)[0] == 1

    def test_what_was_added_in_the_period_counts_against_the_limit(self):
        slow = ScalingBehaviour(max_added=2, max_added_percent=0.0, poll_interval_s=60.0)
        number, course, trail = 4, ScalingHistory(), []
        for sync in range(10):
            number, course = self.shaped(slow, 100, number, course, at=SYNC_S * sync)
            trail.append(number)
        # A change exactly as old as the period no longer counts.
        assert trail == [6, 6, 6, 6, 8, 8, 8, 8, 10, 10]

    def test_what_was_removed_in_the_period_counts_against_the_limit(self):
        slow = ScalingBehaviour(
            stabilisation=Stabilisation(up_s=0.0, down_s=0.0),
            max_removed_percent=50.0,
            poll_interval_s=60.0,
        )
        number, course, trail = 15, ScalingHistory(), []
        for sync in range(6):
            number, course = self.shaped(slow, 1, number, course, at=SYNC_S * sync)
            trail.append(number)
        assert trail == [7, 7, 7, 7, 3, 3]

    def test_a_window_upwards_follows_the_lowest_recommendation(self):
        slow = ScalingBehaviour(stabilisation=Stabilisation(up_s=30.0, down_s=0.0))
        number, course = self.shaped(slow, 4, 4)
        number, course = self.shaped(slow, 8, number, course, at=15.0)
        assert number == 4
        number, course = self.shaped(slow, 7, number, course, at=30.0)
        assert number == 7
