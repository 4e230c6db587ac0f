"""How many updates a deployment gets, whatever its policy recommends."""

from itertools import cycle, islice, pairwise

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import Mode, OutcomeKind
from autoscaler.core.explanation import explain
from autoscaler.core.flow.update_rate import (
    CYCLES,
    MAX_UPDATES,
    MAX_UPDATES_BEFORE_DECREASE,
    update_rate_step,
)
from autoscaler.core.instructions import Instructions, Override
from autoscaler.core.values import Reason
from autoscaler.wire.state import decode_state, encode_state
from tests.core.flow.test_constraints import Watch

ALTERNATING = (3, 2)


def sent(watch, recommendations, kind=OutcomeKind.ACCEPTED, **given):
    """Whether each of these cycles sends an update."""
    found = []
    for recommended in recommendations:
        decision = watch.decide(recommended, **given)
        found.append(decision.change is not None)
        if decision.change is not None:
            watch.respond(kind)
    return found


def most_in_20_cycles(found):
    return max(sum(found[first : first + CYCLES]) for first in range(len(found)))


def after_a_storm(**given):
    """A deployment with 2 allocations of which no decrease is sent for now."""
    watch = Watch(2, **given)
    sent(watch, islice(cycle(ALTERNATING), MAX_UPDATES_BEFORE_DECREASE))
    return watch


class TestARecommendationThatGoesUpAndDown:
    @pytest.mark.parametrize("mode", list(Mode))
    def test_leads_to_no_storm_of_updates(self, mode):
        found = sent(Watch(2, mode=mode), islice(cycle(ALTERNATING), 200))
        assert 1 < most_in_20_cycles(found) <= MAX_UPDATES

    def test_is_followed_upwards_at_once_and_downwards_later(self):
        watch = after_a_storm()
        assert watch.decide(3).desired == 3
        watch.respond(OutcomeKind.ACCEPTED)
        held = watch.decide(2)
        assert held.desired == 3
        assert held.reason is Reason.UPDATE_RATE
        assert explain(held).endswith(
            "held: 11 updates in the last 20 cycles; the next when there are fewer than 10"
        )

    def test_is_followed_downwards_once_the_oldest_updates_are_older(self):
        watch = after_a_storm()
        found = sent(watch, (3, *[2] * 20))
        assert found[0]
        assert found.index(True, 1) == CYCLES - MAX_UPDATES_BEFORE_DECREASE + 1
        assert watch.allocations == 2

    def test_does_not_delay_a_load_that_grows_by_small_steps_before_the_limit(self):
        watch = after_a_storm()
        allowed = MAX_UPDATES - MAX_UPDATES_BEFORE_DECREASE
        found = sent(watch, range(3, 20))
        assert found[: allowed + 1] == [True] * allowed + [False]

    def test_sends_nothing_more_than_the_limit_for_an_endless_growth(self):
        found = sent(Watch(1, max_allocations=200), range(2, 100))
        assert most_in_20_cycles(found) == MAX_UPDATES
        assert found[:MAX_UPDATES] == [True] * MAX_UPDATES

    def test_does_not_delay_the_decrease_of_an_operator(self):
        watch = after_a_storm()
        override = Override(since=0.0, until=1e6, by="alice", allocations=1)
        instructions = Instructions(overrides={"elser": override})
        watch.state = replace(watch.state, instructions=instructions)
        assert watch.decide(2).desired == 1

    def test_delays_an_operator_by_the_limit_for_everything(self):
        watch = after_a_storm()
        sent(watch, (3, 4))
        override = Override(since=0.0, until=1e6, by="alice", allocations=1)
        instructions = Instructions(overrides={"elser": override})
        watch.state = replace(watch.state, instructions=instructions)
        held = watch.decide(4)
        assert (held.desired, held.reason) == (4, Reason.UPDATE_RATE)

    def test_delays_another_control_mode_as_a_decrease(self):
        many = (1 << MAX_UPDATES_BEFORE_DECREASE) - 1
        assert update_rate_step(2, 2, many, overridden=False).reason is Reason.UPDATE_RATE
        assert update_rate_step(2, 2, many >> 1, overridden=False) is None

    def test_is_no_reason_where_nothing_is_recommended(self):
        watch = Watch(2)
        sent(watch, islice(cycle(ALTERNATING), MAX_UPDATES_BEFORE_DECREASE - 1))
        watch.decide(watch.allocations + 1)
        watch.respond(OutcomeKind.NO_CAPACITY)  # of which the next decisions consist of all steps
        decision = watch.decide(watch.allocations)
        assert not decision.changes
        assert Reason.UPDATE_RATE not in [step.reason for step in decision.steps]


class TestWhichUpdatesCount:
    def test_those_that_were_refused_or_without_a_response(self):
        for kind in (OutcomeKind.INVALID, OutcomeKind.UNKNOWN, OutcomeKind.GONE):
            watch = Watch(2)
            sent(watch, (3,), kind)
            assert watch.state.deployments["elser"].recent_updates == 1

    def test_those_that_were_withheld_do_not(self):
        watch = Watch(2)
        sent(watch, (3,), OutcomeKind.WITHHELD)
        assert watch.state.deployments["elser"].recent_updates == 0

    def test_those_of_a_deployment_that_was_deleted_and_created_again(self):
        watch = after_a_storm()
        sent(watch, (3,))
        watch.decide(2, server_created_at=2_000.0)
        assert watch.decide(2, server_created_at=2_000.0).reason is Reason.UPDATE_RATE

    def test_those_before_a_restart(self):
        watch = after_a_storm()
        sent(watch, (3,))
        watch.state = decode_state(encode_state(watch.state).content).state
        assert watch.decide(2).reason is Reason.UPDATE_RATE


def test_a_dry_run_counts_those_that_it_would_have_sent():
    watch = Watch(2, dry_run=True)
    found = []
    for recommended in islice(cycle(ALTERNATING), 60):
        watch.decide(recommended)
        shadow = watch.state.deployments["elser"].shadow
        found.append(shadow.path.requested)
    moves = [before != after for before, after in pairwise(found)]
    assert 1 < most_in_20_cycles(moves) <= MAX_UPDATES
