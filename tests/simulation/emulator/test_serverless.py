"""The differences on serverless."""

import elasticsearch9
import pytest

from autoscaler.simulation.emulator.serverless import one_unnamed_node
from autoscaler.simulation.scenario import Adaptive, ScenarioDeployment, sample_scenario
from autoscaler.wire.stats_document import NodeDocument, RoutingStateAndReason
from tests.simulation.emulator.conftest import client_of, scenario

E5 = "/_ml/trained_models/e5/deployment"
BIG = "/_ml/trained_models/big/deployment"
OFF = {"enabled": False}


@pytest.fixture
async def es():
    async with client_of(scenario(version="serverless")) as client:
        yield client


async def test_it_reports_its_build_flavour(es):
    version = (await es.get("/")).document["version"]
    assert (version["build_flavor"], version["number"]) == ("serverless", "8.11.0")


async def test_statistics_have_one_node_without_a_name(es):
    await es.post("/_emulator/deployments/e5/adaptive", {"min_number_of_allocations": 6})
    await es.post("/_emulator/deployments/e5/load", {"kind": "steady", "rate_per_s": 20.0})
    await es.clock.advance(180.0)
    deployment = await es.deployment("e5")
    assert len(es.cluster.deployments["e5"].routes) == 2
    (node,) = deployment["nodes"]
    assert "node" not in node
    assert node["number_of_allocations"] == 6
    assert node["routing_state"] == {"routing_state": "started"}
    assert node["inference_count"] == deployment["inference_count"] > 3000
    assert node["average_inference_time_ms"] == pytest.approx(50.0)
    assert node["throughput_last_minute"] == pytest.approx(1200, rel=0.15)


def test_nodes_are_merged_into_sums_and_the_latest():
    def node(state, count=None, mean=None, start=None):
        return NodeDocument(
            routing_state=RoutingStateAndReason(routing_state=state),
            inference_count=count,
            average_inference_time_ms=mean,
            start_time=start,
        )

    (merged,) = one_unnamed_node(
        [node("starting"), node("started", 10, 20.0, 5), node("started", 30, 40.0, 9)]
    )
    assert merged.routing_state.routing_state == "started"
    assert (merged.inference_count, merged.start_time) == (40, 9)
    assert merged.average_inference_time_ms == pytest.approx(35.0)
    assert merged.average_inference_time_ms_last_minute is None
    (silent,) = one_unnamed_node([node("starting")])
    assert silent.inference_count is None
    assert one_unnamed_node([]) == []


async def test_every_deployment_has_adaptive_allocations(es):
    stats = await es.deployment("e5")
    assert stats["adaptive_allocations"] == {"enabled": True, "min_number_of_allocations": 0}
    body = {
        "number_of_allocations": 2,
        "adaptive_allocations": {**OFF, "max_number_of_allocations": 7},
    }
    assert (await es.post(f"{BIG}/_start", body)).status == 200
    stats = await es.deployment("big")
    assert stats["number_of_allocations"] == 1
    assert stats["adaptive_allocations"] == {
        "enabled": True,
        "min_number_of_allocations": 0,
        "max_number_of_allocations": 7,
    }


@pytest.mark.parametrize(
    "body",
    [
        {"number_of_allocations": 2},
        {"number_of_allocations": 2, "adaptive_allocations": OFF},
        {"adaptive_allocations": OFF},
        {"adaptive_allocations": None},
    ],
)
async def test_adaptive_allocations_cannot_be_disabled(es, body):
    refused = await es.post(f"{E5}/_update", body)
    assert (refused.status, refused.error["type"]) == (400, "validation_exception")
    assert es.cluster.deployments["e5"].requested == 1
    assert es.cluster.deployments["e5"].adaptive.enabled


async def test_adaptive_allocations_cannot_be_disabled_through_an_endpoint(es):
    await es.post("/_emulator/deployments/e5/own")
    for settings in ({"num_allocations": 2}, {"adaptive_allocations": OFF}):
        body = {"service_settings": settings}
        refused = await es.put("/_inference/text_embedding/e5/_update", body)
        assert (refused.status, refused.error["type"]) == (400, "validation_exception")


async def test_the_bounds_can_be_set(es):
    bounds = {"min_number_of_allocations": 2, "max_number_of_allocations": 4}
    assert (await es.post(f"{E5}/_update", {"adaptive_allocations": bounds})).status == 200
    await es.clock.advance(30.0)
    assert (await es.deployment("e5"))["number_of_allocations"] == 2


async def test_a_day_without_requests_ends_at_zero(es):
    await es.clock.advance(86_400.0 + 60.0)
    stats = await es.deployment("e5")
    assert (stats["number_of_allocations"], stats["nodes"]) == (0, [])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_nodes"),
        ("GET", "/_nodes/ml:true/none"),
        ("GET", "/_ml/memory/_stats"),
        ("GET", "/_ml/info"),
        ("POST", "/_ml/set_upgrade_mode"),
        ("GET", "/_cluster/settings"),
        ("GET", "/_cluster/health"),
        ("GET", "/_xpack"),
    ],
)
async def test_endpoints_about_nodes_and_the_cluster_are_not_available(es, method, path):
    await es.post("/_emulator/conditions", {"master": False})
    refused = await es(method, path)
    assert (refused.status, refused.error["type"]) == (410, "api_not_available_exception")
    assert f"uri [{path}] with method [{method}] exists but" in refused.error["reason"]


async def test_the_licence_is_available(es):
    assert (await es.get("/_license")).status == 200


async def test_scenarios_of_other_versions_can_be_served():
    async with client_of(sample_scenario(version="serverless", load=False)) as es:
        assert all(deployment.adaptive.enabled for deployment in es.cluster.deployments.values())
    bounded = Adaptive(enabled=True, min_number_of_allocations=2, max_number_of_allocations=3)
    deployment = ScenarioDeployment(model_id="e5", adaptive_allocations=bounded)
    async with client_of(scenario(version="serverless", deployments=[deployment])) as es:
        assert es.cluster.deployments["e5"].adaptive.max_number_of_allocations == 3


async def test_the_newest_official_client_works(es):
    client = elasticsearch9.AsyncElasticsearch(es.running.url, max_retries=0)
    try:
        info = await es.clock.run(client.info())
        assert info["version"]["build_flavor"] == "serverless"
        with pytest.raises(elasticsearch9.ApiError) as raised:
            await es.clock.run(client.nodes.info())
        assert raised.value.meta.status == 410
    finally:
        await client.close()
