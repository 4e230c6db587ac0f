"""The same cluster twice: the fake, and an emulated one over HTTP."""

import random
from contextlib import asynccontextmanager

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.connection import Connection
from autoscaler.core.decision import OutcomeKind
from autoscaler.ports import FailureKind
from autoscaler.simulation.cluster import AdaptivePatch
from autoscaler.simulation.emulator.emulation import InferenceEndpoint
from autoscaler.simulation.emulator.faults import Fault, Reset
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.scenario import ScenarioDeployment
from tests.end_to_end.world import STATS, scenario
from tests.fakes import FakeClock, FakeCluster
from tests.observations import deployment, node
from tests.virtual_clock import VirtualClock

ALLOCATIONS = {"a": 1, "b": 2}


class Fake:
    def __init__(self):
        self.clock = FakeClock(start=1_000.0)
        known = [
            deployment(node(allocations=n), deployment_id=name, model_id=name)
            for name, n in ALLOCATIONS.items()
        ]
        self.ports = FakeCluster(self.clock, *known)

    async def run(self, awaitable):
        return await awaitable

    async def pass_by(self, seconds):
        self.clock.pass_by(seconds)

    def delete(self, name):
        del self.ports.deployments[name]

    def refuse(self, name, kind):
        self.ports.refusals[name] = kind

    def fail(self, kind):
        self.ports.kind = kind

    def own(self, name):
        self.ports.owned[name] = name

    def allocations_of(self, name):
        return self.ports.deployments[name].allocations


_REFUSALS = {
    OutcomeKind.NO_CAPACITY: (429, "status_exception", "not enough resources to provide all"),
    OutcomeKind.NOT_STARTED: (409, "status_exception", "not in [started] state"),
    OutcomeKind.FORBIDDEN: (403, "security_exception", "action [x] is unauthorized for user [u]"),
    OutcomeKind.UNKNOWN: (503, "master_not_discovered_exception", ""),
    OutcomeKind.UNRECOGNISED: (409, "status_exception", "what?"),
    OutcomeKind.INVALID: (400, "illegal_argument_exception", "what?"),
    OutcomeKind.ENDPOINT_OWNED: (409, "status_exception", "created by inference endpoint [x]"),
    OutcomeKind.UNSUPPORTED: (
        400,
        "x_content_parse_exception",
        "unknown field [adaptive_allocations]",
    ),
    OutcomeKind.IN_USE: (409, "status_exception", "referenced by ingest processors; use force"),
}
_PATHS = {OutcomeKind.IN_USE: "/_stop"}  # of refusals that are not of an update
_FAILURES = {
    FailureKind.UNAUTHENTICATED: {"status": 401, "error_type": "security_exception"},
    FailureKind.FORBIDDEN: {"status": 403, "error_type": "security_exception"},
    FailureKind.UNAVAILABLE: {"status": 503},
    FailureKind.OVERLOADED: {"status": 429, "error_type": "es_rejected_execution_exception"},
    FailureKind.UNREACHABLE: {"reset": Reset.BEFORE},
    FailureKind.MALFORMED: {"status": 200, "body": "<html>"},
    FailureKind.REFUSED: {"status": 500, "error_type": "null_pointer_exception"},
}


class OverHttp:
    def __init__(self, clock, running, ports):
        self.clock, self.running, self.ports = clock, running, ports

    async def run(self, awaitable):
        return await self.clock.run(awaitable)

    async def pass_by(self, seconds):
        await self.clock.advance(seconds)
        await self.running.emulation.catch_up()

    def delete(self, name):
        self.running.cluster.stop_deployment(name, force=True)

    def refuse(self, name, kind):
        if kind is OutcomeKind.ADAPTIVE_ENABLED:
            self.running.cluster.update_deployment(name, adaptive=AdaptivePatch(enabled=True))
            return
        status, type_, reason = _REFUSALS[kind]
        path = _PATHS.get(kind, "/_update")
        self._add(
            path=f"/_ml/trained_models/{name}/deployment{path}",
            status=status,
            error_type=type_,
            body=reason,
        )

    def own(self, name):
        endpoint = InferenceEndpoint(inference_id=name, model_id=name)
        self.running.emulation.add_endpoint(endpoint)

    def fail(self, kind):
        self._add(path=STATS, **_FAILURES[kind])

    def _add(self, **fault):
        self.running.emulation.faults.add(Fault(calls=None, **fault))

    def allocations_of(self, name):
        return self.running.cluster.deployments[name].requested


@asynccontextmanager
async def fake():
    yield Fake()


@asynccontextmanager
async def over_http(version="9.2"):
    deployed = [
        ScenarioDeployment(model_id=name, number_of_allocations=n)
        for name, n in ALLOCATIONS.items()
    ]
    clock = VirtualClock()
    async with running_emulator(scenario(*deployed, version=version), clock=clock) as running:
        connection = Connection(hosts=(running.url,))
        async with Transport(connection, clock, random.Random(1)) as transport:
            yield OverHttp(clock, running, ElasticsearchCluster(ElasticsearchApi(transport), clock))


CLUSTERS = {"fake": fake, "over HTTP": over_http}
