"""The official Python clients work with the emulator as with Elasticsearch."""

import asyncio
from contextlib import asynccontextmanager

import elasticsearch8
import elasticsearch9
import pytest

from autoscaler.simulation.scenario import Account, ScenarioDeployment, SecuritySettings
from tests.simulation.emulator.conftest import client_of, scenario

CLIENTS = {"8": elasticsearch8, "9": elasticsearch9}
DOC = {"text_field": "hello"}


@asynccontextmanager
async def official(library, scenario_=None, **options):
    """`call(method, **arguments)` calls a method of the client and waits in virtual time."""
    async with client_of(scenario_ or scenario()) as es:
        client = library.AsyncElasticsearch(es.running.url, max_retries=0, **options)

        async def call(method, /, **arguments):
            part = client
            for name in method.split("."):
                part = getattr(part, name)
            return await es.clock.run(part(**arguments))

        try:
            yield es, call
        finally:
            await client.close()


@pytest.fixture(params=CLIENTS)
def library(request):
    return CLIENTS[request.param]


async def test_statistics(library):
    async with official(library) as (_, call):
        stats = await call("ml.get_trained_models_stats", model_id="e5")
        (entry,) = stats["trained_model_stats"]
        assert entry["deployment_stats"]["allocation_status"]["state"] == "fully_allocated"
        assert (await call("ml.get_trained_models_stats", size=1))["count"] == 3
        filtered = await call("ml.get_trained_models_stats", filter_path="count")
        assert dict(filtered) == {"count": 3}


async def test_a_deployments_life(library):
    async with official(library) as (es, call):
        started = await call(
            "ml.start_trained_model_deployment",
            model_id="big",
            deployment_id="big-two",
            wait_for="fully_allocated",
            timeout="2m",
            number_of_allocations=2,
        )
        assert started["assignment"]["assignment_state"] == "started"
        updated = await call(
            "ml.update_trained_model_deployment", model_id="big-two", number_of_allocations=3
        )
        assert updated["assignment"]["task_parameters"]["number_of_allocations"] == 3
        response = await call("ml.infer_trained_model", model_id="big-two", docs=[DOC, DOC])
        assert len(response["inference_results"]) == 2
        stopped = await call("ml.stop_trained_model_deployment", model_id="big-two")
        assert stopped["stopped"] is True
        await es.clock.advance(300.0)
        assert "big-two" not in es.cluster.deployments


async def test_both_forms_of_an_update(library):
    async with official(library) as (es, call):
        await call(
            "perform_request",
            method="POST",
            path="/_ml/trained_models/e5/deployment/_update",
            params={"number_of_allocations": 2},
            headers={"Accept": "application/json"},
        )
        assert es.cluster.deployments["e5"].requested == 2
        await call(
            "ml.update_trained_model_deployment",
            model_id="e5",
            body={"number_of_allocations": 3},
        )
        assert es.cluster.deployments["e5"].requested == 3


async def test_models(library):
    async with official(library) as (_, call):
        body = {"model_type": "pytorch", "emulator": {"size_bytes": 1_000_000}}
        await call("ml.put_trained_model", model_id="mine", body=body)
        models = await call("ml.get_trained_models", model_id="mine")
        assert models["trained_model_configs"][0]["model_size_bytes"] == 1_000_000
        assert (await call("ml.delete_trained_model", model_id="mine"))["acknowledged"]


async def test_the_cluster(library):
    async with official(library) as (_, call):
        assert (await call("info"))["version"]["number"] == "9.2.0"
        assert await call("ping")
        assert (await call("ml.info"))["upgrade_mode"] is False
        assert len((await call("nodes.info", node_id="ml:true"))["nodes"]) == 2
        assert (await call("ml.get_memory_stats", node_id="ml:true"))["_nodes"]["total"] == 2
        assert (await call("license.get"))["license"]["status"] == "active"
        assert (await call("cluster.health"))["status"] == "green"


async def test_adaptive_allocations(library):
    async with official(library) as (es, call):
        bounds = {"enabled": True, "min_number_of_allocations": 1, "max_number_of_allocations": 4}
        updated = await call(
            "ml.update_trained_model_deployment", model_id="e5", adaptive_allocations=bounds
        )
        assert updated["assignment"]["adaptive_allocations"] == bounds
        with pytest.raises(library.BadRequestError):
            await call("ml.update_trained_model_deployment", model_id="e5", number_of_allocations=2)
        await call(
            "ml.update_trained_model_deployment",
            model_id="e5",
            number_of_allocations=2,
            adaptive_allocations={"enabled": False},
        )
        assert es.cluster.deployments["e5"].requested == 2


async def test_inference_endpoints(library):
    scenario_ = scenario(deployments=[ScenarioDeployment(model_id="e5", owned_by_endpoint=True)])
    async with official(library, scenario_) as (es, call):
        for arguments in ({}, {"inference_id": "e5"}):
            (endpoint,) = (await call("inference.get", **arguments))["endpoints"]
            assert endpoint["service_settings"]["num_allocations"] == 1
        update = {"inference_id": "e5", "task_type": endpoint["task_type"]}
        for settings in (
            {"num_allocations": 2},
            {"adaptive_allocations": {"enabled": True, "max_number_of_allocations": 4}},
        ):
            config = {"service_settings": settings}
            response = await call("inference.update", **update, inference_config=config)
            assert response["service_settings"].items() >= settings.items()
        assert es.cluster.deployments["e5"].adaptive.max_number_of_allocations == 4
        with pytest.raises(library.ConflictError):
            await call("ml.update_trained_model_deployment", model_id="e5", number_of_allocations=3)
        with pytest.raises(library.NotFoundError):
            await call("inference.get", inference_id="nope")


@pytest.mark.parametrize(
    ("method", "arguments", "error", "status"),
    [
        ("ml.get_trained_models_stats", {"model_id": "nope"}, "NotFoundError", 404),
        (
            "ml.update_trained_model_deployment",
            {"model_id": "e5", "number_of_allocations": 0},
            "BadRequestError",
            400,
        ),
        (
            "ml.update_trained_model_deployment",
            {"model_id": "e5", "number_of_allocations": 99},
            "ApiError",
            429,
        ),
        ("ml.infer_trained_model", {"model_id": "big", "docs": [DOC]}, "ConflictError", 409),
        (
            "ml.start_trained_model_deployment",
            {"model_id": "big", "timeout": "1s"},
            "ApiError",
            408,
        ),
        (
            "ml.infer_trained_model",
            {"model_id": "e5", "docs": [DOC] * 50, "timeout": "1s"},
            "ApiError",
            408,
        ),
    ],
)
async def test_refusals_become_errors_of_the_client(library, method, arguments, error, status):
    async with official(library) as (_, call):
        with pytest.raises(getattr(library, error)) as raised:
            await call(method, **arguments)
        assert raised.value.meta.status == status
        assert raised.value.body["status"] == status


async def test_credentials(library):
    accounts = [
        Account(username="viewer", roles=["machine_learning_user"], password="secret"),
        Account(username="scaler", roles=["machine_learning_admin"], api_key="k1:key"),
    ]
    scenario_ = scenario(security=SecuritySettings(accounts=accounts))
    update = {"model_id": "e5", "number_of_allocations": 2}
    async with official(library, scenario_, basic_auth=("viewer", "wrong")) as (_, call):
        with pytest.raises(library.AuthenticationException):
            await call("info")
    async with official(library, scenario_, basic_auth=("viewer", "secret")) as (_, call):
        assert (await call("security.authenticate"))["username"] == "viewer"
        granted = await call("security.has_privileges", cluster=["monitor_ml", "manage_ml"])
        assert granted["cluster"] == {"monitor_ml": True, "manage_ml": False}
        with pytest.raises(library.AuthorizationException):
            await call("ml.update_trained_model_deployment", **update)
    async with official(library, scenario_, api_key=("k1", "key")) as (es, call):
        await call("ml.update_trained_model_deployment", **update)
        assert es.cluster.deployments["e5"].requested == 2


async def test_a_client_of_version_9_is_refused_by_version_8():
    async with official(elasticsearch9, scenario(version="8.19")) as (_, call):
        with pytest.raises(elasticsearch9.BadRequestError) as raised:
            await call("ml.get_trained_models_stats")
        assert raised.value.error == "media_type_header_exception"
    async with official(elasticsearch8, scenario(version="8.19")) as (_, call):
        assert (await call("ml.get_trained_models_stats"))["count"] == 3


async def test_a_client_in_a_thread():
    async with client_of(scenario(deployments=[ScenarioDeployment(model_id="e5")])) as es:
        client = elasticsearch8.Elasticsearch(es.running.url, max_retries=0)

        def start():
            return client.ml.start_trained_model_deployment(model_id="big", timeout="1m")

        started = await es.clock.run(asyncio.to_thread(start))
        assert started["assignment"]["assignment_state"] == "started"
        client.close()
