"""How outcomes change the next decisions."""

from itertools import pairwise

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import OutcomeKind
from autoscaler.core.flow.back_off import BACK_OFF, MAX_RETRY_AFTER_S
from autoscaler.core.flow.feedback import INFEASIBLE_HOLD_S, apply_outcomes
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import ClusterCapacity, State
from autoscaler.core.step_text import step_text
from autoscaler.core.values import Cluster, NodeCapacity, Reason
from tests.core.flow.test_planning import Watch
from tests.observations import deployment, node, observation, outcome, policy, rule
from tests.options import FixedPolicy


def pressed(recommended=10, allocations=2, **given):
    """A deployment whose load needs `recommended` allocations from now on."""
    watch = Watch(rule(**given), allocations=allocations)
    watch.decide()
    watch.rate = recommended * 0.7 / 0.0405 - 1.0
    assert watch.decide(watch.rate).desired == recommended
    return watch


def refused_below(watch, fits):
    """The allocations requested while only `fits` fit."""
    requested = []
    for _ in range(8):
        decision = watch.planned.decisions[0]
        if decision.changes:
            requested.append(decision.desired)
            watch.respond(
                OutcomeKind.ACCEPTED if decision.desired <= fits else OutcomeKind.NO_CAPACITY
            )
        watch.decide(watch.rate)
    return requested


@pytest.mark.parametrize("fits", [2, 3, 5, 7, 9])
def test_a_refusal_for_lack_of_capacity_starts_a_search_for_the_largest_count_that_fits(fits):
    watch = pressed(recommended=10)
    requested = refused_below(watch, fits)
    assert requested[0] == 10
    assert watch.allocations == fits
    assert len(requested) <= 6, requested
    assert len(set(requested)) == len(requested), "no count is requested twice"


def test_a_refused_count_is_not_requested_again():
    watch = pressed(recommended=10)
    refused_below(watch, fits=5)
    decision = watch.decide(watch.rate)
    assert (decision.desired, decision.reason) == (5, Reason.CAPACITY)


@pytest.mark.parametrize(
    "grown",
    [
        Cluster(nodes=(NodeCapacity(node_id="n1", name=""), NodeCapacity(node_id="n2", name=""))),
        Cluster(nodes=(NodeCapacity(node_id="n1", name="", processors=16.0),)),
    ],
    ids=["a node joins", "a node has more cores"],
)
def test_more_capacity_ends_the_memory_of_a_refusal(grown):
    watch = pressed(recommended=10)
    watch.cluster = Cluster(nodes=(NodeCapacity(node_id="n1", name="", processors=8.0),))
    watch.decide(watch.rate)
    refused_below(watch, fits=5)
    watch.cluster = grown
    assert watch.decide(watch.rate).desired == 10


def test_fewer_allocations_elsewhere_end_the_memory_of_a_refusal():
    before, after = ClusterCapacity(frozenset("a"), 8.0, 6), ClusterCapacity(frozenset("a"), 8.0, 5)
    assert after.exceeds(before)
    assert not before.exceeds(after)
    assert not before.exceeds(before)


@pytest.mark.parametrize("shown", [None, {"allocations": None}], ids=["left out", "unreadable"])
def test_a_deployment_that_a_response_does_not_show_is_no_capacity(shown):
    def seen(at, *others):
        growing = deployment(node(completed=round(10.0 * at)), deployment_id="a", allocations=1)
        return observation(at, growing, *others)

    other = deployment(node(), deployment_id="b", allocations=4)
    changed = () if shown is None else (replace(other, **shown),)
    recommending = FixedPolicy()
    recommending.allocations = 4
    governed = policy(rule(policy=recommending, deployments=("a",)), rule())
    state = State()
    for at in (0.0, 10.0):
        planned, state = plan(state, seen(at, other), governed)
    state = apply_outcomes(state, [outcome(planned.decisions[0], OutcomeKind.NO_CAPACITY, at=at)])
    refusal = state.deployments["a"].infeasible
    _, state = plan(state, seen(20.0, *changed), governed)
    assert state.deployments["a"].infeasible == refusal
    _, state = plan(state, seen(90.0), governed)
    assert state.deployments["a"].infeasible.early == 1, "it has gone"


def test_a_refusal_is_tried_again_in_the_end_and_less_often_each_time():
    watch = pressed(recommended=3)
    requested_at = []
    for _ in range(130):
        if watch.planned.decisions[0].changes:
            requested_at.append(watch.at)
            watch.respond(OutcomeKind.NO_CAPACITY)
        watch.decide(watch.rate)
    waits = [later - earlier for earlier, later in pairwise(requested_at)]
    assert waits == [INFEASIBLE_HOLD_S, 2 * INFEASIBLE_HOLD_S]


def test_the_search_never_requests_less_than_the_minimum():
    watch = Watch(rule(min_allocations=8), allocations=2)
    requested = []
    for _ in range(6):
        decision = watch.decide(10.0)
        if decision.changes:
            requested.append(decision.desired)
            watch.respond(OutcomeKind.NO_CAPACITY)
    assert requested == [8]


def test_after_a_403_updates_are_retried_only_after_a_long_time():
    watch = pressed()
    watch.respond(OutcomeKind.FORBIDDEN)
    decision = watch.decide(watch.rate)
    assert (decision.changes, decision.reason) == (False, Reason.BACK_OFF)
    watch.at += BACK_OFF[OutcomeKind.FORBIDDEN][0] - 30.0
    watch.decide(watch.rate)
    watch.decide(watch.rate)
    assert watch.decide(watch.rate).changes


def test_forbidden_concerns_every_deployment():
    watch = pressed()
    watch.respond(OutcomeKind.FORBIDDEN)
    assert watch.state.cluster_back_off is not None
    watch.respond(OutcomeKind.ACCEPTED)
    assert watch.state.cluster_back_off is None, "an accepted update shows that the cause is gone"


def test_the_state_of_a_deleted_deployment_is_dropped():
    watch = pressed()
    watch.respond(OutcomeKind.GONE)
    assert watch.state.deployments["elser"].samples == ()
    planned, state = plan(watch.state, observation(watch.at + 10.0), watch.policy)
    assert (planned.decisions, state.deployments) == ((), {})


def test_not_started_is_waited_for_and_not_held_against_it():
    watch = pressed()
    watch.respond(OutcomeKind.NOT_STARTED)
    assert watch.decide(watch.rate).desired == 10


def test_an_unknown_outcome_is_read_before_it_is_repeated():
    watch = pressed()
    watch.respond(OutcomeKind.UNKNOWN)
    watch.allocations = 10  # it had taken effect
    assert not watch.decide(watch.rate).changes


def test_unknown_outcomes_in_a_row_slow_us_down():
    watch = pressed()
    sent = []
    for _ in range(30):
        if watch.planned.decisions[0].changes:
            sent.append(watch.at)
            watch.respond(OutcomeKind.UNKNOWN)
        watch.decide(watch.rate)
    waits = [later - earlier for earlier, later in pairwise(sent)]
    assert waits == sorted(waits)
    assert waits[-1] >= 4 * waits[0]


@pytest.mark.parametrize(
    "kind", [OutcomeKind.ENDPOINT_OWNED, OutcomeKind.INVALID, OutcomeKind.ADAPTIVE_ENABLED]
)
def test_other_refused_updates_are_not_repeated_at_once(kind):
    watch = pressed()
    watch.respond(kind)
    decision = watch.decide(watch.rate)
    assert (decision.changes, decision.reason) == (False, Reason.BACK_OFF)
    assert decision.steps[-1].inputs["reason"] == kind


def sent_while_refused(watch, kind, retry_after_s, polls):
    """The instants of the updates, all of which are refused."""
    sent = []
    for _ in range(polls):
        if watch.planned.decisions[0].changes:
            sent.append(watch.at)
            watch.respond(kind, retry_after_s)
        watch.decide(watch.rate)
    return sent


def test_no_update_is_sent_before_the_refusal_says_and_the_reason_is_shown():
    watch = pressed()
    watch.respond(OutcomeKind.UNKNOWN, retry_after_s=600.0)
    decision = watch.decide(watch.rate)
    assert (decision.changes, decision.reason) == (False, Reason.BACK_OFF)
    assert step_text(decision.steps[-1]) == (
        "held: waiting another 9.8 min, as the Retry-After of the last refusal states"
    )
    sent = sent_while_refused(watch, OutcomeKind.UNKNOWN, 600.0, polls=130)
    assert {later - earlier for earlier, later in pairwise(sent)} == {600.0}


def test_a_shorter_wait_than_the_own_makes_no_difference():
    stated, own = pressed(), pressed()
    sent = sent_while_refused(stated, OutcomeKind.UNKNOWN, 5.0, polls=130)
    assert sent == sent_while_refused(own, OutcomeKind.UNKNOWN, 0.0, polls=130)


@pytest.mark.parametrize("absurd_s", [86_400.0 * 365.0, 999_999_999.0])
def test_an_absurd_wait_is_an_hour(absurd_s):
    watch = pressed()
    watch.respond(OutcomeKind.INVALID, retry_after_s=absurd_s)
    assert watch.state.deployments["elser"].back_off.until == watch.at + MAX_RETRY_AFTER_S


def test_changed_circumstances_do_not_end_a_stated_wait():
    watch = pressed()
    watch.respond(OutcomeKind.UNKNOWN, retry_after_s=600.0)
    watch.allocations = 5  # another writer
    watch.decide(watch.rate)
    assert not watch.decide(watch.rate).changes


def test_the_search_for_capacity_waits_as_long_as_the_refusal_states():
    watch = pressed()
    watch.respond(OutcomeKind.NO_CAPACITY, retry_after_s=60.0)
    sent = sent_while_refused(watch, OutcomeKind.NO_CAPACITY, 60.0, polls=30)
    assert len(sent) >= 2
    assert min(later - earlier for earlier, later in pairwise(sent)) >= 60.0


def test_a_stated_wait_remains_when_the_update_had_taken_effect():
    watch = pressed()
    watch.respond(OutcomeKind.UNKNOWN, retry_after_s=60.0)
    watch.allocations = 10
    watch.decide(watch.rate)
    back_off = watch.state.deployments["elser"].back_off
    assert (back_off.times, back_off.until) == (0, watch.at + 50.0)


@pytest.mark.parametrize("kind", [OutcomeKind.UNCHANGED, OutcomeKind.DRY_RUN, OutcomeKind.WITHHELD])
def test_an_outcome_without_an_update_changes_nothing(kind):
    watch = pressed()
    before = watch.state
    watch.respond(kind)
    assert watch.state == before


def test_an_outcome_of_an_unknown_deployment_is_ignored():
    watch = pressed()
    decision = watch.planned.decisions[0]
    assert apply_outcomes(State(), [outcome(decision, OutcomeKind.NO_CAPACITY)]) == State()


@pytest.mark.parametrize(
    "kinds",
    [
        (OutcomeKind.GONE, OutcomeKind.NOT_STARTED),
        (OutcomeKind.GONE, OutcomeKind.UNKNOWN),
        (OutcomeKind.INVALID, OutcomeKind.NOT_STARTED, OutcomeKind.BLOCKED),
    ],
)
def test_the_wait_grows_whatever_the_kinds_of_the_refusals(kinds):
    watch = pressed()
    calls = 0
    for _ in range(720):
        if watch.planned.decisions[0].changes:
            watch.respond(kinds[calls % len(kinds)])
            calls += 1
        watch.decide(watch.rate)
    assert calls <= 24


def test_a_403_holds_for_all_whatever_was_accepted_in_the_same_cycle():
    watch = pressed()
    decision = watch.planned.decisions[0]
    refused = replace(decision, deployment_id="a")
    kinds = [OutcomeKind.FORBIDDEN, OutcomeKind.ACCEPTED]
    for order in (kinds, kinds[::-1]):
        outcomes = [
            outcome(each, kind, at=watch.at)
            for each, kind in zip((refused, decision), order, strict=True)
        ]
        assert apply_outcomes(watch.state, outcomes).cluster_back_off is not None


def test_a_back_off_ends_when_the_state_of_the_deployment_changes():
    watch = pressed()
    for _ in range(4):
        watch.respond(OutcomeKind.NOT_STARTED)
    assert not watch.decide(watch.rate).changes
    watch.given = {"state": "starting"}
    watch.decide(watch.rate)
    watch.given = {}
    watch.decide(watch.rate)
    assert watch.decide(watch.rate).changes


def test_a_decrease_that_is_refused_for_lack_of_capacity_waits_until_there_is_more():
    watch = Watch(rule(max_allocations=4, stabilisation_window_s=0.0), allocations=9)
    watch.cluster = Cluster(nodes=(NodeCapacity(node_id="n1", name="", processors=16.0),))
    watch.decide()
    for _ in range(3):
        assert watch.decide(10.0).changes
        watch.respond(OutcomeKind.NO_CAPACITY)
        watch.state = replace(watch.state)
        assert not watch.decide(10.0).changes
        more = replace(watch.cluster.nodes[0], processors=watch.cluster.nodes[0].processors + 1.0)
        watch.cluster = Cluster(nodes=(more,))
        watch.at += 60.0
        watch.decide(10.0)


def test_a_count_that_is_accepted_later_is_no_longer_refused():
    watch = pressed(recommended=3)
    watch.respond(OutcomeKind.NO_CAPACITY)
    watch.at += INFEASIBLE_HOLD_S - 20.0
    for _ in range(4):
        watch.decide(watch.rate)
    assert watch.planned.decisions[0].desired == 3
    watch.respond(OutcomeKind.ACCEPTED)
    assert watch.state.deployments["elser"].infeasible is None


def test_an_accepted_count_below_a_refused_one_leaves_the_refusal_in_force():
    watch = pressed(recommended=10)
    watch.respond(OutcomeKind.NO_CAPACITY)
    watch.decide(watch.rate)
    watch.respond(OutcomeKind.ACCEPTED)
    assert watch.state.deployments["elser"].infeasible.allocations == 10
