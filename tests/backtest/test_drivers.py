"""How policies drive the plant: what they get, how often, and how their decisions take effect."""

import math
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest

from autoscaler.backtest.baselines.static import Static
from autoscaler.backtest.drivers import (
    AdaptiveDriver,
    BaselineDriver,
    PlanDriver,
    as_configured,
    drive,
)
from autoscaler.backtest.world.plant import Plant
from autoscaler.core.policies import Situation, UtilisationPolicy
from autoscaler.core.values import AdaptiveAllocations, Reason, Step, Value
from tests.backtest.workloads import poisson, scenario, workload


class Scripted(Value, frozen=True, kw_only=True):
    """A baseline with a list of recommendations, the last one repeated. It records what it gets."""

    name: ClassVar[str] = "scripted"
    load_window_s: ClassVar[float] = 10.0

    recommendations: tuple[int, ...]
    shown: list[Situation]
    poll_interval_s: float = 10.0
    sampling_s: float = 10.0

    def begin(self) -> int:
        return 0

    def recommend(self, situation, memory):
        self.shown.append(situation)
        after = self.recommendations[min(memory, len(self.recommendations) - 1)]
        return Step(Reason.RECOMMENDATION, situation.current, after), memory + 1


class Recorded:
    """A driver, and the instants of its polls."""

    def __init__(self, driver):
        self.driver, self.polls = driver, []
        self.poll_interval_s = driver.poll_interval_s

    def advance(self, plant, to):
        self.driver.advance(plant, to)

    def poll(self, plant):
        self.polls.append(plant.now)
        self.driver.poll(plant)


class ScriptedDriver(BaselineDriver):
    """A driver of such a baseline."""

    def __init__(self, *recommendations, minimum=1, maximum=4, **rhythm):
        self.shown = []
        baseline = Scripted(recommendations=recommendations, shown=self.shown, **rhythm)
        super().__init__(baseline, baseline.begin(), minimum, maximum)


def busy_load(erlangs, seconds=600.0, *, seed=1):
    load = poisson(10.0 * erlangs, int(12.0 * erlangs * seconds), 0.1, seed=seed)
    within = load.at < load.start + seconds
    return workload(
        load.at[within] - load.start, load.work_s[within], duration_s=seconds, seed=seed
    )


def changes(plant):
    """What was requested for, by seconds since the start."""
    requested, start = plant.allocation_spans, plant.span[0]
    return [
        (round(after.at - start, 6), after.requested)
        for before, after in pairwise(requested)
        if after.requested != before.requested
    ]


class TestPeriods:
    @pytest.mark.parametrize(
        ("seconds", "poll_interval_s", "polls"),
        [(60.0, 10.0, 6), (60.5, 10.0, 7), (59.5, 10.0, 6), (5.0, 10.0, 1), (7.0, 2.0, 4)],
    )
    def test_polls_are_an_interval_apart_from_the_start_and_none_is_at_the_end(
        self, seconds, poll_interval_s, polls
    ):
        load = workload([0.0], 0.1, duration_s=seconds)
        plant = Plant(scenario(), load, allocations=1)
        witness = Recorded(
            ScriptedDriver(1, poll_interval_s=poll_interval_s, sampling_s=poll_interval_s)
        )
        drive(plant, witness)
        assert witness.polls == [load.start + poll_interval_s * poll for poll in range(polls)]
        assert plant.now == load.start + seconds + scenario().timeout_s

    def test_the_daemons_cycle_runs_once_per_poll_interval(self):
        load = workload([0.0], 0.1, duration_s=60.0)
        driver = ours(scenario(poll_interval_s=7.5))
        drive(Plant(scenario(), load, allocations=1), driver)
        assert [plan.at - load.start for plan in driver.plans] == [7.5 * poll for poll in range(8)]

    def test_adaptive_allocations_run_every_ten_seconds(self):
        witness = Recorded(AdaptiveDriver(1, 4))
        load = busy_load(3.0, 120.0)
        plant = Plant(scenario(poll_interval_s=7.0), load, allocations=1)
        drive(plant, witness)
        assert witness.polls == [load.start + 10.0 * poll for poll in range(12)]
        assert {at % 10.0 for at, _ in changes(plant)} == {0.0}


def ours(scene, target=0.7):
    driver = PlanDriver(
        as_configured(UtilisationPolicy(target=target, load_window_s=60.0), scene),
        scene.poll_interval_s,
    )
    driver.plans = []
    return driver


class TestOurs:
    def test_it_follows_the_load_within_the_bounds(self):
        scene = scenario(min_allocations=2, max_allocations=3, processors=8)
        load = busy_load(4.0)
        driver = ours(scene)
        plant = Plant(scene, load, allocations=2)
        drive(plant, driver)
        assert plant.requested == 3
        assert {allocations for _, allocations in changes(plant)} == {3}
        assert {plan.decisions[0].recommended for plan in driver.plans[-10:]} <= {5, 6, 7}

    def test_it_requests_no_more_than_fits(self):
        scene = scenario(processors=4, max_allocations=9)
        driver = ours(scene)
        plant = Plant(scene, busy_load(6.0, 250.0), allocations=3)
        drive(plant, driver)
        assert (plant.requested, driver.refused) == (4, 0)

    def test_it_does_not_repeat_a_count_that_was_refused(self):
        """More is allowed than fits. It requests it, is refused, and does not request it again
        until it may believe that something has changed."""
        scene = scenario(processors=4, max_allocations=9)
        driver = ours(scene)
        plant = Plant(scene, busy_load(6.0, 250.0), allocations=3, version="8.12")
        drive(plant, driver)
        assert plant.requested == 4
        requested = [decision for plan in driver.plans for decision in plan.decisions]
        refused = [each.desired for each in requested if each.desired > 4]
        assert driver.refused == len(refused) >= 1
        assert len(set(refused)) == len(refused)
        held = [
            each for each in requested if Reason.CAPACITY in {step.reason for step in each.steps}
        ]
        assert len(held) > 15
        assert all(each.desired <= 4 < each.recommended for each in held[len(refused) :])

    def test_it_is_configured_as_shipped_but_for_the_bounds(self):
        scene = scenario(min_allocations=2, max_allocations=3, poll_interval_s=20.0)
        policy = UtilisationPolicy(target=0.6, load_window_s=30.0)
        configured = as_configured(policy, scene)
        (rule,) = configured.rules
        assert (rule.policy, rule.min_allocations, rule.max_allocations) == (policy, 2, 3)
        assert not rule.dry_run
        assert configured.max_interval_s == 120.0


class TestNative:
    def test_it_is_enabled_with_the_bounds_and_does_the_rest(self):
        plant = Plant(scenario(version="9.3.0"), busy_load(3.0), allocations=1)
        drive(plant, AdaptiveDriver(1, 3))
        adaptive = plant.statistics().adaptive
        assert adaptive == AdaptiveAllocations(enabled=True, minimum=1, maximum=3)
        assert plant.requested == 3
        assert max(allocations for _, allocations in changes(plant)) == 3

    def test_nothing_changes_before_the_second_run(self):
        plant = Plant(scenario(), busy_load(3.0, 100.0), allocations=1)
        drive(plant, AdaptiveDriver(1, 4))
        assert changes(plant)[0][0] >= 10.0


class TestOthers:
    def test_only_the_bounds_limit_their_recommendation(self):
        plant = Plant(scenario(processors=8), busy_load(0.1, 60.0), allocations=2)
        driver = ScriptedDriver(99, 4, 0, -5, 3, minimum=2, maximum=5)
        drive(plant, driver)
        assert changes(plant) == [(10.0, 5), (20.0, 4), (30.0, 2), (50.0, 3)]
        assert driver.refused == 0

    def test_every_refusal_counts_and_is_not_reported_to_the_policy(self):
        plant = Plant(scenario(processors=4), busy_load(0.1, 60.0), allocations=2)
        driver = ScriptedDriver(3, 9, 9, 4, 9, maximum=12)
        drive(plant, driver)
        assert changes(plant) == [(10.0, 3), (40.0, 4)]
        assert driver.refused == 3
        assert [seen.current for seen in driver.shown] == [2, 3, 3, 3, 4]

    def test_they_get_the_requested_and_the_running_allocations(self):
        scene = scenario(nodes=2, processors=2, max_allocations=4, load_s=25.0)
        plant = Plant(scene, busy_load(0.1, 70.0), allocations=2)
        driver = ScriptedDriver(4)
        drive(plant, driver)
        assert [(seen.current, seen.running) for seen in driver.shown] == [
            (2, 2), (4, 2), (4, 2), (4, 4), (4, 4), (4, 4),
        ]  # fmt: skip

    def test_they_are_called_first_when_there_is_something_to_compare(self):
        load = busy_load(0.1, 60.0)
        driver = ScriptedDriver(1)
        drive(Plant(scenario(), load, allocations=1), driver)
        assert [seen.at - load.start for seen in driver.shown] == [10, 20, 30, 40, 50]
        assert {seen.sample.interval_s for seen in driver.shown} == {10.0}

    def test_samples_cover_the_time_since_the_last_poll(self):
        # One worker; each request takes two seconds, and two may wait, for five seconds.
        load = workload([1.0, 2.0, 3.0, 4.0, 12.0], 2.0, duration_s=40.0)
        scene = scenario(queue_capacity=2, timeout_s=4.5)
        driver = ScriptedDriver(1)
        drive(Plant(scene, load, allocations=1), driver)
        first, second, _ = (seen.sample for seen in driver.shown)
        # Served at 1, 3 and 5; the third would be done at 7, before its deadline, and the fourth,
        # taken at 7, at 9 and after it.
        assert (first.completed, first.failed, first.in_flight) == (3, 1, 0)
        assert (first.queue_growth, first.arrivals) == (0, 4)
        assert first.busy_s == pytest.approx(8.0)
        assert (second.completed, second.arrivals) == (1, 1)
        assert second.busy_s == pytest.approx(2.0)

    def test_in_flight_requests_are_queue_growth(self):
        load = workload([8.0, 9.0], 4.0, duration_s=40.0)
        driver = ScriptedDriver(1)
        drive(Plant(scenario(), load, allocations=1), driver)
        first, second, _ = (seen.sample for seen in driver.shown)
        assert (first.completed, first.queue_growth, first.in_flight) == (0, 2, 2)
        assert (second.completed, second.queue_growth, second.in_flight) == (2, -2, 0)
        assert (first.busy_s, second.busy_s) == (pytest.approx(2.0), pytest.approx(6.0))

    def test_a_request_whose_caller_still_waits_has_not_failed(self):
        # The second is taken at 10, and would be done at 19. It is at 12 that its caller gives up.
        load = workload([1.0, 2.0], [9.0, 9.0], duration_s=40.0)
        driver = ScriptedDriver(1)
        drive(Plant(scenario(timeout_s=10.0), load, allocations=1), driver)
        first, second, _ = (seen.sample for seen in driver.shown)
        assert (first.completed, first.failed, first.in_flight) == (1, 0, 1)
        assert (second.completed, second.failed) == (0, 1)

    @pytest.mark.parametrize(
        ("poll_interval_s", "sampling_s", "each"), [(10.0, 10.0, 1), (10.0, 0.5, 20), (2.0, 1.0, 2)]
    )
    def test_they_get_the_in_flight_requests_at_their_own_sampling_interval(
        self, poll_interval_s, sampling_s, each
    ):
        load = busy_load(3.0, 40.0)
        plant = Plant(scenario(timeout_s=1e6), load, allocations=3)
        # Some polls are in the middle of a change, others not.
        driver = ScriptedDriver(3, 3, 4, 2, poll_interval_s=poll_interval_s, sampling_s=sampling_s)
        drive(plant, driver)
        begins = load.at + plant.fleet.waits_s
        ends = begins + load.work_s
        for seen in driver.shown:
            instants = seen.at - sampling_s * np.arange(each - 1, -1, -1)
            in_flight = [np.count_nonzero((load.at <= at) & (ends > at)) for at in instants]
            assert list(seen.in_flight) == in_flight
            assert seen.sample.in_flight == in_flight[-1]

    def test_baselines_get_no_load_estimate(self):
        driver = ScriptedDriver(1)
        drive(Plant(scenario(), busy_load(0.5, 60.0), allocations=1), driver)
        for seen in driver.shown:
            assert math.isnan(seen.load.arrival_rate_per_s)

    def test_fixed_allocations_exist_from_the_start(self):
        assert BaselineDriver(Static(allocations=3), None, 1, 4).initial_allocations == 3
        assert ScriptedDriver(3).initial_allocations is None
        assert ours(scenario()).initial_allocations is None
        assert AdaptiveDriver(1, 3).initial_allocations is None
