"""Observations: their content, and the failure kinds."""

import itertools
import random
from contextlib import asynccontextmanager, suppress

import pytest

from autoscaler.adapters.elasticsearch.cluster import (
    CAPACITY_INTERVAL_S,
    CAPACITY_KEPT_S,
    ElasticsearchCluster,
)
from autoscaler.adapters.elasticsearch.observed_ids import MAX_DEPLOYMENTS
from autoscaler.core.decision import OutcomeKind, SetAllocations
from autoscaler.ports import FailureKind, ObservationFailed, UpdateFailed
from tests.adapters.elasticsearch.servers import (
    api_for,
    deployment,
    endpoint,
    info,
    page,
    refusal,
    reset,
    respond,
    serving,
    stats,
    truncated,
)
from tests.fakes import FakeClock

INFO, STATS, NODES, MEMORY, ML_INFO, INFERENCE = (
    "/",
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
        STATS: respond(stats(deployment("elser", number_of_allocations=2))),
        NODES: respond({"nodes": {"n1": node(allocated_processors_double="8.0")}}),
        MEMORY: respond(
            {
                "nodes": {
                    "n1": memory(max=5 * GIB, native_code_overhead=GIB, native_inference=GIB),
                    "n2": memory("data", roles=("data",)),
                }
            }
        ),
        ML_INFO: respond({"upgrade_mode": False}),
    }
    return usual | more


@asynccontextmanager
async def cluster_of(*responses, **settings):
    clock = FakeClock(start=1_000.0)
    async with serving(*responses) as server, api_for(server, clock=clock, **settings) as api:
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


async def test_of_too_many_deployments_some_are_left_out():
    names = [f"d{number:05d}" for number in range(MAX_DEPLOYMENTS)]
    odd = deployment("odd", nodes=3)
    pages = [
        respond(stats(*map(deployment, names))),
        respond(stats(odd, deployment(None), *map(deployment, reversed(names)), count=1)),
    ]
    async with cluster_of(endpoints(**{STATS: pages[0]})) as (cluster, server, clock):
        first = await cluster.observe()
        assert (len(first.deployments), first.left_out) == (MAX_DEPLOYMENTS, 0)
        server.responses = [endpoints(**{STATS: pages[1]})]
        clock.pass_by(10.0)
        second = await cluster.observe()
    assert second.deployments.keys() == set(names)
    assert second.left_out == 2
    assert not second.unreadable
    assert not second.unreadable_figures


@pytest.mark.parametrize(
    ("limits", "growable"),
    [
        ({"total_ml_processors": 8}, False),
        ({"total_ml_processors": 16}, True),
        ({"total_ml_processors": 4}, None),  # in other units than the nodes report
        ({}, None),
    ],
)
async def test_hardware_can_grow_if_more_processors_are_reachable_than_present(limits, growable):
    info = {"upgrade_mode": False, "limits": limits}
    async with cluster_of(endpoints(**{ML_INFO: respond(info)})) as (cluster, _, _):
        assert (await cluster.observe()).cluster.growable is growable


async def test_one_request_per_cycle_and_the_nodes_once_per_minute():
    async with cluster_of(endpoints()) as (cluster, server, clock):
        for _ in range(12):
            await cluster.observe()
            clock.pass_by(10.0)
    assert server.paths.count(STATS) == 12
    assert server.paths.count(NODES) == server.paths.count(MEMORY) == 2
    assert len({r.headers["X-Opaque-Id"] for r in server.requests}) == 12


async def test_damaged_entries_are_reported():
    responses = endpoints()
    responses[STATS] = respond(stats(deployment("a"), deployment("b", queue_capacity=-1)))
    async with cluster_of(responses) as (cluster, _, _):
        observation = await cluster.observe()
    assert set(observation.deployments) == {"a", "b"}
    assert "queue_capacity" in observation.unreadable_figures["b"]


async def test_nodes_are_known_from_either_source():
    async with cluster_of(endpoints(**{NODES: UNAUTHORISED})) as (cluster, _, _):
        (found,) = (await cluster.observe()).cluster.nodes
        assert (found.name, found.version, found.processors) == ("ml-a", "", 4.0)
    async with cluster_of(endpoints(**{MEMORY: UNAUTHORISED})) as (cluster, _, _):
        (found,) = (await cluster.observe()).cluster.nodes
        assert (found.version, found.ml_memory_bytes) == ("8.18.3", None)


async def test_the_machine_bounds_the_memory_of_a_node_whose_share_is_not_readable():
    attributes = {"ml.machine_memory": str(8 * GIB), "ml.max_jvm_size": str(GIB)}
    node = {"name": "ml-a", "version": "9.5.0", "roles": ["ml"], "attributes": attributes}
    nodes = respond({"nodes": {"n1": node}})
    async with cluster_of(endpoints(**{NODES: nodes, MEMORY: UNAUTHORISED})) as (cluster, _, _):
        (found,) = (await cluster.observe()).cluster.nodes
    assert found.ml_memory_bytes is None
    assert found.machine_memory_bytes == 8 * GIB
    assert found.max_ml_memory_bytes == 8 * GIB - GIB - 200 * 2**20


@pytest.mark.parametrize("reported", ["1", "-1", "8gb", "", "NaN", "1e12", str(2**60)])
async def test_a_size_of_a_machine_that_cannot_be_true_is_unknown(reported):
    attributes = {"ml.machine_memory": reported}
    node = {"name": "ml-a", "version": "9.5.0", "roles": ["ml"], "attributes": attributes}
    nodes = respond({"nodes": {"n1": node}})
    async with cluster_of(endpoints(**{NODES: nodes, MEMORY: UNAUTHORISED})) as (cluster, _, _):
        (found,) = (await cluster.observe()).cluster.nodes
    assert (found.machine_memory_bytes, found.max_ml_memory_bytes) == (None, None)


async def test_nodes_may_not_be_known_at_all():
    refused = dict.fromkeys((NODES, MEMORY, ML_INFO), UNAUTHORISED)
    async with cluster_of(endpoints(**refused)) as (cluster, _, _):
        observation = await cluster.observe()
    assert observation.cluster is None
    assert set(observation.deployments) == {"elser"}


async def test_nodes_of_different_versions():
    nodes = {"n1": node(), "n2": node("ml-b", version="8.19.0")}
    async with cluster_of(endpoints(**{NODES: respond({"nodes": nodes})})) as (cluster, _, _):
        assert (await cluster.observe()).cluster.mixed_versions


async def test_upgrade_mode_is_observed_even_without_nodes():
    responses = endpoints(
        **{
            NODES: UNAUTHORISED,
            MEMORY: UNAUTHORISED,
            ML_INFO: respond({"upgrade_mode": True}),
        }
    )
    async with cluster_of(responses) as (cluster, _, _):
        assert (await cluster.observe()).cluster.upgrade_mode


@pytest.mark.parametrize(
    "attributes", [{}, {"allocated_processors_double": "many"}, {"allocated_processors": ""}]
)
async def test_processors_that_a_node_does_not_report(attributes):
    responses = endpoints(
        **{NODES: respond({"nodes": {"n1": node(**attributes)}}), MEMORY: UNAUTHORISED}
    )
    async with cluster_of(responses) as (cluster, _, _):
        assert (await cluster.observe()).cluster.nodes[0].processors is None


@pytest.mark.parametrize(
    "lost", [NO_MASTER, reset, truncated, page(502), respond([])], ids=lambda _: None
)
async def test_nodes_that_cannot_be_read_never_cost_the_observation(lost):
    lost_all = dict.fromkeys((NODES, MEMORY, ML_INFO), lost)
    async with cluster_of(endpoints(), retries=0) as (cluster, server, clock):
        known = (await cluster.observe()).cluster
        server.responses = [endpoints(**lost_all)]
        clock.pass_by(CAPACITY_INTERVAL_S)
        assert (await cluster.observe()).cluster == known
        clock.pass_by(CAPACITY_KEPT_S)
        assert (await cluster.observe()).cluster is None
        server.responses = [endpoints()]
        clock.pass_by(2.0 * CAPACITY_INTERVAL_S)
        assert (await cluster.observe()).cluster == known


def on_nodes(*ids):
    """Statistics of a deployment with routes to these nodes."""
    routes = [{"node": {id_: {"name": id_}}, "number_of_allocations": 1} for id_ in ids]
    return respond(stats(deployment("elser", number_of_allocations=len(ids), nodes=routes)))


async def test_a_node_that_has_joined_is_read_at_once_and_one_that_is_never_listed_once():
    """A list without it is not that of all nodes, and limits nothing."""
    async with cluster_of(endpoints(**{STATS: on_nodes("n1")})) as (cluster, server, clock):
        await cluster.observe()
        joined = {
            "n1": node(allocated_processors_double="8.0"),
            "n2": node("ml-b", allocated_processors_double="4.0"),
        }
        server.responses = [
            endpoints(**{STATS: on_nodes("n1", "n2"), NODES: respond({"nodes": joined})})
        ]
        clock.pass_by(2.0)
        found = (await cluster.observe()).cluster
        assert {each.node_id for each in found.nodes} == {"n1", "n2"}
        server.responses = [endpoints(**{STATS: on_nodes("n1", "ghost")})]
        for _ in range(5):
            clock.pass_by(2.0)
            await cluster.observe()
        assert server.paths.count(NODES) == 3


async def attempts_in(cluster, server, clock, path, minutes):
    """The minutes in which a path is requested."""
    found = []
    for minute in range(minutes):
        before = server.paths.count(path)
        await cluster.observe()
        found += [minute] * (server.paths.count(path) - before)
        clock.pass_by(CAPACITY_INTERVAL_S)
    return found


READS = {
    NODES: "the nodes",
    MEMORY: "the memory of the nodes",
    ML_INFO: "the limits of machine learning",
    "/": "the version",
    INFERENCE: "",
}


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("lost", [NO_MASTER, page(502), respond([])], ids=lambda _: None)
async def test_a_read_that_fails_again_and_again_is_attempted_less_often(path, lost):
    """The others are not, and it is as before once it succeeds."""
    others = READS.keys() - {path}
    good = endpoints(**owning()) | {"/": respond({"version": {"number": "8.18.3"}})}
    async with cluster_of(good | {path: lost}, retries=0) as (cluster, server, clock):
        assert await attempts_in(cluster, server, clock, path, 19) == [0, 1, 3, 7, 12, 17]
        for other in others:
            assert server.paths.count(other) == 19
        assert [read.content for read in cluster.failing] == [READS[path]] * (path != INFERENCE)
        server.responses = [good]
        assert await attempts_in(cluster, server, clock, path, 6) == [3, 4, 5]
        assert cluster.failing == ()


async def test_a_read_that_is_not_permitted_is_attempted_as_before():
    """It costs little, and an operator who grants the privilege waits for the effect."""
    version = respond({"version": {"number": "8.18.3"}})
    responses = endpoints(**{NODES: UNAUTHORISED}) | {"/": version}
    async with cluster_of(responses) as (cluster, server, clock):
        assert await attempts_in(cluster, server, clock, NODES, 6) == [0, 1, 2, 3, 4, 5]
        assert cluster.failing == ()


@pytest.mark.parametrize(
    ("lost", "retries", "requests"),
    [
        (page(502), 0, 1),
        (page(502), 2, 3),
        (NO_MASTER, 2, 3),
        (respond([]), 2, 1),
        (page(200), 2, 1),
        (refusal(500, "null_pointer_exception", "oops"), 2, 1),
    ],
)
async def test_a_failed_observation_has_all_its_requests(lost, retries, requests):
    async with cluster_of(lost, retries=retries) as (cluster, server, _):
        with pytest.raises(ObservationFailed) as caught:
            await cluster.observe()
    assert caught.value.requests == len(server.requests) == requests


@pytest.mark.parametrize(
    ("lost", "kind"),
    [
        (reset, FailureKind.UNREACHABLE),
        (truncated, FailureKind.UNREACHABLE),
        (page(502), FailureKind.UNAVAILABLE),
        (NO_MASTER, FailureKind.UNAVAILABLE),
        (refusal(401, "security_exception", "no"), FailureKind.UNAUTHENTICATED),
        (UNAUTHORISED, FailureKind.FORBIDDEN),
        (respond([]), FailureKind.MALFORMED),
        (respond(stats(), headers={}), FailureKind.MALFORMED),
        (page(404), FailureKind.MALFORMED),
        (refusal(500, "null_pointer_exception", "oops"), FailureKind.REFUSED),
        (refusal(429, "circuit_breaking_exception", "too large"), FailureKind.OVERLOADED),
    ],
    ids=lambda value: value if isinstance(value, FailureKind) else None,
)
async def test_no_observation(lost, kind):
    async with cluster_of(lost) as (cluster, _, _):
        with pytest.raises(ObservationFailed) as caught:
            await cluster.observe()
    assert caught.value.kind is kind
    assert str(caught.value)


async def test_no_observation_before_the_time_out():
    async with serving(None) as server, api_for(server, request_timeout_s=0.05) as api:
        server.responses = [server.never]
        with pytest.raises(ObservationFailed) as caught:
            await ElasticsearchCluster(api, FakeClock()).observe()
    assert caught.value.kind is FailureKind.TIMEOUT


def owning(*endpoints):
    return {INFERENCE: respond({"endpoints": list(endpoints)})}


async def test_owners_are_in_the_observation():
    responses = endpoints(
        **owning(
            endpoint("elser"),
            endpoint("not-deployed-yet"),
            endpoint("attached", deployment_id="elser"),
            endpoint("elsewhere", service="openai"),
        )
    )
    async with cluster_of(responses) as (cluster, _, _):
        assert (await cluster.observe()).owned == {"elser": "elser"}


async def test_owners_are_read_as_rarely_as_nodes():
    async with cluster_of(endpoints(**owning(endpoint("elser")))) as (cluster, server, clock):
        for _ in range(12):
            assert (await cluster.observe()).owned == {"elser": "elser"}
            clock.pass_by(10.0)
    assert server.paths.count(INFERENCE) == 2


@pytest.mark.parametrize(
    "lost",
    [
        NO_MASTER,
        UNAUTHORISED,
        reset,
        truncated,
        page(502),
        respond([]),
        respond({"endpoints": 3}),
        respond("<html>", 404),
        respond({"error": "not found"}, 404),
        refusal(404, "new_exception", "what?"),
    ],
    ids=lambda _: None,
)
async def test_after_a_failure_the_previous_owners_are_used(lost):
    async with cluster_of(endpoints(**{INFERENCE: lost}), retries=0) as (cluster, server, clock):
        assert (await cluster.observe()).owned == {}
        server.responses = [endpoints(**owning(endpoint("elser")))]
        clock.pass_by(CAPACITY_INTERVAL_S)
        assert (await cluster.observe()).owned == {"elser": "elser"}
        server.responses = [endpoints(**{INFERENCE: lost})]
        clock.pass_by(CAPACITY_INTERVAL_S)
        observation = await cluster.observe()
    assert observation.owned == {"elser": "elser"}
    assert observation.cluster is not None


NO_SUCH_API = {
    "no handler": None,
    "405": respond({"error": "Incorrect HTTP method for uri [/_inference/_all]"}, 405),
}
NOT_LISTED = NO_SUCH_API | {
    "404": refusal(404, "resource_not_found_exception", "Model not found [_all]"),
    "410": refusal(410, "api_not_available_exception", "not on this offering"),
}


def without_list(response, **more):
    found = endpoints(**more)
    return found | {INFERENCE: response} if response else found


@pytest.mark.parametrize("lacking", NO_SUCH_API.values(), ids=NO_SUCH_API)
async def test_before_the_inference_api_there_are_no_owners(lacking):
    responses = without_list(lacking, **{INFO: respond(info("8.10.4"))})
    async with cluster_of(responses) as (cluster, _, _):
        observation = await cluster.observe()
        assert observation.owned == {}
        assert "endpoints" not in observation.in_use["elser"]
        assert cluster.ownership.unknown_because("elser") == ""


@pytest.mark.parametrize(
    "known",
    [{INFO: respond(info("8.11.0"))}, {INFO: respond(info("8.11.0", "serverless"))}, {}],
    ids=["8.11", "serverless", "unknown version"],
)
@pytest.mark.parametrize("lacking", NOT_LISTED.values(), ids=NOT_LISTED)
async def test_else_a_missing_inference_api_makes_the_owners_unknown(lacking, known):
    async with cluster_of(without_list(lacking, **known)) as (cluster, _, _):
        observation = await cluster.observe()
        assert "inference endpoints may use it" in observation.in_use["elser"]
        assert cluster.ownership.unknown_because("elser")


async def test_nor_does_the_oldest_node_of_an_upgrade_prove_that_there_is_none():
    nodes = respond({"nodes": {"n1": node(version="8.10.4")}})
    known = {INFO: respond(info("8.11.0")), NODES: nodes}
    async with cluster_of(without_list(None, **known)) as (cluster, _, _):
        assert "may use it" in (await cluster.observe()).in_use["elser"]


async def test_known_owners_stay_known_when_the_api_seems_to_be_missing():
    known = {INFO: respond(info("9.3.0"))}
    async with cluster_of(endpoints(**owning(endpoint("elser")), **known)) as found:
        cluster, server, clock = found
        await cluster.observe()
        server.responses = [without_list(None, **known)]
        clock.pass_by(CAPACITY_INTERVAL_S)
        assert (await cluster.observe()).owned == {"elser": "elser"}


ODD = ("NaN", "inf", "-1", "1e308", "8 cores", "", "0")


@pytest.mark.parametrize("value", ODD)
async def test_odd_processors_are_unknown(value):
    responses = endpoints()
    responses[NODES] = respond({"nodes": {"n1": node(allocated_processors_double=value)}})
    responses[MEMORY] = respond({"nodes": {}})
    async with cluster_of(responses) as (cluster, _, _):
        (found,) = (await cluster.observe()).cluster.nodes
    assert found.processors is None


@pytest.mark.parametrize("value", [-1, 2**70, "5gb", None, 1.5, True, [], {}])
@pytest.mark.parametrize("name", ["max_in_bytes", "native_inference_in_bytes"])
async def test_one_odd_figure_of_the_memory_makes_it_unknown(name, value):
    """The free memory is a difference, so without one of them it means nothing."""
    ml = {"max_in_bytes": 4_000, "native_inference_in_bytes": 3_000}
    nodes = {
        node: {"name": node, "roles": ["ml"], "mem": {"ml": ml | odd}}
        for node, odd in (("n1", {name: value}), ("n2", {}))
    }
    async with cluster_of(endpoints(**{MEMORY: respond({"nodes": nodes})})) as (cluster, _, _):
        found = {each.node_id: each for each in (await cluster.observe()).cluster.nodes}
    assert found["n2"].free_ml_memory_bytes == 1_000
    assert found["n1"].free_ml_memory_bytes is None


@pytest.mark.parametrize("value", ["yes", None, 1, []])
async def test_an_odd_upgrade_mode_is_unknown(value):
    info = {"upgrade_mode": value, "limits": {"total_ml_processors": 8}}
    responses = endpoints(**{ML_INFO: respond(info)})
    async with cluster_of(responses) as (cluster, _, _):
        found = (await cluster.observe()).cluster
    assert (found.upgrade_mode, found.upgrade_mode_odd) == (None, True)
    assert found.growable is False, "the limits are readable"


async def test_a_response_without_upgrade_mode_is_damaged_even_without_nodes():
    responses = endpoints(
        **{NODES: UNAUTHORISED, MEMORY: UNAUTHORISED, ML_INFO: respond({})},
    )
    async with cluster_of(responses) as (cluster, _, _):
        assert (await cluster.observe()).cluster.upgrade_mode_odd


@pytest.mark.parametrize("response", [UNAUTHORISED, NO_MASTER], ids=["refused", "fails"])
async def test_an_upgrade_mode_that_cannot_be_read_is_unknown(response):
    async with cluster_of(endpoints(**{ML_INFO: response})) as (cluster, _, clock):
        await cluster.observe()
        clock.pass_by(CAPACITY_KEPT_S)
        found = (await cluster.observe()).cluster
    assert (found.upgrade_mode, found.upgrade_mode_odd) == (None, False)


async def test_upgrade_mode_lasts_until_a_response_says_otherwise():
    on, off = (respond({"upgrade_mode": value}) for value in (True, False))
    async with cluster_of(endpoints(**{ML_INFO: on})) as (cluster, server, clock):
        assert (await cluster.observe()).cluster.upgrade_mode
        for response, expected in ((NO_MASTER, True), (UNAUTHORISED, True), (off, False)):
            server.responses = [endpoints(**{ML_INFO: response})]
            clock.pass_by(2.0 * CAPACITY_KEPT_S)
            assert (await cluster.observe()).cluster.upgrade_mode is expected


async def test_upgrade_mode_is_observed_at_once_while_the_nodes_cannot_be_read():
    on, off = (respond({"upgrade_mode": value}) for value in (True, False))
    async with cluster_of(endpoints(**{ML_INFO: off})) as (cluster, server, clock):
        assert (await cluster.observe()).cluster.upgrade_mode is False
        server.responses = [endpoints(**{ML_INFO: on, NODES: NO_MASTER})]
        clock.pass_by(60.0)
        found = (await cluster.observe()).cluster
    assert (found.upgrade_mode, len(found.nodes)) == (True, 1)


def one_of_two(name):
    """A cluster of its own, with a deployment of the same id."""
    nodes = [
        {"node": {f"{name}-n1": {"name": "ml-a"}}, "routing_state": {"routing_state": "started"}}
    ]
    return endpoints(
        **{
            INFO: respond({**info(), "cluster_uuid": name}),
            STATS: respond(stats(deployment("elser", number_of_allocations=2, nodes=nodes))),
            NODES: respond({"nodes": {f"{name}-n1": node(allocated_processors_double="8.0")}}),
        }
    )


def balanced(choose):
    """A load balancer before two clusters; `choose` returns 0 or 1 for each request."""
    clusters = [one_of_two("one"), one_of_two("two")]

    async def give(request):
        chosen = clusters[choose()]
        return await chosen.get(request.path, UNAUTHORISED)(request)

    return give


@pytest.mark.parametrize("seed", range(20))
async def test_behind_a_balancer_of_two_clusters_nothing_is_observed_or_changed(seed):
    rng = random.Random(seed)
    turns = itertools.cycle([0, 1]) if seed == 0 else iter(lambda: rng.randrange(2), None)
    async with cluster_of(balanced(lambda: next(turns))) as (cluster, _, clock):
        reasons, served = [], set()
        for _ in range(40):
            clock.pass_by(10.0)
            try:
                observation = await cluster.observe()
            except ObservationFailed as failure:
                reasons.append(str(failure))
            else:
                reasons.append("")
                served |= {n.node_id for n in observation.deployments["elser"].nodes}
        assert len(served) <= 1, "the counts of two clusters"
        assert all("do all hosts belong to one" in reason for reason in reasons[-20:])
        with pytest.raises(UpdateFailed) as caught:
            await cluster.carry_out("elser", SetAllocations(3))
        assert caught.value.kind is OutcomeKind.WITHHELD


async def test_after_a_balancer_leads_to_one_cluster_again_it_is_observed():
    rng = random.Random(1)
    turns = itertools.chain([rng.randrange(2) for _ in range(200)], itertools.repeat(0))
    async with cluster_of(balanced(lambda: next(turns))) as (cluster, server, clock):
        while len(server.requests) < 250:
            clock.pass_by(10.0)
            with suppress(ObservationFailed):
                await cluster.observe()
        clock.pass_by(10.0)
        assert (await cluster.observe()).deployments


async def test_another_cluster_is_believed_when_all_responses_are_its_own():
    responses = [one_of_two("one"), one_of_two("two")]
    async with cluster_of(responses[0]) as (cluster, server, clock):
        await cluster.observe()
        server.responses = responses[1:]
        clock.pass_by(100.0)
        await cluster.observe()
        assert cluster.known_uuid() == "two"


async def test_a_cache_that_does_not_state_an_age_gives_no_old_statistics():
    """It stores the response to each address and query, as a cache does that is told not to."""
    now, stored = [0], {}

    async def give(request):
        if request.path != STATS:
            return await endpoints().get(request.path, UNAUTHORISED)(request)
        fresh = stats(deployment("elser", number_of_allocations=now[0]))
        return await respond(stored.setdefault(request.path_qs, fresh))(request)

    async with cluster_of(give) as (cluster, _, clock):
        for number in range(1, 6):
            now[0] = number
            assert (await cluster.observe()).deployments["elser"].allocations == number
            clock.pass_by(10.0)


async def test_after_two_clusters_responded_the_state_is_not_taken_for_that_of_the_other_one():
    one, two = one_of_two("one"), one_of_two("two")
    two[STATS] = respond(stats(deployment("elser", number_of_allocations=2)))  # it has no nodes yet
    turns = itertools.repeat(0)

    async def give(request):
        chosen = (one, two)[next(turns)]
        return await chosen.get(request.path, UNAUTHORISED)(request)

    async with cluster_of(give) as (cluster, _, clock):
        await cluster.observe()
        turns = itertools.cycle([0, 1])
        clock.pass_by(100.0)
        with pytest.raises(ObservationFailed):
            await cluster.observe()
        turns = itertools.repeat(1)
        for _ in range(2):
            with suppress(ObservationFailed):
                await cluster.observe()
        assert (await cluster.observe()).deployments
        assert cluster.known_uuid() == "two"


async def test_new_nodes_are_observed_although_a_proxy_never_serves_the_address_of_the_version():
    def on(name):
        return {**one_of_two(name), INFO: page(403, "<html>only /_ml</html>")}

    async with cluster_of(on("one")) as (cluster, server, clock):
        await cluster.observe()
        server.responses = [on("two")]
        clock.pass_by(10.0)
        (node_found,) = (await cluster.observe()).deployments["elser"].nodes
    assert node_found.node_id == "two-n1"


@pytest.mark.parametrize("response", [page(403), NO_MASTER], ids=["refused", "fails"])
async def test_a_damaged_upgrade_mode_counts_no_longer_than_the_nodes_are_kept(response):
    async with cluster_of(endpoints(**{ML_INFO: respond({})})) as (cluster, server, clock):
        assert (await cluster.observe()).cluster.upgrade_mode_odd
        server.responses = [endpoints(**{ML_INFO: response})]
        clock.pass_by(CAPACITY_INTERVAL_S)
        assert (await cluster.observe()).cluster.upgrade_mode_odd
        clock.pass_by(CAPACITY_KEPT_S)
        found = (await cluster.observe()).cluster
    assert (found.upgrade_mode, found.upgrade_mode_odd) == (None, False)
