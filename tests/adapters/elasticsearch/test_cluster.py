"""The ports: observations, changes, and what is said when there are none."""

from contextlib import asynccontextmanager

import pytest

from autoscaler.adapters.elasticsearch.cluster import (
    CAPACITY_INTERVAL_S,
    CAPACITY_KEPT_S,
    ElasticsearchCluster,
)
from autoscaler.core.values import Fate
from autoscaler.ports import ObservationFailed, Trouble, UpdateFailed
from tests.adapters.elasticsearch.servers import (
    answer,
    api_for,
    assignment,
    deployment,
    page,
    refusal,
    reset,
    serving,
    stats,
    truncated,
)
from tests.fakes import FakeClock

STATS, NODES, MEMORY, ML_INFO = (
    "/_ml/trained_models/_stats",
    "/_nodes/ml:true",
    "/_ml/memory/_stats",
    "/_ml/info",
)
GIB = 2**30
UNAUTHORISED = refusal(403, "security_exception", "action [x] is unauthorized for user [u]")
NO_MASTER = refusal(503, "master_not_discovered_exception", "no master")


def node(name="ml-a", version="8.18.3", roles=("ml",), **attributes):
    return {
        "name": name,
        "version": version,
        "roles": list(roles),
        "attributes": {f"ml.{key}": value for key, value in attributes.items()},
    }


def memory(name="ml-a", roles=("ml",), **ml):
    return {
        "name": name,
        "roles": list(roles),
        "attributes": {"ml.allocated_processors": "4"},
        "mem": {"ml": {f"{key}_in_bytes": value for key, value in ml.items()}},
    }


def endpoints(**more):
    """A cluster with one deployment and two nodes, of which one serves models."""
    usual = {
        STATS: answer(stats(deployment("elser", number_of_allocations=2))),
        NODES: answer({"nodes": {"n1": node(allocated_processors_double="8.0")}}),
        MEMORY: answer(
            {
                "nodes": {
                    "n1": memory(max=5 * GIB, native_code_overhead=GIB, native_inference=GIB),
                    "n2": memory("data", roles=("data",)),
                }
            }
        ),
        ML_INFO: answer({"upgrade_mode": False}),
    }
    return usual | more


@asynccontextmanager
async def cluster_of(*answers, **settings):
    clock = FakeClock(start=1_000.0)
    async with serving(*answers) as server, api_for(server, clock=clock, **settings) as api:
        yield ElasticsearchCluster(api, clock), server, clock


async def test_an_observation_has_deployments_and_nodes():
    async with cluster_of(endpoints()) as (cluster, _, _):
        observation = await cluster.observe()
    assert observation.at == 1_000.0
    assert observation.deployments["elser"].allocations == 2
    (found,) = observation.cluster.nodes
    assert (found.node_id, found.name, found.version) == ("n1", "ml-a", "8.18.3")
    assert found.processors == 8.0
    assert (found.ml_memory_bytes, found.free_ml_memory_bytes) == (5 * GIB, 3 * GIB)
    assert not observation.cluster.upgrade_mode


@pytest.mark.parametrize(
    ("limits", "growable"),
    [
        ({"total_ml_processors": 8}, False),
        ({"total_ml_processors": 16}, True),
        ({"total_ml_processors": 4}, None),  # counted in other units than the nodes count in
        ({}, None),
    ],
)
async def test_hardware_grows_if_more_of_it_can_be_reached_than_there_is(limits, growable):
    info = {"upgrade_mode": False, "limits": limits}
    async with cluster_of(endpoints(**{ML_INFO: answer(info)})) as (cluster, _, _):
        assert (await cluster.observe()).cluster.growable is growable


async def test_every_cycle_costs_one_request_and_the_nodes_one_a_minute():
    async with cluster_of(endpoints()) as (cluster, server, clock):
        for _ in range(12):
            await cluster.observe()
            clock.pass_by(10.0)
    assert server.paths.count(STATS) == 12
    assert server.paths.count(NODES) == server.paths.count(MEMORY) == 2
    assert len({r.headers["X-Opaque-Id"] for r in server.requests}) == 12


async def test_damaged_entries_are_reported():
    answers = endpoints()
    answers[STATS] = answer(stats(deployment("a"), deployment("b", queue_capacity=-1)))
    async with cluster_of(answers) as (cluster, _, _):
        observation = await cluster.observe()
    assert set(observation.deployments) == {"a"}
    assert "queue_capacity" in observation.unreadable["b"]


async def test_nodes_are_known_from_either_source():
    async with cluster_of(endpoints(**{NODES: UNAUTHORISED})) as (cluster, _, _):
        (found,) = (await cluster.observe()).cluster.nodes
        assert (found.name, found.version, found.processors) == ("ml-a", "", 4.0)
    async with cluster_of(endpoints(**{MEMORY: UNAUTHORISED})) as (cluster, _, _):
        (found,) = (await cluster.observe()).cluster.nodes
        assert (found.version, found.ml_memory_bytes) == ("8.18.3", None)


async def test_nodes_may_not_be_known_at_all():
    refused = dict.fromkeys((NODES, MEMORY, ML_INFO), UNAUTHORISED)
    async with cluster_of(endpoints(**refused)) as (cluster, _, _):
        observation = await cluster.observe()
    assert observation.cluster is None
    assert set(observation.deployments) == {"elser"}


async def test_nodes_of_different_versions():
    nodes = {"n1": node(), "n2": node("ml-b", version="8.19.0")}
    async with cluster_of(endpoints(**{NODES: answer({"nodes": nodes})})) as (cluster, _, _):
        assert (await cluster.observe()).cluster.mixed_versions


async def test_upgrade_mode_is_passed_on_even_without_nodes():
    answers = endpoints(
        **{
            NODES: UNAUTHORISED,
            MEMORY: UNAUTHORISED,
            ML_INFO: answer({"upgrade_mode": True}),
        }
    )
    async with cluster_of(answers) as (cluster, _, _):
        assert (await cluster.observe()).cluster.upgrade_mode


@pytest.mark.parametrize(
    "attributes", [{}, {"allocated_processors_double": "many"}, {"allocated_processors": ""}]
)
async def test_processors_that_a_node_does_not_tell(attributes):
    answers = endpoints(
        **{NODES: answer({"nodes": {"n1": node(**attributes)}}), MEMORY: UNAUTHORISED}
    )
    async with cluster_of(answers) as (cluster, _, _):
        assert (await cluster.observe()).cluster.nodes[0].processors is None


@pytest.mark.parametrize(
    "lost", [NO_MASTER, reset, truncated, page(502), answer([])], ids=lambda _: None
)
async def test_nodes_that_cannot_be_read_never_cost_the_observation(lost):
    lost_all = dict.fromkeys((NODES, MEMORY, ML_INFO), lost)
    async with cluster_of(endpoints(), retries=0) as (cluster, server, clock):
        known = (await cluster.observe()).cluster
        server.answers = [endpoints(**lost_all)]
        clock.pass_by(CAPACITY_INTERVAL_S)
        assert (await cluster.observe()).cluster == known
        clock.pass_by(CAPACITY_KEPT_S)
        assert (await cluster.observe()).cluster is None
        server.answers = [endpoints()]
        clock.pass_by(CAPACITY_INTERVAL_S)
        assert (await cluster.observe()).cluster == known


@pytest.mark.parametrize(
    ("lost", "trouble"),
    [
        (reset, Trouble.UNREACHABLE),
        (truncated, Trouble.UNREACHABLE),
        (page(502), Trouble.UNAVAILABLE),
        (NO_MASTER, Trouble.UNAVAILABLE),
        (refusal(401, "security_exception", "no"), Trouble.UNAUTHENTICATED),
        (UNAUTHORISED, Trouble.FORBIDDEN),
        (answer([]), Trouble.MALFORMED),
        (answer(stats(), headers={}), Trouble.MALFORMED),
        (page(404), Trouble.MALFORMED),
        (refusal(500, "null_pointer_exception", "oops"), Trouble.REFUSED),
        (refusal(429, "circuit_breaking_exception", "too large"), Trouble.REFUSED),
    ],
    ids=lambda value: value if isinstance(value, Trouble) else None,
)
async def test_no_observation(lost, trouble):
    async with cluster_of(lost) as (cluster, _, _):
        with pytest.raises(ObservationFailed) as caught:
            await cluster.observe()
    assert caught.value.trouble is trouble
    assert str(caught.value)


async def test_no_observation_in_time():
    async with serving(None) as server, api_for(server, request_timeout_s=0.05) as api:
        server.answers = [server.never]
        with pytest.raises(ObservationFailed) as caught:
            await ElasticsearchCluster(api, FakeClock()).observe()
    assert caught.value.trouble is Trouble.TIMEOUT


async def test_a_change_is_a_number_in_the_body():
    async with cluster_of(answer(assignment(4))) as (cluster, server, _):
        await cluster.set_allocations("elser", 4)
    (request,) = server.requests
    assert (request.method, request.path) == (
        "POST",
        "/_ml/trained_models/elser/deployment/_update",
    )
    assert request.query_string == ""
    assert server.body() == {"number_of_allocations": 4}


STATUS = "status_exception"


@pytest.mark.parametrize(
    ("given", "fate"),
    [
        (refusal(429, STATUS, "not enough resources to provide all"), Fate.NO_CAPACITY),
        (refusal(409, STATUS, "[starting] not in [started] state"), Fate.NOT_STARTED),
        (refusal(409, STATUS, "created by inference endpoint [x]"), Fate.ENDPOINT_OWNED),
        (
            refusal(400, "validation_exception", "cannot be set if adaptive allocations is on"),
            Fate.NATIVE_SCALING,
        ),
        (
            refusal(404, "resource_not_found_exception", "No known model deployment with id [x]"),
            Fate.GONE,
        ),
        (UNAUTHORISED, Fate.FORBIDDEN),
        (refusal(401, "security_exception", "no"), Fate.FORBIDDEN),
        (NO_MASTER, Fate.UNKNOWN),
        (page(502), Fate.UNKNOWN),
        (page(429), Fate.UNKNOWN),
        (page(404), Fate.UNKNOWN),
        (reset, Fate.UNKNOWN),
        (truncated, Fate.UNKNOWN),
        (answer({"assignment": {}}), Fate.UNKNOWN),
        (refusal(400, "x_content_parse_exception", "unknown field"), Fate.INVALID),
    ],
    ids=lambda value: value if isinstance(value, Fate) else None,
)
async def test_a_change_that_is_refused_or_lost(given, fate):
    async with cluster_of(given) as (cluster, server, _):
        with pytest.raises(UpdateFailed) as caught:
            await cluster.set_allocations("elser", 4)
    assert caught.value.fate is fate
    assert str(caught.value)
    assert len(server.requests) == 1


async def test_a_cluster_without_updates_can_only_be_observed():
    async with cluster_of(endpoints()) as (cluster, _, _):
        await cluster.observe()
        with pytest.raises(UpdateFailed, match=r"needs Elasticsearch 8\.6") as caught:
            await cluster.set_allocations("elser", 4)
    assert caught.value.fate is Fate.INVALID
