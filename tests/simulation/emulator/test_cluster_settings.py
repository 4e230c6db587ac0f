"""`_cluster/settings`: known names and values, and their effects."""

import pytest

from tests.simulation.emulator.conftest import client_of, scenario

LAZY = "xpack.ml.max_lazy_ml_nodes"
ADAPTIVE = "xpack.ml.trained_models.adaptive_allocations"
ZERO, COOL_DOWN = f"{ADAPTIVE}.scale_to_zero_time", f"{ADAPTIVE}.scale_up_cooldown_time"


async def _put(es, settings, kind="persistent"):
    return await es.put("/_cluster/settings", {kind: settings})


async def _shown(es, kind="persistent"):
    return (await es.get("/_cluster/settings?flat_settings")).document[kind]


async def test_settings_are_kept_and_reset(es):
    response = await _put(es, {LAZY: 2, "xpack.ml.use_auto_machine_memory_percent": True})
    assert response.document["acknowledged"]
    assert await _shown(es) == {LAZY: "2", "xpack.ml.use_auto_machine_memory_percent": "true"}
    response = await _put(es, {LAZY: None})
    assert response.document == {"acknowledged": True, "persistent": {}, "transient": {}}
    await _put(es, {"xpack.ml.*": None})
    assert await _shown(es) == {}


async def test_names_are_nested_unless_they_are_requested_flat(es):
    await _put(es, {"xpack": {"ml": {"max_lazy_ml_nodes": 3}}})
    nested = (await es.get("/_cluster/settings")).document
    assert nested["persistent"] == {"xpack": {"ml": {"max_lazy_ml_nodes": "3"}}}
    assert nested["transient"] == {}
    assert await _shown(es) == {LAZY: "3"}


async def test_defaults_are_those_that_were_not_set(es):
    await _put(es, {LAZY: 2})
    document = (await es.get("/_cluster/settings?include_defaults&flat_settings")).document
    assert LAZY not in document["defaults"]
    assert document["defaults"]["xpack.ml.max_machine_memory_percent"] == "30"
    assert "defaults" not in (await es.get("/_cluster/settings")).document


@pytest.mark.parametrize("kind", ["persistent", "transient"])
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("xpack.ml.max_lazy_ml_node", 1, "not recognized"),
        ("a", None, "not recognized"),
        (LAZY, -1, "must be >= 0"),
        (LAZY, "many", "Failed to parse value [many]"),
        ("xpack.ml.max_machine_memory_percent", 201, "must be <= 200"),
        ("xpack.ml.max_machine_memory_percent", 4, "must be >= 5"),
        ("xpack.ml.use_auto_machine_memory_percent", "yes", "only [true] or [false]"),
        ("xpack.ml.max_ml_node_size", "16", "unit is missing"),
        (ZERO, "59s", "must be >= 1m"),
        (COOL_DOWN, "0", "must be >= 1m"),
        (COOL_DOWN, "5", "unit is missing"),
    ],
)
async def test_an_unknown_name_or_value_is_refused_and_changes_nothing(
    es, kind, name, value, words
):
    refusal = await _put(es, {LAZY: 5, name: value}, kind)
    assert refusal.status == 400
    assert words in refusal.error["reason"]
    assert await _shown(es, kind) == {}


async def test_an_update_without_settings_is_refused(es):
    refusal = await _put(es, {})
    assert (refusal.status, refusal.error["type"]) == (400, "action_request_validation_exception")


@pytest.mark.parametrize(("version", "status"), [("8.18", 400), ("8.19", 200), ("9.0", 400)])
async def test_the_times_of_adaptive_allocations_are_settings_by_version(version, status):
    async with client_of(scenario(version=version)) as es:
        assert (await _put(es, {ZERO: "1h"})).status == status


async def test_lazy_nodes_accept_what_no_node_can_run(es):
    refused = await es.post("/_ml/trained_models/e5/deployment/_update?number_of_allocations=50")
    assert refused.status == 429
    await _put(es, {LAZY: len(es.cluster.nodes)})
    assert (
        await es.post("/_ml/trained_models/e5/deployment/_update?number_of_allocations=50")
    ).status == 429, "there are as many nodes already"
    await _put(es, {LAZY: len(es.cluster.nodes) + 1})
    accepted = await es.post("/_ml/trained_models/e5/deployment/_update?number_of_allocations=50")
    assert accepted.status == 200
    await es.clock.advance(600)
    await es.get("/")
    deployment = es.cluster.deployments["e5"]
    assert (deployment.requested, deployment.running) == (50, 8), "no node ever comes"
    assert "insufficient allocated processors" in deployment.reason


async def test_larger_nodes_count_as_growth_too(es):
    await _put(es, {"xpack.ml.max_ml_node_size": "16gb"})
    update = "/_ml/trained_models/e5/deployment/_update?number_of_allocations=50"
    assert (await es.post(update)).status == 429, "the nodes have that size"
    await _put(es, {"xpack.ml.max_ml_node_size": "32gb"})
    assert (await es.post(update)).status == 200


async def test_memory_for_machine_learning_follows_the_settings(es):
    async def most():
        document = (await es.get("/_ml/memory/ml:true/_stats")).document
        return {node["mem"]["ml"]["max_in_bytes"] for node in document["nodes"].values()}

    machine = 16 << 30
    assert await most() == {int(machine * 0.3)}
    await _put(es, {"xpack.ml.max_machine_memory_percent": 50})
    assert await most() == {machine // 2}
    await _put(es, {"xpack.ml.use_auto_machine_memory_percent": True}, "transient")
    assert await most() == {machine * 9 // 10}, "the heap and the system leave even more"


async def test_a_transient_setting_takes_precedence(es):
    await _put(es, {LAZY: 9})
    await _put(es, {LAZY: 0}, "transient")
    assert not es.cluster.hardware_can_grow
    await _put(es, {LAZY: None}, "transient")
    assert es.cluster.hardware_can_grow


async def test_the_time_to_zero_acts_on_the_running_cluster(es):
    await es.post(
        "/_ml/trained_models/e5/deployment/_update", {"adaptive_allocations": {"enabled": True}}
    )
    await es.clock.advance(3600)
    await es.get("/")
    assert es.cluster.deployments["e5"].requested == 1, "a day, by default"
    await _put(es, {ZERO: "1m"})
    await es.clock.advance(20)
    await es.get("/")
    assert es.cluster.deployments["e5"].requested == 0
