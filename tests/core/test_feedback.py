"""What the cluster answered shapes what is asked next."""

from itertools import pairwise

import pytest

from autoscaler.core.feedback import BACK_OFF, FORBIDDEN_S, INFEASIBLE_HOLD_S, learn
from autoscaler.core.state import Capacity, State
from autoscaler.core.values import Cluster, Fate, NodeCapacity, Reason
from tests.core.test_planning import Watch
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
            watch.answer(Fate.ACCEPTED if decision.desired <= fits else Fate.NO_CAPACITY)
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
    before, after = Capacity(frozenset("a"), 8.0, 6), Capacity(frozenset("a"), 8.0, 5)
    assert after.exceeds(before)
    assert not before.exceeds(after)
    assert not before.exceeds(before)


def test_a_refusal_is_tried_again_in_the_end_and_less_often_each_time():
    watch = pressed(wanted=3)
    asked_at = []
    for _ in range(130):
        if watch.planned.decisions[0].changes:
            asked_at.append(watch.at)
            watch.answer(Fate.NO_CAPACITY)
        watch.decide(watch.rate)
    waits = [later - earlier for earlier, later in pairwise(asked_at)]
    assert waits == [INFEASIBLE_HOLD_S, 2 * INFEASIBLE_HOLD_S]


def test_stepping_back_never_asks_for_less_than_the_minimum():
    watch = Watch(rule(minimum=8), allocations=2)
    asked = []
    for _ in range(6):
        decision = watch.decide(10.0)
        if decision.changes:
            asked.append(decision.desired)
            watch.answer(Fate.NO_CAPACITY)
    assert asked == [8]


def test_forbidden_is_asked_again_only_after_a_long_time():
    watch = pressed()
    watch.answer(Fate.FORBIDDEN)
    decision = watch.decide(watch.rate)
    assert (decision.changes, decision.reason) == (False, Reason.BACK_OFF)
    watch.at += FORBIDDEN_S - 30.0
    watch.decide(watch.rate)
    watch.decide(watch.rate)
    assert watch.decide(watch.rate).changes


def test_forbidden_concerns_every_deployment():
    watch = pressed()
    watch.answer(Fate.FORBIDDEN)
    assert watch.state.forbidden is not None
    watch.answer(Fate.ACCEPTED)
    assert watch.state.forbidden is None, "an accepted update shows that it was mended"


def test_a_deployment_that_is_gone_is_forgotten():
    watch = pressed()
    watch.answer(Fate.GONE)
    assert watch.state.deployments == {}


def test_not_started_is_waited_for_and_not_held_against_it():
    watch = pressed()
    watch.answer(Fate.NOT_STARTED)
    assert watch.decide(watch.rate).desired == 10


def test_an_unknown_outcome_is_read_before_it_is_repeated():
    watch = pressed()
    watch.answer(Fate.UNKNOWN)
    watch.allocations = 10  # it had taken effect
    assert not watch.decide(watch.rate).changes


def test_unknown_outcomes_in_a_row_slow_us_down():
    watch = pressed()
    sent = []
    for _ in range(30):
        if watch.planned.decisions[0].changes:
            sent.append(watch.at)
            watch.answer(Fate.UNKNOWN)
        watch.decide(watch.rate)
    waits = [later - earlier for earlier, later in pairwise(sent)]
    assert waits == sorted(waits)
    assert waits[-1] >= 4 * waits[0]


@pytest.mark.parametrize("fate", [Fate.ENDPOINT_OWNED, Fate.INVALID, Fate.NATIVE_SCALING])
def test_other_refusals_are_not_repeated_at_once(fate):
    watch = pressed()
    watch.answer(fate)
    decision = watch.decide(watch.rate)
    assert (decision.changes, decision.reason) == (False, Reason.BACK_OFF)
    assert decision.steps[-1].because["because"] == fate


@pytest.mark.parametrize("fate", [Fate.UNCHANGED, Fate.DRY_RUN, Fate.WITHHELD])
def test_what_was_not_asked_teaches_nothing(fate):
    watch = pressed()
    before = watch.state
    watch.answer(fate)
    assert watch.state == before


def test_an_outcome_of_an_unknown_deployment_is_ignored():
    watch = pressed()
    decision = watch.planned.decisions[0]
    assert learn(State(), [outcome(decision, Fate.NO_CAPACITY)]) == State()


def test_refusals_of_one_kind_do_not_lengthen_the_wait_after_another():
    watch = pressed()
    for _ in range(4):
        watch.answer(Fate.UNKNOWN)
    watch.answer(Fate.INVALID)
    refused = watch.state.deployments["elser"].refused
    assert refused.until - watch.at == BACK_OFF[Fate.INVALID][0]


def test_a_number_that_is_accepted_after_all_was_not_infeasible():
    watch = pressed(wanted=3)
    watch.answer(Fate.NO_CAPACITY)
    watch.at += INFEASIBLE_HOLD_S - 20.0
    for _ in range(4):
        watch.decide(watch.rate)
    assert watch.planned.decisions[0].desired == 3
    watch.answer(Fate.ACCEPTED)
    assert watch.state.deployments["elser"].infeasible is None


def test_a_number_accepted_below_a_refused_one_leaves_the_refusal_standing():
    watch = pressed(wanted=10)
    watch.answer(Fate.NO_CAPACITY)
    watch.decide(watch.rate)
    watch.answer(Fate.ACCEPTED)
    assert watch.state.deployments["elser"].infeasible.allocations == 10
