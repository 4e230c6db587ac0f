"""Instructions of operators that end by themselves."""

import structlog

from autoscaler.ages import LIVED_S
from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import Plan
from autoscaler.core.instructions import Instructions, Override
from autoscaler.core.state import State
from autoscaler.core.values import Reason, Step
from autoscaler.operator_instructions import OperatorInstructions
from autoscaler.ports import CycleTimes
from tests.adapters.recorded import decision
from tests.fakes import FakeClock, FakeCluster, ListRecorder
from tests.observations import observation, policy

NOW = 1_000_000.0
OVERRIDE = Override(allocations=4, since=NOW, until=NOW + 3_600.0, by="alice", reason="launch")


def process(clock):
    """A process that begins with the override."""
    cluster = FakeCluster(clock)
    operators = OperatorInstructions(
        None, clock, structlog.get_logger(), note=lambda *_: None, why_not=lambda: ""
    )
    operators.loop = ControlLoop(
        clock=clock,
        observer=cluster,
        actuator=cluster,
        recorder=ListRecorder(),
        ruleset=policy(),
        state=State(instructions=Instructions(overrides={"elser": OVERRIDE})),
    )
    return operators


def after(operators, clock, seconds):
    """What is known and what is in force some time later."""
    clock.pass_by(seconds)
    at = clock.now()
    operators.planned(
        observation(at),
        Plan(at=at, decisions=()),
        (),
        CycleTimes(observe_s=0.0, plan_s=0.0, act_s=0.0),
    )
    return list(operators.loop.state.instructions), operators.in_force()


def test_an_instruction_that_ends_while_the_process_runs_is_removed():
    operators = process(clock := FakeClock(NOW))
    assert after(operators, clock, 3_599.0) == ([("elser", OVERRIDE)],) * 2
    assert after(operators, clock, 1.0) == ([], [])


def test_a_clock_that_is_ahead_at_the_start_ends_none_for_good():
    operators = process(clock := FakeClock(NOW + 30 * 86_400.0))
    assert after(operators, clock, 10.0) == ([("elser", OVERRIDE)], [])
    corrected = process(clock := FakeClock(NOW + 600.0))
    assert after(corrected, clock, 10.0) == ([("elser", OVERRIDE)],) * 2


def test_one_that_had_ended_before_the_start_is_removed_after_a_day():
    operators = process(clock := FakeClock(NOW + 86_400.0))
    assert after(operators, clock, LIVED_S - 1.0) == ([("elser", OVERRIDE)], [])
    assert after(operators, clock, 1.0) == ([], [])


async def test_what_has_no_effect_on_an_externally_controlled_deployment_says_so():
    operators = process(clock := FakeClock(NOW))
    held = decision("elser", at=NOW, steps=(Step(Reason.ADAPTIVE_ENABLED, 3, 3),))
    took = CycleTimes(observe_s=0.0, plan_s=0.0, act_s=0.0)
    operators.planned(observation(clock.now()), Plan(at=NOW, decisions=(held,)), (), took)
    given = await operators.override("elser", 4, 600.0, "alice", "")
    assert "; it has no effect at present, because adaptive allocations are enabled; " in (
        given.message
    )
