import msgspec
import pytest

from autoscaler.simulation.emulator.rendering import format_size
from autoscaler.simulation.scenario import ScenarioDeployment
from autoscaler.wire.stats import parse_size, parse_stats
from autoscaler.wire.stats_document import FILTER_PATH
from tests.simulation.emulator.conftest import client_of, scenario

STATS = "/_ml/trained_models/_stats"


async def stats(es, query=""):
    response = await es.get(STATS + query)
    assert response.status == 200, response.text
    return response.document


async def test_every_model_has_an_entry(es):
    document = await stats(es)
    assert document["count"] == 3
    entries = {entry["model_id"]: entry for entry in document["trained_model_stats"]}
    assert set(entries) == {"e5", "big", "lang_ident_model_1"}
    assert [id_ for id_ in entries if "deployment_stats" in entries[id_]] == ["e5"]


async def test_a_deployment_reports_its_settings(es):
    deployment = await es.deployment("e5")
    assert deployment["deployment_id"] == deployment["model_id"] == "e5"
    assert deployment["number_of_allocations"] == deployment["threads_per_allocation"] == 1
    assert deployment["queue_capacity"] == 10_000
    assert deployment["priority"] == "normal"
    assert deployment["state"] == "started"
    assert deployment["cache_size"] == "100mb"
    assert deployment["allocation_status"] == {
        "allocation_count": 1,
        "target_allocation_count": 1,
        "state": "fully_allocated",
    }
    assert 1e12 < deployment["start_time"] < es.clock.now() * 1000
    assert "adaptive_allocations" not in deployment


async def test_zero_counters_and_means_without_results_are_omitted(es):
    deployment = await es.deployment("e5")
    for absent in ("inference_count", "error_count", "timeout_count", "rejected_execution_count"):
        assert absent not in deployment
    (node,) = deployment["nodes"]
    assert node["inference_count"] == node["number_of_pending_requests"] == 0
    for absent in ("average_inference_time_ms", "last_access", "error_count"):
        assert absent not in node


async def test_inferences_are_counted_per_node(es):
    for _ in range(3):
        await es.post("/_ml/trained_models/e5/_infer", {"docs": [{"text_field": "hello"}]})
    deployment = await es.deployment("e5")
    (node,) = deployment["nodes"]
    assert deployment["inference_count"] == node["inference_count"] == 3
    assert node["average_inference_time_ms"] == pytest.approx(50.0, abs=1.0)
    assert node["routing_state"] == {"routing_state": "started"}
    assert node["number_of_allocations"] == 1


async def test_a_loading_node_reports_few_fields(es):
    await es.post("/_ml/trained_models/big/deployment/_start?wait_for=starting")
    (node,) = (await es.deployment("big"))["nodes"]
    assert set(node) == {
        "node",
        "routing_state",
        "peak_throughput_per_minute",
        "throughput_last_minute",
    }
    assert node["routing_state"]["routing_state"] == "starting"


async def test_rendered_statistics_can_be_parsed():
    scenario_ = scenario(
        deployments=[
            ScenarioDeployment(model_id="e5", deployment_id="a", number_of_allocations=2),
            ScenarioDeployment(model_id="e5", deployment_id="b", threads_per_allocation=2),
        ]
    )
    async with client_of(scenario_) as es:
        response = await es.get(f"{STATS}?filter_path={FILTER_PATH}")
        page = parse_stats(response.text.encode())
        assert page.unreadable == ()
        assert {d.deployment_id: d.allocations for d in page.deployments} == {"a": 2, "b": 1}
        deployment = next(d for d in page.deployments if d.deployment_id == "a")
        simulated = es.cluster.deployments["a"]
        assert deployment.running_allocations == simulated.running
        assert deployment.server_created_at == pytest.approx(simulated.start_time, abs=1e-3)
        assert {node.node_id for node in deployment.nodes} == set(simulated.routes)
        assert deployment.nodes[0].name == "ml-1"


async def test_two_deployments_of_one_model_are_two_entries_of_one_model():
    scenario_ = scenario(
        deployments=[ScenarioDeployment(model_id="e5", deployment_id=id_) for id_ in ("a", "b")]
    )
    async with client_of(scenario_) as es:
        document = await stats(es, "?size=1&from=1")
        assert document["count"] == 3
        ids = {e["deployment_stats"]["deployment_id"] for e in document["trained_model_stats"]}
        assert ids == {"a", "b"}
        response = await es.get("/_ml/trained_models/a/_stats")
        assert [e["model_id"] for e in response.document["trained_model_stats"]] == ["e5"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/_ml/trained_models/nope/_stats", 404),
        ("/_ml/trained_models/e5,nope/_stats", 404),
        ("/_ml/trained_models/nope*/_stats", 200),
        ("/_ml/trained_models/nope*/_stats?allow_no_match=false", 404),
        ("/_ml/trained_models/_stats?size=-1", 400),
        ("/_ml/trained_models/_stats?size=x", 400),
        ("/_ml/trained_models/_stats?sise=1", 400),
    ],
)
async def test_invalid_requests_are_refused(es, path, status):
    response = await es.get(path)
    assert response.status == status
    if status != 200:
        assert response.document["status"] == status
        assert response.error["reason"]


async def test_a_swallowed_node_is_known_from_its_route_alone(es):
    await es.post("/_ml/trained_models/e5/_infer", {"docs": [{"text_field": "x"}]})
    (node_id,) = es.cluster.deployments["e5"].routes
    assert (await es.post(f"/_emulator/nodes/{node_id}/swallow?calls=1")).status == 200
    silent = await es.deployment("e5")
    assert "inference_count" not in silent
    assert "start_time" not in silent["nodes"][0]
    assert silent["nodes"][0]["routing_state"] == {"routing_state": "started"}
    assert (await es.deployment("e5"))["inference_count"] == 1


async def test_human_and_pretty_responses(es):
    response = await es.get("/_ml/trained_models/e5/_stats?human&pretty")
    (entry,) = response.document["trained_model_stats"]
    assert entry["model_size_stats"]["model_size"] == "100mb"
    assert entry["deployment_stats"]["start_time_string"].endswith("Z")
    assert response.text.startswith('{\n  "count": 1')


async def test_nodes_are_listed_even_when_there_are_none():
    async with client_of(scenario(can_grow=True)) as es:
        for node_id in list(es.cluster.nodes):
            await es.delete(f"/_emulator/nodes/{node_id}")
        assert (await es.deployment("e5"))["nodes"] == []


async def test_an_old_version_has_no_deployment_ids():
    async with client_of(scenario(version="8.6")) as es:
        deployment = await es.deployment("e5")
        assert "deployment_id" not in deployment
        assert deployment["queue_capacity"] == 1024


def test_sizes_are_truncated_and_not_rounded():
    assert [format_size(size) for size in (0, 1023, 1024, 91_000_321, 3 << 29)] == [
        "0b",
        "1023b",
        "1kb",
        "86.7mb",
        "1.5gb",
    ]
    assert parse_size(format_size(86 << 20)) == 86 << 20


async def test_responses_have_the_requested_media_type(es):
    accept = "application/vnd.elasticsearch+json; compatible-with=9"
    response = await es.get(STATS, headers={"Accept": accept})
    assert response.headers["Content-Type"].replace(" ", "") == accept.replace(" ", "")
    assert response.headers["X-Elastic-Product"] == "Elasticsearch"
    assert msgspec.json.decode(response.text)["count"] == 3
