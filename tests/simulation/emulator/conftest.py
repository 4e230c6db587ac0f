"""An emulator on loopback, with a clock that advances only while a task sleeps."""

import base64
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest

from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.scenario import (
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
)
from tests.virtual_clock import VirtualClock


class Response(msgspec.Struct):
    status: int
    document: object
    headers: object
    text: str

    @property
    def error(self):
        return self.document["error"]


class Client:
    """An HTTP client whose requests complete in virtual time."""

    def __init__(self, running, clock, session):
        self.running, self.clock, self._session = running, clock, session
        self.cluster = running.cluster

    async def __call__(self, method, path, body=None, *, headers=None, auth=None, raw=None):
        headers = dict(headers or {})
        if auth:
            headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        data = raw if body is None else msgspec.json.encode(body)
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        return await self.clock.run(self.request(method, path, data, headers))

    async def request(self, method, path, data=None, headers=None):
        """A request that does not move time: for what has to wait beside something else."""
        url = self.running.url + path
        async with self._session.request(method, url, data=data, headers=headers) as response:
            text = await response.text()
            is_json = "json" in response.headers.get("Content-Type", "") and text
            document = msgspec.json.decode(text) if is_json else None
            return Response(response.status, document, response.headers, text)

    async def get(self, path, **options):
        return await self("GET", path, **options)

    async def post(self, path, body=None, **options):
        return await self("POST", path, body, **options)

    async def put(self, path, body=None, **options):
        return await self("PUT", path, body, **options)

    async def delete(self, path, **options):
        return await self("DELETE", path, **options)

    async def bulk(self, path, *lines, method="POST", **options):
        """A request whose body has an object on each line."""
        raw = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        return await self(method, path, raw=raw, **options)

    async def deployment(self, deployment_id):
        """The deployment's part of the statistics."""
        response = await self.get(f"/_ml/trained_models/{deployment_id}/_stats")
        assert response.status == 200, response.text
        return response.document["trained_model_stats"][0]["deployment_stats"]


def scenario(**changes):
    """Two nodes of four processors; `e5` runs with one allocation, `big` is not deployed."""
    settings = {
        "version": "9.2",
        "nodes": [ScenarioNode(name="ml-1", processors=4), ScenarioNode(name="ml-2", processors=4)],
        "models": [
            ScenarioModel(
                model_id="e5", size="100mb", service_time_s=0.05, service_cv=0.0, load_s=2.0
            ),
            ScenarioModel(
                model_id="big", size="400mb", service_time_s=0.2, service_cv=0.0, load_s=10.0
            ),
        ],
        "deployments": [ScenarioDeployment(model_id="e5", number_of_allocations=1)],
    }
    return ClusterScenario(**{**settings, **changes})


@asynccontextmanager
async def client_of(scenario_):
    clock = VirtualClock()
    async with (
        running_emulator(scenario_, clock=clock) as running,
        aiohttp.ClientSession() as session,
    ):
        yield Client(running, clock, session)


@pytest.fixture
async def es():
    async with client_of(scenario()) as client:
        yield client
