"""Ray Serve's autoscaler."""

from functools import partial

from autoscaler.backtest.baselines.ray_serve import RayMemory, RayServe
from autoscaler.backtest.baselines.window import Window
from tests.backtest.baselines.polls import Obedient, look


def pulse(at, *, base=4, high=20, begin=10.0, end=110.0):
    # Samples are taken at tenths, which have no exact binary fraction.
    return high if begin <= round(at, 3) < end else base


def test_the_check_vector_is_met_loop_by_loop():
    """Without a look-back, as if metrics came with every loop."""
    peer = RayServe(target=2.0, look_back_s=0.1)
    deployment = Obedient(peer, 2, in_flight=pulse, period_s=0.1)
    changes = {round(at, 6): number for at, number in deployment.watch(800.0).items()}
    assert changes == {40.0: 10, 710.0: 2}


def test_at_the_pace_of_its_metrics_it_decides_with_the_first_that_are_there():
    """One sample of twenty pushes the mean above the target; its fall takes a fifth of a minute."""
    deployment = Obedient(RayServe(target=2.0), 2, in_flight=pulse)
    assert deployment.watch(800.0) == {40.0: 10, 720.0: 2}


def test_a_spike_shorter_than_the_delay_is_ignored():
    spike = partial(pulse, end=29.0)
    peer = RayServe(target=2.0, look_back_s=0.5)
    assert Obedient(peer, 2, in_flight=spike).watch(300.0) == {}


def test_one_decision_to_the_contrary_starts_the_delay_again():
    def dip_at_five_minutes(at):
        return 20 if 295.0 <= at <= 305.0 else 4

    # At 300 s the ten are just right; from 310 s on they are too many for ten minutes.
    deployment = Obedient(RayServe(target=2.0, look_back_s=5.0), 10, in_flight=dip_at_five_minutes)
    assert deployment.watch(1000.0) == {910.0: 2}


def test_what_is_applied_is_the_last_wish_and_not_the_largest():
    falling = {10.0: 40, 20.0: 30, 30.0: 24, 40.0: 16}
    peer = RayServe(target=2.0, look_back_s=0.5)
    deployment = Obedient(peer, 2, in_flight=lambda at: falling.get(at, 16 if at > 40.0 else 4))
    assert deployment.watch(60.0) == {40.0: 8}


def wanted(peer, in_flight, *, current, live=None):
    """What it goes to once it has waited long enough."""
    ever = RayMemory(window=Window((in_flight,), in_flight), direction=-1, since=-1e6)
    up = RayMemory(window=ever.window, direction=1, since=-1e6)
    situation = look(0.0, current=current, live=live, interval_s=10.0, in_flight=(in_flight,))
    after = {peer.recommend(situation, memory)[0].after for memory in (ever, up)} - {current}
    return after.pop() if after else current


def test_the_factor_says_how_much_of_the_way_it_goes():
    assert wanted(RayServe(target=1.0, factor=0.5), 20, current=10) == 15
    assert wanted(RayServe(target=1.0, factor=0.5), 4, current=10) == 7
    assert wanted(RayServe(target=1.0, factor=2.0), 12, current=10) == 14


def test_a_small_factor_does_not_keep_what_is_too_much():
    assert wanted(RayServe(target=1.0, factor=0.1), 9, current=10) == 9


def test_a_part_of_one_too_much_is_not_too_much():
    assert wanted(RayServe(target=2.0), 5, current=3) == 3


def test_the_step_to_none_is_taken_from_one():
    assert wanted(RayServe(target=1.0), 0, current=10) == 1
    assert wanted(RayServe(target=1.0), 0, current=1) == 0


def test_from_none_any_request_is_answered_at_once():
    peer = RayServe(target=2.0)
    step, _ = peer.recommend(look(0.0, current=0, interval_s=10.0, in_flight=(1,)), peer.begin())
    assert step.after == 1
