"""Ray Serve's autoscaler."""

from functools import partial

from autoscaler.backtest.baselines.ray_serve import RayMemory, RayServe
from autoscaler.backtest.baselines.window import Window
from tests.backtest.baselines.polls import Obedient, poll


def pulse(at, *, base=4, high=20, begin=10.0, end=110.0):
    # Samples are taken at tenths, which have no exact binary fraction.
    return high if begin <= round(at, 3) < end else base


def test_the_check_vector_is_met_loop_by_loop():
    """Without a look-back, as if metrics arrived with every loop."""
    baseline = RayServe(target=2.0, look_back_s=0.1)
    deployment = Obedient(baseline, 2, in_flight=pulse, poll_interval_s=0.1)
    changes = {round(at, 6): allocations for at, allocations in deployment.watch(800.0).items()}
    assert changes == {40.0: 10, 710.0: 2}


def test_with_metrics_every_ten_seconds_it_decides_with_the_first_of_them():
    """One sample of twenty raises the mean above the target; its decrease takes 12 s."""
    deployment = Obedient(RayServe(target=2.0), 2, in_flight=pulse)
    assert deployment.watch(800.0) == {40.0: 10, 720.0: 2}


def test_a_spike_shorter_than_the_delay_is_ignored():
    spike = partial(pulse, end=29.0)
    baseline = RayServe(target=2.0, look_back_s=0.5)
    assert Obedient(baseline, 2, in_flight=spike).watch(300.0) == {}


def test_one_contrary_decision_restarts_the_delay():
    def dip_at_five_minutes(at):
        return 20 if 295.0 <= at <= 305.0 else 4

    # At 300 s ten are exactly right; from 310 s they are too many for ten minutes.
    deployment = Obedient(RayServe(target=2.0, look_back_s=5.0), 10, in_flight=dip_at_five_minutes)
    assert deployment.watch(1000.0) == {910.0: 2}


def test_the_last_recommendation_is_applied_not_the_largest():
    falling = {10.0: 40, 20.0: 30, 30.0: 24, 40.0: 16}
    baseline = RayServe(target=2.0, look_back_s=0.5)
    deployment = Obedient(baseline, 2, in_flight=lambda at: falling.get(at, 16 if at > 40.0 else 4))
    assert deployment.watch(60.0) == {40.0: 8}


def recommended(baseline, in_flight, *, current, running=None):
    """The allocations once the delay has passed."""
    down = RayMemory(window=Window((in_flight,), in_flight), direction=-1, since=-1e6)
    up = RayMemory(window=down.window, direction=1, since=-1e6)
    situation = poll(0.0, current=current, running=running, interval_s=10.0, in_flight=(in_flight,))
    after = {baseline.recommend(situation, memory)[0].after for memory in (down, up)} - {current}
    return after.pop() if after else current


def test_the_factor_is_the_fraction_of_the_difference():
    assert recommended(RayServe(target=1.0, factor=0.5), 20, current=10) == 15
    assert recommended(RayServe(target=1.0, factor=0.5), 4, current=10) == 7
    assert recommended(RayServe(target=1.0, factor=2.0), 12, current=10) == 14


def test_a_small_factor_still_removes_the_last_ones():
    assert recommended(RayServe(target=1.0, factor=0.1), 9, current=10) == 9


def test_a_fraction_of_an_allocation_is_not_removed():
    assert recommended(RayServe(target=2.0), 5, current=3) == 3


def test_0_is_reached_only_from_1():
    assert recommended(RayServe(target=1.0), 0, current=10) == 1
    assert recommended(RayServe(target=1.0), 0, current=1) == 0


def test_from_0_any_request_adds_an_allocation_at_once():
    baseline = RayServe(target=2.0)
    step, _ = baseline.recommend(
        poll(0.0, current=0, interval_s=10.0, in_flight=(1,)), baseline.begin()
    )
    assert step.after == 1
