"""What the cluster answered shapes what is asked next."""

from itertools import pairwise

import pytest

from autoscaler.core.flow.feedback import (
    BACK_OFF,
    FORBIDDEN_BACK_OFF_S,
    INFEASIBLE_HOLD_S,
    apply_outcomes,
)
from autoscaler.core.state import ClusterCapacity, State
from autoscaler.core.values import Cluster, NodeCapacity, OutcomeKind, Reason
from tests.core.flow.test_planning import Watch
from tests.observations import outcome, rule


def pressed(wanted=10, allocations=2, **given):
    """A deployment whose load wants `wanted` allocations, from now on."""
    watch = Watch(rule(**given), allocations=allocations)
    watch.decide()
    watch.rate = wanted * 0.7 / 0.0405 - 1.0
    assert watch.decide(watch.rate).desired == wanted
    return watch


def refused_below(watch, fits):
    """The numbers asked for while only `fits` allocations fit."""
    asked = []
    for _ in range(8):
        decision = watch.planned.decisions[0]
        if decision.changes:
            asked.append(decision.desired)
            watch.answer(
                OutcomeKind.ACCEPTED if decision.desired <= fits else OutcomeKind.NO_CAPACITY
            )
        watch.decide(watch.rate)
    return asked


@pytest.mark.parametrize("fits", [2, 3, 5, 7, 9])
def test_a_refusal_for_lack_of_capacity_is_answered_by_steps_back_to_what_fits(fits):
    watch = pressed(wanted=10)
    asked = refused_below(watch, fits)
    assert asked[0] == 10
    assert watch.allocations == fits
    assert len(asked) <= 6, asked
    assert len(set(asked)) == len(asked), "no number is asked for twice"


def test_what_does_not_fit_is_not_asked_for_again():
    watch = pressed(wanted=10)
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
    watch = pressed(wanted=10)
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


def test_a_refusal_is_tried_again_in_the_end_and_less_often_each_time():
    watch = pressed(wanted=3)
    asked_at = []
    for _ in range(130):
        if watch.planned.decisions[0].changes:
            asked_at.append(watch.at)
            watch.answer(OutcomeKind.NO_CAPACITY)
        watch.decide(watch.rate)
    waits = [later - earlier for earlier, later in pairwise(asked_at)]
    assert waits == [INFEASIBLE_HOLD_S, 2 * INFEASIBLE_HOLD_S]


def test_stepping_back_never_asks_for_less_than_the_minimum():
    watch = Watch(rule(min_allocations=8), allocations=2)
    asked = []
    for _ in range(6):
        decision = watch.decide(10.0)
        if decision.changes:
            asked.append(decision.desired)
            watch.answer(OutcomeKind.NO_CAPACITY)
    assert asked == [8]


def test_forbidden_is_asked_again_only_after_a_long_time():
    watch = pressed()
    watch.answer(OutcomeKind.FORBIDDEN)
    decision = watch.decide(watch.rate)
    assert (decision.changes, decision.reason) == (False, Reason.BACK_OFF)
    watch.at += FORBIDDEN_BACK_OFF_S - 30.0
    watch.decide(watch.rate)
    watch.decide(watch.rate)
    assert watch.decide(watch.rate).changes


def test_forbidden_concerns_every_deployment():
    watch = pressed()
    watch.answer(OutcomeKind.FORBIDDEN)
    assert watch.state.cluster_back_off is not None
    watch.answer(OutcomeKind.ACCEPTED)
    assert watch.state.cluster_back_off is None, "an accepted update shows that it was mended"


def test_a_deployment_that_is_gone_is_forgotten():
    watch = pressed()
    watch.answer(OutcomeKind.GONE)
    assert watch.state.deployments == {}


def test_not_started_is_waited_for_and_not_held_against_it():
    watch = pressed()
    watch.answer(OutcomeKind.NOT_STARTED)
    assert watch.decide(watch.rate).desired == 10


def test_an_unknown_outcome_is_read_before_it_is_repeated():
    watch = pressed()
    watch.answer(OutcomeKind.UNKNOWN)
    watch.allocations = 10  # it had taken effect
    assert not watch.decide(watch.rate).changes


def test_unknown_outcomes_in_a_row_slow_us_down():
    watch = pressed()
    sent = []
    for _ in range(30):
        if watch.planned.decisions[0].changes:
            sent.append(watch.at)
            watch.answer(OutcomeKind.UNKNOWN)
        watch.decide(watch.rate)
    waits = [later - earlier for earlier, later in pairwise(sent)]
    assert waits == sorted(waits)
    assert waits[-1] >= 4 * waits[0]


@pytest.mark.parametrize(
    "fate", [OutcomeKind.ENDPOINT_OWNED, OutcomeKind.INVALID, OutcomeKind.ADAPTIVE_ENABLED]
)
def test_other_refusals_are_not_repeated_at_once(fate):
    watch = pressed()
    watch.answer(fate)
    decision = watch.decide(watch.rate)
    assert (decision.changes, decision.reason) == (False, Reason.BACK_OFF)
    assert decision.steps[-1].inputs["reason"] == fate


@pytest.mark.parametrize("fate", [OutcomeKind.UNCHANGED, OutcomeKind.DRY_RUN, OutcomeKind.WITHHELD])
def test_what_was_not_asked_teaches_nothing(fate):
    watch = pressed()
    before = watch.state
    watch.answer(fate)
    assert watch.state == before


def test_an_outcome_of_an_unknown_deployment_is_ignored():
    watch = pressed()
    decision = watch.planned.decisions[0]
    assert apply_outcomes(State(), [outcome(decision, OutcomeKind.NO_CAPACITY)]) == State()


def test_refusals_of_one_kind_do_not_lengthen_the_wait_after_another():
    watch = pressed()
    for _ in range(4):
        watch.answer(OutcomeKind.UNKNOWN)
    watch.answer(OutcomeKind.INVALID)
    refused = watch.state.deployments["elser"].back_off
    assert refused.until - watch.at == BACK_OFF[OutcomeKind.INVALID][0]


def test_a_number_that_is_accepted_after_all_was_not_infeasible():
    watch = pressed(wanted=3)
    watch.answer(OutcomeKind.NO_CAPACITY)
    watch.at += INFEASIBLE_HOLD_S - 20.0
    for _ in range(4):
        watch.decide(watch.rate)
    assert watch.planned.decisions[0].desired == 3
    watch.answer(OutcomeKind.ACCEPTED)
    assert watch.state.deployments["elser"].infeasible is None


def test_a_number_accepted_below_a_refused_one_leaves_the_refusal_standing():
    watch = pressed(wanted=10)
    watch.answer(OutcomeKind.NO_CAPACITY)
    watch.decide(watch.rate)
    watch.answer(OutcomeKind.ACCEPTED)
    assert watch.state.deployments["elser"].infeasible.allocations == 10
