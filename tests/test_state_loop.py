"""When the state belongs to this process, and what it may do before."""

import asyncio
import math
from contextlib import suppress

import structlog

from autoscaler.control_loop import ControlLoop
from autoscaler.state_loop import StateLoop
from tests.fakes import FakeClock, FakeCluster, FakeLeadership, FakeStateStore, ListRecorder
from tests.observations import deployment, node, policy, rule


async def no_uuid():
    return ""


async def test_a_second_term_begins_with_the_state_too():
    """Also if the lease is known to be held before the beginning of the term is reported."""
    clock = FakeClock(start=1_000.0)
    cluster = FakeCluster(clock, deployment(node(allocations=1), deployment_id="a"))
    leadership, store = FakeLeadership(clock), FakeStateStore()
    state = StateLoop(
        store,
        cluster,
        clock,
        structlog.get_logger(),
        cluster_uuid=no_uuid,
        leadership=leadership,
        policies=list,
    )
    state.loop = ControlLoop(
        clock=clock,
        observer=state,
        actuator=cluster,
        recorder=ListRecorder(),
        ruleset=policy(rule()),
        leadership=state,
        state_store=store,
    )
    leadership.lead()
    state.lead()
    running = asyncio.ensure_future(state.run())
    while state.leading_since == math.inf:
        await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    leadership.follow()
    state.follow()
    clock.pass_by(100.0)
    leadership.lead()

    assert state.leading_since == math.inf
