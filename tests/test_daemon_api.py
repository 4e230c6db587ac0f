"""The API of a whole daemon: every operation of its document answers as the document says."""

import itertools
import json
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
import structlog
from yarl import URL

from autoscaler.simulation.scenario import ClusterScenario, ScenarioDeployment
from autoscaler.wire.decision_views import AdminError
from tests.test_daemon import SCENARIO, running

TOKEN = "0123456789abcdef"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
LATER = {
    "/api/v1/reload": "it waits for the reload, whose test lets time pass",
    "/api/v1/events": "it does not end; the tests of the page read it",
}

WITH_A_DRY_RUN = ClusterScenario(
    nodes=SCENARIO.nodes,
    models=SCENARIO.models,
    deployments=[
        *SCENARIO.deployments,
        ScenarioDeployment(model_id="e5", deployment_id="watched"),
    ],
)
CONFIG = """
[elasticsearch]
hosts = ["{url}"]
[server]
port = 0
[[rules]]
name = "watched"
deployments = ["watched"]
max_allocations = 8
dry_run = true
[[rules]]
name = "all"
max_allocations = 8
"""

IDS = (
    "e5",
    "watched",
    "..",
    "../..",
    "a/b",
    "%2e%2e",
    "\x00",
    "\x1b[2J\u202e",
    "x" * 513,
    "",
    "😀\n",
)
TIMES = (60, 604_800, 59, 604_801, -1, 1e308, "60", None)
ODD = ("", "x", "null", "[]", "{}", '{"deployment": null}', '{"deployment": {}}', "\x00" * 50)


@pytest.fixture(autouse=True)
def default_logging():
    structlog.reset_defaults()


def bodies(schema, components):
    """Bodies of requests: odd ones, and some that have all that is required."""
    yield from ODD
    fields = components[schema["$ref"].rpartition("/")[2]]["properties"]
    for name, for_s in itertools.product(IDS, TIMES):
        values = {
            "deployment": name,
            "for_s": for_s,
            "allocations": 3,
            "changes": "decreases",
            "reason": name[:200],
        }
        yield json.dumps({each: values[each] for each in fields})


async def test_every_operation_answers_as_the_document_says_whatever_is_sent(tmp_path):
    async with (
        running(tmp_path, WITH_A_DRY_RUN, config=CONFIG, AUTOSCALER_SERVER__TOKEN=TOKEN) as setup,
        aiohttp.ClientSession() as session,
    ):
        await setup.clock.advance(30.0)
        _, text = await setup.get("/api/v1/openapi.json")
        document = json.loads(text)
        components = document["components"]["schemas"]
        base, answered = f"http://127.0.0.1:{setup.daemon.server.port}", set()
        for path, methods in document["paths"].items():
            if path in LATER:
                continue
            for method, operation in methods.items():
                body_schema = operation.get("requestBody")
                given = ("",)
                if body_schema is not None:
                    content = body_schema["content"]["application/json"]["schema"]
                    given = bodies(content, components)
                names = IDS if "{deployment_id}" in path else ("",)
                for name, body in itertools.product(names, given):
                    target = path.replace("{deployment_id}", quote(name, safe=""))
                    url = URL(f"{base}{target}", encoded=True)
                    async with session.request(
                        method, url, data=body.encode() or None, headers=HEADERS
                    ) as response:
                        status, found = response.status, await response.read()
                    allowed = {*operation["responses"], *({} if name else {"404"})}
                    assert str(status) in allowed, (method, target, body, status, found)
                    if status >= 400:
                        assert msgspec.json.decode(found, type=AdminError).error
                    else:
                        answered.add((method, path))
        operations = {
            (method, path)
            for path, methods in document["paths"].items()
            for method in methods
            if path not in LATER
        }
        # Nothing is stopped, nothing is in a rollout.
    assert operations - answered == {
        ("post", "/api/v1/resume"),
        ("post", "/api/v1/resume-rollout"),
    }


async def test_the_deployment_of_a_request_cannot_become_all(tmp_path):
    async with (
        running(tmp_path, AUTOSCALER_SERVER__TOKEN=TOKEN) as setup,
        aiohttp.ClientSession() as session,
    ):
        await setup.clock.advance(30.0)
        url = f"http://127.0.0.1:{setup.daemon.server.port}/api/v1/pause"
        for given in (
            {"for_s": 60},
            {"deployment": "", "for_s": 60},
            {"deployment": "..", "for_s": 60},
        ):
            async with session.post(url, json=given, headers=HEADERS) as response:
                assert response.status in (400, 404)
        _, listed = await setup.get("/api/v1/instructions")
        assert json.loads(listed)["instructions"] == []


async def test_a_key_that_is_given_twice_is_refused_because_one_of_its_values_would_be_lost(
    tmp_path,
):
    body = b'{"deployment": "e5", "for_s": 60, "allocations": 3, "allocations": 30}'
    async with (
        running(tmp_path, AUTOSCALER_SERVER__TOKEN=TOKEN) as setup,
        aiohttp.ClientSession() as session,
    ):
        await setup.clock.advance(30.0)
        url = f"http://127.0.0.1:{setup.daemon.server.port}/api/v1/override"
        async with session.post(url, data=body, headers=HEADERS) as response:
            assert response.status == 400
            assert "the key 'allocations' is given more than once" in await response.text()
        _, text = await setup.get("/api/v1/instructions")
        assert json.loads(text)["instructions"] == []
