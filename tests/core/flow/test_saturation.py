"""An overload in which nearly all requests time out, and only the quick ones complete."""

import random
from itertools import pairwise

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import OutcomeKind
from autoscaler.core.explanation import explain
from autoscaler.core.flow.cycle import begin_cycle, end_cycle
from autoscaler.core.flow.measurement import measure
from autoscaler.core.flow.sampling import sample
from autoscaler.core.flow.saturation import CORRECTION, with_service_time_of_totals
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import DeploymentState, State
from tests.observations import deployment, loading, node, observation, outcome, policy, rule

POLICIES = [UtilisationPolicy(target=0.7, load_window_s=60.0), SloPolicy()]
both = pytest.mark.parametrize("built_in", POLICIES, ids=["utilisation", "slo"])
RATE_PER_S, SERVICE_S = 60.0, 0.1  # 6 erlangs


class Overloaded:
    """Below 6 allocations all requests wait, and only quick ones of 40 ms find their caller."""

    def __init__(self, allocations):
        self.allocations = allocations
        self.at, self.completed, self.timeouts, self.busy_s = 0.0, 0, 0, 0.0

    def after(self, seconds):
        self.at += seconds
        arrived, overloaded = round(RATE_PER_S * seconds), self.allocations <= 6
        done = arrived // 12 if overloaded else arrived
        self.completed += done
        self.timeouts += arrived - done
        self.busy_s += done * (0.0395 if overloaded else SERVICE_S - 0.0005)
        process = node(
            allocations=self.allocations,
            completed=self.completed,
            timeouts=self.timeouts,
            busy_s=self.busy_s,
            pending=600 if overloaded else 6,
            server_last_access_at=self.at + 5_000.0,
        )
        return deployment(process)


def decisions(built_in, allocations, seconds=600.0):
    rules, state, simulated = policy(rule(policy=built_in)), State(), Overloaded(allocations)
    for _ in range(round(seconds / 10.0)):
        stats = simulated.after(10.0)
        cycle = begin_cycle(state, observation(simulated.at, stats), rules)
        accepted = {d.deployment_id: outcome(d, OutcomeKind.ACCEPTED) for d in cycle.updates}
        _, state = end_cycle(cycle.plan, accepted, cycle.state)
        (decision,) = cycle.plan.decisions
        simulated.allocations = decision.desired
        yield decision


@both
@pytest.mark.parametrize("allocations", [1, 2, 4, 5])
def test_it_is_scaled_up_until_requests_no_longer_time_out(built_in, allocations):
    seen = list(decisions(built_in, allocations))
    assert seen[-1].current > 6
    assert not seen[-1].sample.overloaded


@both
def test_within_a_minute(built_in):
    assert max(d.desired for d in decisions(built_in, 4, seconds=60.0)) > 6


def test_the_least_service_time_never_exceeds_the_true_one():
    for decision in decisions(POLICIES[0], 2):
        if decision.load is not None and decision.load.service_time_s is not None:
            assert decision.load.service_time_s <= SERVICE_S + 0.0006


@both
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("allocations", [1, 2, 3])
def test_allocations_added_within_an_overload_raise_no_estimate(built_in, allocations, seed):
    """Callers time out until they run. They have worked for a part of the interval only."""
    dice = random.Random(seed)
    rules, state, added = policy(rule(policy=built_in)), State(), 4
    completed, timeouts, busy_s, in_flight = 0, 0, 0.0, 0
    for poll in range(1, 8):
        running = allocations if poll < 3 else added
        arrived = round(dice.gauss(500.0, 22.0))
        done = min(arrived + in_flight, round(10.0 * running / 0.05))
        if poll == 3:  # they were added towards the end
            done = min(done, round(10.0 * (0.7 * allocations + 0.3 * added) / 0.05))
        late = max(0, in_flight + arrived - done - 420) + (poll < 4) * arrived // 6
        completed, timeouts, busy_s = completed + done, timeouts + late, busy_s + done * 0.0495
        in_flight = max(0, min(420, in_flight + arrived - done))
        process = node(
            allocations=running,
            completed=completed,
            timeouts=timeouts,
            busy_s=busy_s,
            pending=in_flight,
            server_last_access_at=10.0 * poll + 5_000.0,
        )
        cycle = begin_cycle(state, observation(10.0 * poll, deployment(process)), rules)
        _, state = end_cycle(cycle.plan, {}, cycle.state)
        (decision,) = cycle.plan.decisions
        if decision.load is not None and decision.load.service_time_s is not None:
            assert decision.load.service_time_s <= 0.0501


class FirstMeasuredInAnOverload:
    """Nearly all callers give up; what they gave up on is not computed."""

    TRUE_S, RATE_PER_S = 0.05, 360.0  # 18 erlangs

    def __init__(self, built_in, allocations, completed_before, maximum=40):
        self.rules = policy(rule(policy=built_in, max_allocations=maximum))
        self.state, self.allocations = State(), allocations
        self.at, self.completed, self.timeouts = 0.0, completed_before, 10_000

    def cycle(self):
        self.at += 10.0
        arrived, overloaded = round(10.0 * self.RATE_PER_S), self.allocations < 18
        completed = 2 if overloaded else arrived
        self.completed += completed
        self.timeouts += arrived - completed
        process = node(
            allocations=self.allocations,
            completed=self.completed,
            timeouts=self.timeouts,
            busy_s=self.completed * (self.TRUE_S - 0.0005),
            pending=3600 if overloaded else 18,
            server_last_access_at=self.at + 5_000.0,
        )
        stats = deployment(process, queue_capacity=5_000)
        cycle = begin_cycle(self.state, observation(self.at, stats), self.rules)
        accepted = {d.deployment_id: outcome(d, OutcomeKind.ACCEPTED) for d in cycle.updates}
        _, self.state = end_cycle(cycle.plan, accepted, cycle.state)
        (decision,) = cycle.plan.decisions
        self.allocations = decision.desired
        return decision


@both
@pytest.mark.parametrize("allocations", [2, 4, 8, 12])
def test_the_totals_of_the_processes_show_the_load_at_once(built_in, allocations):
    first_measured = FirstMeasuredInAnOverload(built_in, allocations, completed_before=200)
    decision = [first_measured.cycle() for _ in range(2)][-1]
    assert decision.load.offered_load == pytest.approx(18.0, rel=0.05)
    assert decision.desired > 18


@both
@pytest.mark.parametrize("allocations", [1, 2, 4, 8])
class TestWithoutUsefulTotals:
    def test_the_load_is_known_from_below_only(self, built_in, allocations):
        first_measured = FirstMeasuredInAnOverload(built_in, allocations, completed_before=0)
        decision = [first_measured.cycle() for _ in range(2)][-1]
        assert decision.load.offered_load <= 18.0 <= decision.load.load_at_most
        step = decision.steps[0]
        assert "load_stddev" not in step.inputs
        assert step.candidates == ()
        assert "(callers time out)" in explain(decision)

    def test_allocations_double_until_they_suffice(self, built_in, allocations):
        first_measured = FirstMeasuredInAnOverload(built_in, allocations, completed_before=0)
        decisions = [first_measured.cycle() for _ in range(20)]
        numbers = [decision.desired for decision in decisions]
        enough = next(place for place, number in enumerate(numbers) if number > 18)
        assert all(b >= 2 * a for a, b in pairwise(numbers[:enough]) if a > allocations)
        assert enough <= 5
        assert max(numbers) <= 36
        assert decisions[-1].load.service_time_s == pytest.approx(0.05, rel=0.02)
        assert decisions[-1].steps[0].inputs["offered_load"] == pytest.approx(18.0, rel=0.05)


def test_a_measurement_replaces_what_an_overload_showed():
    first_measured = FirstMeasuredInAnOverload(POLICIES[0], 8, completed_before=0)
    decisions = [first_measured.cycle() for _ in range(6)]
    measured = next(d for d in decisions[1:] if not d.sample.overloaded)
    assert measured.load.service_time_at_most_s is None
    assert measured.load.service_time_s == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("completed", [1_700, 1_000, 300])
def test_the_bounds_of_the_load_include_the_true_one(completed):
    """10 allocations complete 2,000 requests in an interval, for callers and for those who gave
    up."""
    before = node(allocations=10, pending=500)
    after = node(allocations=10, pending=500, completed=completed, timeouts=3_600 - completed)
    known = measure(None, deployment(before), at=0.0, load_window_s=60.0, max_interval_s=60.0)
    state = DeploymentState(seen_at=0.0, baseline=known.baseline, baseline_at=0.0)
    stats = deployment(replace(after, busy_s=completed * 0.001))
    load = measure(state, stats, at=10.0, load_window_s=60.0, max_interval_s=60.0).load
    assert load.offered_load <= 18.0 <= load.load_at_most


@pytest.mark.parametrize(("quick", "timeouts"), [(6, 54), (9, 50), (12, 48)])
def test_quick_requests_in_the_totals_are_left_out_of_their_mean(quick, timeouts):
    """Half of the totals are requests of 1 s from before the overload. The others are quick ones of
    0.4 s, as many in each of the ten intervals as in the last one."""
    interval_s, all_quick = 40.0, 10 * quick
    earlier = node(
        pending=50,
        completed=2 * all_quick - quick,
        busy_s=1.0 * all_quick + 0.4 * (all_quick - quick),
        server_started_at=1_000.0,
        server_last_access_at=1_000.0 + 9.0 * interval_s,
    )
    later = replace(
        earlier,
        completed=2 * all_quick,
        busy_s=1.0 * all_quick + 0.4 * all_quick,
        timeouts=timeouts,
        server_last_access_at=1_000.0 + 10.0 * interval_s,
    )
    before, after = deployment(earlier), deployment(later)
    seen = sample(before, after, at=10.0 * interval_s, interval_s=interval_s)
    timed = with_service_time_of_totals(seen, before, after)
    service_time_s = timed.timed_busy_s / timed.timed
    assert service_time_s == pytest.approx(0.7 * (1.0 / 0.7) ** CORRECTION, rel=0.02)


@pytest.mark.parametrize("others", [(), (loading(),)], ids=["alone", "beside one that starts"])
def test_the_service_time_is_the_one_with_which_as_many_requests_are_quick_enough(others):
    """Of 400 arrivals in 40 s, four busy allocations can compute 320 of 0.5 s. With these times, a
    fraction of 1 / 3.5² begins before it is given up and ends before the next one is: 26. Before
    the overload, requests took 0.3 s."""
    quick, earlier_ones, interval_s = 26, 1000, 40.0
    earlier = node(
        allocations=4,
        pending=50,
        completed=earlier_ones,
        busy_s=0.3 * earlier_ones - 0.1 * quick,
        server_started_at=1_000.0,
        server_last_access_at=1_000_000.0,
    )
    later = replace(
        earlier,
        completed=earlier_ones + quick,
        busy_s=0.3 * earlier_ones,
        timeouts=400 - quick,
        server_last_access_at=1_000_000.0 + interval_s,
    )
    before, after = deployment(earlier, *others), deployment(later, *others)
    seen = sample(before, after, at=interval_s, interval_s=interval_s)
    timed = with_service_time_of_totals(seen, before, after)
    totals_s = 0.3 * earlier_ones / (earlier_ones + quick)
    expected_s = totals_s * (0.5 / totals_s) ** CORRECTION
    assert timed.timed_busy_s / timed.timed == pytest.approx(expected_s, rel=0.02)
