"""Instructions of operators: what they hold and set, and that they never leave the bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.core.decision import (
    ExternalChange,
    Mode,
    OutcomeKind,
    SetAllocations,
    SetBounds,
    Setting,
    Start,
    Stop,
)
from autoscaler.core.explanation import explain
from autoscaler.core.flow.instructed import holding_pause
from autoscaler.core.instructions import Instructions, Override, Pause, PausedChanges
from autoscaler.core.values import AdaptiveAllocations, Reason
from tests.core.flow.test_constraints import Watch, hardware, schedule
from tests.observations import deployment, node

GIVEN: Any = {"since": 0.0, "until": 1_000.0, "by": "alice", "reason": "load test"}


def paused(changes="everything", **more):
    return Pause(changes=PausedChanges(changes), **GIVEN | more)


def override(allocations, **more):
    return Override(allocations=allocations, **GIVEN | more)


def instruct(watch, instruction, deployment_id="elser"):
    instructions = watch.state.instructions.with_one(deployment_id, instruction)
    watch.state = replace(watch.state, instructions=instructions)


class TestPauses:
    @pytest.mark.parametrize("recommended", [1, 2, 6])
    @pytest.mark.parametrize("deployment_id", ["elser", None])
    def test_a_pause_of_everything_keeps_the_allocations(self, recommended, deployment_id):
        watch = Watch(allocations=3)
        instruct(watch, paused(), deployment_id)
        decision = watch.decide(recommended)
        assert (decision.desired, decision.change) == (3, None)
        assert decision.reason is Reason.PAUSED
        assert decision.recommended == recommended
        assert "held: paused by alice for another 16 min: load test" in explain(decision)

    def test_a_pause_of_increases_permits_decreases(self):
        watch = Watch(allocations=3, shrink_factor=10.0)
        instruct(watch, paused("increases"))
        assert watch.decide(6).desired == 3
        assert watch.decide(1).desired == 1

    def test_a_pause_of_decreases_permits_increases(self):
        watch = Watch(allocations=3)
        instruct(watch, paused("decreases"))
        assert watch.decide(1).desired == 3
        assert watch.decide(6).desired == 6

    def test_two_pauses_hold_together(self):
        watch = Watch(allocations=3)
        instruct(watch, paused("decreases"))
        instruct(watch, paused("increases"), None)
        assert watch.decide(1).desired == watch.decide(6).desired == 3

    def test_it_ends_by_itself(self):
        watch = Watch(allocations=3)
        instruct(watch, paused(until=40.0))
        desired = [watch.decide(6).desired for _ in range(4)]
        assert desired == [3, 3, 6, 6]

    def test_one_of_another_deployment_does_not_apply(self):
        watch = Watch(allocations=3)
        instruct(watch, paused(), "b")
        decision = watch.decide(6)
        assert (decision.desired, decision.pauses) == (6, ())

    def test_the_bounds_of_the_rule_change_nothing_meanwhile(self):
        watch = Watch(allocations=8, max_allocations=6)
        instruct(watch, paused())
        assert watch.decide(8).change is None

    def test_what_is_held_claims_no_free_capacity(self):
        watch = Watch(allocations=2, cluster=hardware(3))
        instruct(watch, paused())
        decision = watch.decide(9)
        assert Reason.FIT not in {step.reason for step in decision.steps}


class TestPausesWithAdaptiveAllocations:
    """Their bounds are two numbers, and a change may raise one of them and lower the other."""

    @pytest.mark.parametrize(
        ("changes", "recommended", "change"),
        [
            ("decreases", 6, SetBounds(6, 8)),
            ("decreases", 4, SetBounds(4, 8)),
            ("decreases", 2, SetBounds(4, 8)),
            ("increases", 6, None),
            ("increases", 4, None),
            ("increases", 2, None),  # they might choose up to 8
        ],
    )
    def test_they_are_enabled_only_if_their_bounds_permit_no_change_in_a_paused_direction(
        self, changes, recommended, change
    ):
        watch = Watch(allocations=4, mode=Mode.BOUNDS, max_allocations=8, shrink_factor=10.0)
        instruct(watch, paused(changes))
        decision = watch.decide(recommended)
        assert decision.change == change
        assert decision.desired == (4 if change is None else change.minimum)
        held = decision.desired != recommended
        assert (f"held: {changes} are paused by alice" in explain(decision)) is held

    def test_what_is_held_claims_no_free_capacity(self):
        watch = Watch(allocations=2, cluster=hardware(3), mode=Mode.BOUNDS)
        instruct(watch, paused("increases"))
        decision = watch.decide(9)
        assert [step.reason for step in decision.steps] == [Reason.RECOMMENDATION, Reason.PAUSED]

    @pytest.mark.parametrize(
        ("changes", "number", "desired", "change"),
        [
            ("decreases", 5, 5, SetBounds(5, 8)),
            ("decreases", 3, 4, None),
            ("increases", 3, 3, SetBounds(3, 3)),
            ("increases", 5, 4, SetBounds(4, 5)),
            ("everything", 3, 4, None),
        ],
    )
    def test_the_maximum_stays_where_only_it_would_change_in_a_paused_direction(
        self, changes, number, desired, change
    ):
        watch = Watch(allocations=4, mode=Mode.BOUNDS, max_allocations=8, shrink_factor=10.0)
        instruct(watch, override(number))
        instruct(watch, paused(changes))
        found = {"adaptive": AdaptiveAllocations(enabled=True, minimum=4, maximum=8)}
        decision = watch.decide(4, **found)
        assert (decision.desired, decision.change) == (desired, change)
        assert (decision.reason is Reason.PAUSED) is (desired != number)

    def test_a_change_of_only_the_maximum_is_held_without_a_reason_for_the_allocations(self):
        watch = Watch(allocations=4, mode=Mode.BOUNDS, max_allocations=8)
        instruct(watch, paused("increases"))
        found = {"adaptive": AdaptiveAllocations(enabled=True, minimum=4, maximum=6)}
        decision = watch.decide(4, **found)
        assert (decision.desired, decision.change) == (4, None)


class TestOverrides:
    def test_the_number_is_set_at_once(self):
        watch = Watch(allocations=2, growth_factor=2.0, burst_max_allocations=4)
        instruct(watch, override(9))
        decision = watch.decide(2)
        assert decision.change == SetAllocations(9)
        assert "overridden to 9 by alice" in explain(decision)

    def test_a_number_that_is_recommended_anyway_exceeds_the_burst_ceiling_at_once_as_well(self):
        watch = Watch(allocations=2, burst_max_allocations=3)
        instruct(watch, override(4))
        assert watch.decide(4).change == SetAllocations(4)

    def test_it_keeps_the_number_whatever_the_policy_recommends(self):
        watch = Watch(allocations=4)
        instruct(watch, override(4))
        assert [watch.decide(each).desired for each in (9, 1, 6)] == [4, 4, 4]

    @pytest.mark.parametrize("number", [3, 4])
    def test_it_is_the_reason_although_limits_of_recommendations_would_hold_as_well(self, number):
        watch = Watch(
            allocations=3, growth_factor=2.0, shrink_factor=1.5, stabilisation_window_s=300.0
        )
        watch.decide(3)
        instruct(watch, override(number))
        decision = watch.decide(1)
        assert (decision.desired, decision.reason) == (number, Reason.OVERRIDE)
        assert f"overridden to {number} by alice" in explain(decision)

    @pytest.mark.parametrize(("number", "set_to"), [(1, 2), (50, 6)])
    def test_it_never_leaves_the_bounds_of_the_rule(self, number, set_to):
        watch = Watch(allocations=3, min_allocations=2, max_allocations=6)
        instruct(watch, override(number))
        assert watch.decide(3).desired == set_to

    def test_an_open_schedule_limits_it(self):
        night = schedule("night", max_allocations=3)
        watch = Watch(allocations=2, schedules=(night,), open_schedules={night})
        instruct(watch, override(8))
        assert watch.decide(2).desired == 3

    def test_no_more_is_requested_than_fits(self):
        watch = Watch(cluster=hardware(5), max_allocations=20)
        instruct(watch, override(9))
        assert watch.decide(2).desired == 5

    def test_nothing_is_decreased_on_statistics_with_an_issue(self):
        watch = Watch(allocations=6)
        instruct(watch, override(2))
        decision = watch.decide(6, serving={"server_started_at": None})
        assert decision.change is None
        assert watch.decide(6).desired == 2

    def test_it_ends_by_itself(self):
        watch = Watch(allocations=3)
        instruct(watch, override(8, until=30.0))
        assert [watch.decide(3).desired for _ in range(3)] == [8, 3, 3]

    def test_a_pause_holds_it_as_well(self):
        watch = Watch(allocations=3)
        instruct(watch, override(8))
        instruct(watch, paused("increases"))
        decision = watch.decide(3)
        assert (decision.desired, decision.reason) == (3, Reason.PAUSED)
        assert (decision.override.allocations, len(decision.pauses)) == (8, 1)

    def test_the_policy_knows_that_it_is_not_carried_out(self):
        watch = Watch(allocations=3)
        watch.decide(3)
        assert watch.recommending.situation.carried_out
        instruct(watch, override(8))
        watch.decide(3)
        assert not watch.recommending.situation.carried_out

    def test_it_replaces_what_another_writer_has_set_before(self):
        watch = Watch(allocations=3)
        known = watch.state.deployments["elser"]
        changed = ExternalChange(
            deployment_id="elser",
            at=5.0,
            before=Setting(5),
            after=Setting(3),
            times=1,
            hold_s=600.0,
        )
        known = replace(known, external_change=changed, setting=Setting(3))
        watch.state = replace(watch.state, deployments={"elser": known})
        assert watch.decide(8).desired == 3
        instruct(watch, override(8, since=20.0))
        assert watch.decide(3).desired == 8


STATS = deployment(node("n1", allocations=4))
ADAPTIVE = replace(STATS, adaptive=AdaptiveAllocations(enabled=True, minimum=2, maximum=6))
UNKNOWN = replace(STATS, allocations=None)
START = Start(
    model_id="m",
    allocations=1,
    threads_per_allocation=1,
    queue_capacity=None,
    cache_bytes=None,
    priority="normal",
    adaptive=None,
)


@pytest.mark.parametrize(
    ("change", "stats", "raises", "lowers"),
    [
        (SetAllocations(5), STATS, True, False),
        (SetAllocations(3), STATS, False, True),
        (SetBounds(2, 8), ADAPTIVE, True, False),
        (SetBounds(2, 5), ADAPTIVE, False, True),
        (SetBounds(3, 5), ADAPTIVE, True, True),
        (SetBounds(1, 9), STATS, True, True),
        (SetBounds(4, 9), STATS, True, False),
        (SetBounds(4, 0), STATS, True, False),  # without a maximum
        (SetBounds(2, 4), STATS, False, True),
        (SetBounds(4, 4), STATS, False, False),
        (SetBounds(4, 4), UNKNOWN, True, True),
        (SetAllocations(4), UNKNOWN, True, True),
        (Stop(), STATS, False, True),
        (START, None, True, False),
    ],
    ids=str,
)
def test_a_pause_forbids_changes_in_its_direction(change, stats, raises, lowers):
    assert (holding_pause(change, stats, [paused("increases")]) is not None) is raises
    assert (holding_pause(change, stats, [paused("decreases")]) is not None) is lowers
    assert holding_pause(change, stats, [paused()]) is not None
    assert holding_pause(change, stats, []) is None


@given(
    recommended=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    number=st.integers(0, 10**6),
    changes=st.sampled_from([None, *PausedChanges]),
    found=st.integers(1, 12),
)
def test_no_instruction_ever_leaves_the_bounds_or_changes_what_it_holds(
    recommended, number, changes, found
):
    watch = Watch(allocations=found, min_allocations=2, max_allocations=9, shrink_factor=3.0)
    instruct(watch, override(number))
    if changes is not None:
        instruct(watch, paused(changes), None)
    for each in recommended:
        decision = watch.decide(each)
        change = decision.change
        if change is None:
            continue
        assert isinstance(change, SetAllocations)
        assert 2 <= change.allocations <= 9
        assert changes is not PausedChanges.EVERYTHING
        assert changes is not PausedChanges.INCREASES or change.allocations < watch.allocations
        assert changes is not PausedChanges.DECREASES or change.allocations > watch.allocations
        watch.respond(OutcomeKind.ACCEPTED)


def test_instructions_are_replaced_withdrawn_and_merged():
    first, later = override(3), override(4, since=10.0)
    both = Instructions().with_one("a", first).with_one(None, paused())
    assert both.with_one("a", later).overrides == {"a": later}
    assert list(both.without(None, paused())) == [("a", first)]
    assert both.updated(Instructions().with_one("a", later).since(5.0)).overrides == {"a": later}
    assert list(both.since(5.0)) == []
