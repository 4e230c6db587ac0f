"""The control modes of each version, and the refusals of the others."""

import msgspec
import pytest

from autoscaler.simulation.scenario import Adaptive, ScenarioDeployment
from tests.simulation.emulator.conftest import client_of, scenario

pytestmark = pytest.mark.untraced

E5 = "/_ml/trained_models/e5/deployment"
BIG = "/_ml/trained_models/big/deployment"
ON = {"adaptive_allocations": {"enabled": True, "max_number_of_allocations": 4}}
TAKE_OVER = {"number_of_allocations": 3, "adaptive_allocations": {"enabled": False}}
ALLOCATIONS = {"number_of_allocations": 2}


class Support(msgspec.Struct):
    version: str
    direct: bool = True
    adaptive: bool = True
    owned: int = 200  # the status of `_update` of an owned deployment
    queue: int = 10_000
    zero_after_s: float = 86_400.0


EVERY = [
    Support("8.6", adaptive=False, queue=1024),
    Support("8.12", adaptive=False, queue=1024),
    Support("8.15", adaptive=False, queue=1024),
    Support("8.16", queue=1024, zero_after_s=900.0),
    Support("8.18", zero_after_s=900.0),
    Support("8.19"),
    Support("9.0", zero_after_s=900.0),
    Support("9.1.3"),
    Support("9.2", owned=409),
    Support("9.3", owned=409),
    Support("serverless", direct=False, owned=409),
]
SELF_SCALING = [support for support in EVERY if support.adaptive]
TO_ZERO = Adaptive(enabled=True, min_number_of_allocations=0)


def name_of(support):
    return support.version


@pytest.fixture(params=EVERY, ids=name_of)
def support(request):
    return request.param


@pytest.fixture(params=SELF_SCALING, ids=name_of)
def scaling(request):
    return request.param


def refusal(response):
    return response.status, response.error["type"]


async def test_updates_of_the_allocations(support):
    async with client_of(scenario(version=support.version)) as es:
        response = await es.post(f"{E5}/_update", ALLOCATIONS)
        assert response.status == (200 if support.direct else 400)
        assert (await es.deployment("e5"))["number_of_allocations"] == (2 if support.direct else 1)


async def test_no_version_accepts_zero(support):
    async with client_of(scenario(version=support.version)) as es:
        response = await es.post(f"{E5}/_update", {"number_of_allocations": 0})
        assert refusal(response) == (400, "action_request_validation_exception")
        response = await es.post(f"{BIG}/_start", {"number_of_allocations": 0})
        assert response.status == (400 if support.direct else 200), response.text


async def test_adaptive_settings_are_unknown_or_accepted(support):
    async with client_of(scenario(version=support.version)) as es:
        for path in (f"{E5}/_update", f"{BIG}/_start"):
            response = await es.post(path, ON)
            if support.adaptive:
                assert response.status == 200, response.text
                assert response.document["assignment"]["adaptive_allocations"]["enabled"] is True
            else:
                assert refusal(response) == (400, "x_content_parse_exception")
                assert "unknown field [adaptive_allocations]" in response.error["reason"]
        assert ("adaptive_allocations" in await es.deployment("e5")) is support.adaptive


async def test_allocations_are_refused_while_adaptive_allocations_are_enabled(scaling):
    async with client_of(scenario(version=scaling.version)) as es:
        await es.post(f"{E5}/_update", ON)
        response = await es.post(f"{E5}/_update", ALLOCATIONS)
        assert refusal(response) == (400, "validation_exception")
        assert "cannot be set if adaptive allocations is enabled" in response.error["reason"]
        response = await es.post(f"{E5}/_update", TAKE_OVER)
        assert response.status == (200 if scaling.direct else 400)


async def test_updates_of_an_owned_deployment(support):
    async with client_of(scenario(version=support.version)) as es:
        await es.post("/_emulator/deployments/e5/own")
        response = await es.post(f"{E5}/_update", ON if support.adaptive else ALLOCATIONS)
        assert response.status == support.owned
        if support.owned == 409:
            assert "must be updated through the inference API" in response.error["reason"]


async def test_the_default_queue_capacity(support):
    async with client_of(scenario(version=support.version)) as es:
        assert (await es.deployment("e5"))["queue_capacity"] == support.queue


async def test_adaptive_allocations_scale_to_zero(scaling):
    idle = ScenarioDeployment(model_id="e5", adaptive_allocations=TO_ZERO)
    async with client_of(scenario(version=scaling.version, deployments=[idle])) as es:
        # Idle since it was started, in the ten minutes before the beginning.
        await es.clock.advance(scaling.zero_after_s - 660.0)
        assert (await es.deployment("e5"))["number_of_allocations"] == 1
        await es.clock.advance(120.0)
        stats = await es.deployment("e5")
        assert (stats["number_of_allocations"], stats["nodes"]) == (0, [])
        if scaling.version != "serverless":
            assert stats["state"] == "started"
            assert stats["allocation_status"] == {
                "allocation_count": 0,
                "target_allocation_count": 0,
                "state": "fully_allocated",
            }
        response = await es.post("/_ml/trained_models/e5/_infer", {"docs": [{"text_field": "x"}]})
        assert response.status == 200, response.text
        assert (await es.deployment("e5"))["number_of_allocations"] == 1


async def test_adaptive_allocations_stay_within_their_bounds(scaling):
    async with client_of(scenario(version=scaling.version)) as es:
        await es.post(f"{E5}/_update", ON)
        for minimum in (3, 1):
            patch = {"adaptive_allocations": {"min_number_of_allocations": minimum}}
            assert (await es.post(f"{E5}/_update", patch)).status == 200
            await es.clock.advance(700.0)
            assert (await es.deployment("e5"))["number_of_allocations"] == minimum
