"""Changes: the requests sent for them, and their outcomes."""

import pytest

from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.core.decision import OutcomeKind, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.values import AdaptiveAllocations
from autoscaler.ports import UpdateFailed
from tests.adapters.elasticsearch.changes import (
    ENABLED,
    INFERENCE,
    NO_ENDPOINTS,
    NO_MASTER,
    NOT_STARTED,
    OWNED,
    PIPELINES,
    ROOT,
    START,
    STATS,
    STATUS,
    STOP,
    UNAUTHORISED,
    UNKNOWN_FIELD,
    UPDATE,
    cluster_of,
    outcome_of,
)
from tests.adapters.elasticsearch.servers import (
    api_for,
    assigning,
    assignment,
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

BODIES = {
    "allocations": (SetAllocations(4), {"number_of_allocations": 4}),
    "take over": (
        SetAllocations(4, take_over=True),
        {"number_of_allocations": 4, "adaptive_allocations": {"enabled": False}},
    ),
    "bounds": (
        SetBounds(0, 8),
        {
            "adaptive_allocations": {
                "enabled": True,
                "min_number_of_allocations": 0,
                "max_number_of_allocations": 8,
            }
        },
    ),
}


@pytest.mark.parametrize(("change", "body"), BODIES.values(), ids=BODIES)
async def test_a_change_is_one_request_with_all_settings_in_the_body(change, body):
    async with cluster_of(assigning) as (cluster, server):
        await cluster.carry_out("elser", change)
    (request,) = server.requests
    assert (request.method, request.path, request.query_string) == ("POST", UPDATE, "")
    assert server.body() == body


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (refusal(429, STATUS, "not enough resources to provide all"), OutcomeKind.NO_CAPACITY),
        (NOT_STARTED, OutcomeKind.NOT_STARTED),
        (
            refusal(400, "validation_exception", "cannot be set if adaptive allocations is on"),
            OutcomeKind.ADAPTIVE_ENABLED,
        ),
        (
            refusal(404, "resource_not_found_exception", "No known model deployment with id [x]"),
            OutcomeKind.GONE,
        ),
        (UNKNOWN_FIELD, OutcomeKind.UNSUPPORTED),
        (UNAUTHORISED, OutcomeKind.FORBIDDEN),
        (refusal(401, "security_exception", "no"), OutcomeKind.FORBIDDEN),
        (NO_MASTER, OutcomeKind.UNKNOWN),
        (page(502), OutcomeKind.UNKNOWN),
        (page(429), OutcomeKind.UNKNOWN),
        (page(404), OutcomeKind.UNKNOWN),
        (reset, OutcomeKind.UNKNOWN),
        (truncated, OutcomeKind.UNKNOWN),
        (respond({"assignment": {}}), OutcomeKind.UNKNOWN),
        (refusal(400, "x_content_parse_exception", "unknown field"), OutcomeKind.INVALID),
        (refusal(400, "new_exception", "unknown"), OutcomeKind.UNRECOGNISED),
        (refusal(403, STATUS, "unknown"), OutcomeKind.UNRECOGNISED),
        (refusal(404, "resource_not_found_exception", "unknown"), OutcomeKind.UNRECOGNISED),
        (refusal(404, "index_not_found_exception", "no such index [x]"), OutcomeKind.INVALID),
        (refusal(409, STATUS, "unknown"), OutcomeKind.UNRECOGNISED),
        (refusal(409, "new_exception", "[started] state"), OutcomeKind.UNRECOGNISED),
        (refusal(410, "new_exception", "unknown"), OutcomeKind.UNRECOGNISED),
        (refusal(418, "new_exception", "unknown"), OutcomeKind.UNRECOGNISED),
    ],
    ids=lambda value: value if isinstance(value, OutcomeKind) else None,
)
@pytest.mark.parametrize("change", [SetAllocations(4), SetBounds(1, 4)], ids=str)
async def test_a_change_that_is_refused_or_lost_is_sent_once(given, outcome, change):
    async with cluster_of(given) as (cluster, server):
        assert await outcome_of(cluster, change) is outcome
    assert len(server.requests) == 1


ADAPTIVE = {"enabled": True, "min_number_of_allocations": 1, "max_number_of_allocations": 4}


def assigned(*, adaptive=None, **task):
    document = assignment(**task)
    document["assignment"]["adaptive_allocations"] = adaptive
    return document


UNCONFIRMED = {
    "nothing": {},
    "acknowledged": {"acknowledged": True},
    "no assignment": {"assignment": None},
    "an empty assignment": {"assignment": {}},
    "no parameters": {"assignment": {"task_parameters": {}}},
    "another deployment": assigned(deployment_id="e5", adaptive=ADAPTIVE),
    "an error": {"error": {"type": "status_exception", "reason": "no"}, "status": 409},
}


@pytest.mark.parametrize("body", UNCONFIRMED.values(), ids=UNCONFIRMED)
@pytest.mark.parametrize("change", [SetAllocations(4), SetBounds(1, 4)], ids=str)
async def test_a_200_that_does_not_confirm_an_update_is_unknown(body, change):
    async with cluster_of(respond(body)) as (cluster, server):
        assert await outcome_of(cluster, change) is OutcomeKind.UNKNOWN
    assert len(server.requests) == 1


@pytest.mark.parametrize("change", [SetAllocations(4), SetBounds(1, 4)], ids=str)
async def test_whether_an_accepted_update_takes_effect_is_for_the_statistics_to_show(change):
    """Also where the response has other settings."""
    async with cluster_of(respond(assigned(allocations=3))) as (cluster, _):
        await cluster.carry_out("elser", change)


@pytest.mark.parametrize("id_", [{}, {"deployment_id": "elser"}], ids=["before 8.8", "since 8.8"])
async def test_a_deployment_is_recognised_by_its_id_where_it_has_one(id_):
    document = assigned(allocations=4)
    task = document["assignment"]["task_parameters"]
    document["assignment"]["task_parameters"] = (
        {k: v for k, v in task.items() if k != "deployment_id"} | {"model_id": "elser"} | id_
    )
    async with cluster_of(respond(document)) as (cluster, _):
        await cluster.carry_out("elser", SetAllocations(4))


async def test_a_version_without_adaptive_allocations_is_named():
    async with cluster_of(UNKNOWN_FIELD) as (cluster, _):
        await outcome_of(cluster, SetBounds(1, 4), r"need Elasticsearch 8\.16 or later")


async def test_a_cluster_without_updates_can_only_be_observed():
    responses = {STATS: respond(stats(deployment("elser"))), ROOT: respond(info("8.5.3"))}
    async with cluster_of(responses) as (cluster, _):
        await cluster.observe()
        outcome = await outcome_of(cluster, SetAllocations(4), r"needs Elasticsearch 8\.6")
    assert outcome is OutcomeKind.INVALID


# Stop


def stopping(given=None, owners=NO_ENDPOINTS, **more):
    return {
        INFERENCE: owners,
        PIPELINES: respond({}),
        STOP: given or respond({"stopped": True}),
    } | more


async def test_a_stop_is_not_forced():
    async with cluster_of(stopping()) as (cluster, server):
        await cluster.carry_out("elser", Stop())
    assert server.paths == [INFERENCE, PIPELINES, STOP]
    assert dict(server.requests[-1].query) == {"force": "false", "allow_no_match": "true"}


@pytest.mark.parametrize("missing", [None, respond({"error": "Incorrect HTTP method"}, 405)])
@pytest.mark.parametrize(("version", "stopped"), [("8.10.4", True), ("8.11.0", False), ("", False)])
async def test_a_stop_without_an_inference_api(version, stopped, missing):
    """It is certain only in versions that are known to have none."""
    responses = {
        STATS: respond(stats(deployment("elser"))),
        ROOT: respond(info(version)),
        PIPELINES: respond({}),
        STOP: respond({"stopped": True}),
    }
    async with cluster_of(responses | ({INFERENCE: missing} if missing else {})) as found:
        cluster, server = found
        await cluster.observe()
        if stopped:
            await cluster.carry_out("elser", Stop())
        else:
            kind = await outcome_of(cluster, Stop(), "not known whether inference endpoints use")
            assert kind is OutcomeKind.WITHHELD
    assert (STOP in server.paths) is stopped


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (refusal(409, STATUS, "referenced by ingest processors; use force"), OutcomeKind.IN_USE),
        (refusal(409, STATUS, "it is used by inference endpoint [x]"), OutcomeKind.IN_USE),
        (UNAUTHORISED, OutcomeKind.FORBIDDEN),
        (refusal(409, STATUS, "try again on a Tuesday"), OutcomeKind.UNRECOGNISED),
        (NO_MASTER, OutcomeKind.UNKNOWN),
        (reset, OutcomeKind.UNKNOWN),
        *[
            (respond(body), OutcomeKind.UNKNOWN)
            for body in (
                {},
                {"stopped": False},
                {"stopped": "yes"},
                {"stopped": None},
                {"acknowledged": True},
                {"stopped": True, "node_failures": [{"type": "failed_node_exception"}]},
                {"stopped": True, "task_failures": [{"status": "INTERNAL_SERVER_ERROR"}]},
                [],
            )
        ],
    ],
    ids=lambda value: value if isinstance(value, OutcomeKind) else None,
)
async def test_a_stop_that_is_refused_or_lost_is_sent_once(given, outcome):
    async with cluster_of(stopping(given)) as (cluster, server):
        assert await outcome_of(cluster, Stop()) is outcome
    assert server.paths.count(STOP) == 1


async def test_a_slow_stop_times_out():
    async with serving(None) as server, api_for(server, request_timeout_s=0.05) as api:
        server.responses = [stopping(server.never)]
        cluster = ElasticsearchCluster(api, FakeClock(start=1_000.0))
        assert await outcome_of(cluster, Stop()) is OutcomeKind.UNKNOWN


@pytest.mark.parametrize(
    ("owners", "outcome", "fragment"),
    [
        (OWNED, OutcomeKind.ENDPOINT_OWNED, "inference endpoint elser owns it"),
        (UNAUTHORISED, OutcomeKind.ENDPOINT_OWNED, "grant monitor_inference to scaler"),
        (NO_MASTER, OutcomeKind.WITHHELD, "no master"),
        (page(502), OutcomeKind.WITHHELD, "502"),
        (respond({}), OutcomeKind.WITHHELD, "neither `endpoints` nor `models`"),
        (refusal(400, STATUS, "Unknown service"), OutcomeKind.WITHHELD, "Unknown service"),
        (refusal(404, "index_not_found_exception", "x"), OutcomeKind.WITHHELD, "index_not_found"),
        (
            respond({"endpoints": [endpoint("mine", deployment_id="elser")]}),
            OutcomeKind.IN_USE,
            "inference endpoint mine uses it",
        ),
        (
            respond({"models": [{"model_id": "elser", "service": "elser"}]}),
            OutcomeKind.ENDPOINT_OWNED,
            "inference endpoint elser owns it",
        ),
        (
            respond({"endpoints": [{"service": "elser"}]}),
            OutcomeKind.IN_USE,
            "may use it: the settings of an inference endpoint cannot be read: one without an id",
        ),
    ],
    ids=[
        "owned",
        "unknown",
        "no master",
        "proxy",
        "no list",
        "400",
        "no index",
        "attached",
        "old list",
        "damaged",
    ],
)
async def test_nothing_is_stopped_that_may_belong_to_an_endpoint(owners, outcome, fragment):
    async with cluster_of(stopping(owners=owners), retries=0) as (cluster, server):
        assert await outcome_of(cluster, Stop(), fragment) is outcome
    assert STOP not in server.paths


def inference(name):
    return {"inference": {"model_id": name, "field_map": {}}}


def pipeline(*processors, **more):
    return {"p": {"processors": list(processors), **more}}


NAMED = {
    "deployment": pipeline(inference("elser")),
    "model": pipeline(inference("model-of-elser")),
    "alias": pipeline(inference("the-alias")),
    "foreach": pipeline({"foreach": {"field": "x", "processor": inference("elser")}}),
    "on_failure": pipeline({"set": {"field": "x", "on_failure": [inference("elser")]}}),
    "on_failure of the pipeline": pipeline({"drop": {}}, on_failure=[inference("elser")]),
    "deep": pipeline(
        {"foreach": {"processor": {"foreach": {"processor": inference("the-alias")}}}}
    ),
    "through another": pipeline({"pipeline": {"name": "q"}}) | {"q": pipeline(inference("elser"))},
    "filtered": {"p": {"processors": [{"inference": {"model_id": "elser"}}]}},
}
UNNAMED = {
    "none": {},
    "others": pipeline(
        inference("other"), inference("model-of-other"), {"set": {"field": "elser"}}
    ),
    "another's alias": pipeline(inference("other-alias")),
    "nothing": pipeline(inference("not-a-model")),
}
MODELS = "/_ml/trained_models/"
ALIASES = {
    MODELS + "the-alias": respond({"trained_model_configs": [{"model_id": "model-of-elser"}]}),
    MODELS + "other-alias": respond({"trained_model_configs": [{"model_id": "model-of-other"}]}),
    MODELS + "not-a-model": refusal(
        404, "resource_not_found_exception", "Could not find trained model [not-a-model]"
    ),
}


def with_pipelines(response, count=0):
    """A cluster whose statistics report this number of pipelines."""
    entries = [deployment("elser") | {"pipeline_count": count}, deployment("other")]
    return stopping(**{STATS: respond(stats(*entries)), PIPELINES: response}, **ALIASES)


@pytest.mark.parametrize("pipelines", NAMED.values(), ids=NAMED)
async def test_nothing_is_stopped_that_a_pipeline_names(pipelines):
    """The statistics may be older than the pipeline."""
    async with cluster_of(with_pipelines(respond(pipelines))) as (cluster, server):
        await cluster.observe()
        assert await outcome_of(cluster, Stop(), "ingest pipeline . uses it") is OutcomeKind.IN_USE
    assert STOP not in server.paths
    (request,) = [each for each in server.requests if each.path == PIPELINES]
    assert dict(request.query) == {"filter_path": "**.inference.model_id"}


@pytest.mark.parametrize("pipelines", UNNAMED.values(), ids=UNNAMED)
@pytest.mark.parametrize("count", [0, None])
async def test_pipelines_of_others_do_not_prevent_a_stop(pipelines, count):
    async with cluster_of(with_pipelines(respond(pipelines), count)) as (cluster, server):
        await cluster.observe()
        await cluster.carry_out("elser", Stop())
    assert STOP in server.paths


async def test_a_cluster_without_pipelines_responds_with_404():
    async with cluster_of(with_pipelines(respond({}, 404), count=None)) as (cluster, server):
        await cluster.observe()
        await cluster.carry_out("elser", Stop())
    assert STOP in server.paths


UNREADABLE = {
    "forbidden": UNAUTHORISED,
    "no master": NO_MASTER,
    "proxy": page(404),
    "another 404": refusal(404, "index_not_found_exception", "no such index [_ingest]"),
    "405": respond({"error": "Incorrect HTTP method"}, 405),
    "not pipelines": respond([]),
    "text": respond({"p": "processors"}),
    "odd model": respond(pipeline(inference(7))),
    "unknown alias": respond(pipeline(inference("unreadable-alias"))),
}


@pytest.mark.parametrize("response", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize(("count", "stopped"), [(0, True), (None, False), (1, False)])
async def test_where_pipelines_cannot_be_read_the_statistics_decide(response, count, stopped):
    async with cluster_of(with_pipelines(response, count), retries=0) as (cluster, server):
        await cluster.observe()
        if stopped:
            await cluster.carry_out("elser", Stop())
        else:
            kind = await outcome_of(cluster, Stop(), "not known whether ingest pipelines use it")
            assert kind is OutcomeKind.WITHHELD
    assert (STOP in server.paths) is stopped


async def test_the_missing_privilege_for_pipelines_is_named():
    async with cluster_of(with_pipelines(UNAUTHORISED, None)) as (cluster, _):
        await cluster.observe()
        await outcome_of(cluster, Stop(), "grant read_pipeline$")


# Start


def start(**given):
    fields = {
        "model_id": "elser",
        "allocations": 2,
        "threads_per_allocation": 4,
        "queue_capacity": 500,
        "cache_bytes": 1_000,
        "priority": "normal",
        "adaptive": None,
    }
    return Start(**(fields | given))


STARTED = {
    "number_of_allocations": 2,
    "threads_per_allocation": 4,
    "queue_capacity": 500,
    "cache_size": "1000b",
    "priority": "normal",
    "wait_for": "starting",
    "timeout": "5s",
}
WITHOUT_ALLOCATIONS = {k: v for k, v in STARTED.items() if k != "number_of_allocations"}
START_BODIES = {
    "as it was": (start(), STARTED),
    "no cache": (start(cache_bytes=0), STARTED | {"cache_size": "0b"}),
    "adaptive allocations enabled": (
        start(adaptive=AdaptiveAllocations(enabled=True, minimum=1, maximum=8)),
        WITHOUT_ALLOCATIONS | {"adaptive_allocations": ENABLED},
    ),
    "without bounds": (
        start(adaptive=AdaptiveAllocations(enabled=True)),
        WITHOUT_ALLOCATIONS | {"adaptive_allocations": {"enabled": True}},
    ),
    "off": (
        start(adaptive=AdaptiveAllocations(enabled=False, minimum=1, maximum=8)),
        STARTED | {"adaptive_allocations": ENABLED | {"enabled": False}},
    ),
    "little known": (
        start(threads_per_allocation=None, queue_capacity=None, cache_bytes=None),
        {k: STARTED[k] for k in ("number_of_allocations", "priority", "wait_for", "timeout")},
    ),
}


@pytest.mark.parametrize(("change", "body"), START_BODIES.values(), ids=START_BODIES)
async def test_a_start_repeats_every_parameter(change, body):
    async with cluster_of(assigning) as (cluster, server):
        await cluster.carry_out("elser", change)
    assert server.paths == [START]
    assert server.body() == body


async def test_a_start_has_a_deployment_id_if_it_is_not_the_model_id():
    async with cluster_of(assigning) as (cluster, server):
        await cluster.carry_out("search", start())
    assert server.paths == [START]
    assert server.body() == STARTED | {"deployment_id": "search"}


@pytest.mark.parametrize(
    "given",
    [
        refusal(408, STATUS, "Timed out after [5s] waiting for model deployment"),
        refusal(409, STATUS, "Cannot start deployment [elser] because it has already been started"),
        refusal(400, STATUS, "an existing deployment with the same id [elser] exist"),
    ],
    ids=["still starting", "started", "exists"],
)
async def test_a_start_ends_when_the_deployment_exists(given):
    async with cluster_of(given) as (cluster, server):
        assert await cluster.carry_out("elser", start()) is None
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (
            refusal(404, "resource_not_found_exception", "Could not find trained model"),
            OutcomeKind.GONE,
        ),
        (
            refusal(
                404,
                "resource_not_found_exception",
                "Could not find trained model definition [elser]",
            ),
            OutcomeKind.INVALID,
        ),
        (
            refusal(429, STATUS, "No ML nodes with sufficient capacity were found"),
            OutcomeKind.NO_CAPACITY,
        ),
        (refusal(429, STATUS, "not enough resources to provide all"), OutcomeKind.NO_CAPACITY),
        (
            refusal(429, STATUS, "the limit of [100] deployments is reached"),
            OutcomeKind.NO_CAPACITY,
        ),
        (refusal(429, STATUS, "while upgrade mode is enabled"), OutcomeKind.INVALID),
        (refusal(403, STATUS, "an upgrade is in progress"), OutcomeKind.INVALID),
        (refusal(409, STATUS, "a feature reset is in progress"), OutcomeKind.INVALID),
        (refusal(408, STATUS, "the model is still being downloaded"), OutcomeKind.INVALID),
        (refusal(409, STATUS, "another reason"), OutcomeKind.UNRECOGNISED),
        (respond({}), OutcomeKind.UNKNOWN),
        (respond({"assignment": {}}), OutcomeKind.UNKNOWN),
        (respond(assignment(2, "another")), OutcomeKind.UNKNOWN),
        (
            refusal(409, STATUS, "No ML nodes with sufficient capacity were found"),
            OutcomeKind.NO_CAPACITY,
        ),
        (
            refusal(500, STATUS, "failed with errors [n1: not enough memory]"),
            OutcomeKind.NO_CAPACITY,
        ),
        (UNKNOWN_FIELD, OutcomeKind.UNSUPPORTED),
        (UNAUTHORISED, OutcomeKind.FORBIDDEN),
        (NO_MASTER, OutcomeKind.UNKNOWN),
        (reset, OutcomeKind.UNKNOWN),
    ],
    ids=lambda value: value if isinstance(value, OutcomeKind) else None,
)
async def test_a_start_that_is_refused_or_lost_is_sent_once(given, outcome):
    async with cluster_of(given) as (cluster, server):
        assert await outcome_of(cluster, start()) is outcome
    assert len(server.requests) == 1


@pytest.mark.parametrize("stated", ["90", "Thu, 01 Jan 1970 00:18:10 GMT"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("proxy", [True, False], ids=["a proxy", "the cluster"])
async def test_a_refused_update_states_when_to_retry(stated, status, proxy):
    headers = {"Retry-After": stated}  # it is 00:16:40
    refused = refusal(status, "es_rejected_execution_exception", "busy", headers=headers)
    refused = page(status, **headers) if proxy else refused
    responses = {UPDATE: refused, INFERENCE: NO_ENDPOINTS, ROOT: respond(info())}
    async with cluster_of(responses) as (cluster, _):
        with pytest.raises(UpdateFailed) as caught:
            await cluster.carry_out("elser", SetAllocations(4))
    assert caught.value.retry_after_s == 90.0


@pytest.mark.parametrize("stated", ["", "soon", "-5", "1e9", "Thu, 01 Jan 1970 00:00:00 GMT", "٣"])
async def test_what_is_no_time_to_retry_is_none(stated):
    refused = page(503, **{"Retry-After": stated})
    responses = {UPDATE: refused, INFERENCE: NO_ENDPOINTS, ROOT: respond(info())}
    async with cluster_of(responses) as (cluster, _):
        with pytest.raises(UpdateFailed) as caught:
            await cluster.carry_out("elser", SetAllocations(4))
    assert caught.value.retry_after_s == 0.0
