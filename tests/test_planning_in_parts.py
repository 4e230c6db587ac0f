"""What happens in the event loop while a plan is made."""

import asyncio
from contextlib import suppress
from types import MappingProxyType

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.adapters.logs import LogRecorder
from autoscaler.composite_recorder import CompositeRecorder
from autoscaler.core.flow.cycle import begin_cycle, begin_cycle_in_parts
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.in_parts import PARTS_AT_ONCE, in_parts
from tests.observations import deployment, node, observation, policy, rule
from tests.test_control_loop import loop_over, named

MANY = 10 * PARTS_AT_ONCE
LOW = rule(min_allocations=2, max_allocations=9)
STOPPED = StoppedDeployment(stats=deployment(node(), deployment_id="stopped"), since=900.0)


def many():
    return [named(f"d-{number:03}", 1) for number in range(MANY)]


async def meanwhile(loop, after, act):
    """Run a cycle, and do something when the event loop was free so many times."""

    async def other():
        for _ in range(after):
            await asyncio.sleep(0)
        act()

    cycle, task = loop.run_cycle(), asyncio.ensure_future(other())
    await cycle
    assert task.done()


async def times_free(loop):
    """How often others could run during a cycle: renew a lease, answer a probe, begin a scrape."""
    free = 0

    async def other():
        nonlocal free
        while True:
            await asyncio.sleep(0)
            free += 1

    task = asyncio.ensure_future(other())
    await loop.run_cycle()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return free


async def test_others_run_while_it_plans():
    loop, _, _ = loop_over(*many(), rules=(rule(),))
    # A deployment is assessed, and later concluded.
    assert await times_free(loop) >= 2 * MANY / PARTS_AT_ONCE - 1


async def test_others_run_while_it_logs_the_first_decisions():
    loop, _, recorder = loop_over(*many(), rules=(rule(),))
    unlogged = await times_free(loop)
    loop, _, _ = loop_over(*many(), rules=(rule(),))
    loop.recorder = CompositeRecorder(recorder, LogRecorder(structlog.get_logger("test")))
    with structlog.testing.capture_logs() as lines:
        assert await times_free(loop) >= unlogged + MANY / PARTS_AT_ONCE - 1
    assert [line["deployment"] for line in lines] == [f"d-{number:03}" for number in range(MANY)]


async def test_others_run_after_each_recorder():
    """Each takes milliseconds for a thousand deployments, and there are eight."""
    loop, _, recorder = loop_over(*many(), rules=(rule(),))
    unrecorded = await times_free(loop)
    loop, _, _ = loop_over(*many(), rules=(rule(),))
    loop.recorder = CompositeRecorder(*[recorder] * 8)
    assert await times_free(loop) >= unrecorded + 8 - 1


@pytest.mark.parametrize("after", range(0, 19, 3))
async def test_new_rules_hold_from_the_plan_under_way(after):
    loop, cluster, _ = loop_over(*many(), rules=(LOW,))
    higher = policy(rule(min_allocations=4, max_allocations=9))
    await meanwhile(loop, after, lambda: setattr(loop, "ruleset", higher))
    assert cluster.requested
    assert {allocations for _, allocations in cluster.requested} == {4}


@pytest.mark.parametrize("after", range(0, 19, 3))
async def test_a_resume_request_is_not_lost(after):
    loop, cluster, _ = loop_over(*many(), rules=(rule(),))
    loop.state = State(stopped={"stopped": STOPPED})
    asked = []
    await meanwhile(loop, after, lambda: asked.append(loop.resume("stopped")))
    assert asked == [True]
    assert loop.state.resume_requested == {"stopped"} or "stopped" in cluster.deployments
    loop.clock.pass_by(10.0)
    await loop.run_cycle()
    assert "stopped" in cluster.deployments


@given(st.lists(st.integers(1, 40), max_size=60), st.booleans())
async def test_the_plan_is_the_same(allocations, waiting):
    deployments = [
        deployment(node(allocations=count), deployment_id=f"d-{number}")
        for number, count in enumerate(allocations)
    ]
    ruleset = policy(LOW)
    state = State(stopped={"stopped": STOPPED} if waiting else {})
    for at in (1_000.0, 1_010.0, 1_020.0):
        seen = observation(at, *deployments)
        parts = begin_cycle_in_parts(state, seen, ruleset, None, MappingProxyType({}))
        cycle = await in_parts(parts)
        assert cycle == begin_cycle(state, seen, ruleset)
        assert (cycle.plan, cycle.state) == plan(state, seen, ruleset)
        state = replace(cycle.state, resume_requested=frozenset())


async def test_a_defect_is_that_of_the_computation():
    def parts():
        yield
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_parts(parts())
