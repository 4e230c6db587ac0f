"""Several instances of the daemon for one emulated cluster, over HTTP, in virtual time."""

import asyncio
import random
from contextlib import asynccontextmanager

from structlog.testing import capture_logs

from autoscaler.adapters.state import FormerFile, SqliteStore
from autoscaler.cluster_controller import ClusterController
from autoscaler.config import load
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
from tests.virtual_loop import LoopClock

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
STATE_PRIVILEGES = tuple(
    f"autoscaler-state:{name}" for name in ("read", "index", "delete", "create_index")
)


class Outcomes:
    """A Recorder of every cycle."""

    def __init__(self):
        self.kinds, self.cycles = [], []

    def planned(self, observation, plan, outcomes, took):
        self.kinds += [str(outcome.kind) for outcome in outcomes]
        self.cycles.append((observation, plan, outcomes))

    def skipped(self, failure, at):
        self.kinds.append("skipped")


class Instance:
    """One controller with its tasks. Its number is the seed of its jitter."""

    def __init__(self, path, number, **variables):
        self.outcomes = Outcomes()
        self.controller = ClusterController(
            config := load(path, variables),
            LoopClock(),
            recorders=(self.outcomes,),
            store_of=None if config.state_index else _store_of,
            jitter=random.Random(number),
        )
        self._task = None

    async def start(self):
        await self.controller.__aenter__()
        self._task = asyncio.ensure_future(self.controller.run())

    async def ended(self):
        """When it has ended by itself. Raises its error."""
        try:
            await self._task
        finally:
            await self.controller.__aexit__(None, None, None)

    async def stop(self):
        """As at the end of a process after SIGTERM."""
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
    former = None if config.state_file is None else FormerFile(config.state_file)
    return SqliteStore(
        config.state_dir,
        clock,
        log,
        former=former,
        outlives=lambda _: True,
        in_thread=False,
    )


class World:
    def __init__(self, emulator, path, lease):
        self.emulator, self.path, self._lease = emulator, path, lease
        self.instances = []
        self.variables = {}
        self._started = 0

    def configure(self, most):
        file = f'file = "{self.path.parent / "lease"}"' if self._lease == "file" else ""
        text = CONFIG.format(url=self.emulator.url, most=most, lease=self._lease, file=file)
        self.path.write_text(text)

    async def start(self):
        self._started += 1
        instance = Instance(self.path, self._started, **self.variables)
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
