"""A gradual rollout as an operator meets it: over the API of a daemon, which is restarted."""

import asyncio
import json

import aiohttp
import pytest
from msgspec.structs import replace

from autoscaler.config import load
from autoscaler.daemon import Daemon
from tests.test_daemon import SCENARIO, running

TOKEN = "0123456789abcdef"
BEFORE = 7
CONFIG = """
state = "elasticsearch"
poll_interval = "20s"
[elasticsearch]
hosts = ["{url}"]
[server]
port = 0
[[rules]]
name = "all"
max_allocations = 1
rollout = { hours = ["00:00-24:00"], timezone = "UTC" }
"""


async def found(setup):
    status, text = await setup.get("/decisions/e5")
    assert status == 200
    return json.loads(text)["deployment"]["rollout"]


async def until(setup, reached, within_s):
    for _ in range(round(within_s / 10.0)):
        if reached(await found(setup)):
            return await found(setup)
        await setup.clock.advance(10.0)
    raise AssertionError(await found(setup))


async def restarted(setup, variables):
    setup.daemon.stop()
    await setup.task
    setup.daemon = Daemon(lambda: load(setup.path, variables), clock=setup.clock)
    setup.task = asyncio.ensure_future(setup.daemon.run())
    await setup.daemon.started.wait()
    await setup.clock.advance(30.0)


async def resumed(setup):
    """The message to an operator who resumes the rollout."""
    url = f"http://127.0.0.1:{setup.daemon.server.port}/api/v1/resume-rollout"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = {"deployment": "e5", "reason": "the rule was changed"}
    async with aiohttp.request("POST", url, json=body, headers=headers) as response:
        assert response.status == 202
        return (await response.json())["message"]


@pytest.mark.deep  # it lasts for hours of virtual time
@pytest.mark.timeout(600)
async def test_a_bad_rule_is_reverted_stays_so_after_a_restart_and_acts_when_it_is_resumed(
    tmp_path,
):
    variables = {"AUTOSCALER_SERVER__TOKEN": TOKEN}
    deployed = replace(SCENARIO.deployments[0], number_of_allocations=BEFORE)
    scenario = replace(SCENARIO, deployments=[deployed])
    async with running(tmp_path, scenario, config=CONFIG, **variables) as setup:
        await setup.clock.advance(30.0)
        first = await found(setup)
        assert (first["verdict"], first["before"]) == ("running", f"{BEFORE} allocations")
        assert "the rule acts in" in first["message"]
        await until(setup, lambda rollout: rollout["active"], 4 * 3600.0)
        assert abs(setup.clock.now() - first["next_active_at"]) <= 30.0
        began_at = setup.clock.now()
        reverted = await until(setup, lambda rollout: rollout["verdict"] == "reverted", 1200.0)
        assert reverted["reverted_at"] - began_at <= 600.0
        await setup.clock.advance(30.0)
        assert setup.requested == BEFORE
        (event,) = setup.messages("rollout.reverted")
        assert reverted["because"] in event

        await restarted(setup, variables)
        await setup.clock.advance(3600.0)
        still = await found(setup)
        assert (still["verdict"], still["reverted_at"]) == ("reverted", reverted["reverted_at"])
        assert "rollout resume" in still["message"]
        assert setup.requested == BEFORE

        assert "e5" in await resumed(setup)
        await setup.clock.advance(30.0)
        assert (await found(setup))["verdict"] == "running"
        await restarted(setup, variables)
        assert (await found(setup))["verdict"] == "running"
        await until(setup, lambda rollout: rollout["active"], 4 * 3600.0)
        await setup.clock.advance(60.0)
        assert setup.requested == 1
