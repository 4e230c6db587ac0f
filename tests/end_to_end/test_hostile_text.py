"""Ids, names and reasons that contain escape sequences, line ends and marks of direction: they act
nowhere, and the deployments are scaled as any other."""

import asyncio
import io
import json
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from rich.console import Console

from autoscaler.adapters.logs import configure
from autoscaler.check import check, report
from autoscaler.config import load
from autoscaler.daemon import Daemon
from autoscaler.explain import DaemonAddress, fetch, pretty, render
from autoscaler.operate.progress import Progress, ProgressView
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
)
from tests.adapters.elasticsearch.servers import PRODUCT
from tests.virtual_clock import VirtualClock

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07\r\n2026 info fine\x9b31m\x7f\u2028\u202e\u2066\ufeff[bold]/../%2e"
)
"""It clears a terminal, forges a line, and writes from right to left."""

NAMES = ("the-cluster", "the-node", "the-model", "the-deployment", "another")
DEPLOYMENT = f"the-deployment{HOSTILE}"

SCENARIO = ClusterScenario(
    name="the-cluster",
    nodes=[ScenarioNode(name="the-node")],
    models=[ScenarioModel(model_id="the-model", service_time_s=0.05, load_s=2.0)],
    deployments=[
        ScenarioDeployment(
            model_id="the-model",
            deployment_id="the-deployment",
            number_of_allocations=1,
            load=Steady(rate_per_s=60.0),
        ),
        ScenarioDeployment(model_id="the-model", deployment_id="another"),
    ],
)
RULES = msgspec.json.encode([{"name": "all", "deployments": ["the*"], "max_allocations": 8}])
REASON = json.dumps({"error": {"type": f"type{HOSTILE}", "reason": f"reason{HOSTILE}"}})
REFUSED = {"calls": None, "status": 500, "content_type": "application/json", "body": REASON}


pytestmark = pytest.mark.usefixtures("logging_restored")


class World:
    def __init__(self, emulator, clock, daemon, config):
        self.emulator, self.clock, self.daemon, self.config = emulator, clock, daemon, config

    @property
    def url(self):
        return f"http://127.0.0.1:{self.daemon.server.port}"

    async def page(self, path):
        async with aiohttp.request("GET", self.url + path) as response:
            return await response.text()

    async def explained(self, deployment_id=None, *, terminal):
        response, _ = await fetch(DaemonAddress(self.url), deployment_id)
        return drawn(lambda console: render(response, console), terminal=terminal)


def hostile(emulator):
    """A server that appends `HOSTILE` to the names in the responses of an emulator."""

    async def give(request):
        path = request.raw_path.replace(quote(HOSTILE, safe=""), "")
        sent = {"json": await request.json()} if request.can_read_body else {}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, emulator.url + path, **sent) as response,
        ):
            text = await response.text()
        for name in NAMES:
            text = text.replace(f'"{name}"', json.dumps(f"{name}{HOSTILE}"))
        return web.Response(
            text=text, status=response.status, content_type="application/json", headers=PRODUCT
        )

    return give


@asynccontextmanager
async def running(style, log):
    clock = VirtualClock()
    async with (
        running_emulator(SCENARIO, clock=clock) as emulator,
        RawTestServer(hostile(emulator)) as server,  # whose routes do not end at line ends
    ):
        environ = {
            "AUTOSCALER_ELASTICSEARCH__HOSTS": str(server.make_url("")).rstrip("/"),
            "AUTOSCALER_SERVER__PORT": "0",
            "AUTOSCALER_RULES": RULES.decode(),
        }
        configure(style, "debug", version="1", environ={}, stream=log)
        daemon = Daemon(lambda: load(None, environ), clock=clock)
        task = asyncio.ensure_future(daemon.run())
        try:
            await daemon.started.wait()
            yield World(emulator, clock, daemon, load(None, environ))
        finally:
            daemon.stop()
            with suppress(asyncio.CancelledError):
                await clock.run(task)


def drawn(show, *, terminal):
    stream = io.StringIO()
    show(Console(file=stream, width=100, force_terminal=terminal, color_system=None))
    return stream.getvalue()


def assert_harmless(text):
    """Every line is printable, and none begins with what the cluster has written."""
    for line in text.split("\n"):
        assert line.isprintable(), line
        assert not line.startswith("2026 info fine"), line


@pytest.mark.parametrize("style", ["console", "json", "ecs"])
async def test_in_logs_and_pages(style):
    log = io.StringIO()
    async with running(style, log) as world:
        await world.clock.advance(60.0)
        assert world.emulator.cluster.deployments["the-deployment"].requested > 1, (
            "the URL is quoted"
        )
        one = f"/decisions/{quote(DEPLOYMENT, safe='')}"
        pages = [await world.page(path) for path in ("/decisions", one, "/metrics", "/readyz")]
        for fault in ("/_ml/*/_stats", "/_ml/*/_update"):
            world.emulator.emulation.faults.add(Fault(path=fault, **REFUSED))
        await world.clock.advance(60.0)
        pages += [await world.page(path) for path in ("/decisions", "/metrics", "/readyz")]
    for text in (*pages, log.getvalue()):
        assert_harmless(text)
    assert "reason\\" in log.getvalue()
    assert msgspec.json.decode(pages[1])["deployment"]["deployment"] == DEPLOYMENT


@pytest.mark.parametrize("terminal", [True, False])
async def test_on_terminals_and_in_pipes(terminal):
    async with running("json", io.StringIO()) as world:
        await world.clock.advance(30.0)
        found = await check(world.config)
        shown = [
            drawn(lambda console: report(found, console), terminal=terminal),
            await world.explained(terminal=terminal),
            await world.explained(DEPLOYMENT, terminal=terminal),
            pretty(await fetch(DaemonAddress(world.url))),
        ]
        world.emulator.emulation.faults.add(Fault(path="*", **REFUSED))
        await world.clock.advance(60.0)
        refused = await check(world.config)
        shown += [
            drawn(lambda console: report(refused, console), terminal=terminal),
            await world.explained(terminal=terminal),
            await world.explained(DEPLOYMENT, terminal=terminal),
        ]
    for text in shown:
        assert_harmless(text)
    assert "the-deployment\\x1b[2J" in shown[0]


def test_in_the_progress_of_a_start():
    progress = Progress(deployment_id=DEPLOYMENT, elapsed_s=1.0, stale_reason=HOSTILE)
    assert_harmless(drawn(lambda console: ProgressView(console)(progress), terminal=False))
