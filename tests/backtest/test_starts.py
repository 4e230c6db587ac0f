"""A daemon that starts under a constant load, also in the middle of an overload.

Responses that still find their caller are the quick ones then, so that every mean of them is too
low. The number that is found counts: the median of the desired allocations once all is settled.
"""

from statistics import median

import pytest

from autoscaler.backtest.drivers import PlanDriver, as_configured
from autoscaler.backtest.world.plant import Plant
from autoscaler.core.explanation import explain
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.slo.policy import SloPolicy
from tests.backtest.test_slo_policy import POLL_S, scene, stream

pytestmark = pytest.mark.untraced

POLICIES = [UtilisationPolicy(target=0.7, load_window_s=60.0), SloPolicy()]
both = pytest.mark.parametrize("built_in", POLICIES, ids=["utilisation", "slo"])
blind = pytest.mark.parametrize("before_s", [0.0, 60.0, 300.0])
SEEDS = range(3)
POLLS = 24


def decisions(built_in, load, service_time_s, allocations, *, before_s, seed, cv=0.7):
    """The decisions of a daemon that starts `before_s` seconds after the load of so many erlangs
    began. The first one has nothing to compare with."""
    seconds = before_s + POLL_S * (POLLS + 1)
    load = stream((load / service_time_s, seconds), seed=seed, service_time_s=service_time_s, cv=cv)
    simulated = scene(64, service_time_s=service_time_s, queue_capacity=10_000)
    plant = Plant(simulated, load, allocations=allocations)
    driver = PlanDriver(as_configured(built_in, simulated), POLL_S)
    driver.plans = []
    for poll in range(POLLS):
        if at := before_s + poll * POLL_S:
            plant.advance(load.start + at)
        driver.poll(plant)
    return [plan.decisions[0] for plan in driver.plans]


@both
@blind
@pytest.mark.parametrize("allocations", [1, 3])
@pytest.mark.parametrize("service_time_s", [0.02, 0.1])
@pytest.mark.parametrize("load", [3.3, 9.0, 30.0])
def test_the_number_is_found_in_two_polls(built_in, load, service_time_s, allocations, before_s):
    for seed in SEEDS:
        found = decisions(built_in, load, service_time_s, allocations, before_s=before_s, seed=seed)
        desired = [decision.desired for decision in found]
        settled = median(desired[-8:])
        assert 0.75 * settled <= desired[2] <= 1.4 * settled, desired
        assert max(desired) <= 1.4 * settled, desired


@both
@blind
@pytest.mark.parametrize("allocations", [1, 3])
@pytest.mark.parametrize("load", [3.3, 9.0, 30.0])
def test_with_a_few_slow_requests_nearly(built_in, load, allocations, before_s):
    """An allocation serves ten requests of 1 s in ten seconds, which show their mean to a quarter.
    In an overload, fewer reach their callers, and those from before it show it."""
    for seed in SEEDS:
        found = decisions(built_in, load, 1.0, allocations, before_s=before_s, seed=seed)
        desired = [decision.desired for decision in found]
        settled = median(desired[-8:])
        assert 0.6 * settled <= desired[2] <= 1.6 * settled, desired


@pytest.mark.parametrize(
    ("cv", "lowest", "highest"), [(0.3, 0.85, 1.7), (0.7, 0.65, 1.35), (1.2, 0.45, 1.25)]
)
@pytest.mark.parametrize("service_time_s", [0.02, 0.1])
@pytest.mark.parametrize("load", [3.3, 9.0, 30.0])
def test_in_an_overload_the_service_time_is_corrected_by_the_quick_requests(
    load, service_time_s, cv, lowest, highest
):
    """However much they vary. With the highest variation, the mean of the totals alone is less
    than half of the true one."""
    for seed in SEEDS:
        first = decisions(POLICIES[0], load, service_time_s, 1, before_s=300.0, seed=seed, cv=cv)[1]
        assert lowest <= first.load.service_time_s / service_time_s <= highest


@both
def test_until_a_sample_without_overload_the_estimate_is_marked(built_in):
    found = decisions(built_in, 3.3, 0.1, 1, before_s=300.0, seed=1)
    measured = [decision.load.service_time_at_most_s is None for decision in found[1:]]
    assert not measured[0]
    assert "load about" in explain(found[1])
    assert measured == sorted(measured), "once it is measured, it stays so"
    first = measured.index(True) + 1
    assert all(decision.sample.overloaded for decision in found[1:first])
    assert not found[first].sample.overloaded
    assert found[first].load.service_time_s == pytest.approx(0.1, rel=0.1)
