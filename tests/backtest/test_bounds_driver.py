"""The daemon sets the bounds, and adaptive allocations choose between them."""

from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.bounds_driver import LAG_S, BoundsDriver
from autoscaler.backtest.drivers import AdaptiveDriver, as_configured, drive
from autoscaler.backtest.world.plant import DEPLOYMENT_ID, Plant
from autoscaler.core.decision import Mode, SetBounds
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.values import AdaptiveAllocations, Reason, Step, Value
from tests.backtest.workloads import scenario, workload


class Minima(Value, frozen=True, kw_only=True):
    """A policy with one recommendation for each poll, the last one repeated."""

    name: ClassVar[str] = "minima"
    load_window_s: ClassVar[float] = 10.0

    minima: tuple[int, ...]

    def begin(self):
        return 0

    def recommend(self, situation, memory):
        after = self.minima[min(memory, len(self.minima) - 1)]
        return Step(Reason.RECOMMENDATION, situation.current, after), memory + 1


def swelling(erlangs, seconds=900.0, *, seed=1):
    """Up to twice this load and back, in requests of a tenth of a second."""
    rng = np.random.default_rng(seed)
    candidates = np.sort(rng.random(rng.poisson(20.0 * erlangs * seconds)) * seconds)
    at = candidates[rng.random(len(candidates)) < np.sin(np.pi * candidates / seconds) ** 2]
    return workload(at, rng.lognormal(np.log(0.1) - 0.18, 0.6, len(at)), duration_s=seconds)


def scene_of(**given):
    return scenario(**{"processors": 24, "physical_cores": 24, "max_allocations": 24} | given)


class Witnessed(BoundsDriver):
    """A driver, and the observations at its polls."""

    def __init__(self, policy, scene, **given):
        configured = as_configured(policy, scene, Mode.BOUNDS)
        bounds = {"minimum": scene.min_allocations, "maximum": scene.max_allocations}
        super().__init__(configured, scene.poll_interval_s, **bounds | given)
        self.plans = []
        self.seen = []

    def poll(self, plant):
        before = None if self._adaptive_at is None else plant.statistics().adaptive
        super().poll(plant)
        self.seen.append((before, plant.requested, plant.statistics().adaptive))

    @property
    def decisions(self):
        return [plan.decisions[0] for plan in self.plans]

    @property
    def sent(self):
        return [each.change for each in self.decisions if each.change is not None]


def bounds_run(policy, load, *, allocations=1, lag_s=LAG_S, **given):
    """A run, with the driver and the plant afterwards."""
    scene = scene_of(**given)
    driver = Witnessed(policy, scene, lag_s=lag_s)
    plant = Plant(scene, load, allocations=allocations)
    drive(plant, driver)
    return driver, plant


def holdings(plant):
    start, _ = plant.span
    return [(round(at - start, 6), *counts) for at, *counts in plant.allocation_spans]


def changes(plant):
    """What was requested for, by seconds since the start."""
    return [
        (after[0], after[1]) for before, after in pairwise(holdings(plant)) if after[1] != before[1]
    ]


FOLLOWING = UtilisationPolicy(target=0.7, load_window_s=60.0)


class TestBounds:
    def test_they_are_those_of_the_scenario_at_first(self):
        driver, _ = bounds_run(
            Minima(minima=(2,)), swelling(1.0), min_allocations=2, max_allocations=9
        )
        assert driver.sent == []
        assert {after for *_, after in driver.seen} == {
            AdaptiveAllocations(enabled=True, minimum=2, maximum=9)
        }

    def test_they_move_when_the_plan_says_so_and_only_then(self):
        driver, plant = bounds_run(FOLLOWING, swelling(3.0))
        assert len(driver.sent) > 5
        assert (driver.updates, driver.refused) == (len(driver.sent), 0)
        for decision, (before, _, after) in zip(driver.decisions, driver.seen, strict=True):
            if decision.change is None:
                assert before in (after, None)
            else:
                assert decision.change == SetBounds(after.minimum, after.maximum)
                assert before != after
        for (_, _, before), (after, _, _) in pairwise(driver.seen):
            assert before == after
        last = driver.seen[-1][2]
        assert plant.statistics().adaptive == last

    def test_the_minimum_changes_and_the_maximum_is_that_of_the_rule(self):
        driver, _ = bounds_run(FOLLOWING, swelling(3.0), min_allocations=2, max_allocations=17)
        assert {change.maximum for change in driver.sent} == {17}
        assert {change.minimum for change in driver.sent} >= {3, 4, 5}
        assert all(isinstance(change, SetBounds) for change in driver.sent)

    def test_decisions_are_about_the_minimum_and_not_the_running_allocations(self):
        """Adaptive allocations have more than the minimum."""
        driver, plant = bounds_run(Minima(minima=(1,)), swelling(4.0))
        assert max(count for _, count in changes(plant)) > 4
        assert {(each.current, each.desired) for each in driver.decisions} == {(1, 1)}
        assert {each.mode for each in driver.decisions} == {Mode.BOUNDS}


class TestAdaptiveAllocations:
    @settings(deadline=None, max_examples=15)
    @given(
        st.lists(st.integers(0, 20), min_size=1, max_size=40),
        st.integers(1, 4),
        st.integers(4, 16),
        st.integers(0, 2**16),
    )
    def test_it_never_leaves_the_bounds_it_has_been_given(self, floors, least, most, seed):
        policy = Minima(minima=tuple(floors))
        load = swelling(2.0, 400.0, seed=seed)
        given = {"min_allocations": least, "max_allocations": most, "allocations": least}
        driver, _ = bounds_run(policy, load, **given)
        for in_force, count, _ in driver.seen[1:]:
            assert in_force.minimum <= count <= in_force.maximum

    def test_they_run_half_way_between_two_polls(self):
        driver, plant = bounds_run(FOLLOWING, swelling(3.0))
        assert (LAG_S, driver.poll_interval_s) == (5.0, 10.0)
        assert {at % 10.0 for at, _ in changes(plant)} == {5.0}

    def test_they_keep_their_interval_with_any_poll_interval(self):
        driver, plant = bounds_run(FOLLOWING, swelling(3.0), poll_interval_s=7.5)
        start, _ = plant.span
        polls = [round(plan.at - start, 6) for plan in driver.plans]
        assert polls == [7.5 * poll for poll in range(len(polls))]
        assert {at % 10.0 for at, _ in changes(plant)} == {5.0}

    def test_a_higher_floor_is_reached_at_once_and_a_lower_one_after_its_cool_down(self):
        # Too little to do for more than one.
        load = workload(np.arange(0.0, 600.0, 0.5), 0.1, duration_s=600.0)
        floors = (1,) * 10 + (6,) * 6 + (1,)
        _, plant = bounds_run(Minima(minima=floors), load)
        assert changes(plant)[0] == (115.0, 6)
        (down,) = [at for at, count in changes(plant) if count == 1]
        assert 115.0 + 300.0 <= down <= 115.0 + 320.0

    def test_it_goes_beyond_the_floor_by_itself(self):
        load = swelling(4.0)
        _, alone = bounds_run(Minima(minima=(1,)), load)
        _, helped = bounds_run(FOLLOWING, load)
        most = [max(count for _, count in changes(plant)) for plant in (alone, helped)]
        assert 4 < most[0] <= most[1]


class TestWithoutMoving:
    @pytest.mark.parametrize(("least", "most"), [(1, 24), (3, 6), (8, 8)])
    def test_with_bounds_that_stay_it_is_the_cluster_alone(self, least, most):
        given = {"min_allocations": least, "max_allocations": most}
        load = swelling(3.0)
        driver, plant = bounds_run(Minima(minima=(0,)), load, lag_s=0.0, allocations=least, **given)
        alone = Plant(scene_of(**given), load, allocations=least)
        drive(alone, AdaptiveDriver(least, most))
        assert driver.updates == 0
        assert plant.allocation_spans == alone.allocation_spans
        assert np.array_equal(plant.fleet.waits_s, alone.fleet.waits_s, equal_nan=True)
        assert np.array_equal(plant.fleet.outcomes, alone.fleet.outcomes)

    def test_a_poll_changes_nothing(self):
        """With polls at other instants, adaptive allocations act as before."""
        runs = [
            bounds_run(Minima(minima=(1,)), swelling(3.0), poll_interval_s=poll_interval_s)[1]
            for poll_interval_s in (4.0, 9.0)
        ]
        assert runs[0].allocation_spans == runs[1].allocation_spans


def test_the_same_again_is_the_same():
    runs = [bounds_run(FOLLOWING, swelling(3.0), nodes=3, processors=8) for _ in range(2)]
    (one, plant), (other, again) = runs
    assert one.plans == other.plans
    assert plant.allocation_spans == again.allocation_spans


def test_the_observation_shows_enabled_adaptive_allocations():
    load = swelling(3.0)
    plant = Plant(scene_of(), load, allocations=2)
    driver = BoundsDriver(
        as_configured(FOLLOWING, scene_of(), Mode.BOUNDS), 10.0, minimum=1, maximum=24
    )
    driver.poll(plant)
    driver.advance(plant, load.start + 300.0)
    stats = plant.observation().deployments[DEPLOYMENT_ID]
    assert stats.adaptive == AdaptiveAllocations(enabled=True, minimum=1, maximum=24)
    assert stats.allocations == plant.requested > 2
