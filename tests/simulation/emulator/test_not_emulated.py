"""What is not emulated is refused where a success would be mistaken for the real thing."""

import base64

import pytest

from autoscaler.simulation.scenario import Account, SecuritySettings
from tests.simulation.emulator.conftest import client_of, scenario

MODELS = "/_ml/trained_models"


@pytest.mark.parametrize(
    "path",
    [
        "/_nodes/stats",
        "/_nodes/ml-1/stats",
        "/_nodes/stats/jvm",
        "/_nodes/usage",
        "/_nodes/hot_threads",
        "/_nodes/ml-1/_repositories_metering",
        "/_cat/ml/trained_models",
        "/_tasks",
    ],
)
async def test_other_apis_have_no_handler(es, path):
    response = await es.get(path)
    assert response.status == 400
    assert "no handler found" in response.error


async def test_nodes_are_found_by_names_that_begin_like_other_apis(es):
    for path in ("/_nodes/stats-1", "/_nodes/ml-1/os"):
        assert (await es.get(path)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/?format=yaml",
        f"{MODELS}?include=definition",
        f"{MODELS}/e5?include=definition_status,definition",
        "/_ml/trained_models/_stats?format=cbor",
        "/_cluster/settings?timeout=soon",
        "/_ingest/pipeline?master_timeout=1",
    ],
)
async def test_parameters_without_effect_are_refused(es, path):
    response = await es.get(path)
    assert (response.status, response.error["type"]) == (400, "illegal_argument_exception")


async def test_the_input_of_a_model_has_field_names_only(es):
    body = {"input": {"field_names": ["text"], "other": 1}}
    assert (await es.put(f"{MODELS}/mine", body)).status == 400


async def test_pipelines_in_summary(es):
    assert (await es.get("/_ingest/pipeline?summary")).document == {"logs@default-pipeline": {}}


async def test_privileges_of_applications_cannot_be_checked():
    accounts = [Account(username="viewer", roles=["machine_learning_user"], password="secret")]
    async with client_of(scenario(security=SecuritySettings(accounts=accounts))) as es:
        checked = await es.post(
            "/_security/user/_has_privileges",
            {"cluster": ["monitor_ml"], "application": []},
            headers={"Authorization": f"Basic {base64.b64encode(b'viewer:secret').decode()}"},
        )
        assert checked.status == 400
        assert "application" in checked.error["reason"]
