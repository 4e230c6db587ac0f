"""One absurd figure does not decide for long, and refused requests disprove an estimate."""

import random

import pytest

from autoscaler.core.forecast.seasonality import SLOTS_PER_DAY
from autoscaler.core.slo.policy import RecordedLoads
from autoscaler.core.slo.prediction import MAX_LOAD_RATIO
from tests.core.slo.test_policy import SERVICE_S, Watch

STEADY = 200  # requests per interval: 2 erlangs


def settled(**given):
    watch = Watch(4, **given)
    watch.settle(STEADY)
    return watch


def absurd(watch, *, service_time_s, polls=1):
    watch.service_time_s = service_time_s
    watch.polls(polls, STEADY)
    watch.service_time_s = SERVICE_S


@pytest.mark.parametrize("polls", [1, 2, 3])
@pytest.mark.parametrize("service_time_s", [0.0005 + 1e-9, 10.0, 1e6])
def test_absurd_service_times_are_forgotten_within_two_minutes(polls, service_time_s):
    expected = settled(max_allocations=24).step.after
    watch = settled(max_allocations=24)
    absurd(watch, service_time_s=service_time_s, polls=polls)
    watch.polls(12, STEADY)
    assert watch.memory.estimate.service_time.mean_s == pytest.approx(SERVICE_S, rel=0.2)
    assert watch.step.inputs["offered_load"] < 3.0
    assert abs(watch.step.after - expected) <= 1


def test_one_service_time_that_nothing_confirms_changes_nothing():
    watch = settled()
    absurd(watch, service_time_s=1e6)
    assert watch.memory.estimate.service_time.mean_s == pytest.approx(SERVICE_S, rel=0.05)


def test_a_real_change_of_the_service_time_is_followed_at_the_second_poll():
    watch = settled()
    watch.service_time_s = 20.0 * SERVICE_S
    watch.polls(2, STEADY // 10, in_flight=30)
    assert watch.memory.estimate.service_time.mean_s == pytest.approx(20 * SERVICE_S, rel=0.1)


@pytest.mark.parametrize("count", [10**6, 10**9])
def test_an_absurd_count_is_no_load_to_provide_for(count):
    """It exceeds what any allowed number could serve."""
    expected = settled(max_allocations=24).step.after
    watch = settled(max_allocations=24)
    watch.poll(count)
    watch.polls(12, STEADY)
    assert watch.step.inputs["offered_load"] < MAX_LOAD_RATIO * 24
    watch.polls(360, STEADY)
    assert abs(watch.step.after - expected) <= 1


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("nodes", [(4,), (2, 2)], ids=["one_node", "two_nodes"])
def test_odd_counts_change_a_recommendation_for_an_hour_at_most(nodes, seed):
    """On two nodes there is a forecast as well."""
    dice = random.Random(seed)
    watch = Watch(*nodes, max_allocations=24)
    watch.polls(30, STEADY)
    expected = watch.step.after
    for _ in range(dice.randint(1, 6)):
        watch.poll(dice.choice([0, 1, 10 * STEADY, 10**4, 10**6, 10**9, 2**53]))
        watch.polls(dice.randint(0, 2), STEADY)
    assert watch.memory.dispersion < 10.0
    watch.polls(360, STEADY)
    assert watch.memory.dispersion < 2.0
    assert watch.step.inputs["offered_load"] < 3.0
    assert abs(watch.step.after - expected) <= 1


@pytest.mark.parametrize("seed", range(12))
def test_odd_counts_spoil_no_trusted_forecast(seed):
    """Neither now, nor at the same time of the next day."""
    dice = random.Random(seed)
    loads = tuple([2.0 + dice.gauss(0.0, 0.1) for _ in range(2 * SLOTS_PER_DAY)])
    history = RecordedLoads(loads=loads, ends_at=0.0)
    watch = Watch(2, 2, max_allocations=24, interval_s=60.0, history=history)

    def an_hour():
        for _ in range(60):
            yield watch.poll(max(0, round(dice.gauss(6 * STEADY, 35.0))))

    *_, before = an_hour()
    assert before.inputs["forecast_load"] < 4.0
    for _ in range(dice.randint(1, 6)):
        watch.poll(dice.choice([0, 1, 10**6, 10**7, 10**9, 2**53]))
        watch.polls(dice.randint(0, 2), 6 * STEADY)
    list(an_hour())
    for _ in range(25):
        for step in an_hour():
            assert step.inputs.get("forecast_load", 0.0) < 4.0
            assert step.after <= before.after + 1


def test_an_estimate_that_refused_requests_disprove_is_dropped():
    """Two erlangs on one allocation: half is refused, for any earlier estimate."""
    watch = Watch(1, service_time_s=0.0045)
    watch.polls(12, STEADY)
    assert watch.step.inputs["offered_load"] < 0.1
    for _ in range(3):
        completed = round(10.0 / SERVICE_S)
        step = watch.poll(STEADY, failed=STEADY - completed, in_flight=50)
    assert step.inputs["offered_load"] == pytest.approx(2.0, rel=0.2)
    assert step.after >= 3


def test_it_is_while_only_the_quickest_requests_reach_their_callers():
    watch = Watch(4, service_time_s=0.04)
    watch.polls(2, 300)
    for _ in range(4):
        watch.poll(600, failed=550, timeouts=550, in_flight=600)
    assert watch.step.after > 4


class TestAfterAnOutage:
    """Callers repeat their requests when the cluster returns."""

    @staticmethod
    def returned():
        watch = settled()
        watch.at += 180.0
        return watch, watch.requested

    def test_one_burst_of_retries_changes_nothing(self):
        watch, before = self.returned()
        after = [
            watch.poll(4 * STEADY, in_flight=6).after,
            *(s.after for s in watch.polls(6, STEADY)),
        ]
        assert set(after) == {before}

    def test_a_higher_load_counts_from_the_second_interval(self):
        watch, before = self.returned()
        watch.poll(4 * STEADY, in_flight=6)
        assert watch.poll(4 * STEADY, in_flight=6).after > before + 2

    def test_without_a_gap_it_counts_at_once(self):
        watch = settled()
        assert watch.poll(4 * STEADY, in_flight=6).after > watch.requested + 2


@pytest.mark.parametrize("new_node_s", [2 * 86_400.0, 1e9, -5.0])
def test_an_update_that_waited_for_days_does_not_set_the_time_of_the_next(new_node_s):
    """It waited for a node, or the clock was set: no further node is requested days ahead."""

    def last(new_node_s):
        watch = Watch(2, 2, max_allocations=24)
        for _ in range(2 * 360):
            step = watch.poll(4 * STEADY if watch.at % 300.0 < 60.0 else 0, new_node_s=new_node_s)
        return step

    step = last(new_node_s)
    assert step.inputs["recurs_every_s"] == 300.0
    assert step.after in {last(60.0).after, last(1800.0).after}
