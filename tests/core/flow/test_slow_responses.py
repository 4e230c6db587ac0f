"""Responses that arrive late: the counters were read somewhere between request and arrival."""

import random

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import Mode, OutcomeKind, Stop
from autoscaler.core.explanation import explain
from autoscaler.core.flow.cycle import begin_cycle, end_cycle
from autoscaler.core.flow.planning import Ruleset
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import State
from autoscaler.core.values import AdaptiveAllocations, DataIssue, Observation
from tests.observations import deployment, node, outcome, rule

SLO = SloPolicy()
UTILISATION = UtilisationPolicy(target=0.67, load_window_s=60.0)
POLL_S, SERVICE_S = 10.0, 0.04


class Deployment:
    """Counters under a Poisson load, which can be read at any rising instants."""

    def __init__(self, seed, load=7.0, allocations=11, service_s=SERVICE_S):
        self.random = random.Random(seed)
        self.load, self.allocations, self.service_s = load, allocations, service_s
        self.at, self.accessed_at = 0.0, 0.0
        self.completed, self.pending = 0, round(load)

    def read(self, at):
        mean = (at - self.at) * self.load / self.service_s
        arrivals = max(0, round(self.random.gauss(mean, mean**0.5)))
        pending = max(0, round(self.random.gauss(self.load, self.load**0.5)))
        done = max(0, arrivals + self.pending - pending)
        self.at, self.completed = at, self.completed + done
        self.accessed_at = at if done else self.accessed_at
        self.pending = pending
        process = node(
            allocations=self.allocations,
            completed=self.completed,
            busy_s=self.completed * (self.service_s - 0.0005),
            pending=pending,
            mean_inference_s=self.service_s,
            server_last_access_at=self.accessed_at + 5_000.0,
        )
        return deployment(process)


class OnTenNodes(Deployment):
    """A deployment that the cluster spreads over ten nodes, of which it never gives up one, such as
    where each is the only one of its availability zone."""

    def read(self, at):
        arrivals = round(self.random.gauss((at - self.at) * self.load / self.service_s, 1.0))
        self.at, self.completed = at, self.completed + arrivals
        least, more = divmod(self.allocations, 10)
        of_node = self.completed // 10
        return deployment(
            *[
                node(
                    f"n{number}",
                    allocations=least + (number < more),
                    completed=of_node,
                    busy_s=of_node * self.service_s,
                    server_last_access_at=at + 5_000.0,
                )
                for number in range(10)
            ]
        )


class Daemon:
    """Plans after each response, and applies what it decides at once."""

    def __init__(self, simulated, policy, **given):
        self.simulated = simulated
        self.rules = Ruleset(rules=(rule(policy=policy, **given),), max_interval_s=60.0)
        self.state, self.due_at = State(), 10_000.0
        self.decisions = []

    def poll(self, late_s=0.0, read_after=0.0):
        """One cycle whose response takes `late_s`; the counters are read after that part of it."""
        requested_at = self.due_at
        stats = self.simulated.read(requested_at + read_after * late_s)
        at = requested_at + late_s
        observation = Observation(
            at=at, requested_at=requested_at, deployments={stats.deployment_id: stats}
        )
        cycle = begin_cycle(self.state, observation, self.rules)
        decision = cycle.plan.decisions[0]
        accepted = {
            each.deployment_id: outcome(each, OutcomeKind.ACCEPTED) for each in cycle.updates
        }
        _, self.state = end_cycle(cycle.plan, accepted, cycle.state)
        self.simulated.allocations = decision.desired
        self.decisions.append(decision)
        self.due_at = requested_at + min(3.0 * POLL_S, max(POLL_S, 10.0 * late_s))
        return decision

    def polls(self, count, late_s=0.0, read_after=0.0):
        return [self.poll(late_s, read_after) for _ in range(count)]


def changes(decisions):
    return [d.desired - d.current for d in decisions if d.desired != d.current]


def settled(seed, policy, load=7.0, allocations=11):
    # As by default, `slo` has no stabilisation window, which would hide an error.
    window_s = 0.0 if policy is SLO else 300.0
    simulated = Deployment(seed, load, allocations)
    daemon = Daemon(simulated, policy, stabilisation_window_s=window_s)
    daemon.polls(SETTLING)
    return daemon


both = pytest.mark.parametrize("policy", [SLO, UTILISATION], ids=["slo", "utilisation"])
SEEDS = range(25)
SETTLING = 180


class TestLateResponses:
    """Under a steady load, no response leads to a change, however late, read early or late."""

    @both
    @pytest.mark.parametrize("read_after", [0.0, 0.5, 1.0])
    def test_a_single_one_changes_nothing_nor_do_the_next_ones(self, policy, read_after):
        for seed in SEEDS:
            daemon = settled(seed, policy)
            late_s = random.Random(seed).uniform(0.0, 20.0)
            seen = [daemon.poll(late_s, read_after), *daemon.polls(6)]
            assert [c for c in changes(seen) if c != -1] == [], (seed, late_s)
            assert changes(seen) == [] or seen[0].current > 11, (seed, late_s)

    @both
    def test_neither_do_many(self, policy):
        for seed in SEEDS:
            daemon, chance = settled(seed, policy), random.Random(seed)
            allocations = daemon.simulated.allocations
            seen = [daemon.poll(chance.uniform(0.0, 20.0), chance.random()) for _ in range(20)]
            assert changes(seen) == [] or allocations > 11, seed

    def test_a_placement_that_only_they_show_is_learnt(self):
        """A decrease gives up nodes, as the policy expects, and is undone if it did not. Where a
        poll of uncertain requests led to that, it was repeated in every other cycle."""
        for seed in SEEDS:
            simulated = OnTenNodes(seed, load=14.0, allocations=20)
            daemon = Daemon(simulated, SLO, max_allocations=32, stabilisation_window_s=0.0)
            daemon.polls(2)
            for _ in range(60):
                daemon.poll(late_s=0.35)
                daemon.due_at -= 7.2  # polls of 2.8 s, of which every third has certain requests
            assert len(changes(daemon.decisions)) <= 3, changes(daemon.decisions)

    def test_nothing_is_learnt_from_them(self):
        daemon = settled(1, SLO)
        before = daemon.state.deployments["elser"].memory
        decision = daemon.poll(late_s=9.0)
        assert decision.sample.issues == (DataIssue.SLOW_RESPONSE,)
        assert explain(decision).endswith("held: the cluster was too slow to respond")
        assert daemon.state.deployments["elser"].memory == before
        after = daemon.poll()
        assert after.sample.issues == ()
        assert after.sample.interval_s == 40.0  # since the last prompt one

    @pytest.mark.parametrize(
        "adaptive", [None, AdaptiveAllocations(enabled=True, minimum=1, maximum=8)]
    )
    def test_the_control_mode_is_set_where_they_lead_to_an_increase(self, adaptive):
        """Otherwise it is never set in a cluster that always responds slowly."""
        mode = Mode.BOUNDS if adaptive is None else Mode.DIRECT
        rules = Ruleset(rules=(rule(policy=SLO, mode=mode, take_over=True),), max_interval_s=60.0)
        simulated, state = Deployment(1, load=4.0, allocations=1), State()
        for at, late_s in ((10_000.0, 0.0), (10_010.0, 0.0), (10_020.0, 9.0)):
            stats = replace(simulated.read(at), adaptive=adaptive)
            observation = Observation(
                at=at + late_s, requested_at=at, deployments={stats.deployment_id: stats}
            )
            cycle = begin_cycle(state, observation, rules)
            (decision,) = cycle.plan.decisions
            withheld = {decision.deployment_id: outcome(decision, OutcomeKind.WITHHELD)}
            _, state = end_cycle(cycle.plan, withheld, cycle.state)

        assert decision.sample.issues == (DataIssue.SLOW_RESPONSE,)
        assert decision.desired > decision.current
        assert decision.change is not None

    def test_the_dispersion_is_not_mistaken(self):
        """Counts of unequal intervals, or of uncertain ones, are not bursts."""
        daemon = Daemon(Deployment(1, service_s=0.001), SLO)  # 7,000 requests a second
        daemon.polls(SETTLING)
        for late_s in (9.0, 0.0, 0.4, 0.0, 12.0, 0.0, 0.2):
            daemon.poll(late_s, 1.0)
        memory = daemon.state.deployments["elser"].memory.value
        assert memory.dispersion < 1.3

    def test_prompt_ones_are_measured_each_time(self):
        daemon = settled(1, SLO)
        daemon.poll(late_s=0.2)
        for decision in daemon.polls(20, late_s=0.2):
            assert decision.sample.issues == ()
            assert decision.sample.interval_s == pytest.approx(10.0)
            assert decision.sample.uncertainty_s == pytest.approx(0.2)


class TestAlwaysSlow:
    @both
    @pytest.mark.parametrize("late_s", [1.0, 4.0, 9.0, 20.0])
    def test_it_is_measured_and_scaled_both_ways(self, policy, late_s):
        daemon = Daemon(Deployment(1), policy)
        daemon.polls(60, late_s)
        before = daemon.polls(1, late_s)[0].current
        daemon.simulated.load = 14.0
        higher = daemon.polls(60, late_s)[-1].current
        assert higher >= before + 4
        daemon.simulated.load = 4.0
        assert daemon.polls(60, late_s)[-1].current < before

    @both
    @pytest.mark.parametrize("late_s", [1.0, 4.0, 9.0])
    def test_a_load_jump_raises_it_within_two_responses(self, policy, late_s):
        """Even the longest possible interval shows that the load has risen."""
        daemon = Daemon(Deployment(1), policy)
        daemon.polls(60, late_s)
        daemon.simulated.load = 14.0
        first, second = daemon.polls(2, late_s)
        assert second.desired > first.current

    def test_samples_come_when_the_interval_is_certain_enough(self):
        daemon = Daemon(Deployment(1), SLO)
        seen = daemon.polls(40, late_s=9.0)
        reliable = [d for d in seen if not d.sample.issues]
        assert len(reliable) >= 5
        for decision in reliable:
            assert decision.sample.interval_s >= 180.0
            assert decision.sample.uncertainty_s == 9.0

    def test_a_slow_first_response_is_replaced_by_a_prompt_one(self):
        daemon = Daemon(Deployment(1), SLO)
        daemon.poll(late_s=9.0)
        assert daemon.poll().sample.issues == (DataIssue.SLOW_RESPONSE,)
        third = daemon.poll()
        assert third.sample.issues == ()
        assert third.sample.interval_s == 10.0

    def test_idleness_is_certain_although_its_time_is_not(self):
        idle = Deployment(1, load=0.0)
        daemon = Daemon(idle, SLO, zero=ScaleToZero(600.0, ZeroMethod.STOP), min_allocations=1)
        seen = daemon.polls(40, late_s=9.0)
        assert any(isinstance(decision.change, Stop) for decision in seen)

    def test_a_gap_is_still_a_gap(self):
        daemon = Daemon(Deployment(1), SLO)
        daemon.polls(3, late_s=9.0)
        daemon.due_at += 120.0
        assert DataIssue.OBSERVATION_GAP in daemon.poll(late_s=9.0).sample.issues
