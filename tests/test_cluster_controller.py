"""Two controllers in one process, each with its own emulated cluster."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from autoscaler.cluster_controller import ClusterController
from autoscaler.config import load
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
)
from tests.virtual_clock import VirtualClock

CONFIG = """
[elasticsearch]
hosts = ["{url}"]
[[rules]]
name = "all"
max_allocations = {most}
policy = "utilisation"
"""


@pytest.fixture(autouse=True)
def default_logging():
    structlog.reset_defaults()


def scenario(rate_per_s):
    """One deployment, which has the same id in both clusters."""
    load = Steady(rate_per_s=rate_per_s)
    return ClusterScenario(
        nodes=[ScenarioNode(name="ml-1")],
        models=[ScenarioModel(model_id="e5", service_time_s=0.05, load_s=2.0)],
        deployments=[ScenarioDeployment(model_id="e5", number_of_allocations=1, load=load)],
    )


class Side:
    """A controller and its cluster."""

    def __init__(self, name, clock, emulator, path):
        self.emulator, self.path = emulator, path
        self.controller = ClusterController(self.config(), clock, cluster=name)

    def config(self, most=8):
        self.path.write_text(CONFIG.format(url=self.emulator.url, most=most))
        return load(self.path, {})

    @property
    def requested(self):
        return self.emulator.cluster.deployments["e5"].requested

    def samples(self):
        return [sample for metric in self.controller.metrics.collect() for sample in metric.samples]

    def metric(self, name):
        (value,) = [
            sample.value
            for sample in self.samples()
            if sample.name == name and sample.labels.get("deployment", "e5") == "e5"
        ]
        return value


@asynccontextmanager
async def two_sides(tmp_path, *names):
    clock = VirtualClock()
    async with AsyncExitStack() as stack:
        sides = []
        for name, rate_per_s in zip(names, (60.0, 20.0), strict=True):
            emulator = await stack.enter_async_context(
                running_emulator(scenario(rate_per_s), clock=clock)
            )
            sides.append(Side(name, clock, emulator, tmp_path / f"{name}.toml"))
        log = stack.enter_context(capture_logs())
        for side in sides:
            await stack.enter_async_context(side.controller)
        tasks = [asyncio.ensure_future(side.controller.run()) for side in sides]
        try:
            yield clock, log, *sides
        finally:
            for side in sides:
                side.controller.stop()
            await clock.run(asyncio.gather(*tasks))


async def test_each_scales_its_own_cluster(tmp_path):
    async with two_sides(tmp_path, "east", "west") as (clock, _log, east, west):
        await clock.advance(60.0)
        assert (east.requested, west.requested) == (5, 2)  # 60/s and 20/s of 50 ms each at 70%
        assert east.metric("autoscaler_desired_allocations") == 5
        assert west.metric("autoscaler_desired_allocations") == 2


async def test_metrics_and_log_lines_name_the_cluster(tmp_path):
    async with two_sides(tmp_path, "east", "west") as (clock, log, east, west):
        await clock.advance(60.0)
        assert {sample.labels["cluster"] for sample in east.samples()} == {"east"}
        assert {sample.labels["cluster"] for sample in west.samples()} == {"west"}
        accepted = {
            line["cluster"]: line["desired"] for line in log if line["event"] == "update.accepted"
        }
        assert accepted == {"east": 5, "west": 2}
        assert all("cluster" in line for line in log)


async def test_a_failing_cluster_does_not_disturb_the_other(tmp_path):
    async with two_sides(tmp_path, "east", "west") as (clock, _log, east, west):
        east.emulator.emulation.faults.add(Fault(calls=None, status=503))
        await clock.advance(120.0)
        assert east.requested == 1
        assert east.metric("autoscaler_elasticsearch_up") == 0.0
        assert east.controller.health.why_not_ready() is not None
        assert west.requested == 2
        assert west.metric("autoscaler_elasticsearch_up") == 1.0
        assert west.controller.health.why_not_ready() is None


async def test_a_new_configuration_and_the_end_concern_one_cluster_only(tmp_path):
    async with two_sides(tmp_path, "east", "west") as (clock, _log, east, west):
        await clock.advance(60.0)
        east.controller.apply(east.config(most=3))
        west.controller.stop()
        await clock.advance(60.0)
        assert (east.requested, west.requested) == (3, 2)


async def test_one_cluster_without_a_name_has_neither_label_nor_field(tmp_path):
    async with two_sides(tmp_path, "", "west") as (clock, log, only, _west):
        await clock.advance(60.0)
        assert only.samples()
        assert not [sample for sample in only.samples() if "cluster" in sample.labels]
        assert [line for line in log if "cluster" not in line and line.get("deployment") == "e5"]


async def test_the_paths_name_the_cluster(tmp_path):
    async with two_sides(tmp_path, "east", "") as (clock, _log, east, only):
        await clock.advance(60.0)
        app = web.Application()
        app.router.add_routes([*east.controller.pages.routes(), *only.controller.pages.routes()])
        async with TestClient(TestServer(app)) as client:
            for path, desired in (("/clusters/east/decisions/e5", 5), ("/decisions/e5", 2)):
                response = await client.get(path)
                assert (await response.json())["deployment"]["desired"] == desired
