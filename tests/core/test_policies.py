"""Policies that fail, and the return values of installed policies."""

from typing import Any, ClassVar

import numpy as np
import pytest
from msgspec.structs import replace

from autoscaler.core.explanation import explain
from autoscaler.core.flow.planning import plan
from autoscaler.core.installed_policy import InstalledPolicy
from autoscaler.core.next_poll import NextPoll, PollCause, Polling, PollRequest
from autoscaler.core.policies import (
    MAX_ALLOCATIONS,
    MemoryFormat,
    Situation,
    cost_curve_of,
    next_poll_safely,
    recommend_safely,
)
from autoscaler.core.slo_status import SloStatus
from autoscaler.core.state import PolicyMemory, State
from autoscaler.core.values import LoadEstimate, Reason, Sample, Step, Value
from tests.observations import deployment, node, observation, policy, rule

NOW = Situation(
    at=60.0,
    current=3,
    running=3,
    sample=Sample(at=60.0, interval_s=10.0),
    load=LoadEstimate(
        arrival_rate_per_s=49.0,
        throughput_per_s=30.0,
        service_time_s=0.1,
        cache_hit_fraction=0.0,
        in_flight=0,
        window_s=60.0,
    ),
    in_flight=(0,),
)


class Scripted(Value, frozen=True, kw_only=True):
    """Counts its calls in its memory, and raises an error at the call `breaks_at`."""

    name: ClassVar[str] = "scripted"
    load_window_s: ClassVar[float] = 60.0

    result: Any = None
    breaks_at: int = 10**9

    def begin(self):
        return 0

    def recommend(self, situation, memory):
        if memory >= self.breaks_at:
            raise ZeroDivisionError("of the policy's own")
        if self.result is not None:
            return self.result
        return Step(Reason.RECOMMENDATION, situation.current, memory + 5), memory + 1


def guest(memory_format=None, **given):
    return InstalledPolicy(
        name="guest",
        source="guest:make of guest 1.0",
        options={},
        load_window_s=60.0,
        memory_format=memory_format,
        policy=Scripted(**given),
    )


class TestFailing:
    def test_the_allocations_are_held_with_the_error_and_its_line(self):
        step, memory = recommend_safely(Scripted(breaks_at=0), NOW, None)
        assert (step.reason, step.before, step.after) == (Reason.POLICY_FAILED, 3, 3)
        assert step.inputs["error"].startswith(
            'ZeroDivisionError("of the policy\'s own") (test_policies.py:'
        )
        assert memory is None

    def test_it_begins_again_afterwards(self):
        fragile = Scripted(breaks_at=2)
        results, memory = [], None
        for _ in range(5):
            step, memory = recommend_safely(fragile, NOW, memory)
            results.append((step.reason is Reason.POLICY_FAILED, step.after))
        assert results == [(False, 5), (False, 6), (True, 3), (False, 5), (False, 6)]

    def test_an_error_in_begin_is_reported_too(self):
        class Broken(Scripted):
            def begin(self):
                raise KeyError("nothing")

        step, memory = recommend_safely(Broken(), NOW, None)
        assert (step.reason, memory) == (Reason.POLICY_FAILED, None)

    def test_long_errors_are_truncated(self):
        class Talkative(Scripted):
            def recommend(self, situation, memory):
                raise ValueError("x\n" * 10_000)

        step, _ = recommend_safely(Talkative(), NOW, None)
        assert len(step.inputs["error"]) < 300
        assert "\n" not in step.inputs["error"]


class Restless(Scripted):
    """Asks for a poll, or raises an error instead."""

    asks: Any = None

    def next_poll(self, situation, memory):
        if isinstance(self.asks, Exception):
            raise self.asks
        return self.asks


class Secretive(Scripted):
    """Knows an SLO, or raises an error instead."""

    knows: Any = None

    def slo_status(self, memory, desired, situation, before):
        if isinstance(self.knows, Exception):
            raise self.knows
        self.knows.append((memory, desired, situation is not None, before))
        return SloStatus(target=0.9, requests=7)


class TestPlanning:
    def planned(self, *rules, cycles=2):
        return {
            each.deployment_id: each for each in self.last_plan(*rules, cycles=cycles).decisions
        }

    def last_plan(self, *rules, cycles=2):
        ruleset = replace(policy(*rules), polling=Polling(interval_s=10.0, min_interval_s=2.0))
        state = State()
        for cycle in range(1, cycles + 1):
            served = node(completed=100 * cycle, allocations=2)
            seen = observation(
                10.0 * cycle,
                *(deployment(served, deployment_id=name, allocations=2) for name in ("a", "b")),
            )
            planned, state = plan(state, seen, ruleset)
        return planned

    def test_a_policy_that_fails_affects_no_other_deployment(self):
        fails = rule(name="fails", deployments=("a",), policy=Scripted(breaks_at=0))
        decisions = self.planned(fails, rule(policy=Scripted()))
        assert decisions["a"].reason is Reason.POLICY_FAILED
        assert "held: the policy failed: ZeroDivisionError" in explain(decisions["a"])
        assert (decisions["a"].desired, decisions["b"].desired) == (2, 5)

    def test_a_poll_that_a_policy_fails_to_ask_for_is_a_routine_one(self):
        """The recommendation is kept, no other deployment is affected, and the error is shown."""
        fails = Restless(asks=ZeroDivisionError("of its own"))
        asks = Restless(asks=PollRequest(4.0, PollCause.QUEUE))
        for other, due in (
            (Scripted(), NextPoll(within_s=10.0)),
            (asks, NextPoll(within_s=4.0, cause=PollCause.QUEUE, deployment_id="b")),
        ):
            rules = (rule(name="fails", deployments=("a",), policy=fails), rule(policy=other))
            planned = self.last_plan(*rules)
            a, b = planned.decisions
            assert (a.desired, b.desired) == (5, 5)
            assert planned.next_poll == due
            failed = (
                "next_poll of the policy failed: ZeroDivisionError('of its own') (test_policies"
            )
            assert failed in explain(a)
            assert "next_poll" not in explain(b)

    def test_a_decision_has_what_the_policy_knows_of_the_slo(self):
        """It is asked with the memory before and after the poll, and the desired allocations."""
        calls = []
        found = rule(deployments=("a",), policy=Secretive(knows=calls), max_allocations=4)
        decisions = self.planned(found, rule(policy=Scripted()))
        assert decisions["a"].slo == SloStatus(target=0.9, requests=7)
        assert decisions["b"].slo is None
        # The first observation shows nothing, and leaves no memory.
        assert calls == [(1, 4, True, 0)]

    def test_nothing_is_known_of_the_slo_where_the_policy_fails_to_say(self):
        """The recommendation is kept, no other deployment is affected, and the error is shown."""
        fails = Secretive(knows=ZeroDivisionError("of its own"))
        rules = (rule(name="fails", deployments=("a",), policy=fails), rule(policy=Scripted()))
        decisions = self.planned(*rules)
        assert (decisions["a"].desired, decisions["b"].desired) == (5, 5)
        assert decisions["a"].slo is None
        assert "slo_status of the policy failed: ZeroDivisionError" in explain(decisions["a"])
        assert "slo_status" not in explain(decisions["b"])

    def test_bounds_are_enforced_without_it(self):
        fails = rule(policy=Scripted(breaks_at=0), min_allocations=4)
        assert {each.desired for each in self.planned(fails).values()} == {4}

    def test_a_hold_after_a_failure_is_not_a_recommendation(self):
        """Otherwise, failures would fill the stabilisation window."""
        fragile = rule(policy=Scripted(breaks_at=1), stabilisation_window_s=0.0)
        first, second = (self.planned(fragile, cycles=cycles)["a"] for cycles in (2, 3))
        assert (first.recommended, second.reason) == (5, Reason.POLICY_FAILED)


class TestMemory:
    @pytest.mark.parametrize("memory_format", [None, MemoryFormat(int, 3)])
    def test_it_carries_the_name_and_the_version_of_the_policy(self, memory_format):
        versioned = guest(memory_format=memory_format)
        _, memory = recommend_safely(versioned, NOW, None)
        assert memory == PolicyMemory("guest", memory_format and 3, 1)
        _, memory = recommend_safely(versioned, NOW, memory)
        assert memory == PolicyMemory("guest", memory_format and 3, 2)

    def test_a_rule_with_another_policy_begins_without_it(self):
        state = State()
        for cycle in range(1, 4):
            served = node(completed=100 * cycle, allocations=2)
            seen = observation(10.0 * cycle, deployment(served, allocations=2))
            _, state = plan(state, seen, policy(rule(policy=guest())))
        assert state.deployments["elser"].memory == PolicyMemory("guest", None, 2)
        seen = observation(40.0, deployment(node(completed=400, allocations=2), allocations=2))
        _, state = plan(state, seen, policy(rule(policy=Scripted())))
        assert state.deployments["elser"].memory == PolicyMemory("scripted", None, 1)


class TestInstalled:
    def test_its_allocations_and_inputs_become_a_plain_step(self):
        inputs = {"load": np.float64(4.9), "count": np.int64(3), "mood": np.str_("calm")}
        result = Step(Reason.TARGET_TRACKING, 99, np.int64(7), inputs), "memory"
        step, memory = recommend_safely(guest(result=result), NOW, None)
        assert memory == PolicyMemory("guest", None, "memory")
        assert step == Step(
            Reason.RECOMMENDATION, 3, 7, {"load": 4.9, "count": 3.0, "mood": "calm"}
        )
        assert {type(value) for value in (step.after, *step.inputs.values())} == {int, float, str}

    @pytest.mark.parametrize("after", [0, MAX_ALLOCATIONS])
    def test_it_may_recommend_any_allocations_that_there_can_be(self, after):
        step, _ = recommend_safely(guest(result=(Step(Reason.SLO, 3, after), None)), NOW, None)
        assert (step.reason, step.after) == (Reason.RECOMMENDATION, after)

    def test_it_may_return_not_measured(self):
        result = Step(Reason.NOT_MEASURED, 3, 3), None
        assert recommend_safely(guest(result=result), NOW, None)[0].reason is Reason.NOT_MEASURED

    def test_its_cost_curve_is_passed_on(self):
        class Costly(Scripted):
            def cost_curve(self, situation, memory):
                return lambda allocations: np.float32(situation.current + memory + allocations)

        installed = replace(guest(), policy=Costly())
        _, memory = recommend_safely(installed, NOW, None)
        curve = cost_curve_of(installed, NOW, memory)
        assert curve is not None
        assert curve(4) == 3 + 1 + 4

    def test_it_needs_no_cost_curve(self):
        _, memory = recommend_safely(guest(), NOW, None)
        assert cost_curve_of(guest(), NOW, memory) is None

    def test_its_next_poll_is_passed_on(self):
        asks = PollRequest(np.float64(3.0), PollCause.JUMP)
        installed = replace(guest(), policy=Restless(asks=asks))
        _, memory = recommend_safely(installed, NOW, None)
        assert next_poll_safely(installed, NOW, memory) == (PollRequest(3.0, PollCause.JUMP), "")
        installed = replace(guest(), policy=Restless(asks=None))
        assert next_poll_safely(installed, NOW, memory) == (None, "")

    def test_it_needs_no_next_poll(self):
        _, memory = recommend_safely(guest(), NOW, None)
        assert next_poll_safely(guest(), NOW, memory) == (None, "")
        assert next_poll_safely(guest(), NOW, None) == (None, "")

    @pytest.mark.parametrize(
        ("asks", "error"),
        [
            (3.0, "next_poll() must return a PollRequest or None, not 3.0"),
            (PollRequest("soon", PollCause.QUEUE), "could not convert string to float: 'soon'"),
            (PollRequest(float("nan"), PollCause.QUEUE), "nan is not a time to the next poll"),
            (PollRequest(3.0, "whim"), "'whim' is not a valid PollCause"),
            (PollRequest(3.0, PollCause.SLOW_CLUSTER), "slow_cluster is not the cause of a"),
            (PollRequest(3.0, PollCause.ROUTINE), "routine is not the cause of a"),
            (KeyError("nothing"), "KeyError('nothing') (test_policies.py:"),
        ],
    )
    def test_an_invalid_next_poll_is_the_routine_one(self, asks, error):
        installed = replace(guest(), policy=Restless(asks=asks))
        _, memory = recommend_safely(installed, NOW, None)
        request, found = next_poll_safely(installed, NOW, memory)
        assert request is None
        assert error in found

    @pytest.mark.parametrize(
        ("result", "error"),
        [
            (7, "cannot unpack non-iterable int object"),
            ((7, None), "recommend() must return a Step and a memory, not 7"),
            ((Step(Reason.RECOMMENDATION, 3, 7.5), None), "'float' object cannot be interpreted"),
            ((Step(Reason.RECOMMENDATION, 3, -1), None), "-1 allocations are not between 0 and"),
            ((Step(Reason.RECOMMENDATION, 3, MAX_ALLOCATIONS + 1), None), "allocations are not"),
            ((Step(Reason.RECOMMENDATION, 3, 7, {"x": [1]}), None), "float() argument must be"),
            ((Step(Reason.RECOMMENDATION, 3, 7, [1]), None), "'list' object has no attribute"),
        ],
    )
    def test_an_invalid_return_value_is_a_failure(self, result, error):
        step, memory = recommend_safely(guest(result=result), NOW, None)
        assert (step.reason, step.after, memory) == (Reason.POLICY_FAILED, 3, None)
        assert error in step.inputs["error"]
