"""Pauses and overrides of operators: they hold what they say, in the process that is given them and
in the next one, until they end by themselves."""

import asyncio

import pytest

from autoscaler.core.instructions import PausedChanges
from autoscaler.ports import RefusalKind, RequestRefused
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.wire.history import HistoryQuery, view_of
from tests.end_to_end.instances import MAX_TAKEOVER_S, Instance, world
from tests.end_to_end.test_state_of_the_leader import replicas
from tests.virtual_loop import run_in_virtual_time

FILE = {"AUTOSCALER_STATE": "sqlite"}
NEEDED = 5
"""Allocations that the load of the emulated deployment needs."""


async def operators(cluster):
    """What the leader accepts, as soon as it has observed the cluster."""
    await cluster.until_led(MAX_TAKEOVER_S)
    await asyncio.sleep(6.0)
    (leader,) = cluster.leaders
    return leader.controller.operators


async def pause(cluster, for_s=600.0, changes=PausedChanges.EVERYTHING, deployment_id="e5"):
    requests = await operators(cluster)
    return await requests.pause(deployment_id, changes, for_s, "alice", "a load test")


async def override(cluster, allocations, for_s=600.0):
    requests = await operators(cluster)
    return await requests.override("e5", allocations, for_s, "bob", "a launch")


@pytest.mark.parametrize("ends", [Instance.kill, Instance.stop])
def test_a_pause_outlives_the_leader_and_ends_by_itself(tmp_path, ends):
    async def play():
        async with replicas(tmp_path, 2) as cluster:
            result = await pause(cluster)
            assert result.saved
            before = cluster.requested
            await cluster.end_leader(ends)
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(500.0)
            assert cluster.requested == before
            (leader,) = cluster.leaders
            *_, (_, plan, _) = leader.outcomes.cycles
            (decision,) = plan.decisions
            assert [each.by for each in decision.pauses] == ["alice"]
            await asyncio.sleep(200.0)
            assert cluster.requested != before or before == NEEDED
            assert leader.controller.operators.in_force() == []
            ended = [e["message"] for e in cluster.log if e["event"] == "instruction.ended"]
            assert ended == ["e5: the pause has ended"]

    run_in_virtual_time(play())


def test_all_can_be_paused_before_anything_is_observed(tmp_path):
    async def play():
        options = {**FILE, "AUTOSCALER_STATE_DIR": str(tmp_path / "state")}
        async with world(tmp_path, 1, **options) as cluster:
            blind = Fault(path="/_ml/trained_models/_stats", calls=None, status=503)
            cluster.emulator.emulation.faults.add(blind)
            await cluster.until_led(MAX_TAKEOVER_S)
            (leader,) = cluster.leaders
            while leader.controller._state.is_reading:
                await asyncio.sleep(1.0)
            given = await leader.controller.operators.pause(
                None, PausedChanges.EVERYTHING, 600.0, "alice", ""
            )
            assert given.message.startswith("all deployments: paused until ")
            unseen = leader.controller.health.why_not_ready()
            assert unseen is not None
            assert unseen.startswith("the cluster has not been observed yet")
            cluster.emulator.emulation.faults.clear()
            await asyncio.sleep(590.0)
            assert cluster.requested == 1
            await asyncio.sleep(60.0)
            assert cluster.requested == NEEDED

    run_in_virtual_time(play())


def test_an_override_outlives_a_kill_and_stays_within_the_bounds(tmp_path):
    async def play():
        options = {"lease": "file", **FILE, "AUTOSCALER_STATE_DIR": str(tmp_path / "state")}
        async with world(tmp_path, 1, **options) as cluster:
            with pytest.raises(RequestRefused, match=r"9 is outside the bounds 1\.\.8 of rule all"):
                await override(cluster, 9)
            assert (await override(cluster, 8)).saved
            await asyncio.sleep(10.0)
            assert cluster.requested == 8
            await cluster.end_leader(Instance.kill)
            cluster.configure(most=7)  # the configuration outranks what was set before
            await cluster.start()
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            assert cluster.requested == 7
            await asyncio.sleep(600.0)
            assert cluster.requested == NEEDED

    run_in_virtual_time(play())


def test_an_override_changes_nothing_while_the_cluster_cannot_be_observed(tmp_path):
    async def play():
        async with world(tmp_path, 1) as cluster:
            await operators(cluster)
            blind = Fault(path="/_ml/trained_models/_stats", calls=None, status=503)
            cluster.emulator.emulation.faults.add(blind)
            await asyncio.sleep(30.0)
            before = cluster.requested
            await override(cluster, 8)
            await asyncio.sleep(120.0)
            assert cluster.requested == before
            cluster.emulator.emulation.faults.clear()
            await asyncio.sleep(90.0)
            assert cluster.requested == 8

    run_in_virtual_time(play())


def test_a_follower_accepts_nothing(tmp_path):
    async def play():
        async with replicas(tmp_path, 2) as cluster:
            await operators(cluster)
            (follower,) = [each for each in cluster.instances if not each.leads]
            requests = follower.controller.operators
            with pytest.raises(RequestRefused, match="leads; ask the leader") as refused:
                await requests.pause(None, PausedChanges.EVERYTHING, 600.0, "alice", "")
            assert refused.value.kind is RefusalKind.CONFLICT

    run_in_virtual_time(play())


def test_without_a_saved_state_the_answer_says_that_a_restart_ends_it(tmp_path):
    async def play():
        async with world(tmp_path, 1) as cluster:
            result = await pause(cluster)
            assert not result.saved
            assert result.message.endswith("so a restart ends all pauses and overrides")

    run_in_virtual_time(play())


def test_the_history_says_who_and_why(tmp_path):
    async def play():
        async with world(tmp_path, 1) as cluster:
            requests = await operators(cluster)
            await requests.pause("e5", PausedChanges.DECREASES, 600.0, "alice", "a load test")
            await requests.override("e5", 8, 60.0, "bob", "")
            await requests.unpause("e5", "carol", "it is over")
            await asyncio.sleep(90.0)
            (leader,) = cluster.leaders
            found, _ = leader.controller.history.read(HistoryQuery("e5"))
            views = [view_of(each, whole=False) for each in reversed(found)]
            given = [
                (each.message.split(" until ")[0], each.by, each.stated_reason)
                for each in views
                if each.kind == "instruction"
            ]
            assert given == [
                ("e5: decreases are paused", "alice", "a load test"),
                ("e5: overridden to 8 allocations", "bob", ""),
                ("e5: the pause is ended", "carol", "it is over"),
                ("e5: the override has ended", "", ""),
            ]

    run_in_virtual_time(play())


@pytest.mark.parametrize(
    ("ask", "kind", "message"),
    [
        (lambda r: r.override("e5-", 3, 60.0, "a", ""), "not_found", "did you mean e5"),
        (lambda r: r.override("e5", 3, 59.0, "a", ""), "conflict", "between"),
        (lambda r: r.override("e5", 3, float("nan"), "a", ""), "conflict", "between"),
        (lambda r: r.override("e5", 3, 1e9, "a", ""), "conflict", "between"),
        (lambda r: r.override("e5", 3, 60.0, "a", "x" * 201), "conflict", "at most 200"),
        (lambda r: r.end_override("e5", "a", ""), "not_found", "not overridden"),
        (lambda r: r.unpause("e5", "a", ""), "not_found", "not paused"),
        (lambda r: r.unpause(None, "a", ""), "not_found", "nothing is paused"),
    ],
)
def test_what_has_no_effect_is_refused(tmp_path, ask, kind, message):
    async def play():
        async with world(tmp_path, 1) as cluster:
            with pytest.raises(RequestRefused, match=message) as refused:
                await ask(await operators(cluster))
            assert refused.value.kind == kind

    run_in_virtual_time(play())


def test_a_deployment_that_is_paused_with_all_is_not_unpaused_alone(tmp_path):
    async def play():
        async with world(tmp_path, 1) as c:
            requests = await operators(c)
            await pause(c, deployment_id=None)
            with pytest.raises(RequestRefused, match="paused with all deployments by alice"):
                await requests.unpause("e5", "bob", "")
            await pause(c)
            result = await requests.unpause("e5", "bob", "")
            assert result.message.startswith("e5: the pause is ended; all deployments are still")
            assert (await requests.unpause(None, "bob", "")).message.startswith("all deployments")
            assert requests.in_force() == []

    run_in_virtual_time(play())
