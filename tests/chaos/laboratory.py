"""One run of a seed: a daemon, its network, its cluster, and the faults of a schedule."""

import asyncio
import math
import random
import resource
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from msgspec import Struct
from msgspec.structs import replace

from autoscaler.adapters.state import SqliteStore
from autoscaler.cluster_controller import ClusterController
from autoscaler.config import Config
from autoscaler.core.decision import Outcome, Plan
from autoscaler.core.instructions import PausedChanges
from autoscaler.core.state import State
from autoscaler.core.values import Observation
from autoscaler.errors import InputError
from autoscaler.ports import (
    Clock,
    CycleTimes,
    ObservationFailed,
    OperatorRequests,
    RequestRefused,
)
from autoscaler.simulation.cluster import SimulatedCluster
from autoscaler.simulation.deployment import STARTED
from autoscaler.simulation.emulator.application import build_application
from autoscaler.simulation.emulator.building import build_emulation
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.specs import NodeSpec
from tests.chaos.events import happen
from tests.chaos.invariants import INVARIANTS, recovered
from tests.chaos.network import Network, Server, SimulatedTransport, without_authorities
from tests.chaos.rollouts import Rollouts, short_hours
from tests.chaos.schedule import FAULTS_UNTIL, Disturbance, Scheduled, schedule_of
from tests.chaos.settings import KEYS, Settings, config_of, highest_of, settings_of
from tests.chaos.trace import Request, Trace, Truth
from tests.virtual_loop import START, LoopClock, VirtualLoop, run_in_virtual_time

POLL_S = 10.0
KNOWN_S = 420.0
"""Seconds for which a daemon may still know a node that has left: it keeps the nodes for 300 s,
reads them every 60 s, and a poll may take as long."""

STEADY_S = 600.0
"""Seconds after which a load counts as steady."""


class Result(Struct, frozen=True, kw_only=True):
    """The result of one run."""

    seed: int
    cycles: int
    violations: tuple[str, ...]
    digest: tuple[Any, ...]
    schedule: tuple[Scheduled, ...]


class CycleRecorder:
    """Adds the cycles of one daemon to the trace, and checks the invariants after each."""

    def __init__(self, laboratory: "Laboratory", daemon: str) -> None:
        self._laboratory = laboratory
        self._daemon = daemon

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._ended(observation=observation, plan=plan, outcomes=outcomes)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._ended(failure=failure)

    def _ended(self, **found: Any) -> None:
        self._laboratory.cycle_ended(self._daemon, **found)


class Laboratory:
    def __init__(
        self, settings: Settings, seed: int, schedule: Sequence[Scheduled], directory: Path
    ) -> None:
        self.settings = settings
        self._seed = seed
        self._schedule = schedule
        self._directory = directory
        for changed in (False, True):  # read now, as no file can be written on a full disk
            config_of(settings, directory, changed=changed)
        self.clock: Clock = LoopClock()
        self.emulation: Emulation = build_emulation(settings.scenario, self.clock)
        assert self.emulation.security is not None
        self._security = self.emulation.security  # with all keys
        self.nodes: Mapping[str, NodeSpec] = dict(self.cluster.nodes)
        self.undone_updates = 0
        self.before_change: Callable[[], None] | None = None  # once, in the next cycle with changes
        self._changed_rules = False
        self._bounds_changed_at = -1e9
        self._loads = dict(self.emulation.loads)
        self._steady_since = dict.fromkeys(self.cluster.deployments, 0.0)
        self._nodes_seen: dict[str, dict[int, float]] = {}  # by processors, when last
        self._stopped_by_daemon: dict[str, Request] = {}
        self._key = 0
        (directory / "api_key").write_text(KEYS[0])
        self.rollouts = Rollouts(
            self.cluster,
            is_gradual=settings.gradual,
            begins=settings.lasting,
            has_schedule="schedules" in settings.further,
        )
        self.trace = Trace(
            lambda: self.now,
            Truth(
                requested=self._requested,
                load=self._steady_load,
                processors=self._processors,
                bounds=self._bounds,
                stopped=lambda: self._stopped_by_daemon,
                paused=self._is_paused,
                incomplete=self._incomplete,
                others=self.rollouts.others,
                may_act=self.rollouts.may_act,
            ),
        )
        self.trace.executed = self._executed
        self._server = Server(build_application(self.emulation), self._silent)
        self._paused_until: dict[str | None, float] = {}  # everything, confirmed; None: all
        self._networks: dict[str, Network] = {}
        self._active: dict[Disturbance, random.Random] = {}
        self.controller: ClusterController | None = None
        self._daemon: asyncio.Task[None] | None = None
        self._is_down = False  # since it was killed, until it starts again
        self._starts = 0
        self._broken = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.clock.now() - START

    @property
    def cluster(self) -> SimulatedCluster:
        return self.emulation.cluster

    # The run

    async def run(self, duration_s: float) -> None:
        with _collected_logs(self.trace):
            self._start_daemon()
            timeline = asyncio.ensure_future(self._happen(duration_s))
            broken = asyncio.ensure_future(self._broken.wait())
            assert self._daemon is not None
            try:
                await asyncio.wait([timeline, broken], return_when=asyncio.FIRST_COMPLETED)
                if timeline.done():
                    timeline.result()
            finally:
                set_disk_full(full=False)
                timeline.cancel()
                broken.cancel()
                await self._end_daemon()
                for task in list(self._background):
                    task.cancel()
                await asyncio.gather(*self._background, timeline, broken, return_exceptions=True)

    async def _happen(self, duration_s: float) -> None:
        for scheduled in self._schedule:
            await self.clock.sleep(scheduled.at - self.now)
            await self._catch_up()
            self._begin(scheduled)
        await self.clock.sleep(duration_s * FAULTS_UNTIL - self.now)
        await self._catch_up()
        with self.rollouts.others_change():
            self._heal()
        while self._is_down:  # it was killed, and a suspension moved that to the end
            await self.clock.sleep(1.0)
        await self.clock.sleep(duration_s * (1.0 - FAULTS_UNTIL))
        self._check_recovery()

    def _begin(self, scheduled: Scheduled) -> None:
        fault = scheduled.fault
        rng = random.Random(f"{self._seed} {fault.number}")
        if isinstance(fault, Disturbance):
            self._active[fault] = rng
            self._later(scheduled.lasts_s, lambda: self._active.pop(fault, None))
        else:
            with self.rollouts.others_change():
                happen(fault.kind, self, rng)

    def _check_recovery(self) -> None:
        cycles = [cycle for cycle in self.trace.cycles if cycle.plan is not None]
        if not cycles or cycles[-1].at < self.now - 200.0:
            self.trace.violations.append("recovered: no cycle any more")
        elif wrong := recovered(self.trace, cycles[-1]):
            self.trace.violations.append(f"recovered: {wrong}")

    def cycle_ended(self, daemon: str, **found: Any) -> None:
        assert self.controller is not None
        with self.trace.elsewhere():
            self._see_nodes()
            cycle = self.trace.ended(daemon, self.controller._loop.state, **found)
            for invariant in (*INVARIANTS, *self.rollouts.invariants):
                if wrong := invariant(self.trace, cycle):
                    text = f"{invariant.__name__}: {wrong} (cycle ended at {cycle.at:.1f} s)"
                    self.trace.violations.append(text)
            if self.trace.violations:
                self._broken.set()

    def _heal(self) -> None:
        """No fault any more; the nodes, deployments and loads of the beginning."""
        self._active.clear()
        self.before_change = None
        self.emulation.faults.clear()
        self.undone_updates = 0
        self.emulation.has_master, self.emulation.writes_blocked = True, False
        self.emulation.licence_expired = self.cluster.upgrade_mode = False
        for node_id in list(self.emulation.node_versions):
            self.emulation.set_version(node_id, None)
        for endpoint in list(self.emulation.endpoints):
            self.emulation.remove_endpoint(endpoint)
        for node_id, node in self.nodes.items():
            if self.cluster.nodes.get(node_id) != node:
                if node_id in self.cluster.nodes:
                    self.cluster.remove_node(node_id)
                self.cluster.add_node(node)
        # Failed loads are tried again when the cluster assigns its models again.
        spare = NodeSpec(node_id="spare", name="spare", processors=8)
        self.cluster.add_node(spare)
        self._free_disk()
        self._use_key()
        self.resume_stopped()
        for deployed in self.settings.scenario.deployments:
            name = deployed.id
            if name not in self.cluster.deployments and name not in self._stopped_by_daemon:
                self.start_deployment(name, allocations=1, threads=1)
            self.set_load(name, self._loads.get(name))

    async def _catch_up(self) -> None:
        with self.trace.elsewhere():
            await self.emulation.catch_up()
            self._see_nodes()

    def _later(self, seconds: float, do: Any) -> None:
        async def wait() -> None:
            await self.clock.sleep(seconds)
            do()

        self._in_background(wait())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: "asyncio.Task[None]") -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.trace.violations.append(f"laboratory: {error!r}")
            self._broken.set()

    # The daemon

    def _start_daemon(self) -> None:
        self._starts += 1
        self._is_down = False
        name = f"daemon-{self._starts}"
        network = Network(self._server, self.trace, name, self.clock)
        network.disturbances = self._active
        jitter = random.Random(f"{self._seed} {name}")

        def connect(config: Config, clock: Clock) -> SimulatedTransport:
            return SimulatedTransport(config.connection, clock, jitter, network)

        config = config_of(self.settings, self._directory, changed=self._changed_rules)
        recorder = CycleRecorder(self, name)
        self.controller = ClusterController(
            config, self.clock, recorders=(recorder,), connect=connect, store_of=self._store_of
        )
        self._daemon = asyncio.ensure_future(self._run_daemon(self.controller))

    def _store_of(self, config: Config, clock: Clock, log: Any) -> SqliteStore:
        assert config.state_dir is not None
        lasts = self.settings.lasting
        store = _Store(config.state_dir, clock, log, outlives=lambda _: lasts, in_thread=False)
        store.laboratory = self
        return store

    async def _run_daemon(self, controller: ClusterController) -> None:
        try:
            async with controller:
                await controller.run()
        except Exception as error:
            self.trace.violations.append(f"alive: the daemon ended: {error!r}")
            self._broken.set()

    async def _end_daemon(self) -> None:
        if self._daemon is not None:
            self._daemon.cancel()
            await asyncio.gather(self._daemon, return_exceptions=True)
            self._daemon = None

    def kill(self, down_s: float) -> None:
        """End the daemon wherever it is, and start another after some seconds."""
        if self._daemon is None:
            return
        self.rollouts.killed()
        self._free_disk()
        self.trace.interrupted_at = self.now + down_s
        killed, self._daemon = self._daemon, None
        self._is_down = True
        killed.cancel()
        self._in_background(self._restart(killed, down_s))

    async def _restart(self, killed: "asyncio.Task[None]", down_s: float) -> None:
        await asyncio.gather(killed, return_exceptions=True)
        if self.settings.loses:
            self._lose_state()
        await self.clock.sleep(down_s)
        while True:
            try:
                return self._start_daemon()
            except InputError:  # a file is being replaced; its supervisor starts it again
                await self.clock.sleep(1.0)

    def _lose_state(self) -> None:
        """The directory of the state is empty, as that of a pod that is scheduled again."""
        rmtree(self._directory / "state", ignore_errors=True)
        self.rollouts.lost()
        self._paused_until.clear()

    def suspend(self, seconds: float) -> None:
        self.trace.interrupted_at = self.now + seconds
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.skip(seconds)

    def resume_stopped(self) -> None:
        if self.controller is not None:
            for name in list(self.controller._loop.state.stopped):
                self.controller.resume(name)

    def pause(self, name: str | None, changes: PausedChanges, for_s: float) -> None:
        async def ask(requests: OperatorRequests) -> None:
            result = await requests.pause(name, changes, for_s, "operator", "chaos")
            # Where it was not saved, the operator knows that a restart ends it.
            everything = changes is PausedChanges.EVERYTHING and result.saved
            self._paused_until[name] = self.now + for_s if everything else -math.inf

        self._ask(ask)

    def unpause(self) -> None:
        async def ask(requests: OperatorRequests) -> None:
            self._paused_until.clear()
            await requests.unpause(None, "operator", "chaos")

        self._ask(ask)

    def override(self, name: str, allocations: int, for_s: float) -> None:
        async def ask(requests: OperatorRequests) -> None:
            await requests.override(name, allocations, for_s, "operator", "chaos")

        self._ask(ask)

    def resume_rollout(self, name: str) -> None:
        async def ask(requests: OperatorRequests) -> None:
            self.rollouts.resumed(name)
            await requests.resume_rollout(name, "operator", "chaos")

        self._ask(ask)

    def _ask(self, ask: "Callable[[OperatorRequests], Coroutine[Any, Any, None]]") -> None:
        """What an operator does. An instruction that is refused changes nothing."""
        if self.controller is None or self._daemon is None:
            return
        requests = self.controller.operators

        async def asked() -> None:
            with suppress(RequestRefused):
                await ask(requests)

        self._in_background(asked())

    def _is_paused(self, name: str) -> bool:
        found = (self._paused_until.get(name, -math.inf), self._paused_until.get(None, -math.inf))
        return self.now < max(found)

    def change_rules(self) -> None:
        self._changed_rules = not self._changed_rules
        self._bounds_changed_at = self.now
        self.rollouts.rule_changed()
        if self.controller is not None:
            self.controller.apply(
                config_of(self.settings, self._directory, changed=self._changed_rules)
            )

    def rotate_credentials(self, *, valid_s: float, late_s: float) -> None:
        """The next key; the former one is valid for a while, and the file is replaced later, with
        a moment in which it is empty."""
        self._key = min(self._key + 1, len(KEYS) - 1)
        self._later(valid_s, self._invalidate_former_keys)
        self._later(late_s, lambda: (self._directory / "api_key").write_text(""))
        self._later(late_s + 1.0, self._use_key)

    def _invalidate_former_keys(self) -> None:
        key = KEYS[self._key]
        valid = {key: self._security.api_keys[key]}
        self.emulation.security = replace(self._security, api_keys=valid)

    def _use_key(self) -> None:
        self.trace.interrupted_at = self.now
        self._free_disk()
        (self._directory / "api_key").write_text(KEYS[self._key])
        if self.controller is not None and self._daemon is not None:
            self.controller.renew_credentials()

    def fill_disk(self, seconds: float) -> None:
        set_disk_full(full=True)
        self.rollouts.disk_full = True
        self.rollouts.unsaved()
        self._later(seconds, self._free_disk)

    def _free_disk(self) -> None:
        set_disk_full(full=False)
        self.rollouts.disk_full = False

    # Other clients

    def stop_deployment(self, name: str) -> None:
        self.cluster.stop_deployment(name, force=True)

    def start_deployment(self, name: str, *, allocations: int, threads: int) -> None:
        self.cluster.start_deployment(
            name, number_of_allocations=allocations, threads_per_allocation=threads
        )
        self._stopped_by_daemon.pop(name, None)
        self._steady_since[name] = self.now

    def set_load(self, name: str, load: Any) -> None:
        self._steady_since[name] = self.now
        if load is None:
            self.emulation.stop_load(name)
        else:
            self.emulation.start_load(name, load)

    # The truth

    def _requested(self, name: str) -> int | None:
        deployment = self.cluster.deployments.get(name)
        return None if deployment is None else deployment.requested

    def _incomplete(self) -> dict[str, int]:
        """The requested allocations of the deployments that do not run all of them, or have a node
        that loads or gives up the model."""
        return {
            name: deployment.requested
            for name, deployment in self.cluster.deployments.items()
            if deployment.running < deployment.requested
            or any(route.state != STARTED for route in deployment.routes.values())
        }

    def _steady_load(self, name: str) -> float | None:
        """Erlangs, if it has not changed for a while."""
        load, deployment = self.emulation.loads.get(name), self.cluster.deployments.get(name)
        if deployment is None or self.now - self._steady_since.get(name, self.now) < STEADY_S:
            return None
        if load is None:
            return 0.0
        assert isinstance(load, Steady)
        threads = deployment.parameters.threads_per_allocation
        return load.rate_per_s * deployment.model.service_time_s / threads

    def _silent(self) -> frozenset[str]:
        """The deployments that serve on nodes whose statistics are missing."""
        nodes = self.emulation.faults.swallowed.keys()
        return frozenset(
            name
            for name, deployment in self.cluster.deployments.items()
            if any(
                id_ in nodes and route.state == "started"
                for id_, route in deployment.routes.items()
            )
        )

    def _see_nodes(self) -> None:
        for node_id, node in self.cluster.nodes.items():
            self._nodes_seen.setdefault(node_id, {})[int(node.processors)] = self.now

    def _processors(self) -> int | None:
        if self.cluster.hardware_can_grow:
            return None
        self._see_nodes()
        oldest = self.now - KNOWN_S
        return sum(
            max((processors for processors, at in seen.items() if at >= oldest), default=0)
            for seen in self._nodes_seen.values()
        )

    def _bounds(self) -> tuple[int, int]:
        lately = self.now - self._bounds_changed_at < 3.0 * POLL_S
        highest = highest_of(self.settings, changed=self._changed_rules and not lately)
        return (0 if self.settings.to_zero else 1), highest

    def _executed(self, request: Request) -> None:
        name = request.deployment_id
        stopped = request.executed_with == 200 and name not in self.cluster.deployments
        if request.action == "_stop" and stopped:
            self._stopped_by_daemon[name] = request
        if request.action == "_start" and name in self.cluster.deployments:
            self._stopped_by_daemon.pop(name, None)
            self._steady_since[name] = self.now
        undone = request.action == "_update" and self.undone_updates > 0
        if undone and request.requested_before and name in self.cluster.deployments:
            self.undone_updates -= 1
            with suppress(SimulatedApiError), self.rollouts.others_change():
                self.cluster.update_deployment(
                    name, number_of_allocations=request.requested_before, internal=True
                )


class _Store(SqliteStore):
    """Lets something happen between the record of a change and the change, once."""

    laboratory: Laboratory

    async def save_before_updates(self, state: State, deployment_ids: Collection[str]) -> None:
        await super().save_before_updates(state, deployment_ids)
        happens, self.laboratory.before_change = self.laboratory.before_change, None
        if happens is not None:
            happens()
            await asyncio.sleep(0)


@contextmanager
def _collected_logs(trace: Trace) -> Iterator[None]:
    """Log lines are rendered and dropped; one of a defect is a violation."""

    def collect(_logger: Any, _method: str, event: Any) -> Any:
        if "exc_info" in event:
            trace.violations.append(f"no_defect: {event.get('message') or event['event']}")
        raise structlog.DropEvent

    structlog.configure(processors=[collect])
    try:
        yield
    finally:
        structlog.reset_defaults()


def set_disk_full(*, full: bool) -> None:
    """Whether writing to any file fails, as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0 if full else hard, hard))


def run(seed: int, *, cycles: int = 500, schedule: Sequence[Scheduled] | None = None) -> Result:
    """Run a seed, with its own schedule of faults or another."""
    settings = settings_of(seed)
    duration_s = cycles * POLL_S
    faults = schedule_of(seed, duration_s, settings) if schedule is None else schedule
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:

        async def main() -> Trace:
            laboratory = Laboratory(settings, seed, faults, Path(directory))
            await laboratory.run(duration_s)
            return laboratory.trace

        with without_authorities(), short_hours():
            trace = run_in_virtual_time(main(), sockets=False)
    return Result(
        seed=seed,
        cycles=trace.total_cycles,
        violations=tuple(trace.violations),
        digest=tuple(trace.digest),
        schedule=tuple(faults),
    )
