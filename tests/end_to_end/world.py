"""The daemon and an emulated cluster, connected by HTTP, with a clock that a test advances."""

import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aiohttp
import msgspec
import pytest
import structlog
from msgspec.structs import replace

from autoscaler.adapters.calendar import CronCalendar
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.adapters.elasticsearch.http_request import HttpRequest
from autoscaler.adapters.elasticsearch.transport import TimedBody, Transport
from autoscaler.adapters.state import SqliteStore
from autoscaler.connection import Connection
from autoscaler.control_loop import ControlLoop, ReleaseResult
from autoscaler.core.decision import Decision, Outcome, OutcomeKind, Plan
from autoscaler.core.explanation import explain
from autoscaler.core.flow.planning import Ruleset
from autoscaler.core.policies import AnyPolicy, UtilisationPolicy
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import State
from autoscaler.core.values import Observation
from autoscaler.ports import CycleTimes, ObservationFailed
from autoscaler.simulation.cluster import AdaptivePatch, SimulatedCluster, SimulatedDeployment
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.faults import Fault, Faults
from autoscaler.simulation.emulator.server import RunningEmulator, running_emulator
from autoscaler.simulation.scenario import ClusterScenario, ScenarioModel, ScenarioNode
from autoscaler.simulation.scenario import ScenarioDeployment as Deployed
from tests.end_to_end.checker import check
from tests.observations import policy, polled_every
from tests.virtual_clock import VirtualClock

Result = TypeVar("Result")

STATS = "/_ml/trained_models/_stats"
POLL_S = 10.0
START = 1_760_000_000.0


def update_of(deployment_id: str) -> str:
    return f"/_ml/trained_models/{deployment_id}/deployment/_update"


def killed(store: SqliteStore) -> None:
    """What remains of a store when its process is killed: the lock is free."""
    store._session.give_up()


def completed(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


class Update(NamedTuple):
    """Requested allocations, and when they were requested, in seconds after the start."""

    at: float
    deployment_id: str
    allocations: int


class SentChange(NamedTuple):
    """A change that was sent to a deployment or its endpoint, and when."""

    at: float
    path: str
    body: dict[str, Any]


class Cycle(NamedTuple):
    """One cycle of the daemon: a plan with its outcomes, or why there was none."""

    at: float
    period_s: float
    observation: Observation | None = None
    plan: Plan | None = None
    outcomes: tuple[Outcome, ...] = ()
    failure: ObservationFailed | None = None

    def outcome(self, deployment_id: str) -> Outcome:
        return next(o for o in self.outcomes if o.decision.deployment_id == deployment_id)

    def decision(self, deployment_id: str) -> Decision:
        return self.outcome(deployment_id).decision

    def kind(self, deployment_id: str) -> OutcomeKind:
        return self.outcome(deployment_id).kind

    def text(self, deployment_id: str) -> str:
        return explain(self.decision(deployment_id))

    @property
    def kinds(self) -> list[OutcomeKind]:
        return [outcome.kind for outcome in self.outcomes]


class CheckedRecorder:
    """Keeps the last cycle, and checks every plan."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        check(observation, plan, outcomes)
        self.last = {"observation": observation, "plan": plan, "outcomes": outcomes}

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self.last = {"failure": failure}


class WitnessedTransport(Transport):
    """Records requests before they are sent."""

    sent: list[tuple[float, HttpRequest]]

    async def send_timed(self, request: HttpRequest) -> TimedBody:
        self.sent.append((self._clock.now(), request))
        return await super().send_timed(request)


class WitnessedFaults(Faults):
    """Records every attempt that arrives at the emulator, and can call a function just before."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[str] = []
        self.callbacks: dict[str, Callable[[], object]] = {}

    def strike(self, method: str, path: str) -> Fault | None:
        self.arrived.append(path)
        if (callback := self.callbacks.pop(path, None)) is not None:
            callback()
        return super().strike(method, path)


class World:
    def __init__(
        self,
        clock: VirtualClock,
        running: RunningEmulator,
        transport: WitnessedTransport,
        governed: Ruleset,
        state_dir: Path | None,
    ) -> None:
        self.clock = clock
        self.running = running
        self.emulation: Emulation = running.emulation
        self.faults = self.emulation.faults = WitnessedFaults()
        self.transport = transport
        self.recorder = CheckedRecorder()
        self.state_dir = state_dir
        self.store: SqliteStore | None = None
        self.loop = self._daemon(governed)

        # The emulation has run before the start, to load the models.
        self._allocation_s_before = {
            name: deployment.ledger.requested_allocation_s
            for name, deployment in self.cluster.deployments.items()
        }

    def _daemon(self, governed: Ruleset) -> ControlLoop:
        """A control loop that has just started, with the stored state."""
        cluster = ElasticsearchCluster(ElasticsearchApi(self.transport), self.clock)
        state = State()
        if self.state_dir is not None:
            self.store = SqliteStore(
                self.state_dir, self.clock, structlog.get_logger(), in_thread=False
            )
            state = completed(self.store.open([rule.policy for rule in governed.rules]))
        return ControlLoop(
            clock=self.clock,
            observer=cluster,
            actuator=cluster,
            recorder=self.recorder,
            ruleset=governed,
            calendar=CronCalendar(),
            state_store=self.store,
            state=state,
        )

    @property
    def cluster(self) -> SimulatedCluster:
        return self.emulation.cluster

    def allocation_s(self, deployment_id: str) -> float:
        """Allocation-seconds requested since the start."""
        ledger = self.deployment(deployment_id).ledger
        return ledger.requested_allocation_s - self._allocation_s_before.get(deployment_id, 0.0)

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.clock.now() - START

    @property
    def updates(self) -> list[Update]:
        """All allocations requested of deployments so far."""
        return [
            Update(sent.at, sent.path.split("/")[3], sent.body["number_of_allocations"])
            for sent in self.sent
            if sent.path.endswith("/deployment/_update") and "number_of_allocations" in sent.body
        ]

    @property
    def sent(self) -> list[SentChange]:
        """All changes sent so far."""
        return [
            SentChange(at - START, request.path, msgspec.json.decode(request.body or b"{}"))
            for at, request in self.transport.sent
            if request.method in ("POST", "PUT")
        ]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of all changes sent so far."""
        return [sent.body for sent in self.sent]

    def updates_of(self, deployment_id: str) -> list[int]:
        return [n for _, found, n in self.updates if found == deployment_id]

    def deployment(self, deployment_id: str) -> SimulatedDeployment:
        return self.cluster.deployments[deployment_id]

    def requested(self, deployment_id: str) -> int:
        return self.deployment(deployment_id).requested

    def attempts(self, path: str) -> int:
        """The number of requests for `path` that arrived."""
        return self.faults.arrived.count(path)

    # The daemon

    def kill(self, governed: Ruleset | None = None) -> None:
        """The daemon is killed, and another starts, optionally with other rules."""
        if self.store is not None:
            killed(self.store)
        self.loop = self._daemon(governed or self.loop.ruleset)

    async def release(self) -> list[ReleaseResult]:
        """The daemon stops, and releases its deployments."""
        self.loop.stop()
        return await self.clock.run(self.loop.release_all())

    # Time

    async def without_daemon(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await self.emulation.catch_up()

    async def cycle(self) -> Cycle:
        """One cycle, and the time to the next."""
        return await self._finish(self.clock.now(), await self.clock.run(self.loop.run_cycle()))

    async def cycles(self, count: int) -> list[Cycle]:
        return [await self.cycle() for _ in range(count)]

    async def run_for(self, seconds: float) -> list[Cycle]:
        """The cycles that begin within the next `seconds`."""
        until = self.clock.now() + seconds
        found = []
        while self.clock.now() < until:
            found.append(await self.cycle())
        return found

    async def run_until(
        self, condition: Callable[[Cycle], bool], *, within_s: float = 600.0
    ) -> Cycle:
        until = self.clock.now() + within_s
        while self.clock.now() < until:
            cycle = await self.cycle()
            if condition(cycle):
                return cycle
        raise AssertionError(f"the condition is not met within {within_s:g} s")

    async def hanging_cycle(self) -> Cycle:
        """A cycle during which no time passes for the cluster: delayed responses never arrive."""
        return await self._finish(self.clock.now(), await self.loop.run_cycle())

    async def _finish(self, at: float, period_s: float) -> Cycle:
        cycle = Cycle(at - START, period_s, **self.recorder.last)
        await self.clock.advance(max(0.0, at + period_s - self.clock.now()))
        await self.emulation.catch_up()
        return cycle

    # Events

    def fail(self, path: str, calls: int | None = 1, **effect: Any) -> None:
        """The next requests whose path matches get a fault."""
        self.faults.add(Fault(path=path, calls=calls, **effect))

    def before_update(self, deployment_id: str, callback: Callable[[], object]) -> None:
        """Call a function between the statistics and the next update of a deployment."""
        self.faults.callbacks[update_of(deployment_id)] = callback

    async def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """A request of another client: the status and the response."""

        async def send() -> tuple[int, Any]:
            async with (
                aiohttp.ClientSession(self.running.url) as session,
                session.request(method, path, json=body) as response,
            ):
                return response.status, await response.json()

        return await self.clock.run(send())

    def set_adaptive(self, deployment_id: str, **settings: Any) -> None:
        """Another client changes the adaptive allocations."""
        self.cluster.update_deployment(deployment_id, adaptive=AdaptivePatch(**settings))

    def delete(self, deployment_id: str) -> None:
        self.cluster.stop_deployment(deployment_id, force=True)

    def restart_cluster(self) -> None:
        """All nodes restart together; only the assignments survive."""
        nodes = list(self.cluster.nodes.values())
        for node in nodes:
            self.cluster.remove_node(node.node_id)
        for node in nodes:
            self.cluster.add_node(node)


both_policies = pytest.mark.parametrize(
    "built_in",
    [UtilisationPolicy(target=0.7, load_window_s=60.0), SloPolicy()],
    ids=["utilisation", "slo"],
)
"""Runs a test with each built-in policy, as the argument `built_in`."""


def with_policy(governed: Ruleset, built_in: AnyPolicy) -> Ruleset:
    """The same rules with another policy."""
    rules = tuple(replace(each, policy=built_in) for each in governed.rules)
    return replace(governed, rules=rules)


def scenario(*deployments: Deployed, **changes: Any) -> ClusterScenario:
    """Two nodes of eight processors; a request takes 50 ms, and a model loads in 2 s."""
    models = {deployed.model_id: None for deployed in deployments}
    settings: dict[str, Any] = {
        "version": "9.2",
        "nodes": [ScenarioNode(name="ml-1"), ScenarioNode(name="ml-2")],
        "models": [
            ScenarioModel(model_id=model_id, service_time_s=0.05, service_cv=0.0, load_s=2.0)
            for model_id in models
        ],
        "deployments": list(deployments),
    }
    return ClusterScenario(**(settings | changes))


@asynccontextmanager
async def world_of(
    simulated: ClusterScenario,
    governed: Ruleset | None = None,
    *,
    poll_s: float | None = None,
    state_dir: Path | None = None,
    **connection: Any,
) -> AsyncIterator[World]:
    """A daemon before its first cycle, and its cluster."""
    ruleset = governed or policy()
    if poll_s is not None:
        ruleset = polled_every(ruleset, poll_s)
    clock = VirtualClock(START)
    async with running_emulator(simulated, clock=clock) as running:
        settings: Mapping[str, Any] = {"hosts": (running.url,)} | connection
        transport = WitnessedTransport(Connection(**settings), clock, random.Random(7))
        transport.sent = []
        async with transport:
            world = World(clock, running, transport, ruleset, state_dir)
            try:
                yield world
            finally:
                if world.store is not None:
                    killed(world.store)
