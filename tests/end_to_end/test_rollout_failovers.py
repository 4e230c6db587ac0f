"""Gradual rollouts of which the leader ends: the next one goes on with the state of the former one,
in a directory that both have, or in an index of the cluster."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from autoscaler.core.rollout_status import RolloutVerdict
from tests.end_to_end.instances import (
    LEASE_PRIVILEGES,
    STATE_PRIVILEGES,
    Instance,
    world,
)
from tests.virtual_loop import run_in_virtual_time

pytestmark = pytest.mark.deep  # they last for hours of virtual time

BEFORE = 9
HOUR_S = 3600.0
MAX_WAIT_S = 4.0 * HOUR_S
MAX_TAKEOVER_S = 60.0  # for a poll interval of 10 s
STORES = {
    "sqlite": {"lease": "file", "AUTOSCALER_STATE": "sqlite"},
    "elasticsearch": {"lease": "elasticsearch", "AUTOSCALER_STATE": "elasticsearch"},
}
ENDS = pytest.mark.parametrize("ends", [Instance.kill, Instance.stop])
STORED = pytest.mark.parametrize("store", STORES)


def rules(**keys):
    hours = {"hours": ["00:00-24:00"], "timezone": "UTC", "share": 0.5}
    rule = {"name": "all", "policy": "slo", "stabilisation_window": "0s", "rollout": hours}
    return json.dumps([rule | keys])


@asynccontextmanager
async def gradual(tmp_path, store, **keys):
    """A leader with a gradual rollout, for the first time."""
    options = {
        **STORES[store],
        "AUTOSCALER_STATE_DIR": str(tmp_path / "state"),
        "AUTOSCALER_POLL_INTERVAL": "10s",
        "AUTOSCALER_RULES": rules(**keys),
    }
    granted = (*LEASE_PRIVILEGES, *STATE_PRIVILEGES)
    async with world(tmp_path, 0, privileges=granted, **options) as cluster:
        cluster.emulator.cluster.update_deployment("e5", number_of_allocations=BEFORE)
        await cluster.start()
        await cluster.until_led(MAX_TAKEOVER_S)
        await asyncio.sleep(60.0)
        yield cluster


def rollout(cluster):
    (leader,) = cluster.leaders
    return leader.controller._loop.state.rollouts["e5"]


async def until(cluster, reached):
    async with asyncio.timeout(MAX_WAIT_S):
        while not reached(rollout(cluster)):
            await asyncio.sleep(10.0)


async def next_leader(cluster, ends):
    await cluster.end_leader(ends)
    await cluster.start()
    await cluster.until_led(MAX_TAKEOVER_S)
    await asyncio.sleep(30.0)


@STORED
@ENDS
def test_in_the_middle_of_an_active_hour_the_next_leader_goes_on_and_returns_at_its_end(
    tmp_path, store, ends
):
    async def play():
        async with gradual(tmp_path, store, max_allocations=8) as cluster:
            assert rollout(cluster).verdict is RolloutVerdict.RUNNING
            await until(cluster, lambda found: found.active)
            await asyncio.sleep(1200.0)
            former, requested = rollout(cluster), cluster.requested
            assert requested < BEFORE
            await next_leader(cluster, ends)
            found = rollout(cluster)
            assert (found.active, found.seed, found.block) == (True, former.seed, former.block)
            assert found.before == former.before
            assert found.active_totals.requests >= former.active_totals.requests
            assert cluster.requested < BEFORE
            await until(cluster, lambda found: not found.active)
            await asyncio.sleep(60.0)
            assert cluster.requested == BEFORE
            assert not [each for each in cluster.log if each["event"] == "deployment.changed"]

    run_in_virtual_time(play())


@STORED
@ENDS
def test_what_was_reverted_stays_reverted_until_an_operator_resumes_it(tmp_path, store, ends):
    async def play():
        async with gradual(tmp_path, store, max_allocations=1) as cluster:
            await until(cluster, lambda found: found.active)
            await until(cluster, lambda found: found.verdict is RolloutVerdict.REVERTED)
            reverted = rollout(cluster)
            for _ in range(2):
                await next_leader(cluster, ends)
                found = rollout(cluster)
                assert (found.verdict, found.reverted_at) == (
                    reverted.verdict,
                    reverted.reverted_at,
                )
                assert cluster.requested == BEFORE
            (leader,) = cluster.leaders
            given = await leader.controller.operators.resume_rollout("e5", "alice", "")
            assert given.saved
            assert rollout(cluster).verdict is RolloutVerdict.RUNNING
            await next_leader(cluster, ends)
            assert rollout(cluster).verdict is RolloutVerdict.RUNNING
            assert rollout(cluster).before == reverted.before

    run_in_virtual_time(play())
