"""Many cycles without a measurement: held by default, or increased to `blind_allocations`."""

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import Mode, OutcomeKind, SetAllocations, SetBounds
from autoscaler.core.explanation import explain
from autoscaler.core.flow.blindness import LastKnown, blind_decisions, without_responses
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from autoscaler.core.values import AdaptiveAllocations, Cluster, NodeCapacity, Reason
from tests.observations import deployment, node, observation, outcome, policy, rule
from tests.options import FixedPolicy

BLIND = {"blind_allocations": 6, "blind_after_s": 300.0, "max_allocations": 9}


def decided(seconds_blind, *, allocations=2, responds=False, recommended=3, **given):
    """The decision of a cycle after so many seconds without a measurement."""
    rules = policy(rule(policy=FixedPolicy(recommended), **{**BLIND, **given}))
    serving = node("n1", allocations=allocations, completed=10)
    _, state = plan(State(), observation(0.0, deployment(serving)), rules)
    silent = replace(serving, completed=20)
    if not responds:
        silent = replace(silent, server_started_at=None)
    seen = observation(10.0, deployment(silent))
    planned, _ = plan(state, seen, rules, blind_s={"elser": seconds_blind})
    (decision,) = planned.decisions
    return decision


def test_after_blind_after_the_allocations_are_increased():
    decision = decided(300.0)
    assert decision.change == SetAllocations(6)
    assert (decision.reason, decision.current) == (Reason.BLIND, 2)
    assert explain(decision).endswith("not measured for 5 min, so blind_allocations is the minimum")


@pytest.mark.parametrize(
    "given",
    [
        {"seconds_blind": 299.0},
        {"seconds_blind": 3600.0, "blind_allocations": None},
        {"seconds_blind": 3600.0, "allocations": 8},  # nothing is ever decreased without knowledge
        {"seconds_blind": 3600.0, "allocations": 6},
        {"seconds_blind": 3600.0, "mode": Mode.BOUNDS},  # adaptive allocations are not enabled yet
    ],
    ids=["too early", "by default", "fewer than now", "as many as now", "in another control mode"],
)
def test_otherwise_they_are_held(given):
    decision = decided(**given)
    assert decision.change is None
    assert decision.desired == decision.current
    assert decision.reason is Reason.DATA_QUALITY


def test_what_can_be_measured_follows_the_policy():
    assert decided(3600.0, responds=True).desired == 3


def test_the_limits_of_the_rule_apply():
    assert decided(300.0, burst_max_allocations=4).desired == 4
    assert decided(300.0, growth_factor=2.0).desired == 4


def test_where_no_more_fits_the_maximum_stays_at_what_is_requested():
    """The minimum is the news. Nothing is decreased without knowledge, even what does not run."""
    rules = policy(rule(policy=FixedPolicy(1), mode=Mode.BOUNDS, **BLIND))
    machine = NodeCapacity(node_id="n1", name="n1", version="9.3.0", processors=2.0)
    found = {
        "allocations": 3,
        "running_allocations": 2,
        "adaptive": AdaptiveAllocations(enabled=True, minimum=1, maximum=6),
    }
    cluster = Cluster(nodes=(machine,), growable=False)
    silent = node("n1", allocations=2, server_started_at=None)
    _, state = plan(State(), observation(0.0, deployment(silent, **found), cluster=cluster), rules)
    seen = observation(10.0, deployment(silent, **found), cluster=cluster)
    planned, _ = plan(state, seen, rules, blind_s={"elser": 300.0})
    (decision,) = planned.decisions
    assert decision.change == SetBounds(2, 3)
    assert decision.desired == 2


def test_a_deployment_counts_from_its_first_observation():
    seen = observation(100.0, deployment(node("n1", allocations=1)))
    first, _ = plan(State(), seen, policy(rule()))
    assert LastKnown().observed(seen, first).measured_at == {"elser": 100.0}
    earlier = LastKnown(None, {"elser": 40.0, "gone": 40.0}).observed(seen, first)
    assert earlier.blind_s(100.0) == {"elser": 60.0}


def test_a_measured_deployment_begins_again():
    rules, stats = policy(rule()), deployment(node("n1", allocations=1, completed=10))
    _, state = plan(State(), observation(0.0, stats), rules)
    seen = observation(10.0, stats)
    planned, _ = plan(state, seen, rules)
    found = LastKnown(None, {"elser": -500.0}).observed(seen, planned)
    assert found.blind_s(10.0) == {"elser": 0.0}


def test_without_statistics_only_increases_to_blind_allocations_are_left():
    rules = policy(
        rule(name="held", deployments=("held",), min_allocations=5),
        rule(policy=FixedPolicy(1), **BLIND),
    )
    known = observation(
        0.0,
        deployment(node("n1", allocations=2), deployment_id="held"),
        deployment(node("n1", allocations=2), deployment_id="low"),
        deployment(node("n1", allocations=8), deployment_id="high"),
        deployment(deployment_id="unserved"),
    )
    blind = dict.fromkeys(known.deployments, 900.0)
    planned, _ = plan(State(), without_responses(known, 900.0), rules, blind_s=blind)
    assert len(planned.decisions) == 3
    (decision,) = blind_decisions(planned).decisions
    assert (decision.deployment_id, decision.at) == ("low", 900.0)
    assert decision.change == SetAllocations(6)


@pytest.mark.parametrize(
    ("kind", "allocations"),
    [
        (OutcomeKind.ACCEPTED, 6),
        (OutcomeKind.UNKNOWN, 6),  # it may be in force
        (OutcomeKind.NO_CAPACITY, 2),
    ],
)
def test_changes_that_were_sent_are_known(kind, allocations):
    seen = observation(0.0, deployment(node("n1", allocations=2)))
    changed = LastKnown(seen).changed([outcome(decided(300.0), kind)]).observation
    assert changed.deployments["elser"].allocations == allocations


def test_a_decrease_that_may_have_been_refused_is_not_assumed():
    decrease = replace(decided(300.0), change=SetAllocations(1))
    decrease = replace(decrease, steps=(replace(decrease.steps[0], after=1),))
    seen = observation(0.0, deployment(node("n1", allocations=2)))
    unchanged = LastKnown(seen).changed([outcome(decrease, OutcomeKind.UNKNOWN)])
    assert unchanged.observation == seen


def test_bounds_that_were_set_are_known():
    bounds = replace(decided(300.0), change=SetBounds(minimum=6, maximum=9))
    seen = observation(0.0, deployment(node("n1", allocations=2)))
    changed = LastKnown(seen).changed([outcome(bounds, OutcomeKind.ACCEPTED)]).observation
    expected = AdaptiveAllocations(enabled=True, minimum=6, maximum=9)
    assert changed.deployments["elser"].adaptive == expected
