import aiohttp
import pytest

E5 = "/_ml/trained_models/e5/deployment"
UPDATE = {"number_of_allocations": 2}


async def fault(es, **fields):
    response = await es.post("/_emulator/faults", fields)
    assert response.status == 200, response.text


async def test_a_page_of_a_proxy_replaces_a_response(es):
    await fault(es, path="*/_stats", status=502, body="<h1>Bad Gateway</h1>")
    response = await es.get("/_ml/trained_models/_stats")
    assert (response.status, response.text) == (502, "<h1>Bad Gateway</h1>")
    assert "X-Elastic-Product" not in response.headers
    assert (await es.get("/_ml/trained_models/_stats")).status == 200


async def test_an_error_of_the_cluster_replaces_a_response(es):
    await fault(es, path="*/_update", status=503, error_type="cluster_block_exception", body="b")
    response = await es.post(f"{E5}/_update", UPDATE)
    assert (response.status, response.error["type"]) == (503, "cluster_block_exception")
    assert (await es.deployment("e5"))["number_of_allocations"] == 1


async def test_a_slow_response(es):
    await fault(es, path="/", delay_s=45.0)
    before = es.clock.now()
    assert (await es.get("/")).status == 200
    assert es.clock.now() - before == pytest.approx(45.0)


@pytest.mark.parametrize(("when", "allocations"), [("before", 1), ("after", 2)])
async def test_a_connection_may_break_before_or_after_the_change(es, when, allocations):
    await fault(es, method="POST", path="*/_update", reset=when)
    with pytest.raises(aiohttp.ClientError):
        await es.post(f"{E5}/_update", UPDATE)
    assert (await es.deployment("e5"))["number_of_allocations"] == allocations


async def test_a_response_may_be_truncated(es):
    await fault(es, path="*/_stats", truncate_to=40)
    with pytest.raises(aiohttp.ClientPayloadError):
        await es.get("/_ml/trained_models/_stats")
    assert (await es.get("/_ml/trained_models/_stats")).status == 200


async def test_faults_are_listed_and_removed(es):
    await fault(es, calls=None, status=500)
    await es.post("/_emulator/nodes/ml-1/swallow?calls=3")
    listed = (await es.get("/_emulator/faults")).document
    assert [entry["status"] for entry in listed["requests"]] == [500]
    assert listed["swallowed_nodes"] == {"ml-1": 3}
    await es.delete("/_emulator/faults")
    assert (await es.get("/")).status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("faults", {"status": 999}),
        ("faults", {"calls": 0}),
        ("faults", {"delay_s": -1.0}),
        ("faults", {"truncate_to": -1}),
        ("nodes", {"node_id": "n", "name": "n", "processors": 0}),
        ("nodes", {"node_id": "n", "name": "n", "memory_bytes": 0}),
        ("nodes/ml-1/version?number=new", None),
        ("nodes/ml-1/swallow?calls=0", None),
    ],
)
async def test_an_event_that_cannot_be_is_refused(es, path, body):
    response = await es.post(f"/_emulator/{path}", body)
    assert response.status == 400, response.text
    assert set(es.cluster.nodes) == {"ml-1", "ml-2"}
    assert (await es.get("/_emulator/faults")).document == {"requests": [], "swallowed_nodes": {}}


@pytest.mark.parametrize("body", [{"status": "many"}, {"colour": 1}, {"reset": "sometimes"}])
async def test_an_invalid_fault_is_refused(es, body):
    assert (await es.post("/_emulator/faults", body)).status == 400


async def test_nodes_are_removed_and_added(es):
    await es.post(f"{E5}/_update", {"number_of_allocations": 4})
    await es.clock.advance(60.0)
    (node_id,) = es.cluster.deployments["e5"].routes
    assert (await es.delete(f"/_emulator/nodes/{node_id}")).status == 200
    await es.clock.advance(60.0)
    moved = await es.deployment("e5")
    assert [next(iter(node["node"])) for node in moved["nodes"]] != [node_id]
    new = {"node_id": "n9", "name": "ml-9", "processors": 16}
    assert (await es.post("/_emulator/nodes", new)).status == 200
    assert (await es.post("/_emulator/nodes", new)).status == 400
    assert "n9" in (await es.get("/_nodes/ml:true")).document["nodes"]
    assert (await es.delete("/_emulator/nodes/unknown")).status == 400


async def test_one_node_may_have_another_version(es):
    assert (await es.post("/_emulator/nodes/ml-1/version?number=9.3.0")).status == 200
    versions = {
        node["name"]: node["version"]
        for node in (await es.get("/_nodes")).document["nodes"].values()
    }
    assert versions == {"es-0": "9.2.0", "ml-1": "9.3.0", "ml-2": "9.2.0"}
    assert (await es.post("/_ml/trained_models/big/deployment/_start")).status == 403
    await es.post("/_emulator/nodes/ml-1/version")
    assert (await es.post("/_ml/trained_models/big/deployment/_start")).status == 200


async def test_the_pending_requests_of_a_process_drift_until_it_ends(es):
    drift = "/_emulator/deployments/e5/drift"
    load = {"kind": "steady", "rate_per_s": 10.0}
    await es.post("/_emulator/deployments/e5/load", load)
    assert (await es.post(f"{drift}?pending_per_request=0.5")).status == 200
    await es.clock.advance(100.0)
    await es.delete("/_emulator/deployments/e5/load")
    await es.clock.advance(30.0)
    (node,) = (await es.deployment("e5"))["nodes"]
    assert 300 < node["number_of_pending_requests"] < 700
    for query in ("", "?pending_per_request=much", "?pending_per_request=nan"):
        assert (await es.post(drift + query)).status == 400
    assert (await es.post(f"{drift}?pending_per_request=1&node=ml-99")).status == 400
    await es.post("/_emulator/deployments/e5/crash")
    await es.clock.advance(60.0)
    (node,) = (await es.deployment("e5"))["nodes"]
    assert node["number_of_pending_requests"] == 0


async def test_a_crash_restarts_the_counters(es):
    await es.post("/_ml/trained_models/e5/_infer", {"docs": [{"text_field": "x"}]})
    (node,) = (await es.deployment("e5"))["nodes"]
    assert (await es.post("/_emulator/deployments/e5/crash")).status == 200
    await es.clock.advance(60.0)
    (restarted,) = (await es.deployment("e5"))["nodes"]
    assert restarted["start_time"] > node["start_time"]
    assert restarted["inference_count"] == 0
    assert (await es.post("/_emulator/deployments/e5/crash?node=ml-99")).status == 400


async def test_adaptive_allocations_can_be_enabled_from_outside(es):
    settings = {"enabled": True, "min_number_of_allocations": 1}
    assert (await es.post("/_emulator/deployments/e5/adaptive", settings)).status == 200
    assert (await es.deployment("e5"))["adaptive_allocations"]["enabled"] is True
    assert (await es.post(f"{E5}/_update", UPDATE)).status == 400


async def test_a_deployment_can_be_deleted_from_outside(es):
    assert (await es.delete("/_emulator/deployments/e5")).status == 200
    await es.clock.advance(300.0)
    assert (await es.post(f"{E5}/_update", UPDATE)).status == 404
    assert (await es.delete("/_emulator/deployments/e5")).status == 404


async def test_a_load_is_served_until_it_ends(es):
    load = {"kind": "steady", "rate_per_s": 10.0}
    assert (await es.post("/_emulator/deployments/e5/load", load)).status == 200
    await es.clock.advance(100.0)
    served = (await es.deployment("e5"))["inference_count"]
    assert 850 <= served <= 1150
    assert (await es.delete("/_emulator/deployments/e5/load")).status == 200
    await es.clock.advance(5.0)
    left = (await es.deployment("e5"))["inference_count"]
    await es.clock.advance(100.0)
    assert (await es.deployment("e5"))["inference_count"] == left


async def test_a_load_replaces_the_previous_one(es):
    for rate in (10.0, 1.0):
        await es.post("/_emulator/deployments/e5/load", {"kind": "steady", "rate_per_s": rate})
    await es.clock.advance(100.0)
    assert 70 <= (await es.deployment("e5"))["inference_count"] <= 135


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "odd"},
        {"kind": "steady"},
        {"kind": "steady", "rate_per_s": -1},
        {"kind": "diurnal", "mean_per_s": 1, "peak_per_s": 5},
        {"kind": "trace", "file": "no/such/trace.csv"},
    ],
)
async def test_an_invalid_load_is_refused(es, body):
    assert (await es.post("/_emulator/deployments/e5/load", body)).status == 400


async def test_the_state_contains_internal_data(es):
    await es.post("/_ml/trained_models/e5/_infer", {"docs": [{"text_field": "x"}]})
    state = (await es.get("/_emulator/state")).document
    assert state["now"] == pytest.approx(es.clock.now())
    deployment = state["deployments"]["e5"]
    assert deployment["ledger"]["requests"] == deployment["ledger"]["completed"] == 1
    assert deployment["requested_allocations"] == deployment["running_allocations"] == 1
    assert deployment["ledger"]["requested_allocation_s"] > 0.0


async def test_conditions_change_what_the_cluster_accepts(es):
    too_many = {"number_of_allocations": 20}
    assert (await es.post(f"{E5}/_update", too_many)).status == 429
    await es.post("/_emulator/conditions", {"can_grow": True, "upgrade_mode": True})
    assert (await es.post(f"{E5}/_update", too_many)).status == 200
    assert (await es.post("/_ml/trained_models/big/deployment/_start")).status == 429
    conditions = (await es.get("/_emulator/state")).document["conditions"]
    assert conditions["can_grow"]
    assert conditions["upgrade_mode"]


async def test_faults_and_credentials_do_not_apply_to_the_admin_api(es):
    await fault(es, calls=None, status=500)
    assert (await es.get("/_emulator/state")).status == 200
    assert (await es.post("/_emulator/conditions", {"weather": "fine"})).status == 400


async def test_blocked_writes_are_refused_and_reads_are_not(es):
    await es.post("/_emulator/conditions", {"writes_blocked": True})
    update = "/_ml/trained_models/e5/deployment/_update"
    for refused in (
        await es.post(update, {"number_of_allocations": 2}),
        await es.post("/_ml/trained_models/big/deployment/_start"),
        await es.put("/_cluster/settings", {"persistent": {"xpack.ml.max_lazy_ml_nodes": 1}}),
    ):
        assert (refused.status, refused.error["type"]) == (403, "cluster_block_exception")
        assert "blocked by" in refused.error["reason"]
    assert (await es.get("/_ml/trained_models/_stats")).status == 200
    assert (await es.get("/_cluster/health")).status == 200
    await es.post("/_emulator/conditions", {"writes_blocked": False})
    assert (await es.post(update, {"number_of_allocations": 2})).status == 200
