"""From observations to plans, over minutes: the decisions and their reasons."""

from typing import ClassVar

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import OutcomeKind, Unmanaged
from autoscaler.core.explanation import explain
from autoscaler.core.flow.feedback import apply_outcomes
from autoscaler.core.flow.measurement import FROZEN_LIMIT_S, STALL_LIMIT_S
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import FORGET_AFTER_S, State
from autoscaler.core.values import (
    AdaptiveAllocations,
    Cluster,
    DataIssue,
    NodeCapacity,
    Reason,
    Step,
    Value,
)
from tests.observations import deployment, loading, node, observation, outcome, policy, rule


class Watch:
    """A deployment on one node, watched every ten seconds, whose load a test sets."""

    def __init__(self, *rules, allocations=2):
        self.policy = policy(*rules)
        self.state = State()
        self.at = 0.0
        self.completed = 0
        self.allocations = allocations
        self.given = {}
        self.cluster = None

    def stats(self):
        serving = node(completed=self.completed, allocations=self.allocations)
        return deployment(serving, **({"allocations": self.allocations} | self.given))

    def decide(self, rate=None, stats=None):
        """One cycle later, with `rate` requests a second of 40 ms completed in between."""
        self.at += 10.0
        self.completed += round((rate or 0.0) * 10.0)
        seen = observation(self.at, stats or self.stats(), cluster=self.cluster)
        planned, self.state = plan(self.state, seen, self.policy)
        (decision,) = planned.decisions
        self.planned = planned
        return decision

    def respond(self, kind, retry_after_s=0.0):
        """The outcome of the last decision; accepted allocations run at once."""
        (decision,) = self.planned.decisions
        given = replace(outcome(decision, kind, at=self.at), retry_after_s=retry_after_s)
        self.state = apply_outcomes(self.state, [given])
        if kind is OutcomeKind.ACCEPTED:
            self.allocations = decision.desired


def test_the_first_observation_of_a_deployment_decides_nothing():
    decision = Watch().decide()
    assert (decision.changes, decision.reason) == (False, Reason.DATA_QUALITY)
    assert decision.sample.issues == (DataIssue.FIRST_OBSERVATION,)


def test_allocations_follow_the_load():
    watch = Watch()
    watch.decide()
    decision = watch.decide(rate=100.0)
    assert (decision.desired, decision.reason) == (6, Reason.TARGET_TRACKING)
    assert explain(decision) == "elser 2 -> 6: load 4.05 at 70% needs 6"


def test_a_decision_that_changes_nothing_says_why():
    watch = Watch()
    watch.decide()
    assert explain(watch.decide(rate=30.0)) == "elser stays at 2: load 1.22 at 70% needs 2"


def test_down_only_after_a_whole_stabilisation_window():
    watch = Watch(allocations=4)
    decisions = [watch.decide(rate=20.0) for _ in range(32)]
    assert {decision.desired for decision in decisions[:30]} == {4}
    assert decisions[1].reason is Reason.TARGET_TRACKING or decisions[1].steps[1].changed
    assert decisions[30].desired == 2


def test_a_peak_within_the_window_holds_the_allocations():
    watch = Watch(allocations=4)
    for _ in range(20):
        watch.decide(rate=20.0)
    watch.decide(rate=65.0)
    for _ in range(20):
        decision = watch.decide(rate=20.0)
    assert (decision.desired, decision.reason) == (4, Reason.STABILISATION)


def test_no_step_goes_further_than_its_factor():
    watch = Watch(rule(growth_factor=2.0, max_allocations=50), allocations=3)
    watch.decide()
    decision = watch.decide(rate=500.0)
    assert (decision.desired, decision.reason) == (6, Reason.STEP_LIMIT)


def test_bounds_hold_even_before_anything_is_measured():
    assert Watch(rule(min_allocations=3), allocations=1).decide().desired == 3


def test_allocations_above_the_bounds_are_not_lowered_with_a_data_quality_issue():
    decision = Watch(rule(max_allocations=4), allocations=9).decide()
    assert (decision.desired, decision.reason) == (9, Reason.DATA_QUALITY)


def test_allocations_above_the_bounds_are_lowered_when_measured():
    watch = Watch(rule(max_allocations=4), allocations=9)
    watch.decide()
    decision = watch.decide(rate=1.0)
    assert (decision.desired, decision.reason) == (4, Reason.BOUNDS)


@pytest.mark.parametrize(
    "damage",
    [
        {"state": "starting"},
        {"target_allocations": 7},
        {"allocations": None, "target_allocations": None},
    ],
)
def test_not_even_bounds_are_enforced_where_the_reported_count_is_unreliable(damage):
    watch = Watch(rule(min_allocations=5, max_allocations=6), allocations=2)
    watch.given = damage
    assert not watch.decide().changes


def test_a_deployment_with_adaptive_allocations_is_held_until_they_are_disabled():
    watch = Watch(rule(min_allocations=5))
    watch.given = {"adaptive": AdaptiveAllocations(enabled=True, minimum=0, maximum=8)}
    watch.decide()
    decision = watch.decide(rate=100.0)
    assert (decision.changes, decision.reason) == (False, Reason.ADAPTIVE_ENABLED)
    watch.given = {"adaptive": AdaptiveAllocations(enabled=False)}
    assert watch.decide(rate=100.0).desired == 6


def test_a_node_missing_from_one_response_is_bridged():
    """Neither the gap nor the return of the node is taken for a change of load."""
    watch = Watch(allocations=4)
    for _ in range(40):
        watch.decide(rate=60.0)
    gap = deployment(allocations=4, running_allocations=4)
    assert watch.decide(stats=gap).sample.issues == (DataIssue.INCOMPLETE,)
    decision = watch.decide(rate=120.0)  # two intervals' worth, over two intervals
    assert decision.sample.interval_s == 20.0
    assert decision.load.arrival_rate_per_s == pytest.approx(60.0)


def test_nothing_is_scaled_down_while_nodes_load_the_model():
    watch = Watch(rule(stabilisation_window_s=20.0), allocations=6)
    watch.decide()
    for _ in range(6):
        stats = deployment(node(completed=watch.completed, allocations=3), loading(), allocations=6)
        decision = watch.decide(stats=stats)
    assert (decision.desired, decision.reason) == (6, Reason.SETTLING)


def test_allocations_that_never_start_hold_a_decrease_only_for_a_while():
    watch = Watch(rule(stabilisation_window_s=20.0), allocations=6)
    watch.given = {"live_allocations": 3}
    reasons = []
    for _ in range(70):
        watch.completed += 1
        stats = deployment(
            node(completed=watch.completed, allocations=3), allocations=6, running_allocations=3
        )
        reasons.append(watch.decide(stats=stats).reason)
    assert reasons[10] is Reason.SETTLING
    assert reasons[-1] is not Reason.SETTLING


def test_a_restarted_deployment_is_a_new_deployment():
    watch = Watch()
    watch.decide()
    watch.decide(rate=50.0)
    watch.given = {"server_created_at": 2_000.0}
    watch.completed = 0
    assert watch.decide().sample.issues == (DataIssue.FIRST_OBSERVATION,)


def test_after_a_long_gap_measuring_starts_again():
    watch = Watch(allocations=4)
    for _ in range(35):
        watch.decide(rate=60.0)
    watch.at += 600.0
    decision = watch.decide(rate=1.0)
    assert decision.sample.issues == (DataIssue.OBSERVATION_GAP,)
    assert watch.decide(rate=1.0).desired == 4, "the stabilisation window starts again"


def test_stalled_requests_are_not_idleness():
    watch = Watch(rule(stabilisation_window_s=20.0), allocations=4)
    stuck = deployment(node(pending=9, allocations=4))
    for _ in range(8):
        decision = watch.decide(stats=stuck)
    assert (decision.desired, decision.sample.issues) == (4, (DataIssue.STALLED,))


def test_a_drifted_pending_counter_is_ignored_after_a_while():
    watch = Watch(rule(stabilisation_window_s=20.0), allocations=4)
    stuck = deployment(node(pending=9, allocations=4))
    for _ in range(int(STALL_LIMIT_S / 10.0) + 4):
        decision = watch.decide(stats=stuck)
    assert decision.desired < 4


def test_totals_that_stand_still_beside_a_throughput_are_no_idleness():
    """Such as those of a cache. For two minutes after the last request, the two agree."""
    watch = Watch(rule(stabilisation_window_s=600.0), allocations=4)
    for _ in range(10):
        watch.decide(rate=60.0)
    old = deployment(node(completed=6_000, allocations=4, throughput_last_minute=3_600))
    for _ in range(int(FROZEN_LIMIT_S / 10.0) + 1):
        watch.decide(stats=old)
    for _ in range(30):  # with gaps in the observation, too
        watch.at += 70.0
        decision = watch.decide(stats=old)
        assert decision.desired == 4
        decision = watch.decide(stats=old)
        assert (decision.desired, decision.sample.issues) == (4, (DataIssue.INCONSISTENT,))
    idle = deployment(node(completed=6_000, allocations=4, throughput_last_minute=0))
    for _ in range(80):
        decision = watch.decide(stats=idle)
    assert decision.desired < 4


@pytest.mark.parametrize(
    "cluster",
    [
        Cluster(nodes=(), upgrade_mode=True),
        Cluster(nodes=(), upgrade_mode=None, upgrade_mode_odd=True),
        Cluster(
            nodes=(
                NodeCapacity(node_id="a", name="a", version="8.18.0"),
                NodeCapacity(node_id="b", name="b", version="8.19.0"),
            )
        ),
    ],
)
def test_a_cluster_being_upgraded_is_left_as_it_is(cluster):
    watch = Watch()
    watch.cluster = cluster
    watch.decide()
    decision = watch.decide(rate=100.0)
    assert (decision.changes, decision.reason) == (False, Reason.MAINTENANCE)


def test_an_unmeasurable_load_changes_nothing():
    watch = Watch()
    watch.decide()
    stats = deployment(node(allocations=2, pending=5))
    assert watch.decide(stats=stats).reason is Reason.NOT_MEASURED


def test_an_update_is_followed_until_it_is_carried_out():
    watch = Watch()
    watch.decide()
    watch.decide(rate=100.0)
    watch.respond(OutcomeKind.ACCEPTED)
    partly = deployment(node(completed=watch.completed, allocations=2), loading(), allocations=6)
    watch.decide(stats=partly)
    assert watch.planned.completed_rollouts == ()
    wholly = deployment(node(completed=watch.completed, allocations=2), node("n2", allocations=4))
    watch.decide(stats=wholly)
    (news,) = watch.planned.completed_rollouts
    assert (news.allocations, news.lead_time_s, news.new_node) == (6, 20.0, True)


def test_a_decrease_is_carried_out_when_the_surplus_has_gone():
    watch = Watch(rule(stabilisation_window_s=5.0), allocations=4)
    watch.decide()
    watch.decide(rate=1.0)
    watch.respond(OutcomeKind.ACCEPTED)
    assert watch.allocations == 2
    leaving = deployment(
        node(completed=watch.completed, allocations=4), allocations=2, running_allocations=2
    )
    watch.decide(stats=leaving)
    assert watch.planned.completed_rollouts == ()
    watch.decide()
    (news,) = watch.planned.completed_rollouts
    assert (news.allocations, news.new_node) == (2, False)


def test_a_rollout_ends_when_the_requested_allocations_change():
    watch = Watch()
    watch.decide()
    watch.decide(rate=100.0)
    watch.respond(OutcomeKind.ACCEPTED)
    watch.allocations = 3
    watch.decide()
    assert watch.planned.completed_rollouts == ()
    assert watch.state.deployments["elser"].rollout is None


def test_the_state_of_a_missing_deployment_is_kept_for_a_while():
    watch = Watch()
    watch.decide()
    _, state = plan(watch.state, observation(20.0), watch.policy)
    assert "elser" in state.deployments
    _, state = plan(state, observation(20.0 + FORGET_AFTER_S), watch.policy)
    assert "elser" not in state.deployments


def test_only_what_a_rule_selects_is_decided():
    ours, hidden = deployment(node()), deployment(node(), deployment_id=".internal")
    planned, _ = plan(State(), observation(1.0, ours, hidden), policy())
    assert [decision.deployment_id for decision in planned.decisions] == ["elser"]
    assert planned.unmanaged == {".internal": Unmanaged.HIDDEN}


def test_deployments_are_decided_in_order_of_their_ids():
    several = [deployment(node(), deployment_id=name) for name in ("c", "a", "b")]
    planned, _ = plan(State(), observation(1.0, *several), policy())
    assert [decision.deployment_id for decision in planned.decisions] == ["a", "b", "c"]


def test_a_plan_is_a_function_of_its_arguments():
    watch = Watch()
    watch.decide()
    seen = observation(20.0, watch.stats())
    assert plan(watch.state, seen, watch.policy) == plan(watch.state, seen, watch.policy)


def test_a_dry_run_is_marked_on_the_decision():
    assert Watch(rule(dry_run=True)).decide().dry_run


def test_a_change_of_the_policy_takes_effect_at_once():
    watch = Watch()
    watch.decide()
    watch.policy = replace(watch.policy, rules=(rule(min_allocations=3, max_allocations=3),))
    assert watch.decide(rate=10.0).desired == 3


class Counting(Value, frozen=True):
    """Recommends one allocation for each call so far."""

    name: ClassVar[str] = "counting"
    load_window_s: ClassVar[float] = 60.0

    def begin(self):
        return 0

    def recommend(self, situation, memory):
        return Step(Reason.RECOMMENDATION, situation.current, memory + 1), memory + 1


def test_a_policy_gets_its_memory_back():
    watch = Watch(rule(policy=Counting()))
    watch.decide()
    assert [watch.decide(rate=1.0).recommended for _ in range(3)] == [1, 2, 3]


def test_the_memory_of_one_policy_is_not_given_to_another():
    watch = Watch(rule(policy=Counting()))
    watch.decide()
    watch.decide(rate=1.0)
    watch.policy = policy()
    watch.decide(rate=1.0)
    watch.policy = policy(rule(policy=Counting()))
    assert watch.decide(rate=1.0).recommended == 1


class Recording(Value, frozen=True):
    """Changes nothing, and remembers what it was shown."""

    name: ClassVar[str] = "recording"
    load_window_s: ClassVar[float] = 60.0

    def begin(self):
        return ()

    def recommend(self, situation, memory):
        step = Step(Reason.RECOMMENDATION, situation.current, situation.current)
        return step, (*memory, situation)


@pytest.mark.parametrize(("reported", "threads"), [(1, 1), (4, 4), (None, 1)])
def test_a_policy_is_shown_the_threads_of_an_allocation(reported, threads):
    state = State()
    for at in (0.0, 10.0):
        process = node(completed=int(at), threads_per_allocation=reported)
        stats = deployment(process, threads_per_allocation=reported)
        _, state = plan(state, observation(at, stats), policy(rule(policy=Recording())))
    shown = state.deployments["elser"].memory.value
    assert shown[-1].threads == threads
