"""What an instance does while it leads, and while it does not."""

from types import SimpleNamespace

import pytest

from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import OutcomeKind, SetAllocations
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from tests.fakes import FakeClock, FakeCluster, FakeLeadership, FakeStateStore, ListRecorder
from tests.observations import deployment, node, policy, rule

POLL_S = 10.0


def one_instance(*, allocations=1, **settings):
    clock = FakeClock(start=1_000.0)
    cluster = FakeCluster(clock, deployment(node(allocations=allocations), deployment_id="a"))
    leadership, recorder = FakeLeadership(clock), ListRecorder()
    loop = ControlLoop(
        clock=clock,
        observer=cluster,
        actuator=cluster,
        recorder=recorder,
        ruleset=policy(rule(**({"min_allocations": 2} | settings))),
        leadership=leadership,
        state_store=FakeStateStore(),
    )
    return SimpleNamespace(
        loop=loop, clock=clock, cluster=cluster, leadership=leadership, recorder=recorder
    )


def last_outcomes(instance):
    return [(outcome.kind, outcome.detail) for outcome in instance.recorder.outcomes[-1]]


async def test_a_follower_observes_and_plans_and_sends_nothing():
    follower = one_instance()
    follower.leadership.follow("es-autoscaler-1")

    await follower.loop.run_cycle()

    assert follower.cluster.observed == 1
    assert follower.cluster.changes == []
    assert last_outcomes(follower) == [(OutcomeKind.WITHHELD, "es-autoscaler-1 leads")]


async def test_an_instance_without_a_known_leader_sends_nothing():
    instance = one_instance()

    await instance.loop.run_cycle()

    assert instance.cluster.changes == []
    assert last_outcomes(instance) == [(OutcomeKind.WITHHELD, "this instance does not lead")]


async def test_a_leader_sends_its_updates():
    leader = one_instance()
    leader.leadership.lead()

    await leader.loop.run_cycle()

    assert leader.cluster.requested == [("a", 2)]


async def test_a_cycle_that_began_before_the_term_sends_nothing():
    """Its observation may not show the last update of the former leader."""
    instance = one_instance()
    observe = instance.cluster.observe

    async def observe_and_lead():
        observation = await observe()
        instance.clock.pass_by(1.0)
        instance.leadership.lead()
        return observation

    instance.loop.observer = SimpleNamespace(observe=observe_and_lead)
    await instance.loop.run_cycle()
    assert instance.cluster.changes == []

    instance.loop.observer = instance.cluster
    instance.clock.pass_by(POLL_S)
    await instance.loop.run_cycle()
    assert instance.cluster.requested == [("a", 2)]


async def test_the_rest_of_a_cycle_is_withheld_once_the_term_has_ended():
    leader = one_instance()
    second = deployment(node(allocations=1), deployment_id="b")
    leader.cluster.deployments["b"] = second
    leader.leadership.lead()
    carry_out = leader.cluster.carry_out

    async def carry_out_and_follow(deployment_id, change, **_):
        await carry_out(deployment_id, change)
        leader.leadership.follow()

    leader.loop.actuator = SimpleNamespace(carry_out=carry_out_and_follow)
    await leader.loop.run_cycle()

    assert leader.cluster.requested == [("a", 2)]
    assert [kind for kind, _ in last_outcomes(leader)] == [
        OutcomeKind.ACCEPTED,
        OutcomeKind.WITHHELD,
    ]


async def test_the_updates_of_the_leader_are_no_external_changes_for_a_follower():
    follower = one_instance(external_change_hold_s=600.0)
    follower.leadership.follow()
    for allocations in (3, 4, 6):
        await follower.loop.run_cycle()
        await follower.cluster.carry_out("a", SetAllocations(allocations))
        follower.clock.pass_by(POLL_S)
    follower.cluster.changes.clear()
    follower.loop.ruleset = policy(rule(min_allocations=8, max_allocations=9))
    follower.leadership.lead()

    await follower.loop.run_cycle()

    assert all(plan.external_changes == () for plan in follower.recorder.plans)
    assert [each for each, _ in follower.cluster.changes] == ["a"]


async def test_the_changes_of_others_are_respected_by_a_leader():
    leader = one_instance(external_change_hold_s=600.0)
    leader.leadership.lead()
    await leader.loop.run_cycle()
    leader.clock.pass_by(POLL_S)
    await leader.loop.run_cycle()
    await leader.cluster.carry_out("a", SetAllocations(5))
    leader.clock.pass_by(POLL_S)

    await leader.loop.run_cycle()

    assert len(leader.recorder.plans[-1].external_changes) == 1


async def test_a_follower_stops_nothing_and_records_no_stop():
    zero = ScaleToZero(after_s=60.0, via=ZeroMethod.STOP)
    follower = one_instance(min_allocations=1, zero=zero)
    follower.leadership.follow()
    for _ in range(30):
        await follower.loop.run_cycle()
        follower.clock.pass_by(POLL_S)

    assert follower.cluster.changes == []
    assert follower.loop.state_store.saved == []
    assert follower.loop.state.stopped == {}

    follower.leadership.lead()
    await follower.loop.run_cycle()
    assert [type(change).__name__ for _, change in follower.cluster.changes] == ["Stop"]
    assert list(follower.loop.state_store.saved[-1]) == ["a"]


@pytest.mark.parametrize("leads", [True, False])
async def test_only_the_leader_releases_deployments_when_it_ends(leads):
    instance = one_instance(min_allocations=1, on_exit=OnExit.FLOOR, safe_allocations=3)
    if leads:
        instance.leadership.lead()
    else:
        instance.leadership.follow()
    await instance.loop.run_cycle()
    instance.clock.pass_by(POLL_S)

    released = await instance.loop.release_all()

    assert [each.deployment_id for each in released] == (["a"] if leads else [])
    assert bool(instance.cluster.changes) is leads


async def test_a_new_leader_begins_a_cycle_at_once():
    instance = one_instance()
    instance.leadership.follow()
    clock = instance.clock
    began_at = []
    observe = instance.cluster.observe

    async def observe_twice():
        began_at.append(clock.now())
        if len(began_at) == 2:
            instance.loop.stop()
        return await observe()

    async def sleep(seconds):
        if len(began_at) == 1:
            instance.leadership.lead()
            instance.loop.lead()
        await original(seconds / 4.0)

    original, clock.sleep = clock.sleep, sleep
    instance.loop.observer = SimpleNamespace(observe=observe_twice)

    await instance.loop.run()

    assert began_at[1] - began_at[0] < POLL_S


async def test_without_leadership_an_instance_is_the_only_one():
    instance = one_instance()
    instance.loop.leadership = None

    await instance.loop.run_cycle()

    assert instance.cluster.requested == [("a", 2)]
