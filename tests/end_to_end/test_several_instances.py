"""Several instances for one emulated cluster, over HTTP, in virtual time: one of them acts."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from autoscaler.adapters.state import SqliteStore
from autoscaler.cluster_controller import ClusterController
from autoscaler.config import load
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    Account,
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
    SecuritySettings,
)
from tests.virtual_loop import LoopClock, run_in_virtual_time

CONFIG = """
poll_interval = "5s"
state = "none"
[elasticsearch]
hosts = ["{url}"]
username = "autoscaler"
password = "secret"
[leadership]
lease = "{lease}"
{file}
[[rules]]
name = "all"
max_allocations = {most}
policy = "utilisation"
stabilisation_window = "0s"
"""
TTL_S = 15.0  # by default, for a poll interval and a request timeout of 5 s
INDEX = "/autoscaler-leases/*"
MAX_TAKEOVER_S = 20.0


def scenario(*privileges):
    granted = ["monitor_ml", "manage_ml", "monitor", *privileges]
    return ClusterScenario(
        nodes=[ScenarioNode(name="ml-1", processors=16)],
        models=[ScenarioModel(model_id="e5", service_time_s=0.05, load_s=2.0)],
        deployments=[
            ScenarioDeployment(model_id="e5", number_of_allocations=1, load=Steady(rate_per_s=60.0))
        ],
        security=SecuritySettings(
            accounts=[Account(username="autoscaler", password="secret", roles=["scaler"])],
            roles={"scaler": granted},
        ),
    )


LEASE_PRIVILEGES = tuple(
    f"autoscaler-leases:{name}" for name in ("read", "index", "auto_configure")
)


class Outcomes:
    """A Recorder of the outcomes of every cycle."""

    def __init__(self):
        self.kinds = []

    def planned(self, observation, plan, outcomes, took):
        self.kinds += [str(outcome.kind) for outcome in outcomes]

    def skipped(self, failure, at):
        self.kinds.append("skipped")


class Instance:
    """One controller with its tasks."""

    def __init__(self, path, **variables):
        self.outcomes = Outcomes()
        self.controller = ClusterController(
            load(path, variables), LoopClock(), recorders=(self.outcomes,), store_of=_store_of
        )
        self._task = None

    async def start(self):
        await self.controller.__aenter__()
        self._task = asyncio.ensure_future(self.controller.run())

    async def stop(self):
        """As at the end of a process that is told to end."""
        self.controller.stop()
        await self._task
        await self.controller.__aexit__(None, None, None)

    async def kill(self):
        """As if the process had been killed: nothing more is sent, the release included."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.controller.__aexit__(None, None, None)

    @property
    def leads(self):
        return self.controller.metrics.leadership.leads()

    def metric(self, name):
        return next(
            sample.value
            for metric in self.controller.metrics.collect()
            for sample in metric.samples
            if sample.name == name
        )


def _store_of(config, clock, log):
    if config.state_dir is None:
        return None
    return SqliteStore(config.state_dir, clock, log, in_thread=False)


class World:
    def __init__(self, emulator, path, lease):
        self.emulator, self.path, self._lease = emulator, path, lease
        self.instances = []
        self.variables = {}

    def configure(self, most):
        file = f'file = "{self.path.parent / "lease"}"' if self._lease == "file" else ""
        text = CONFIG.format(url=self.emulator.url, most=most, lease=self._lease, file=file)
        self.path.write_text(text)

    async def start(self):
        instance = Instance(self.path, **self.variables)
        self.instances.append(instance)
        await instance.start()
        return instance

    @property
    def requested(self):
        return self.emulator.cluster.deployments["e5"].requested

    @property
    def leaders(self):
        return [instance for instance in self.instances if instance.leads]

    async def end_leader(self, ends):
        """End the instance that leads, by a method of it."""
        (leader,) = self.leaders
        self.instances.remove(leader)
        await ends(leader)

    async def until_led(self, limit_s):
        """Seconds until an instance leads."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not self.leaders:
            await asyncio.sleep(0.1)
            assert loop.time() < began + limit_s, "no instance leads"
        return loop.time() - began


@asynccontextmanager
async def world(
    tmp_path, count, *, lease="elasticsearch", privileges=LEASE_PRIVILEGES, **variables
):
    async with running_emulator(scenario(*privileges), clock=LoopClock()) as emulator:
        found = World(emulator, tmp_path / "config.toml", lease)
        found.configure(most=8)
        found.variables = variables
        for _ in range(count):
            await found.start()
        with capture_logs() as found.log:
            try:
                yield found
            finally:
                for instance in list(found.instances):
                    await instance.stop()


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
            assert cluster.requested == 7
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
            assert cluster.requested == 7
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
