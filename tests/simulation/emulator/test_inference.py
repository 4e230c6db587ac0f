"""`_inference`: owners of deployments, and the changes they may make, by version."""

import pytest

from autoscaler.simulation.scenario import (
    Account,
    ScenarioDeployment,
    ScenarioEndpoint,
    SecuritySettings,
)
from tests.simulation.emulator.conftest import client_of, scenario

E5 = "/_ml/trained_models/e5/deployment"
MINE = "/_inference/text_embedding/e5/_update"
OWNED = ScenarioDeployment(model_id="e5", number_of_allocations=1, owned_by_endpoint=True)
OFF = {"adaptive_allocations": {"enabled": False}}
ON = {"adaptive_allocations": {"enabled": True, "min_number_of_allocations": 2}}


def owned(version="9.2", **changes):
    return client_of(scenario(version=version, deployments=[OWNED], **changes))


async def update_endpoint(es, settings, path=MINE):
    return await es.put(path, {"service_settings": settings})


async def settings_of(es, inference_id="e5"):
    document = (await es.get(f"/_inference/{inference_id}")).document
    return document["endpoints"][0]["service_settings"]


async def test_an_endpoint_reports_its_deployment():
    async with owned() as es:
        for path in ("/_inference", "/_inference/_all", "/_inference/e5"):
            (endpoint,) = (await es.get(path)).document["endpoints"]
            assert (endpoint["inference_id"], endpoint["service"]) == ("e5", "elasticsearch")
            assert endpoint["task_type"] == "text_embedding"
            assert endpoint["service_settings"] == {
                "model_id": "e5",
                "num_threads": 1,
                "num_allocations": 1,
            }
        assert (await es.get("/_inference/nope")).status == 404


async def test_an_update_needs_a_body():
    async with owned() as es:
        refused = await es.put(MINE)
        assert (refused.status, refused.error["type"]) == (400, "parse_exception")
        assert "request body is required" in refused.error["reason"]


async def test_equal_settings_are_no_update_whatever_the_deployment():
    """The comparison comes before the deployment is looked at."""
    async with owned() as es:
        await es.post(f"{E5}/_stop?force=true")
        assert (await update_endpoint(es, {"num_allocations": 1})).status == 200
        assert (await update_endpoint(es, {"num_allocations": 2})).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_inference/guessing/_all"),
        ("GET", "/_inference/guessing/e5"),
        ("PUT", "/_inference/guessing/e5/_update"),
    ],
)
async def test_an_unknown_task_type_is_refused(method, path):
    async with owned() as es:
        refused = await es(method, path, {"service_settings": {"num_allocations": 2}})
        assert refused.status == 400
        assert "Unknown task_type [guessing]" in refused.error["reason"]
        assert (await es.get("/_inference/RERANK/_all")).document["endpoints"] == []


async def test_an_owned_deployment_is_changed_through_its_endpoint_only():
    async with owned() as es:
        refused = await es.post(f"{E5}/_update", {"number_of_allocations": 2})
        assert refused.status == 409
        assert "inference endpoint" in refused.error["reason"]
        response = await update_endpoint(es, {"num_allocations": 2})
        assert response.document["service_settings"]["num_allocations"] == 2
        assert (await es.deployment("e5"))["number_of_allocations"] == 2
        await es.delete("/_emulator/deployments/e5/own")
        assert (await es.post(f"{E5}/_update", {"number_of_allocations": 1})).status == 200


async def test_an_older_version_accepts_a_change_through_either_api():
    async with owned("9.1") as es:
        assert (await es.post(f"{E5}/_update", {"number_of_allocations": 2})).status == 200


async def test_an_endpoint_disables_adaptive_allocations_in_two_steps():
    async with owned() as es:
        response = await update_endpoint(es, ON)
        assert response.document["service_settings"]["adaptive_allocations"] == {
            "enabled": True,
            "min_number_of_allocations": 2,
        }
        refused = await update_endpoint(es, {"num_allocations": 3})
        assert (refused.status, refused.error["type"]) == (400, "validation_exception")
        assert "cannot be set if adaptive allocations is enabled" in refused.error["reason"]
        refused = await update_endpoint(es, {"num_allocations": 3, **OFF})
        assert (refused.status, refused.error["type"]) == (400, "validation_exception")
        assert "[num_allocations] cannot be set if [adaptive_al" in refused.error["reason"]
        assert (await update_endpoint(es, OFF)).status == 200
        assert (await update_endpoint(es, {"num_allocations": 3})).status == 200
        assert es.cluster.deployments["e5"].requested == 3
        assert "adaptive_allocations" not in await settings_of(es)
        assert es.cluster.deployments["e5"].adaptive.enabled is False


async def test_an_update_of_adaptive_settings_replaces_those_of_the_endpoint():
    """The deployment merges them; the endpoint stores, and reports, the last ones only."""
    async with owned() as es:
        await update_endpoint(es, ON)
        await update_endpoint(es, {"adaptive_allocations": {"max_number_of_allocations": 5}})
        stored = es.cluster.deployments["e5"].adaptive
        assert (stored.min_number_of_allocations, stored.max_number_of_allocations) == (2, 5)
        assert (await settings_of(es))["adaptive_allocations"] == {
            "enabled": False,
            "max_number_of_allocations": 5,
        }
        refused = await update_endpoint(
            es, {"adaptive_allocations": {"min_number_of_allocations": 6}}
        )
        refusal = (refused.status, refused.error["type"])
        assert refusal == (400, "action_request_validation_exception")


async def test_settings_that_an_endpoint_has_stored_touch_nothing():
    """Also those with which it was created, and also if the deployment has lost them."""
    async with owned() as es:
        es.cluster.update_deployment("e5", number_of_allocations=3, internal=True)
        assert (await update_endpoint(es, {"num_allocations": 1})).status == 200
        assert es.cluster.deployments["e5"].requested == 3
        await update_endpoint(es, {"num_allocations": 2})
        assert es.cluster.deployments["e5"].requested == 2


async def test_one_endpoint_that_cannot_be_read_fails_the_list():
    endpoints = [ScenarioEndpoint(inference_id="bad", deployment_id="e5", broken=True)]
    async with client_of(scenario(deployments=[OWNED], endpoints=endpoints)) as es:
        for path in ("/_inference", "/_inference/_all", "/_inference/bad"):
            assert (await es.get(path)).status == 500
        assert (await es.get("/_inference/e5")).status == 200
        await es.delete("/_emulator/endpoints/bad")
        assert (await es.get("/_inference/_all")).status == 200


@pytest.mark.parametrize("version", ["8.17", "8.19", "9.1"])
async def test_the_first_updates_accept_num_allocations_only(version):
    async with owned(version) as es:
        response = await update_endpoint(es, {"num_allocations": 2, **ON})
        assert response.document["service_settings"]["num_allocations"] == 2
        assert "adaptive_allocations" not in response.document["service_settings"]
        refused = await update_endpoint(es, ON)
        assert (refused.status, refused.error["type"]) == (400, "status_exception")
        assert "Failed to parse [num_allocations]" in refused.error["reason"]
        assert (await update_endpoint(es, {"num_allocations": 0})).status == 400
        await es.post(f"{E5}/_update", ON)
        refused = await update_endpoint(es, {"num_allocations": 3, **OFF})
        assert "cannot be set if adaptive allocations is enabled" in refused.error["reason"]


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        ({}, "does not contain one of the required settings"),
        ({"adaptive_allocations": None}, "does not contain one of the required settings"),
        ({"num_allocations": 0}, "must be a positive integer"),
        ({"num_allocations": "many"}, "num_allocations"),
        ({"adaptive_allocations": {"odd": 1}}, "odd"),
        ({"num_allocations": 99}, "not enough resources"),
    ],
)
async def test_an_invalid_update_is_refused(settings, fragment):
    async with owned() as es:
        refused = await update_endpoint(es, settings)
        assert refused.status in (400, 429)
        assert fragment in refused.error["reason"]
        assert es.cluster.deployments["e5"].requested == 1


@pytest.mark.parametrize(("version", "status"), [("9.2.1", 200), ("9.2.2", 400)])
async def test_new_threads_are_ignored_and_later_refused(version, status):
    async with owned(version) as es:
        assert (
            await update_endpoint(es, {"num_allocations": 2, "num_threads": 4})
        ).status == status
        assert (await settings_of(es))["num_threads"] == 1


async def test_the_task_type_is_in_the_path_or_in_the_body():
    async with owned() as es:
        body = {"service_settings": {"num_allocations": 2}}
        refused = await es.put("/_inference/e5/_update", body)
        assert refused.status == 400
        assert "missing required setting [task_type]" in refused.error["reason"]
        said = {**body, "task_type": "text_embedding"}
        assert (await es.put("/_inference/e5/_update", said)).status == 200
        assert (await es.put("/_inference/rerank/e5/_update", body)).status == 400
        assert (await es.put("/_inference/rerank/e5/_update", said)).status == 400


async def test_an_unknown_endpoint_and_one_without_its_deployment():
    async with owned() as es:
        refused = await update_endpoint(
            es, {"num_allocations": 2}, "/_inference/rerank/nope/_update"
        )
        assert (refused.status, refused.error["type"]) == (404, "resource_not_found_exception")
        await es.delete("/_emulator/deployments/e5")
        assert (await update_endpoint(es, {"num_allocations": 2})).status == 404
        assert "num_allocations" not in await settings_of(es)


@pytest.mark.parametrize(
    ("version", "status"), [("8.17", 404), ("8.18", 200), ("9.1", 200), ("9.2", 409)]
)
async def test_an_attached_endpoint_updates_its_deployment_in_some_versions(version, status):
    attached = ScenarioEndpoint(inference_id="mine", deployment_id="e5", task_type="rerank")
    async with client_of(scenario(version=version, endpoints=[attached])) as es:
        assert (await settings_of(es, "mine"))["deployment_id"] == "e5"
        path = "/_inference/rerank/mine/_update"
        assert (await update_endpoint(es, {"num_allocations": 2}, path)).status == status
        assert (await es.post(f"{E5}/_update", {"number_of_allocations": 3})).status == 200


@pytest.mark.parametrize(
    ("version", "status"),
    [("8.12", 200), ("8.16", 200), ("8.18.3", 200), ("8.18.4", 409), ("8.19", 409)],
)
@pytest.mark.parametrize("inference_id", ["e5", "mine"])
async def test_a_deployment_of_an_endpoint_is_stopped_only_by_force(version, status, inference_id):
    deployment_id = "" if inference_id == "e5" else "e5"
    endpoint = ScenarioEndpoint(inference_id=inference_id, deployment_id=deployment_id)
    async with client_of(scenario(version=version, endpoints=[endpoint])) as es:
        assert (await es.post(f"{E5}/_stop")).status == status
        assert (await es.post(f"{E5}/_stop?force=true")).status == 200


@pytest.mark.parametrize(
    ("version", "reading", "updating"),
    [("8.8", 400, 400), ("8.11", 200, 400), ("8.16", 200, 400), ("8.17", 200, 200)],
)
async def test_an_old_version_does_not_know_the_inference_api(version, reading, updating):
    async with owned(version) as es:
        response = await es.get("/_inference/_all")
        assert response.status == reading
        if reading == 400:
            assert "no handler found" in response.error
        response = await update_endpoint(es, {"num_allocations": 2})
        assert response.status == updating
        if updating == 400:
            assert "no handler found" in response.error


async def test_an_endpoint_is_not_updated_by_any_method():
    async with owned() as es:
        assert (await es.post(MINE, {})).status == 405


ROLES = {
    "reader": ["monitor_inference"],
    "owner": ["manage_inference"],
    "stranger": ["manage_ml", "monitor"],
}


@pytest.mark.parametrize(
    ("role", "reads", "updates"),
    [
        ("reader", 200, 403),
        ("owner", 200, 200),
        ("stranger", 200, 403),
        ("machine_learning_admin", 403, 403),
        ("inference_user", 200, 403),
        ("inference_admin", 200, 200),
    ],
)
async def test_endpoints_have_separate_privileges(role, reads, updates):
    scaler = Account(username="scaler", roles=[role], password="secret")
    security = SecuritySettings(accounts=[scaler], roles=ROLES)
    async with owned(security=security) as es:
        me = {"auth": "scaler:secret"}
        assert (await es.get("/_inference/_all", **me)).status == reads
        response = await es.put(MINE, {"service_settings": {"num_allocations": 2}}, **me)
        assert response.status == updates
        if updates == 403:
            assert "manage_inference" in response.error["reason"]


async def test_the_admin_api_adds_an_endpoint_with_its_deployment(es):
    body = {
        "inference_id": "mine",
        "model_id": "e5",
        "service": "elser",
        "task_type": "sparse_embedding",
        "adaptive_allocations": {"enabled": True, "min_number_of_allocations": 1},
    }
    assert (await es.post("/_emulator/endpoints", body)).status == 200
    assert (await es.post("/_emulator/endpoints", body)).status == 400
    await es.clock.advance(10.0)
    deployment = await es.deployment("mine")
    assert (deployment["model_id"], deployment["state"]) == ("e5", "started")
    assert (await es.get("/_inference/mine")).document["endpoints"][0]["service"] == "elser"
    assert "mine" in (await es.get("/_emulator/state")).document["endpoints"]
    change = "/_ml/trained_models/mine/deployment/_update"
    assert (await es.post(change, OFF)).status == 409
    assert (await es.delete("/_emulator/endpoints/mine")).status == 200
    assert (await es.delete("/_emulator/endpoints/mine")).status == 400
    assert (await es.post(change, OFF)).status == 200


async def test_the_admin_api_adds_an_endpoint_for_an_existing_deployment(es):
    attached = {"inference_id": "mine", "deployment_id": "e5"}
    assert (await es.post("/_emulator/endpoints", attached)).status == 200
    assert (await settings_of(es, "mine"))["deployment_id"] == "e5"
    owning = {"inference_id": "e5"}
    assert (await es.post("/_emulator/endpoints", owning)).status == 200
    assert "deployment_id" not in await settings_of(es)
    lost = {"inference_id": "lost", "deployment_id": "nope"}
    assert (await es.post("/_emulator/endpoints", lost)).status == 404
    assert (await es.post("/_emulator/endpoints", {"inference_id": "lost"})).status == 404
    assert (await es.post("/_emulator/deployments/lost/own")).status == 404


async def test_a_version_without_endpoints_gets_none():
    async with client_of(scenario(version="8.10")) as es:
        assert (await es.post("/_emulator/endpoints", {"inference_id": "e5"})).status == 400
