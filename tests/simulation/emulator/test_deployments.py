import asyncio

import pytest

from autoscaler.simulation.scenario import ScenarioDeployment, ScenarioModel, ScenarioNode
from tests.simulation.emulator.conftest import client_of, scenario

E5 = "/_ml/trained_models/e5/deployment"
BIG = "/_ml/trained_models/big/deployment"
DOCS = {"docs": [{"text_field": "hello"}]}


async def test_starting_waits_until_the_model_is_loaded(es):
    before = es.clock.now()
    response = await es.post(f"{BIG}/_start")
    assert response.status == 200, response.text
    assert es.clock.now() - before >= 10.0
    assignment = response.document["assignment"]
    assert assignment["assignment_state"] == "started"
    assert assignment["task_parameters"]["model_id"] == "big"
    assert assignment["task_parameters"]["deployment_id"] == "big"
    assert assignment["adaptive_allocations"] is None
    assert assignment["start_time"].endswith("Z")
    (route,) = assignment["routing_table"].values()
    assert route["routing_state"] == "started"


async def test_a_start_need_not_wait(es):
    before = es.clock.now()
    response = await es.post(f"{BIG}/_start?wait_for=starting")
    assert response.document["assignment"]["assignment_state"] == "starting"
    assert es.clock.now() == before


async def test_after_a_timeout_the_deployment_continues_to_start(es):
    response = await es.post(f"{BIG}/_start?timeout=3s")
    assert response.status == 408
    assert response.error["type"] == "model_deployment_timeout_exception"
    reason = "Timed out after [3s] waiting for trained model deployment [big]"
    assert reason in response.error["reason"]
    await es.clock.advance(60.0)
    assert (await es.deployment("big"))["state"] == "started"


@pytest.mark.parametrize(("version", "seconds"), [("8.6", 20.0), ("8.7", 30.0), ("9.5", 30.0)])
async def test_a_start_waits_as_long_as_its_version_does(version, seconds):
    slow = ScenarioModel(model_id="slow", load_s=100.0)
    async with client_of(scenario(version=version, models=[slow], deployments=[])) as es:
        before = es.clock.now()
        response = await es.post("/_ml/trained_models/slow/deployment/_start")
        assert response.status == 408
        assert es.clock.now() - before == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize(("version", "status"), [("9.3", 500), ("9.5.4", 409)])
async def test_one_failed_route_of_two_deletes_the_deployment(version, status):
    async with client_of(scenario(version=version)) as es:
        start = f"{BIG}/_start?number_of_allocations=5&wait_for=fully_allocated&timeout=5m"
        waiting = asyncio.ensure_future(es.request("POST", start))
        await es.clock.advance(1.0)
        failed, *others = es.cluster.deployments["big"].routes
        assert others
        await es.post(f"/_emulator/deployments/big/crash?node={failed}")
        response = await es.clock.run(waiting)
        assert (response.status, response.error["type"]) == (status, "status_exception")
        assert failed in response.error["reason"]
        assert "big" not in es.cluster.deployments


async def test_a_start_that_nothing_fits_is_not_waited_for_where_hardware_can_grow(es):
    """No node loads it, so that waiting ends, and the 200 does not say that it runs."""
    await es.post("/_emulator/conditions", {"can_grow": True})
    before = es.clock.now()
    response = await es.post(
        f"{BIG}/_start?wait_for=fully_allocated", {"threads_per_allocation": 8}
    )
    assert (response.status, es.clock.now()) == (200, before)
    assignment = response.document["assignment"]
    assert (assignment["assignment_state"], assignment["routing_table"]) == ("starting", {})
    assert "insufficient allocated processors" in assignment["reason"]
    status = (await es.deployment("big"))["allocation_status"]
    assert status == {"allocation_count": 0, "target_allocation_count": 1, "state": "starting"}


@pytest.mark.parametrize("version", ["8.19.12", "9.3", "9.4.7", "9.5.4"])
async def test_the_planner_refuses_with_a_429_in_all_versions(version):
    async with client_of(scenario(version=version)) as es:
        for body, fragment in (
            ({"threads_per_allocation": 8}, "no ML nodes with sufficient capacity were found"),
            ({"number_of_allocations": 8}, "not enough resources"),
        ):
            refused = await es.post(f"{BIG}/_start", body)
            assert (refused.status, refused.error["type"]) == (429, "status_exception")
            assert fragment in refused.error["reason"]


async def test_all_parameters_may_be_in_the_body(es):
    body = {
        "deployment_id": "big-two",
        "wait_for": "fully_allocated",
        "timeout": "5m",
        "number_of_allocations": 2,
        "threads_per_allocation": 2,
        "queue_capacity": 7,
        "cache_size": "0b",
    }
    assert (await es.post(f"{BIG}/_start", body)).status == 200
    deployment = await es.deployment("big-two")
    assert deployment["number_of_allocations"] == deployment["threads_per_allocation"] == 2
    assert deployment["queue_capacity"] == 7
    assert deployment["cache_size"] == "0b"
    assert deployment["allocation_status"]["state"] == "fully_allocated"


async def test_the_query_takes_precedence(es):
    path = f"{BIG}/_start?deployment_id=one&number_of_allocations=2&wait_for=starting"
    await es.post(path, {"deployment_id": "other", "number_of_allocations": 1})
    assert (await es.deployment("one"))["number_of_allocations"] == 2


@pytest.mark.parametrize(
    ("query", "body", "status", "fragment"),
    [
        ("?number_of_allocations=0", None, 400, "must be a positive integer"),
        ("?threads_per_allocation=3", None, 400, "power of 2"),
        ("?threads_per_allocation=0", None, 400, "must be a positive integer"),
        ("", {"threads_per_allocation": 0}, 400, "[threads_per_allocation] must be a positive"),
        ("", {"inference_threads": 0}, 400, "must be a positive integer"),
        ("", {"deployment_id": "Not Valid"}, 400, "deployment_id"),
        ("?deployment_id=no/slash", None, 400, "deployment_id"),
        ("?deployment_id=no_end_", None, 400, "deployment_id"),
        ("?wait_for=perfect", None, 400, "wait_for"),
        ("?priority=urgent", None, 400, "priority"),
        ("?timeout=0", None, 400, "timeout"),
        ("?number_of_allocations=999", None, 429, "not enough resources"),
        ("", {"colour": 1}, 400, "unknown field [colour]"),
        ("?colour=1", None, 400, "unrecognized parameter: [colour]"),
    ],
)
async def test_an_invalid_start_is_refused(es, query, body, status, fragment):
    response = await es.post(f"{BIG}/_start{query}", body)
    assert response.status == status, response.text
    assert fragment in response.error["reason"]


async def test_an_unknown_or_undeployable_model(es):
    assert (await es.post("/_ml/trained_models/nope/deployment/_start")).status == 404
    built_in = "/_ml/trained_models/lang_ident_model_1/deployment/_start"
    for path, fragment in (
        (built_in, "cannot be deployed"),
        (f"{built_in}?number_of_allocations=0", "must be a positive integer"),
        (f"{built_in}?deployment_id=e5", "existing deployment"),
    ):
        response = await es.post(path)
        assert response.status == 400
        assert fragment in response.error["reason"]


async def test_a_deployment_deleted_during_its_start(es):
    waiting = asyncio.ensure_future(es.request("POST", f"{BIG}/_start"))
    await es.clock.advance(1.0)
    assert (await es.post(f"{BIG}/_stop?force=true")).status == 200
    response = await es.clock.run(waiting)
    assert response.status == 400
    assert "removed" in response.error["reason"]


async def test_a_deployment_that_fails_to_load_is_cleaned_up(es):
    waiting = asyncio.ensure_future(es.request("POST", f"{BIG}/_start"))
    await es.clock.advance(1.0)
    assert (await es.post("/_emulator/deployments/big/crash")).status == 200
    response = await es.clock.run(waiting)
    assert (response.status, response.error["type"]) == (500, "status_exception")
    assert "failed" in response.error["reason"]
    assert "big" not in es.cluster.deployments


async def test_an_update_is_accepted_at_once_and_executed_later(es):
    before = es.clock.now()
    response = await es.post(f"{E5}/_update", {"number_of_allocations": 6})
    assert response.status == 200, response.text
    assert es.clock.now() == before
    assert response.document["assignment"]["task_parameters"]["number_of_allocations"] == 6
    status = (await es.deployment("e5"))["allocation_status"]
    assert status["allocation_count"] < status["target_allocation_count"] == 6
    await es.clock.advance(60.0)
    assert (await es.deployment("e5"))["allocation_status"]["state"] == "fully_allocated"


async def test_the_query_parameter_hides_the_body(es):
    response = await es.post(
        f"{E5}/_update?number_of_allocations=2", {"number_of_allocations": 3, "nonsense": True}
    )
    assert response.status == 200
    assert response.document["assignment"]["task_parameters"]["number_of_allocations"] == 2


async def test_an_old_version_has_no_query_parameter():
    async with client_of(scenario(version="8.12")) as es:
        response = await es.post(f"{E5}/_update?number_of_allocations=2")
        assert response.status == 400
        assert "unrecognized parameter: [number_of_allocations]" in response.error["reason"]
        assert (await es.post(f"{E5}/_update", {"number_of_allocations": 2})).status == 200


async def test_an_old_version_has_no_adaptive_allocations():
    async with client_of(scenario(version="8.12")) as es:
        response = await es.post(f"{E5}/_update", {"adaptive_allocations": {"enabled": True}})
        assert response.status == 400
        assert "unknown field [adaptive_allocations]" in response.error["reason"]
        response = await es.post(f"{E5}/_update", {"number_of_allocations": 1})
        assert "adaptive_allocations" not in response.document["assignment"]


async def test_an_empty_update_changes_nothing(es):
    response = await es.post(f"{E5}/_update", {})
    assert response.status == 200
    assert response.document["assignment"]["task_parameters"]["number_of_allocations"] == 1


async def test_an_update_without_a_body_is_refused(es):
    refused = await es.post(f"{E5}/_update")
    assert (refused.status, refused.error["type"]) == (400, "parse_exception")
    assert "request body is required" in refused.error["reason"]


@pytest.mark.parametrize(("written", "meant"), [(2.5, 2), ("3", 3), (2.0, 2)])
async def test_a_number_is_read_as_the_parser_of_the_server_reads_it(es, written, meant):
    response = await es.post(f"{E5}/_update", {"number_of_allocations": written})
    assert response.document["assignment"]["task_parameters"]["number_of_allocations"] == meant


@pytest.mark.parametrize("written", [3e9, 2**31, "3000000000", "many", None, [2]])
async def test_a_number_out_of_range_is_refused(es, written):
    refused = await es.post(f"{E5}/_update", {"number_of_allocations": written})
    assert (refused.status, refused.error["type"]) == (400, "x_content_parse_exception")
    assert "number_of_allocations" in refused.error["reason"]


async def test_an_update_may_have_no_time_to_wait(es):
    assert (await es.post(f"{E5}/_update?timeout=0", {})).status == 200
    assert (await es.post(f"{E5}/_update", {"timeout": "0"})).status == 200
    assert (await es.post(f"{E5}/_update", {"timeout": "5"})).status == 400, "without a unit"
    refused = await es.post("/_ml/trained_models/big/deployment/_start?timeout=0")
    assert (refused.status, refused.error["type"]) == (400, "action_request_validation_exception")


async def test_a_cache_size_needs_a_unit(es):
    refused = await es.post("/_ml/trained_models/big/deployment/_start?cache_size=100")
    assert (refused.status, refused.error["type"]) == (400, "parse_exception")
    assert "unit is missing" in refused.error["reason"]
    start = await es.post("/_ml/trained_models/big/deployment/_start?cache_size=0")
    assert start.status == 200


async def test_upgrade_mode_names_the_action(es):
    await es.post("/_ml/set_upgrade_mode?enabled=true")
    refused = await es.post("/_ml/trained_models/big/deployment/_start")
    assert refused.error["reason"] == (
        "Cannot perform cluster:admin/xpack/ml/trained_models/deployment/start action while "
        "upgrade mode is enabled"
    )


@pytest.mark.parametrize(
    ("body", "status", "error_type", "fragment"),
    [
        ({"number_of_allocations": 0}, 400, "action_request_validation_exception", "positive"),
        ({"number_of_allocations": 99}, 429, "status_exception", "not enough resources"),
        ({"allocations": 1}, 400, "x_content_parse_exception", "unknown field [allocations]"),
        ({"model_id": "other"}, 400, "status_exception", "other"),
        (
            {"number_of_allocations": 2, "adaptive_allocations": {"enabled": True}},
            400,
            "action_request_validation_exception",
            "cannot be set if adaptive allocations is enabled",
        ),
    ],
)
async def test_an_invalid_update_is_refused(es, body, status, error_type, fragment):
    response = await es.post(f"{E5}/_update", body)
    assert (response.status, response.error["type"]) == (status, error_type)
    assert fragment in response.error["reason"]
    assert response.error["root_cause"][0]["type"] == error_type
    assert (await es.deployment("e5"))["number_of_allocations"] == 1


async def test_an_unknown_deployment_cannot_be_updated(es):
    response = await es.post("/_ml/trained_models/nope/deployment/_update", {})
    assert response.status == 404
    assert "No known model deployment with id" in response.error["reason"]


async def test_a_deployment_that_is_starting_cannot_be_updated(es):
    await es.post(f"{BIG}/_start?wait_for=starting")
    response = await es.post(f"{BIG}/_update", {"number_of_allocations": 2})
    assert response.status == 409
    assert "[started] state" in response.error["reason"]


async def test_adaptive_allocations_are_taken_over_in_one_call(es):
    on = {"adaptive_allocations": {"enabled": True, "max_number_of_allocations": 4}}
    assert (await es.post(f"{E5}/_update", on)).status == 200
    assert (await es.deployment("e5"))["adaptive_allocations"]["enabled"] is True
    refused = await es.post(f"{E5}/_update", {"number_of_allocations": 2})
    assert (refused.status, refused.error["type"]) == (400, "validation_exception")
    both = {"adaptive_allocations": {"enabled": False}, "number_of_allocations": 2}
    assert (await es.post(f"{E5}/_update", both)).status == 200
    deployment = await es.deployment("e5")
    assert deployment["number_of_allocations"] == 2
    assert deployment["adaptive_allocations"]["enabled"] is False
    assert (await es.post(f"{E5}/_update", {"adaptive_allocations": None})).status == 200
    assert "adaptive_allocations" not in await es.deployment("e5")


async def test_on_growing_hardware_an_update_is_executed_in_part():
    async with client_of(scenario(can_grow=True)) as es:
        response = await es.post(f"{E5}/_update", {"number_of_allocations": 12})
        assert response.status == 200, response.text
        await es.clock.advance(60.0)
        deployment = await es.deployment("e5")
        assert deployment["allocation_status"]["state"] == "started"
        assert deployment["reason"]
        await es.post("/_emulator/nodes", {"node_id": "n9", "name": "ml-9", "processors": 8})
        await es.clock.advance(120.0)
        status = (await es.deployment("e5"))["allocation_status"]
        assert status["state"] == "fully_allocated"


async def test_stopping_removes_a_deployment(es):
    response = await es.post(f"{E5}/_stop")
    assert response.document == {"stopped": True}
    await es.clock.advance(300.0)
    entry = (await es.get("/_ml/trained_models/e5/_stats")).document["trained_model_stats"][0]
    assert "deployment_stats" not in entry


async def test_stopping_an_unknown_deployment(es):
    path = "/_ml/trained_models/nope/deployment/_stop"
    assert (await es.post(path)).document == {"stopped": True}
    assert (await es.post(path, {"allow_no_match": False})).status == 404
    assert (await es.post(f"{path}?allow_no_match=false")).status == 404
    assert (await es.post(path, {"id": "other"})).status == 400


async def test_each_document_has_a_result(es):
    before = es.clock.now()
    body = {"docs": [{"text_field": "a"}, {"text_field": "b"}, {"text_field": "a"}]}
    response = await es.post("/_ml/trained_models/e5/_infer", body)
    first, second, third = response.document["inference_results"]
    assert first == third != second
    assert es.clock.now() - before == pytest.approx(0.15, abs=0.02)


async def test_a_slow_inference_times_out(es):
    body = {"docs": [{"text_field": "x"}] * 100}
    response = await es.post("/_ml/trained_models/e5/_infer?timeout=1s", body)
    assert response.status == 408, response.text
    await es.clock.advance(10.0)
    assert (await es.deployment("e5"))["timeout_count"] > 50


async def test_a_full_queue_rejects():
    narrow = ScenarioDeployment(model_id="e5", queue_capacity=2)
    async with client_of(scenario(deployments=[narrow])) as es:
        body = {"docs": [{"text_field": "x"}] * 20}
        response = await es.post("/_ml/trained_models/e5/_infer", body)
        assert (response.status, response.error["type"]) == (429, "es_rejected_execution_exception")
        assert (await es.deployment("e5"))["rejected_execution_count"] > 0


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/_ml/trained_models/big/_infer", DOCS, 409),
        ("/_ml/trained_models/nope/_infer", DOCS, 404),
        ("/_ml/trained_models/e5/_infer", None, 400),
        ("/_ml/trained_models/e5/_infer", {"docs": [{"body": "x"}]}, 400),
        ("/_ml/trained_models/e5/_infer", {"documents": []}, 400),
    ],
)
async def test_an_invalid_inference_is_refused(es, path, body, status):
    response = await es.post(path, body)
    assert response.status == status, response.text


async def test_clearing_a_cache(es):
    assert (await es.post(f"{E5}/cache/_clear")).document == {"cleared": True}
    assert (await es.post(f"{BIG}/cache/_clear")).status == 404


async def test_models_are_added_and_deleted(es):
    model = {
        "model_type": "pytorch",
        "inference_config": {"text_embedding": {}},
        "emulator": {"size_bytes": 50_000_000, "service_time_s": 0.01},
    }
    response = await es.put("/_ml/trained_models/mine", model)
    assert response.document["model_size_bytes"] == 50_000_000
    assert (await es.put("/_ml/trained_models/mine", model)).status == 400
    start = await es.post("/_ml/trained_models/mine/deployment/_start")
    assert start.status == 200
    assert (await es.delete("/_ml/trained_models/mine")).status == 409
    assert (await es.delete("/_ml/trained_models/mine?force=true")).status in (200, 409)
    await es.clock.advance(300.0)
    await es.delete("/_ml/trained_models/mine")
    assert (await es.get("/_ml/trained_models/mine")).status == 404


async def test_models_are_listed_without_their_deployments(es):
    document = (await es.get("/_ml/trained_models")).document
    assert document["count"] == 3
    types = {c["model_id"]: c["model_type"] for c in document["trained_model_configs"]}
    assert types == {"big": "pytorch", "e5": "pytorch", "lang_ident_model_1": "lang_ident"}
    page = (await es.get("/_ml/trained_models?from=1&size=1")).document
    assert [config["model_id"] for config in page["trained_model_configs"]] == ["e5"]


@pytest.mark.parametrize(
    "body", [{"model_type": "tree_ensemble"}, {"model_type": "pytorch", "colour": 1}]
)
async def test_an_unsupported_model_is_refused(es, body):
    assert (await es.put("/_ml/trained_models/mine", body)).status == 400


async def test_a_start_without_capacity_is_refused():
    small = scenario(nodes=[ScenarioNode(name="ml-1", processors=1, memory="2gb")])
    async with client_of(small) as es:
        response = await es.post(f"{BIG}/_start?number_of_allocations=2")
        assert (response.status, response.error["type"]) == (429, "status_exception")


async def test_a_start_takes_no_allocation_from_a_running_deployment():
    nodes = [ScenarioNode(name="ml-1", processors=8)]
    search = ScenarioDeployment(model_id="e5", number_of_allocations=2, threads_per_allocation=4)
    async with client_of(scenario(nodes=nodes, deployments=[search])) as es:
        refused = await es.post("/_ml/trained_models/big/deployment/_start?number_of_allocations=3")
        assert (refused.status, refused.error["type"]) == (429, "status_exception")
        assert "big" not in es.cluster.deployments
        e5 = await es.deployment("e5")
        assert e5["allocation_status"]["allocation_count"] == 2


async def test_inference_needs_a_licence(es):
    await es.post("/_emulator/conditions", {"licence_expired": True})
    refused = await es.post("/_ml/trained_models/e5/_infer", DOCS)
    assert (refused.status, refused.error["type"]) == (403, "security_exception")
    assert refused.error["license.expired.feature"] == "ml"


@pytest.mark.parametrize(
    ("path", "body", "parameter"),
    [
        (f"{E5}/_stop?timeout=5s", None, "timeout"),
        (f"{E5}/_stop?force=true", {"allow_no_match": False}, "force"),
        (f"{E5}/cache/_clear?timeout=5s", None, "timeout"),
    ],
)
async def test_parameters_that_the_server_does_not_read_are_refused(es, path, body, parameter):
    """Source: elastic/elasticsearch, RestStopTrainedModelDeploymentAction.java and
    RestClearDeploymentCacheAction.java."""
    refused = await es.post(path, body)
    assert (refused.status, refused.error["type"]) == (400, "illegal_argument_exception")
    assert f"unrecognized parameter: [{parameter}]" in refused.error["reason"]
    assert "e5" in es.cluster.deployments


async def test_a_caller_may_wait_for_an_allocation_and_as_long_again_for_the_result():
    slow = ScenarioModel(model_id="slow", load_s=8.0, service_time_s=6.0, service_cv=0.0)
    at_zero = {"enabled": True, "min_number_of_allocations": 0}
    async with client_of(scenario(version="9.5", models=[slow], deployments=[])) as es:
        path = "/_ml/trained_models/slow"
        await es.post(f"{path}/deployment/_start", {"adaptive_allocations": at_zero})
        es.cluster.update_deployment("slow", number_of_allocations=0, internal=True)
        await es.clock.advance(5.0)
        before = es.clock.now()
        response = await es.post(f"{path}/_infer", DOCS)  # with 10 s
        assert response.status == 200, response.text
        assert es.clock.now() - before == pytest.approx(14.0, abs=0.1)


async def test_the_time_out_of_inference_may_be_in_the_body(es):
    path = "/_ml/trained_models/e5/_infer"
    assert (await es.post(path, {**DOCS, "timeout": "20ms"})).status == 408
    assert (await es.post(f"{path}?timeout=5s", {**DOCS, "timeout": "20ms"})).status == 200
    assert (await es.post(path, {**DOCS, "timeout": "soon"})).status == 400
    assert (await es.post(path, {**DOCS, "id": "other"})).status == 200


async def test_allocations_that_load_count_as_assigned(es):
    started = await es.post(f"{BIG}/_start?wait_for=starting", {"number_of_allocations": 2})
    assert started.document["assignment"]["max_assigned_allocations"] == 2
