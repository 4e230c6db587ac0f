"""Several instances for one emulated cluster, over HTTP, in virtual time: one of them acts."""

import asyncio

import pytest

from autoscaler.adapters.state import FormerFileUnreadable
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.loads import Steady
from tests.end_to_end.instances import (
    INDEX,
    LEASE_PRIVILEGES,
    MAX_TAKEOVER_S,
    TTL_S,
    Instance,
    world,
)
from tests.virtual_loop import run_in_virtual_time


@pytest.mark.parametrize("lease", ["elasticsearch", "file"])
def test_one_of_three_scales_the_cluster_and_the_others_follow(tmp_path, lease):
    async def play():
        async with world(tmp_path, 3, lease=lease) as cluster:
            assert await cluster.until_led(MAX_TAKEOVER_S) > TTL_S - 1.0  # its lease did not exist
            await asyncio.sleep(60.0)
            (leader,) = cluster.leaders
            assert cluster.requested == 5  # 60/s of 50 ms each at 70%
            assert [each.metric("autoscaler_leader") for each in cluster.instances].count(1.0) == 1
            for each in cluster.instances:
                assert ("accepted" in each.outcomes.kinds) is (each is leader)
                assert len(each.outcomes.kinds) > 10
                assert each.controller.health.why_not_ready() is None
                text = "leads" if each is leader else "does not lead"
                assert text in each.controller.health.role()

    run_in_virtual_time(play())


@pytest.mark.parametrize("lease", ["elasticsearch", "file"])
def test_another_instance_leads_within_twenty_seconds_of_the_death_of_the_leader(tmp_path, lease):
    async def play():
        async with world(tmp_path, 3, lease=lease) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            for _ in range(3):
                await asyncio.sleep(30.0)
                await cluster.end_leader(Instance.kill)
                assert await cluster.until_led(MAX_TAKEOVER_S) > 0.5 * TTL_S
                await cluster.start()
            acquired = [each for each in cluster.log if each["event"] == "leadership.acquired"]
            assert len(acquired) == 4

    run_in_virtual_time(play())


@pytest.mark.parametrize("ends", [Instance.kill, Instance.stop])
def test_the_next_leader_continues_with_the_state_that_the_former_one_saved(tmp_path, ends):
    """On one host, with one directory: a follower leaves it alone until it leads."""
    saved = {"AUTOSCALER_STATE": "sqlite", "AUTOSCALER_STATE_DIR": str(tmp_path / "state")}

    async def play():
        async with world(tmp_path, 1, lease="file", **saved) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(1200.0)
            await cluster.start()
            await cluster.end_leader(ends)
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(1.0)
            *_, opened = [each for each in cluster.log if each["event"] == "state.opened"]
            assert opened["message"].endswith(" ago: 1 deployment, and 0 stopped")
            (leader,) = cluster.leaders
            assert leader.controller._loop.state.cold_start_s is None
            sent = len([kind for kind in leader.outcomes.kinds if kind == "accepted"])
            await asyncio.sleep(300.0)
            assert leader.outcomes.kinds.count("accepted") == sent == 0
            assert not [each for each in cluster.log if each["event"] == "deployment.changed"]

    run_in_virtual_time(play())


def test_a_leader_that_cannot_read_the_stopped_deployments_of_an_earlier_release_ends(tmp_path):
    """As the only instance does. It could neither act nor be seen not to act."""
    former = tmp_path / "former.json"
    former.write_text("no such file of an earlier release")
    variables = {
        "AUTOSCALER_STATE": "sqlite",
        "AUTOSCALER_STATE_DIR": str(tmp_path / "state"),
        "AUTOSCALER_STATE_FILE": str(former),
    }

    async def play():
        async with world(tmp_path, 1, lease="file", **variables) as cluster:
            (instance,) = cluster.instances
            with pytest.raises(FormerFileUnreadable):
                async with asyncio.timeout(MAX_TAKEOVER_S):
                    await instance.ended()
            cluster.instances.clear()

    run_in_virtual_time(play())


def test_another_instance_leads_at_once_when_the_leader_is_stopped(tmp_path):
    async def play():
        async with world(tmp_path, 2) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(30.0)
            await cluster.end_leader(Instance.stop)
            assert await cluster.until_led(TTL_S / 5.0 + 1.0) < TTL_S / 4.0
            events = [each["event"] for each in cluster.log]
            assert events.count("leadership.released") == 1
            assert "leadership.lost" not in events

    run_in_virtual_time(play())


def test_the_new_leader_takes_the_updates_of_the_former_one_for_no_external_changes(tmp_path):
    async def play():
        async with world(tmp_path, 2) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            await cluster.end_leader(Instance.stop)
            cluster.emulator.emulation.start_load("e5", Steady(rate_per_s=90.0))
            await asyncio.sleep(60.0)
            assert cluster.requested > 5
            assert not [each for each in cluster.log if each["event"] == "deployment.changed"]

    run_in_virtual_time(play())


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_leader_that_cannot_renew_its_lease_changes_nothing_after_its_end(tmp_path, status):
    async def play():
        async with world(tmp_path, 2) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            faults = cluster.emulator.emulation.faults
            faults.add(Fault(path=INDEX, status=status, error_type="some_exception", calls=None))
            await asyncio.sleep(TTL_S + 1.0)
            assert cluster.leaders == []
            cluster.emulator.emulation.start_load("e5", Steady(rate_per_s=90.0))
            await asyncio.sleep(120.0)
            assert cluster.requested == 5
            events = [each["event"] for each in cluster.log]
            assert events.count("leadership.lost") == 1
            assert events.count("lease.unavailable") == 2  # once for each instance

            faults.clear()
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(30.0)
            assert cluster.requested > 5
            events = [each["event"] for each in cluster.log]
            assert events.count("lease.available") == 2

    run_in_virtual_time(play())


def test_without_privileges_for_the_index_no_instance_leads_and_the_log_names_them(tmp_path):
    async def play():
        async with world(tmp_path, 1, privileges=()) as cluster:
            await asyncio.sleep(60.0)
            assert cluster.leaders == []
            assert cluster.requested == 1
            (line,) = [each for each in cluster.log if each["event"] == "lease.unavailable"]
            assert "grant read, index and auto_configure" in line["message"]
            (instance,) = cluster.instances
            assert set(instance.outcomes.kinds) <= {"withheld", "unchanged"}

    run_in_virtual_time(play())


@pytest.mark.parametrize("missing", range(3))
def test_each_of_the_privileges_is_needed(tmp_path, missing):
    privileges = [name for index, name in enumerate(LEASE_PRIVILEGES) if index != missing]

    async def play():
        async with world(tmp_path, 1, privileges=privileges) as cluster:
            await asyncio.sleep(60.0)
            assert cluster.leaders == []

    run_in_virtual_time(play())
