"""Observations: what is in them, and what is said when there are none."""

from contextlib import asynccontextmanager

import pytest

from autoscaler.adapters.elasticsearch.cluster import (
    CAPACITY_INTERVAL_S,
    CAPACITY_KEPT_S,
    ElasticsearchCluster,
)
from autoscaler.ports import FailureKind, ObservationFailed
from tests.adapters.elasticsearch.servers import (
    answer,
    api_for,
    deployment,
    endpoint,
    page,
    refusal,
    reset,
    serving,
    stats,
    truncated,
)
from tests.fakes import FakeClock

STATS, NODES, MEMORY, ML_INFO, INFERENCE = (
    "/_ml/trained_models/_stats",
    "/_nodes/ml:true",
    "/_ml/memory/_stats",
    "/_ml/info",
    "/_inference/_all",
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
        (reset, FailureKind.UNREACHABLE),
        (truncated, FailureKind.UNREACHABLE),
        (page(502), FailureKind.UNAVAILABLE),
        (NO_MASTER, FailureKind.UNAVAILABLE),
        (refusal(401, "security_exception", "no"), FailureKind.UNAUTHENTICATED),
        (UNAUTHORISED, FailureKind.FORBIDDEN),
        (answer([]), FailureKind.MALFORMED),
        (answer(stats(), headers={}), FailureKind.MALFORMED),
        (page(404), FailureKind.MALFORMED),
        (refusal(500, "null_pointer_exception", "oops"), FailureKind.REFUSED),
        (refusal(429, "circuit_breaking_exception", "too large"), FailureKind.REFUSED),
    ],
    ids=lambda value: value if isinstance(value, FailureKind) else None,
)
async def test_no_observation(lost, trouble):
    async with cluster_of(lost) as (cluster, _, _):
        with pytest.raises(ObservationFailed) as caught:
            await cluster.observe()
    assert caught.value.kind is trouble
    assert str(caught.value)


async def test_no_observation_in_time():
    async with serving(None) as server, api_for(server, request_timeout_s=0.05) as api:
        server.answers = [server.never]
        with pytest.raises(ObservationFailed) as caught:
            await ElasticsearchCluster(api, FakeClock()).observe()
    assert caught.value.kind is FailureKind.TIMEOUT


def owning(*endpoints):
    return {INFERENCE: answer({"endpoints": list(endpoints)})}


async def test_what_belongs_to_inference_endpoints_is_named():
    answers = endpoints(
        **owning(
            endpoint("elser"),
            endpoint("not-deployed-yet"),
            endpoint("attached", deployment_id="elser"),
            endpoint("elsewhere", service="openai"),
        )
    )
    async with cluster_of(answers) as (cluster, _, _):
        assert (await cluster.observe()).owned == {"elser": "elser"}


async def test_owners_are_asked_for_as_seldom_as_nodes():
    async with cluster_of(endpoints(**owning(endpoint("elser")))) as (cluster, server, clock):
        for _ in range(12):
            assert (await cluster.observe()).owned == {"elser": "elser"}
            clock.pass_by(10.0)
    assert server.paths.count(INFERENCE) == 2


@pytest.mark.parametrize(
    "lost",
    [NO_MASTER, UNAUTHORISED, reset, truncated, page(502), answer([]), answer({"endpoints": 3})],
    ids=lambda _: None,
)
async def test_owners_that_cannot_be_read_are_those_known_before(lost):
    async with cluster_of(endpoints(**{INFERENCE: lost}), retries=0) as (cluster, server, clock):
        assert (await cluster.observe()).owned == {}
        server.answers = [endpoints(**owning(endpoint("elser")))]
        clock.pass_by(CAPACITY_INTERVAL_S)
        assert (await cluster.observe()).owned == {"elser": "elser"}
        server.answers = [endpoints(**{INFERENCE: lost})]
        clock.pass_by(CAPACITY_INTERVAL_S)
        observation = await cluster.observe()
    assert observation.owned == {"elser": "elser"}
    assert observation.cluster is not None


NO_SUCH_API = {
    "no handler": None,
    "404": refusal(404, "resource_not_found_exception", "what?"),
    "405": answer({"error": "Incorrect HTTP method for uri [/_inference/_all]"}, 405),
    "410": refusal(410, "api_not_available_exception", "not on this offering"),
}


@pytest.mark.parametrize("lacking", NO_SUCH_API.values(), ids=NO_SUCH_API)
async def test_without_an_inference_api_nobody_owns_anything(lacking):
    answers = endpoints(**owning(endpoint("elser")))
    async with cluster_of(answers) as (cluster, server, clock):
        await cluster.observe()
        del answers[INFERENCE]
        server.answers = [answers | ({INFERENCE: lacking} if lacking else {})]
        clock.pass_by(CAPACITY_INTERVAL_S)
        assert (await cluster.observe()).owned == {}
