"""Steps of one allocation at thresholds."""

import pytest

from autoscaler.backtest.baselines.threshold import Direction, ThresholdStep
from tests.backtest.baselines.polls import Obedient, poll

STEP = ThresholdStep(
    up=Direction(samples=3, cool_down_s=60.0), down=Direction(samples=5, cool_down_s=100.0)
)


def test_three_samples_above_add_one():
    deployment = Obedient(STEP, 10, load=lambda at: 9.0 if at >= 100.0 else 5.0)
    assert deployment.watch(300.0) == {120.0: 11, 180.0: 12}  # 9 of 12 are 75%


def test_a_sample_in_between_restarts_the_count():
    deployment = Obedient(STEP, 10, load=lambda at: 9.0 if at % 30.0 else 8.0)
    assert deployment.watch(3600.0) == {}


def test_five_samples_below_remove_one_and_then_it_cools_down():
    deployment = Obedient(STEP, 10, load=lambda at: 2.0 if at >= 100.0 else 5.0)
    # Two of six are a third, which is not low.
    assert deployment.watch(3600.0) == {140.0: 9, 240.0: 8, 340.0: 7, 440.0: 6}


def test_the_cool_down_of_one_direction_does_not_delay_the_other():
    deployment = Obedient(STEP, 10, load=lambda at: 2.0 if at < 45.0 else 10.0)
    assert deployment.watch(70.0) == {40.0: 9, 70.0: 10}


def test_one_allocation_always_remains():
    deployment = Obedient(STEP, 3, minimum=0)
    deployment.watch(3600.0)
    assert deployment.allocations == 1


@pytest.mark.parametrize("utilisation", [0.3, 0.8])
def test_at_a_threshold_nothing_changes(utilisation):
    deployment = Obedient(STEP, 10, load=lambda _: 10.0 * utilisation)
    assert deployment.watch(3600.0) == {}


def test_without_a_measurement_nothing_changes():
    memory = STEP.begin()
    step, after = STEP.recommend(poll(10.0, current=4, running=0, interval_s=10.0), memory)
    assert (step.after, after) == (4, memory)
