"""Knative's pod autoscaler."""

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.baselines.kpa import STABLE_S, Kpa
from tests.backtest.baselines.polls import Obedient, look


def tick(at, in_flight, *, current=4, live=None):
    return look(at, current=current, live=live, interval_s=2.0, in_flight=in_flight)


def test_the_check_vector_is_met_tick_by_tick():
    """Half a minute of four times the load: into panic, held there, and down with the window."""
    deployment = Obedient(Kpa(target=1.4), 4, in_flight=lambda at: 20 if 90.0 <= at < 120.0 else 5)
    assert deployment.watch(300.0) == {
        92.0: 9,
        94.0: 13,
        96.0: 15,
        154.0: 9,
        156.0: 8,
        160.0: 7,
        166.0: 6,
        172.0: 5,
        178.0: 4,
    }


def test_twice_as_many_as_are_ready_is_what_it_panics_at():
    kpa = Kpa(target=1.0)
    calm = quiet(kpa, in_flight=4)
    _, memory = kpa.recommend(tick(200.0, (13, 13)), calm)
    assert memory.panic_at is None  # (4 x 4 + 2 x 13) / 6 = 7
    _, memory = kpa.recommend(tick(200.0, (14, 15)), calm)
    assert memory.panic_at == 200.0  # 7.5, which takes 8


def quiet(kpa, in_flight):
    """The memory after three minutes of as many in flight."""
    deployment = Obedient(kpa, 4, in_flight=lambda _: in_flight)
    deployment.watch(180.0)
    assert deployment.memory.panic_at is None
    return deployment.memory


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=40, max_size=160), st.sampled_from([0.7, 1.4, 2.8]))
def test_it_never_falls_while_it_panics(in_flight, target):
    deployment = Obedient(Kpa(target=target), 2)
    for number in in_flight:
        deployment.in_flight = lambda _, number=number: number
        panicked, before = deployment.memory.panic_at is not None, deployment.allocations
        deployment.watch(deployment.looks * 2.0)
        if panicked and deployment.memory.panic_at is not None:
            assert deployment.allocations >= before


def test_a_panic_lasts_a_stable_window_from_the_last_reason_for_it():
    deployment = Obedient(Kpa(target=1.0), 1, in_flight=lambda at: 30 if 100 <= at < 104 else 1)
    deployment.watch(100.0)
    began = []
    for _ in range(60):
        deployment.watch(deployment.looks * 2.0)
        if deployment.memory.panic_at is not None:
            began.append(deployment.at)
    last_reason = 102.0  # at 104 s, the 16 that it went to are more than half of what it wants
    assert began[-1] == last_reason + STABLE_S


def test_outside_a_panic_it_at_most_halves_at_a_tick():
    kpa = Kpa(target=1.0)
    step, _ = kpa.recommend(tick(200.0, (4, 4), current=40, live=40), quiet(kpa, in_flight=4))
    assert step.after == 20


def test_with_several_ready_it_keeps_them_until_it_has_seen_a_window():
    """It may have been started anew in the midst of a load that it has not seen."""
    deployment = Obedient(Kpa(target=1.0), 9)
    assert deployment.watch(STABLE_S) == {}
    assert min(deployment.watch(STABLE_S + 2.0).values()) == 4


def test_a_poll_every_ten_seconds_stands_for_ten_samples():
    kpa = Kpa(target=1.0)
    _, memory = kpa.recommend(look(10.0, current=1, interval_s=10.0, in_flight=(7,)), kpa.begin())
    assert memory.window.samples == (7,) * 10


def test_the_last_one_goes_half_a_minute_after_nothing_is_wanted():
    deployment = Obedient(Kpa(target=1.0), 1, in_flight=lambda at: int(at < 100.0), minimum=0)
    # The last request has left the stable window at 160 s; the one of 99 s is in it at 158 s.
    assert deployment.watch(400.0) == {190.0: 0}


def test_a_first_request_brings_one_back():
    deployment = Obedient(Kpa(target=1.0), 0, in_flight=lambda at: int(at >= 100.0), minimum=0)
    assert deployment.watch(200.0) == {100.0: 1}
