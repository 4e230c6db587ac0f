"""The models API: configurations, and where they have an effect."""

import pytest

MODELS = "/_ml/trained_models"
MINE = {
    "input": {"field_names": ["body"]},
    "inference_config": {"text_classification": {"num_top_classes": 2}},
    "tags": ["own", "small"],
    "description": "reads bodies",
    "metadata": {"team": "search"},
}


async def _configurations(es, path="", query=""):
    document = (await es.get(f"{MODELS}{path}{query}")).document
    return document["trained_model_configs"]


async def test_a_configuration_is_stored_and_returned(es):
    created = await es.put(f"{MODELS}/mine", MINE)
    assert created.status == 200
    (found,) = await _configurations(es, "/mine")
    assert found == created.document
    (config,) = found["inference_config"].values()
    assert config.pop("vocabulary")  # added by the server
    assert MINE.items() <= found.items()
    assert found["create_time"] == round(es.clock.now() * 1000)


@pytest.mark.parametrize(
    ("body", "size_bytes"),
    [
        ({}, 100_000_000),
        ({"model_size_bytes": 5_000_000}, 5_000_000),
        ({"model_size_bytes": 5_000_000, "emulator": {"size_bytes": 7_000_000}}, 7_000_000),
    ],
)
async def test_the_size_of_a_model_may_be_given(es, body, size_bytes):
    assert (await es.put(f"{MODELS}/mine", body)).status == 200
    (found,) = await _configurations(es, "/mine")
    assert found["model_size_bytes"] == size_bytes


async def test_the_input_field_decides_what_is_read(es):
    await es.put(f"{MODELS}/mine", MINE)
    await es.post(f"{MODELS}/mine/deployment/_start")
    wrong = await es.post(f"{MODELS}/mine/_infer", {"docs": [{"text_field": "a"}]})
    assert wrong.status == 400
    assert "[body]" in wrong.error["reason"]
    assert (await es.post(f"{MODELS}/mine/_infer", {"docs": [{"body": "a"}]})).status == 200


@pytest.mark.parametrize(
    "model_id", ["Upper", "_begins", "ends-", "has%20space", ".hidden", 65 * "a"]
)
async def test_the_id_of_a_model_is_checked(es, model_id):
    refused = await es.put(f"{MODELS}/{model_id}", {})
    assert (refused.status, refused.error["type"]) == (400, "action_request_validation_exception")
    assert "model_id" in refused.error["reason"]
    assert (await es.put(f"{MODELS}/a.b-c_1", {})).status == 200


@pytest.mark.parametrize("config", [{}, {"guessing": {}}, {"ner": {}, "text_embedding": {}}])
async def test_a_model_has_one_known_task(es, config):
    assert (await es.put(f"{MODELS}/mine", {"inference_config": config})).status == 400


async def test_inference_for_another_task_is_refused(es):
    await es.put(f"{MODELS}/mine", MINE)
    await es.post(f"{MODELS}/mine/deployment/_start")
    docs = {"docs": [{"body": "a"}]}
    for config, status in (
        ({"text_classification": {}}, 200),
        ({"ner": {}}, 403),
        ({"guessing": {}}, 400),
        ({"ner": {}, "text_classification": {}}, 400),
        ({}, 400),
    ):
        response = await es.post(f"{MODELS}/mine/_infer", {**docs, "inference_config": config})
        assert response.status == status, response.text
    # The task of a model of a scenario is not known.
    asked = {"docs": [{"text_field": "a"}], "inference_config": {"ner": {}}}
    assert (await es.post(f"{MODELS}/e5/_infer", asked)).status == 200


async def test_the_built_in_model_is_neither_deleted_nor_used(es):
    path = f"{MODELS}/lang_ident_model_1"
    for force in ("", "?force=true"):
        refused = await es.delete(f"{path}{force}")
        assert (refused.status, refused.error["type"]) == (400, "status_exception")
        assert "required by machine learning" in refused.error["reason"]
    used = await es.post(f"{path}/_infer", {"docs": [{"text": "hello"}]})
    assert used.status == 400
    assert "not emulated" in used.error["reason"]


@pytest.mark.parametrize(("model_id", "status"), [("unknown", 404), ("big", 409), ("e5", 400)])
async def test_the_model_is_looked_for_before_the_documents_are_read(es, model_id, status):
    assert (await es.post(f"{MODELS}/{model_id}/_infer", {"docs": [{}]})).status == status


async def test_models_are_found_by_all_of_their_tags(es):
    await es.put(f"{MODELS}/mine", MINE)
    await es.put(f"{MODELS}/other", {"tags": ["small"]})

    async def tagged(tags):
        return [each["model_id"] for each in await _configurations(es, query=f"?tags={tags}")]

    assert await tagged("small") == ["mine", "other"]
    assert await tagged("small,own") == ["mine"]
    assert await tagged("large") == []


async def test_a_tag_is_not_the_id_of_a_model(es):
    refused = await es.put(f"{MODELS}/mine", {"tags": ["e5"]})
    assert (refused.status, refused.error["type"]) == (400, "validation_exception")


async def test_the_status_of_a_definition_is_included_on_request(es):
    (without,) = await _configurations(es, "/e5")
    assert "fully_defined" not in without
    (included,) = await _configurations(es, "/e5", "?include=definition_status")
    assert included["fully_defined"] is True
    refused = await es.get(f"{MODELS}/e5?include=weights")
    assert (refused.status, refused.error["type"]) == (400, "illegal_argument_exception")


async def test_a_configuration_without_generated_fields_can_be_put_elsewhere(es):
    await es.put(f"{MODELS}/mine", MINE)
    (found,) = await _configurations(es, "/mine", "?exclude_generated=true")
    assert not {"model_id", "created_by", "version", "create_time"} & set(found)
    assert (await es.put(f"{MODELS}/copy", found)).status == 200


@pytest.mark.parametrize("deployment", ["e5", "search"])
async def test_a_model_cannot_have_the_id_of_a_deployment(es, deployment):
    await es.post(f"{MODELS}/big/deployment/_start?deployment_id=search&wait_for=starting")
    refused = await es.put(f"{MODELS}/{deployment}", {})
    assert refused.status == 400


async def test_the_model_that_identifies_languages_has_a_size(es):
    (entry,) = (await es.get(f"{MODELS}/lang_ident_model_1/_stats")).document["trained_model_stats"]
    assert entry["model_size_stats"]["model_size_bytes"] > 0
    assert entry["model_size_stats"]["required_native_memory_bytes"] == 0


async def test_entries_of_one_model_are_in_the_order_of_their_deployments(es):
    for name in ("zulu", "alpha", "mike"):
        await es.post(f"{MODELS}/e5/deployment/_start?deployment_id={name}&wait_for=starting")
    entries = (await es.get(f"{MODELS}/e5/_stats")).document["trained_model_stats"]
    ids = [entry["deployment_stats"]["deployment_id"] for entry in entries]
    assert ids == ["alpha", "e5", "mike", "zulu"]


async def test_no_memory_is_required_without_allocations(es):
    async def required(model_id):
        (entry,) = (await es.get(f"{MODELS}/{model_id}/_stats")).document["trained_model_stats"]
        return entry["model_size_stats"]["required_native_memory_bytes"]

    assert await required("big") == 0, "it is not deployed"
    assert await required("e5") > 0
    es.cluster.update_deployment("e5", number_of_allocations=0, internal=True)
    assert await required("e5") == 0
