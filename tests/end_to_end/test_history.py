"""The history of several instances: in their file after a fail-over, and of a follower."""

import asyncio

import pytest

from autoscaler.wire.history import HistoryQuery, view_of
from tests.end_to_end.instances import MAX_TAKEOVER_S, Instance, world
from tests.virtual_loop import run_in_virtual_time


def read(instance, deployment_id=None):
    """The entries, oldest first, and where they are kept."""
    entries, kept_in = instance.controller.history.read(HistoryQuery(deployment_id))
    return [view_of(each, whole=False) for each in reversed(entries)], kept_in


@pytest.mark.parametrize("ends", [Instance.kill, Instance.stop])
def test_the_next_leader_has_the_history_of_the_former_one(tmp_path, ends):
    saved = {"AUTOSCALER_STATE": "sqlite", "AUTOSCALER_STATE_DIR": str(tmp_path / "state")}

    async def play():
        async with world(tmp_path, 1, lease="file", **saved) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(120.0)
            follower = await cluster.start()
            await asyncio.sleep(60.0)
            entries, kept_in = read(follower)
            assert kept_in == ""
            assert "does not lead" in entries[1].message
            assert "update" not in [each.kind for each in entries]
            await cluster.end_leader(ends)
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            entries, kept_in = read(follower)
            assert kept_in == str(tmp_path / "state" / "autoscaler.sqlite")
            kinds = [each.kind for each in entries]
            assert kinds.count("update") == 1  # of the former leader
            former, later = (each.message for each in entries if each.kind == "leadership")
            assert former.endswith("leads")
            assert later == f"this instance, {follower.controller._state.name}, leads"
            assert former != later
            about_one, _ = read(follower, "e5")
            assert {each.deployment for each in about_one} == {"", "e5"}
            assert [each.at for each in entries] == sorted(each.at for each in entries)

    run_in_virtual_time(play())


def test_without_a_file_the_last_entries_are_in_memory(tmp_path):
    async def play():
        async with world(tmp_path, 1, lease="file", AUTOSCALER_STATE="none") as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            entries, kept_in = read(*cluster.instances)
            assert kept_in == ""
            kinds = [each.kind for each in entries]
            assert kinds[0] == "started"
            assert {"leadership", "decision", "update", "completed"} <= set(kinds)

    run_in_virtual_time(play())
