"""Knative's pod autoscaler."""

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.baselines.kpa import STABLE_S, Kpa
from tests.backtest.baselines.polls import Obedient, poll


def tick(at, in_flight, *, current=4, running=None):
    return poll(at, current=current, running=running, interval_s=2.0, in_flight=in_flight)


def test_the_check_vector_is_met_tick_by_tick():
    """Half a minute of four times the load: panic, no scale-down, then down with the window."""
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


def test_it_panics_at_twice_the_ready_allocations():
    kpa = Kpa(target=1.0)
    calm = quiet(kpa, in_flight=4)
    _, memory = kpa.recommend(tick(200.0, (13, 13)), calm)
    assert memory.panic_at is None  # (4 x 4 + 2 x 13) / 6 = 7
    _, memory = kpa.recommend(tick(200.0, (14, 15)), calm)
    assert memory.panic_at == 200.0  # 7.5, which needs 8


def quiet(kpa, in_flight):
    """The memory after three minutes with these in-flight requests."""
    deployment = Obedient(kpa, 4, in_flight=lambda _: in_flight)
    deployment.watch(180.0)
    assert deployment.memory.panic_at is None
    return deployment.memory


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=40, max_size=160), st.sampled_from([0.7, 1.4, 2.8]))
def test_it_never_scales_down_in_a_panic(in_flight, target):
    deployment = Obedient(Kpa(target=target), 2)
    for allocations in in_flight:
        deployment.in_flight = lambda _, allocations=allocations: allocations
        panicked, before = deployment.memory.panic_at is not None, deployment.allocations
        deployment.watch(deployment.polls * 2.0)
        if panicked and deployment.memory.panic_at is not None:
            assert deployment.allocations >= before


def test_a_panic_lasts_one_stable_window_after_its_last_reason():
    deployment = Obedient(Kpa(target=1.0), 1, in_flight=lambda at: 30 if 100 <= at < 104 else 1)
    deployment.watch(100.0)
    began = []
    for _ in range(60):
        deployment.watch(deployment.polls * 2.0)
        if deployment.memory.panic_at is not None:
            began.append(deployment.at)
    last_reason = 102.0  # at 104 s, its 16 allocations are more than half of what it needs
    assert began[-1] == last_reason + STABLE_S


def test_outside_a_panic_it_at_most_halves_at_a_tick():
    kpa = Kpa(target=1.0)
    step, _ = kpa.recommend(tick(200.0, (4, 4), current=40, running=40), quiet(kpa, in_flight=4))
    assert step.after == 20


def test_several_ready_allocations_are_kept_for_the_first_window():
    """It may have been restarted under a load that it has not measured."""
    deployment = Obedient(Kpa(target=1.0), 9)
    assert deployment.watch(STABLE_S) == {}
    assert min(deployment.watch(STABLE_S + 2.0).values()) == 4


def test_a_poll_every_ten_seconds_counts_as_ten_samples():
    kpa = Kpa(target=1.0)
    _, memory = kpa.recommend(poll(10.0, current=1, interval_s=10.0, in_flight=(7,)), kpa.begin())
    assert memory.window.samples == (7,) * 10


def test_the_last_allocation_is_removed_after_the_grace_period():
    deployment = Obedient(Kpa(target=1.0), 1, in_flight=lambda at: int(at < 100.0), minimum=0)
    # The last request has left the stable window at 160 s; the one of 99 s is in it at 158 s.
    assert deployment.watch(400.0) == {190.0: 0}


def test_a_first_request_adds_an_allocation():
    deployment = Obedient(Kpa(target=1.0), 0, in_flight=lambda at: int(at >= 100.0), minimum=0)
    assert deployment.watch(200.0) == {100.0: 1}
