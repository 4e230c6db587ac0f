"""Several deployments of one model, and other clients of the cluster."""

import asyncio
import random
from contextlib import asynccontextmanager

import elasticsearch8
import elasticsearch9
import pytest

from autoscaler.adapters.state import recorded_stopped
from autoscaler.core.decision import Mode, OutcomeKind
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from autoscaler.core.values import Reason
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import Adaptive, ScenarioDeployment, ScenarioModel
from tests.end_to_end.world import scenario, world_of
from tests.observations import policy, rule

pytestmark = pytest.mark.untraced

AFTER_S = 120.0
MOST = 6

# A deployment for search and one for ingest, of one model


def search_rule(mode):
    return rule(
        name="search",
        deployments=("*-search",),
        mode=mode,
        min_allocations=2,
        max_allocations=MOST,
        stabilisation_window_s=60.0,
        on_exit=OnExit.FLOOR,
        safe_allocations=5,
    )


INGEST = rule(
    name="ingest",
    deployments=("*-ingest",),
    take_over=True,
    max_allocations=4,
    stabilisation_window_s=60.0,
    zero=ScaleToZero(AFTER_S, ZeroMethod.STOP),
)


def two_of_one_model(version):
    searches = ScenarioDeployment(
        model_id="elser", deployment_id="elser-search", load=Steady(rate_per_s=30.0)
    )
    ingest = ScenarioDeployment(
        model_id="elser",
        deployment_id="elser-ingest",
        threads_per_allocation=2,
        queue_capacity=500,
        adaptive_allocations=None
        if version == "8.12"
        else Adaptive(enabled=True, max_number_of_allocations=2),
        load=Steady(rate_per_s=30.0),
    )
    return scenario(searches, ingest, version=version)


@pytest.mark.parametrize("version", ["8.12", "8.16", "8.19", "9.1", "9.3"])
async def test_search_and_ingest_of_one_model_are_scaled_separately(version, tmp_path):
    mode = Mode.DIRECT if version == "8.12" else Mode.BOUNDS
    governed = policy(search_rule(mode), INGEST)
    path = tmp_path / "stopped.json"
    async with world_of(two_of_one_model(version), governed, state_dir=path) as world:
        await world.cycles(12)
        search, ingest = (world.deployment(f"elser-{use}") for use in ("search", "ingest"))
        if mode is Mode.BOUNDS:
            assert (search.adaptive.enabled, search.adaptive.min_number_of_allocations) == (True, 3)
            assert not ingest.adaptive.enabled
        assert search.requested == 3
        assert 1 <= ingest.requested <= 4

        world.emulation.stop_load("elser-ingest")
        cycles = await world.run_for(AFTER_S + 60.0)
        assert set(world.cluster.deployments) == {"elser-search"}
        assert set(recorded_stopped(path, None)) == {"elser-ingest"}
        assert cycles[-1].decision("elser-ingest").reason is Reason.STOPPED
        assert world.deployment("elser-search") is search
        assert search.ledger.failed == search.ledger.rejected == 0

        assert not world.loop.resume("elser-search")
        assert not world.loop.resume("elser")
        assert world.loop.resume("elser-ingest")
        await world.cycles(6)
        again = world.deployment("elser-ingest")
        assert again.parameters.threads_per_allocation == 2
        assert again.parameters.queue_capacity == 500
        assert not (again.adaptive and again.adaptive.enabled)
        assert again.running >= 1

        released = await world.release()
        assert [each.deployment_id for each in released] == ["elser-search"]
        assert search.requested == 5
        assert search.ledger.failed == search.ledger.rejected == 0


# Other clients

PAIRS = [
    (elasticsearch8, "8.6"),
    (elasticsearch8, "8.12"),
    (elasticsearch8, "8.16"),
    (elasticsearch8, "8.19"),
    (elasticsearch8, "9.1"),
    (elasticsearch9, "9.1"),
    (elasticsearch9, "9.3"),
    (elasticsearch9, "serverless"),
]
EXPECTED_OUTCOMES = {
    OutcomeKind.UNCHANGED,
    OutcomeKind.ACCEPTED,
    OutcomeKind.NOT_STARTED,  # the client is starting it
    OutcomeKind.ADAPTIVE_ENABLED,  # the client has enabled them since the poll
    OutcomeKind.GONE,  # the client has stopped it since the poll
}


class OtherClient:
    """Sends random requests with an official client, and records the status of refusals."""

    def __init__(self, client, library, version):
        self._client, self._library = client, library
        self._has_bounds = version not in ("8.6", "8.12")
        self._rng = random.Random(version)
        self.refused = []

    async def act(self):
        kinds = [self._read, self._set_allocations, self._stop_or_start, self._infer]
        if self._has_bounds:
            kinds.append(self._set_bounds)
        name = self._rng.choice(["a", "b"])
        try:
            await self._rng.choice(kinds)(name)
        except self._library.ApiError as error:
            self.refused.append(error.status_code)

    async def _read(self, name):
        stats = await self._client.ml.get_trained_models_stats(model_id=name)
        (model,) = stats["trained_model_stats"]
        if "deployment_stats" in model:
            assert model["deployment_stats"].get("number_of_allocations", 1) >= 1

    async def _set_allocations(self, name):
        await self._client.ml.update_trained_model_deployment(
            model_id=name, number_of_allocations=self._rng.randint(1, MOST)
        )

    async def _set_bounds(self, name):
        low = self._rng.randint(1, 3)
        await self._client.ml.update_trained_model_deployment(
            model_id=name,
            adaptive_allocations={
                "enabled": self._rng.random() < 0.6,
                "min_number_of_allocations": low,
                "max_number_of_allocations": low + self._rng.randint(0, 3),
            },
        )

    async def _stop_or_start(self, name):
        if self._rng.random() < 0.3:
            await self._client.ml.stop_trained_model_deployment(model_id=name)
        else:
            await self._client.ml.start_trained_model_deployment(
                model_id=name, number_of_allocations=self._rng.randint(1, 3), timeout="20s"
            )

    async def _infer(self, name):
        await self._client.ml.infer_trained_model(model_id=name, docs=[{"text_field": "hello"}])


@asynccontextmanager
async def other_client_of(world, library, version):
    client = library.AsyncElasticsearch(world.running.url, max_retries=0, request_timeout=60)
    try:
        yield OtherClient(client, library, version)
    finally:
        await client.close()


def others(version):
    """`a` is scaled in mode `direct`, `b` in mode `bounds` if the version supports it."""
    bounds = Mode.DIRECT if version in ("8.6", "8.12") else Mode.BOUNDS
    return policy(
        rule(name="a", deployments=("a",), take_over=version != "serverless", max_allocations=MOST),
        rule(name="b", deployments=("b",), mode=bounds, max_allocations=MOST),
    )


@pytest.mark.parametrize(("library", "version"), PAIRS)
async def test_changes_by_an_official_client_are_handled(library, version):
    deployed = [
        ScenarioDeployment(model_id=name, load=Steady(rate_per_s=30.0)) for name in ("a", "b")
    ]
    models = [ScenarioModel(model_id=name, service_time_s=0.05, load_s=4.0) for name in ("a", "b")]
    simulated = scenario(*deployed, models=models, version=version)
    async with (
        world_of(simulated, others(version)) as world,
        other_client_of(world, library, version) as client,
    ):
        cycles = []
        for _ in range(40):
            meanwhile = asyncio.ensure_future(client.act())
            cycles.append(await world.cycle())  # which checks its plan
            await world.clock.run(meanwhile)
        assert [cycle.failure for cycle in cycles] == [None] * len(cycles)
        assert {kind for cycle in cycles for kind in cycle.kinds} <= EXPECTED_OUTCOMES
        assert set(client.refused) <= {400, 404, 409}
        for sent in world.sent:
            assert 1 <= sent.body.get("number_of_allocations", 1) <= MOST
            assert sent.path.endswith("_update"), "no rule stops deployments"

        # Without further requests, all is as configured, or the reason is reported.
        for name in ("a", "b"):
            if name not in world.cluster.deployments:
                world.cluster.start_deployment(name)
        await world.run_for(400.0)
        (last,) = await world.cycles(1)
        assert set(last.kinds) == {OutcomeKind.UNCHANGED}
        for name in ("a", "b"):
            decision = last.decision(name)
            if decision.externally_controlled:
                assert decision.reason in {Reason.ADAPTIVE_ENABLED, Reason.ADAPTIVE_DISABLED}
            else:
                assert 1 <= world.requested(name) <= MOST
