"""Google Cloud's managed instance group."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.baselines.gcp import GcpPredictive
from tests.backtest.baselines.polls import Obedient, poll, recorded

GROUP = GcpPredictive(target=0.5, initialisation_s=300.0)
HOUR_S = 3600.0


def busy_at_noon(days):
    day = np.full(1440, 2.0)
    day[720:780] = 10.0
    return recorded(np.tile(day, days))


def test_it_scales_up_at_once():
    deployment = Obedient(GROUP, 8, load=lambda at: 4.0 if at < 600.0 else 6.0)
    assert deployment.watch(900.0) == {600.0: 12}


def test_it_scales_down_to_the_peak_of_the_last_ten_minutes():
    def load(at):
        return 6.0 if at < 300.0 else 4.0 if at < 480.0 else 1.0

    deployment = Obedient(GROUP, 12, load=load)
    # The last minute of 6 erlangs ended at 240 s, that of 4 at 420 s.
    assert deployment.watch(3600.0) == {840.0: 8, 1020.0: 2}


def test_initialising_allocations_are_not_counted():
    situation = poll(60.0, current=10, running=4, interval_s=60.0, busy=3.0)
    assert GROUP.recommend(situation, GROUP.begin())[0].after == 6
    idle = poll(60.0, current=10, running=0, interval_s=60.0)
    assert GROUP.recommend(idle, GROUP.begin())[0].after == 10


def test_three_days_of_history_predict_the_fourth():
    memory = GROUP.from_history(busy_at_noon(3), 1, 100)
    deployment = Obedient(GROUP, 4, load=lambda _: 2.0, memory=memory)
    changes = deployment.watch(14 * HOUR_S)
    (up, high), *down = sorted(changes.items())
    # It has to begin one initialisation and one poll before noon; a slot has five minutes.
    assert 12 * HOUR_S - 660.0 <= up <= 12 * HOUR_S - 300.0
    assert high == 20
    assert all(at >= 13 * HOUR_S for at, _ in down)


def test_two_days_of_history_predict_nothing():
    memory = GROUP.from_history(busy_at_noon(2), 1, 100)
    deployment = Obedient(GROUP, 4, load=lambda _: 2.0, memory=memory)
    assert deployment.watch(14 * HOUR_S) == {}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.integers(1, 30))
def test_a_prediction_never_lowers(utilisations, current):
    with_history, without = GROUP.from_history(busy_at_noon(3), 1, 100), GROUP.begin()
    for minute, utilisation in enumerate(utilisations, 1):
        situation = poll(
            minute * 60.0, current=current, interval_s=60.0, busy=utilisation * current
        )
        predicted, with_history = GROUP.recommend(situation, with_history)
        measured, without = GROUP.recommend(situation, without)
        assert predicted.after >= measured.after
        assert predicted.after >= math.ceil(2.0 / 0.5)
