import asyncio
import io

import msgspec
import pytest

from autoscaler.simulation.scenario import Account, SecuritySettings
from autoscaler.wire.cluster import (
    AuthenticateResponse,
    HasPrivilegesResponse,
    InfoResponse,
    LicenseResponse,
    MemoryResponse,
    MlInfoResponse,
    NodesResponse,
)
from tests.simulation.emulator.conftest import client_of, scenario

E5 = "/_ml/trained_models/e5/deployment"
SECURITY = SecuritySettings(
    accounts=[
        Account(username="viewer", roles=["machine_learning_user"], password="secret"),
        Account(username="scaler", roles=["scaling"], api_key="k1:key", token="t0ken"),
    ],
    roles={"scaling": ["manage_ml", "monitor"]},
)


def read(response, kind):
    assert response.status == 200, response.text
    return msgspec.json.decode(response.text, type=kind)


async def test_the_root_reports_the_version():
    async with client_of(scenario(version="8.19.4")) as es:
        info = read(await es.get("/"), InfoResponse)
        assert info.version.number == "8.19.4"
        assert info.version.build_flavor == "default"
        assert info.tagline == "You Know, for Search"
        assert (await es("HEAD", "/")).status == 200


async def test_nodes_report_their_attributes(es):
    nodes = read(await es.get("/_nodes/ml:true"), NodesResponse).nodes
    assert {node.name for node in nodes.values()} == {"ml-1", "ml-2"}
    for node in nodes.values():
        assert "ml" in node.roles
        assert node.attributes["ml.allocated_processors_double"] == "4.0"
        assert node.attributes["ml.machine_memory"] == str(16 << 30)
        assert node.version == "9.2.0"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/_nodes", {"es-0", "ml-1", "ml-2"}),
        ("/_nodes/_all/none", {"es-0", "ml-1", "ml-2"}),
        ("/_nodes/ml:false", set()),
        ("/_nodes/_all,ml:false", {"es-0"}),
        ("/_nodes/_master", {"es-0"}),
        ("/_nodes/_local,ml-2", {"es-0", "ml-2"}),
        ("/_nodes/data_hot:true", set()),
        ("/_nodes/ml.allocated_processors:4", {"ml-1", "ml-2"}),
        ("/_nodes/os", {"es-0", "ml-1", "ml-2"}),
        ("/_nodes/os,jvm?flat_settings&timeout=3s", {"es-0", "ml-1", "ml-2"}),
        ("/_nodes/ml-1/os", {"ml-1"}),
        ("/_nodes/ml-1", {"ml-1"}),
        ("/_nodes/ml-*,es-0", {"es-0", "ml-1", "ml-2"}),
        ("/_nodes/unknown", set()),
    ],
)
async def test_nodes_are_found_by_filters(es, path, names):
    nodes = read(await es.get(path), NodesResponse).nodes
    assert {node.name for node in nodes.values()} == names


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/_nodes", True),
        ("/_nodes/os", True),
        ("/_nodes/ml-1/jvm,os", True),
        ("/_nodes/jvm", False),
    ],
)
async def test_the_processors_of_nodes_are_in_a_section(es, path, shown):
    node = (await es.get(path)).document["nodes"]["ml-1"]
    assert ("os" in node) is shown
    if shown:
        assert node["os"]["allocated_processors"] == 4


async def test_memory_needs_a_master(es):
    await es.post("/_emulator/conditions", {"master": False})
    response = await es.get("/_ml/memory/_stats?master_timeout=3s&timeout=3s")
    assert (response.status, response.error["type"]) == (503, "master_not_discovered_exception")


async def test_memory_is_the_reservation_of_the_planner(es):
    memory = read(await es.get("/_ml/memory/ml:true/_stats"), MemoryResponse)
    reserved = {
        node_id: node.mem.ml.native_inference_in_bytes for node_id, node in memory.nodes.items()
    }
    assert sorted(bytes_ > 0 for bytes_ in reserved.values()) == [False, True]
    (busy,) = [node_id for node_id, bytes_ in reserved.items() if bytes_]
    assert busy in es.cluster.deployments["e5"].routes
    assert all(node.mem.ml.free_bytes > 0 for node in memory.nodes.values())


async def test_readable_memory(es):
    document = (await es.get("/_ml/memory/_stats?human")).document
    node = next(iter(document["nodes"].values()))
    assert node["mem"]["total"] == "16gb"
    assert node["mem"]["total_in_bytes"] == 16 << 30


async def test_limits_and_upgrade_mode(es):
    info = read(await es.get("/_ml/info"), MlInfoResponse)
    assert info.limits.total_ml_processors == 8
    assert info.limits.max_single_ml_node_processors == 4
    es.cluster.can_grow = True
    growing = read(await es.get("/_ml/info"), MlInfoResponse).limits
    assert growing.total_ml_processors is msgspec.UNSET, "the size of future nodes is unknown"
    es.cluster.can_grow = False
    assert not info.upgrade_mode
    assert (await es.post("/_ml/set_upgrade_mode?enabled=true")).status == 200
    assert read(await es.get("/_ml/info"), MlInfoResponse).upgrade_mode
    start = await es.post("/_ml/trained_models/big/deployment/_start")
    assert start.status == 429
    assert "upgrade mode" in start.error["reason"]
    await es.post("/_ml/set_upgrade_mode?enabled=false")
    assert (await es.post("/_ml/trained_models/big/deployment/_start")).status == 200


async def test_health_waits_for_nodes(es):
    met = ("3", ">=3", "ge(2)", "<4", "lt(4)", "<=3", "le(3)", ">2", "gt(2)")
    for wanted in met:
        response = await es.get(f"/_cluster/health?wait_for_nodes={wanted}&timeout=5s")
        assert (response.status, response.document["timed_out"]) == (200, False), wanted
    before = es.clock.now()
    response = await es.get("/_cluster/health?wait_for_nodes=4&timeout=5s")
    assert (response.status, response.document["timed_out"]) == (408, True)
    assert es.clock.now() - before == pytest.approx(5.0)
    assert (await es.get("/_cluster/health?wait_for_active_shards=2&timeout=1s")).status == 408
    for met in ("all", "1"):
        assert (await es.get(f"/_cluster/health?wait_for_active_shards={met}")).status == 200


async def test_health_takes_the_documented_parameters(es):
    path = (
        "/_cluster/health?expand_wildcards=open,hidden&local&master_timeout=5s"
        "&wait_for_events=languid&wait_for_no_initializing_shards=true"
        "&wait_for_no_relocating_shards=true&wait_for_status=yellow"
    )
    assert "indices" not in (await es.get(path)).document
    assert (await es.get(f"{path}&level=shards")).document["indices"] == {}


@pytest.mark.parametrize(
    "query",
    [
        "wait_for_status=blue",
        "wait_for_events=soon",
        "level=nodes",
        "expand_wildcards=some",
        "wait_for_nodes=many",
        "wait_for_nodes=eq(3)",
        "wait_for_active_shards=-1",
        "wait_for_no_relocating_shards=perhaps",
        "local=1",
    ],
)
async def test_health_refuses_odd_values(es, query):
    response = await es.get(f"/_cluster/health?{query}")
    assert (response.status, response.error["type"]) == (400, "illegal_argument_exception")


async def test_health_and_features(es):
    assert (await es.get("/_cluster/health")).document["status"] == "green"
    features = (await es.get("/_xpack")).document["features"]
    assert features["ml"] == {"available": True, "enabled": True}
    assert features["security"]["enabled"] is False


async def test_an_expired_licence_rules_out_changes(es):
    assert read(await es.get("/_license"), LicenseResponse).license.status == "active"
    await es.post("/_emulator/conditions", {"licence_expired": True})
    assert read(await es.get("/_license"), LicenseResponse).license.status == "expired"
    for path in (f"{E5}/_update", "/_ml/trained_models/big/deployment/_start"):
        refused = await es.post(path, {})
        assert (refused.status, refused.error["type"]) == (403, "security_exception")
        assert refused.error["license.expired.feature"] == "ml"
    assert (await es.deployment("e5"))["state"] == "started"


@pytest.mark.parametrize(
    "condition", [{"master": False}, {"writes_blocked": True}, {"licence_expired": True}]
)
async def test_an_invalid_request_is_a_400_whatever_the_state_of_the_cluster(es, condition):
    await es.post("/_emulator/conditions", condition)
    before = es.clock.now()
    for path, body in (
        (f"{E5}/_update", {"number_of_allocations": 0}),
        (f"{E5}/_update", {"colour": 1}),
        (f"{E5}/_update", None),
        ("/_ml/trained_models/big/deployment/_start", {"threads_per_allocation": 3}),
        (f"{E5}/_stop", {"id": "other"}),
    ):
        assert (await es.post(path, body)).status == 400
    assert es.clock.now() == before


async def test_a_request_waits_for_a_master(es):
    await es.post("/_emulator/conditions", {"master": False})
    update = es.request(
        "POST",
        f"{E5}/_update",
        b'{"number_of_allocations": 2}',
        {"Content-Type": "application/json"},
    )
    waiting = asyncio.ensure_future(update)
    await es.clock.advance(10.0)
    await es.post("/_emulator/conditions", {"master": True})
    assert (await es.clock.run(waiting)).status == 200


async def test_the_opaque_id_is_returned(es):
    response = await es.get("/", headers={"X-Opaque-Id": "cycle-7"})
    assert response.headers["X-Opaque-Id"] == "cycle-7"


async def test_without_a_master_only_statistics_can_be_read(es):
    await es.post("/_emulator/conditions", {"master": False})
    before = es.clock.now()
    refused = await es.post(f"{E5}/_update?master_timeout=7s", {"number_of_allocations": 2})
    assert (refused.status, refused.error["type"]) == (503, "master_not_discovered_exception")
    assert es.clock.now() - before == pytest.approx(7.0)
    assert (await es.deployment("e5"))["number_of_allocations"] == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_no/such/path", 400),
        ("GET", f"{E5}/_update", 405),
        ("DELETE", "/", 405),
        ("GET", "/_security/_authenticate", 400),
    ],
)
async def test_unknown_paths_are_refused_with_a_text(es, method, path, status):
    response = await es(method, path)
    assert response.status == status
    assert isinstance(response.error, str)
    assert path in response.error
    assert response.headers["X-Elastic-Product"] == "Elasticsearch"


async def test_a_client_of_the_next_major_version_is_refused():
    async with client_of(scenario(version="8.19")) as es:
        accept = "application/vnd.elasticsearch+json; compatible-with=9"
        refused = await es.get("/", headers={"Accept": accept})
        assert (refused.status, refused.error["type"]) == (400, "media_type_header_exception")
        assert "either version 8 or 7, but found 9" in refused.error["reason"]


async def test_a_body_must_be_json(es):
    headers = {"Content-Type": "text/plain"}
    assert (await es.post(f"{E5}/_update", raw=b"{}", headers=headers)).status == 406
    assert (await es.post(f"{E5}/_update", raw=b"{oops")).status == 400


async def test_a_body_must_not_be_too_large(es):
    response = await es.post(f"{E5}/_update", raw=io.BytesIO(bytes(17 << 20)))
    assert (response.status, response.document["status"]) == (413, 413)


async def test_a_filter_path_applies_to_any_response(es):
    document = (await es.get("/?filter_path=version.number,-tagline")).document
    assert document == {"version": {"number": "9.2.0"}}


async def test_with_security_credentials_are_required():
    async with client_of(scenario(security=SECURITY)) as es:
        refused = await es.get("/")
        assert refused.status == 401
        assert "missing authentication credentials" in refused.error["reason"]
        assert any("ApiKey" in way for way in refused.headers.getall("WWW-Authenticate"))
        assert (await es.get("/_ml/info", auth="viewer:wrong")).status == 401
        assert (await es.get("/_ml/info", auth="viewer:secret")).status == 200
        bearer = {"Authorization": "Bearer t0ken"}
        assert (await es.get("/", headers=bearer)).status == 200


async def test_with_security_roles_grant_actions():
    async with client_of(scenario(security=SECURITY)) as es:
        body = {"number_of_allocations": 2}
        refused = await es.post(f"{E5}/_update", body, auth="viewer:secret")
        assert (refused.status, refused.error["type"]) == (403, "security_exception")
        assert "deployment/update] is unauthorized for user [viewer]" in refused.error["reason"]
        assert (await es.get("/_nodes", auth="viewer:secret")).status == 403
        key = {"Authorization": "ApiKey azE6a2V5"}
        assert (await es.post(f"{E5}/_update", body, headers=key)).status == 200


async def test_user_and_privileges():
    async with client_of(scenario(security=SECURITY)) as es:
        key = {"Authorization": "ApiKey azE6a2V5"}
        me = read(await es.get("/_security/_authenticate", headers=key), AuthenticateResponse)
        assert (me.username, me.authentication_type, me.api_key.id) == ("scaler", "api_key", "k1")
        user = read(
            await es.get("/_security/_authenticate", auth="viewer:secret"), AuthenticateResponse
        )
        assert (user.authentication_type, user.roles) == ("realm", ["machine_learning_user"])
        response = await es.post(
            "/_security/user/_has_privileges",
            {"cluster": ["monitor_ml", "manage_ml"]},
            auth="viewer:secret",
        )
        granted = read(response, HasPrivilegesResponse)
        assert granted.cluster == {"manage_ml": False, "monitor_ml": True}
        assert not granted.has_all_requested


async def test_a_token_is_reported_as_such():
    accounts = [Account(username="scaler", roles=["superuser"], token="t1")]
    async with client_of(scenario(security=SecuritySettings(accounts=accounts))) as es:
        headers = {"Authorization": "Bearer t1"}
        user = (await es.get("/_security/_authenticate", headers=headers)).document
        assert user["authentication_type"] == "token"
        assert "api_key" not in user
