"""One method per endpoint: the request, and the result read from the response."""

import pytest
from aiohttp import web

from autoscaler.adapters.elasticsearch import api as api_module
from autoscaler.adapters.elasticsearch.api_errors import StartTimedOut
from autoscaler.adapters.elasticsearch.errors import GatewayError, MalformedResponse, TimedOut
from autoscaler.wire.deployments import AdaptivePatchDocument, StartRequest
from autoscaler.wire.inference import EndpointDocument
from tests.adapters.elasticsearch.servers import (
    PRODUCT,
    api_for,
    assigning,
    assignment,
    deployment,
    echoing,
    endpoint,
    page,
    refusal,
    respond,
    serving,
    stats,
)


async def test_statistics_of_all_deployments():
    async with (
        serving(respond(stats(deployment("a"), {"model_id": "lang_ident"}))) as server,
        api_for(server) as api,
    ):
        found = await api.stats()
    assert [d.deployment_id for d in found.deployments] == ["a"]
    query = server.requests[0].query
    assert (query["from"], query["size"]) == ("0", "1000")
    assert "trained_model_stats.deployment_stats" in query["filter_path"].split(",")


async def test_statistics_are_read_to_the_last_page(monkeypatch):
    monkeypatch.setattr(api_module, "PAGE_SIZE", 2)
    names = ["a", "b", "c", "d", "e"]

    async def give(request):
        begin, size = int(request.query["from"]), int(request.query["size"])
        entries = [deployment(name) for name in names[begin : begin + size]]
        return web.json_response(stats(*entries, count=len(names)), headers=PRODUCT)

    async with serving(give) as server, api_for(server) as api:
        found = await api.stats()
    assert [d.deployment_id for d in found.deployments] == names
    assert len(server.requests) == 3


async def test_pages_end_even_if_the_count_does_not(monkeypatch):
    monkeypatch.setattr(api_module, "MAX_PAGES", 3)
    endless = respond(stats(deployment("a"), count=2**40))
    async with serving(endless) as server, api_for(server) as api:
        await api.stats()
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "document", [{}, {"trained_model_stats": []}, {"count": 3}, stats(count=4)], ids=str
)
async def test_statistics_without_any_model_are_no_empty_cluster(document):
    async with serving(respond(document)) as server, api_for(server) as api:
        with pytest.raises(MalformedResponse, match="check any proxy"):
            await api.stats()


async def test_a_cluster_without_models_states_that_there_are_none():
    async with serving(respond({"count": 0})) as server, api_for(server) as api:
        assert (await api.stats()).deployments == ()


async def test_a_full_page_without_a_count_may_not_be_the_last(monkeypatch):
    monkeypatch.setattr(api_module, "PAGE_SIZE", 1)
    first, second = stats(deployment("a")), stats(deployment("b"))
    del first["count"], second["count"]
    pages = [respond(first), respond(second), respond({"trained_model_stats": []})]
    async with serving(*pages) as server, api_for(server) as api:
        assert [each.deployment_id for each in (await api.stats()).deployments] == ["a", "b"]


async def test_a_deployment_that_moves_between_pages_counts_once(monkeypatch):
    monkeypatch.setattr(api_module, "PAGE_SIZE", 1)
    pages = [respond(stats(deployment("a"), count=2)), respond(stats(deployment("a"), count=2))]
    async with serving(*pages) as server, api_for(server) as api:
        assert len((await api.stats()).deployments) == 1


async def test_one_damaged_entry_costs_one_deployment():
    damaged = deployment(3)
    async with (
        serving(respond(stats(deployment("a"), damaged))) as server,
        api_for(server) as api,
    ):
        found = await api.stats()
    assert [d.deployment_id for d in found.deployments] == ["a"]
    assert [place for place, _ in found.unreadable] == ["trained_model_stats[1]"]


async def test_an_odd_figure_is_unknown():
    good = deployment("a", number_of_allocations=2)
    odd = deployment("b", number_of_allocations="three")
    async with serving(respond(stats(good, odd))) as server, api_for(server) as api:
        found = await api.stats()
    assert {d.deployment_id: d.allocations for d in found.deployments} == {
        "a": 2,
        "b": None,
    }
    assert [name for name, _ in found.unreadable_figures] == ["b"]


@pytest.mark.parametrize(
    "pages",
    [
        [[deployment(f"{page}-{n}") for n in range(20_000)] for page in range(3)],
        [[deployment(f"{page}-{n}", nodes=[{}] * 900) for n in range(60)] for page in range(2)],
    ],
    ids=["deployments", "nodes"],
)
async def test_too_many_deployments_or_nodes_are_no_statistics(pages):
    responses = [respond(stats(*entries, count=10**9)) for entries in pages]
    async with serving(*responses) as server, api_for(server) as api:
        with pytest.raises(MalformedResponse, match="more than 50000 deployments, 100000 nodes"):
            await api.stats()
    assert len(server.requests) == len(pages)


@pytest.mark.parametrize("document", [[], "x", {"trained_model_stats": 3}])
async def test_unreadable_statistics(document):
    async with serving(respond(document)) as server, api_for(server) as api:
        with pytest.raises(MalformedResponse):
            await api.stats()


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ({"allocations": 3}, {"number_of_allocations": 3}),
        (
            {"allocations": 3, "adaptive": AdaptivePatchDocument(enabled=False)},
            {"number_of_allocations": 3, "adaptive_allocations": {"enabled": False}},
        ),
        (
            {"adaptive": AdaptivePatchDocument(enabled=True, min_number_of_allocations=1)},
            {"adaptive_allocations": {"enabled": True, "min_number_of_allocations": 1}},
        ),
        (
            {"adaptive": AdaptivePatchDocument(max_number_of_allocations=None)},
            {"adaptive_allocations": {"max_number_of_allocations": None}},
        ),
        ({"adaptive": None}, {"adaptive_allocations": None}),
        ({}, {}),
    ],
    ids=["allocations", "take over", "adaptive", "clear a bound", "remove", "nothing"],
)
async def test_updates_are_in_the_body_alone(arguments, body):
    async with serving(assigning) as server, api_for(server) as api:
        updated = await api.update(".elser/2 ü", **arguments)
    assert server.body() == body
    assert server.requests[0].method == "POST"
    assert (
        server.requests[0].raw_path == "/_ml/trained_models/.elser%2F2%20%C3%BC/deployment/_update"
    )
    assert server.header("Content-Type") == "application/json"
    assert updated.task_parameters.number_of_allocations == arguments.get("allocations", 2)
    assert updated.routing_table["n1"].current_allocations == 2


async def test_the_response_to_an_update_may_write_integers_as_floats():
    """Or an accepted update would count as one without a response."""
    async with serving(respond(assignment(3.0, "a"))) as server, api_for(server) as api:
        updated = await api.update("a", allocations=3)
    assert updated.task_parameters.number_of_allocations == 3


async def test_a_start_has_all_parameters():
    parameters = StartRequest(
        deployment_id="search",
        wait_for="fully_allocated",
        timeout="20s",
        number_of_allocations=2,
        threads_per_allocation=4,
        queue_capacity=500,
        cache_size="0b",
        priority="normal",
    )
    async with serving(assigning) as server, api_for(server) as api:
        await api.start("elser", parameters)
    assert server.paths == ["/_ml/trained_models/elser/deployment/_start"]
    assert server.body() == {
        "deployment_id": "search",
        "wait_for": "fully_allocated",
        "timeout": "20s",
        "number_of_allocations": 2,
        "threads_per_allocation": 4,
        "queue_capacity": 500,
        "cache_size": "0b",
        "priority": "normal",
    }


async def test_a_start_has_a_longer_time_out_than_other_requests():
    async with (
        serving(assigning) as server,
        api_for(server, request_timeout_s=0.0) as api,
    ):
        with pytest.raises(TimedOut):
            await api.update("elser", allocations=1)
        assert await api.start("elser", StartRequest(), extra_timeout_s=30.0)


async def test_a_start_that_times_out():
    slow = refusal(408, "status_exception", "Timed out after [20s] waiting")
    async with serving(slow) as server, api_for(server) as api:
        with pytest.raises(StartTimedOut):
            await api.start("elser", StartRequest())
    assert len(server.requests) == 1


async def test_a_stop():
    async with serving(respond({"stopped": True})) as server, api_for(server) as api:
        await api.stop("search", force=True, allow_no_match=False)
    assert server.paths == ["/_ml/trained_models/search/deployment/_stop"]
    assert dict(server.requests[0].query) == {"force": "true", "allow_no_match": "false"}


async def test_all_endpoints():
    listed = respond({"endpoints": [endpoint("a", num_allocations=1), endpoint("b", "openai")]})
    async with serving(listed) as server, api_for(server) as api:
        found = (await api.inference_endpoints()).endpoints
    assert server.paths == ["/_inference/_all"]
    assert [(e.inference_id, e.task_type, e.service) for e in found] == [
        ("a", "sparse_embedding", "elasticsearch"),
        ("b", "sparse_embedding", "openai"),
    ]
    assert found[0].service_settings["num_allocations"] == 1


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ({"allocations": 3}, {"num_allocations": 3}),
        (
            {"adaptive": AdaptivePatchDocument(enabled=True, min_number_of_allocations=1)},
            {"adaptive_allocations": {"enabled": True, "min_number_of_allocations": 1}},
        ),
    ],
    ids=["allocations", "adaptive"],
)
async def test_an_endpoint_is_updated_under_its_task_type(arguments, settings):
    known = EndpointDocument(inference_id=".elser/2 ü", task_type="sparse_embedding")
    async with serving(echoing) as server, api_for(server) as api:
        updated = await api.update_endpoint(known, **arguments)
    (request,) = server.requests
    assert request.method == "PUT"
    assert request.raw_path == "/_inference/sparse_embedding/.elser%2F2%20%C3%BC/_update"
    assert server.body() == {"service_settings": settings}
    assert updated.service_settings.items() >= settings.items()


@pytest.mark.parametrize("change", ["update", "stop"])
async def test_changes_are_sent_once(change):
    async with serving(page(503)) as server, api_for(server) as api:
        with pytest.raises(GatewayError):
            await getattr(api, change)("elser")
    assert len(server.requests) == 1


async def test_the_privileges_request_may_be_repeated():
    granted = {"cluster": {"monitor_ml": True, "manage_ml": False}, "has_all_requested": False}
    async with serving(page(503), respond(granted)) as server, api_for(server) as api:
        found = await api.has_privileges(("monitor_ml", "manage_ml"))
    assert found.cluster == {"monitor_ml": True, "manage_ml": False}
    assert server.body() == {"cluster": ["monitor_ml", "manage_ml"]}
