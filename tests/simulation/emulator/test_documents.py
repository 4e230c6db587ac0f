"""Single documents, and the conditions of their writes."""

import pytest

from autoscaler.simulation.emulator.documents import Condition, DocumentIndex
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.scenario import Account, SecuritySettings
from tests.simulation.emulator.conftest import client_of, scenario

DOC, CREATE = "/leases/_doc/one", "/leases/_create/one"
CONFLICT = "version_conflict_engine_exception"


def identity(response):
    document = response.document
    return document["_version"], document["_seq_no"], document["_primary_term"]


async def test_a_document_is_created_replaced_read_and_deleted(es):
    created = await es.put(CREATE, {"holder": "a"})
    assert (created.status, created.document["result"]) == (201, "created")
    assert identity(created) == (1, 0, 1)

    replaced = await es.put(DOC, {"holder": "b"})
    assert (replaced.status, replaced.document["result"]) == (200, "updated")

    found = await es.get(DOC)
    assert found.document["_source"] == {"holder": "b"}
    assert (found.document["found"], *identity(found)) == (True, 2, 1, 1)

    deleted = await es.delete(DOC)
    assert (deleted.status, deleted.document["result"]) == (200, "deleted")
    missing = await es.get(DOC)
    assert missing.status == 404
    assert missing.document == {"_index": "leases", "_id": "one", "found": False}
    again = await es.delete(DOC)  # an operation like any other
    assert (again.status, again.document["result"], *identity(again)) == (404, "not_found", 4, 3, 1)


async def test_a_document_is_created_once(es):
    await es.put(CREATE, {})
    for path in (CREATE, f"{DOC}?op_type=create"):
        refused = await es.put(path, {})
        assert (refused.status, refused.error["type"]) == (409, CONFLICT)
        assert "document already exists (current version [1])" in refused.error["reason"]


async def test_a_write_on_a_condition_needs_the_last_change(es):
    await es.put(CREATE, {"n": 0})
    condition = "?if_seq_no=0&if_primary_term=1"
    assert (await es.put(f"{DOC}{condition}", {"n": 1})).status == 200

    for method in (es.put, es.delete):
        refused = await (
            method(f"{DOC}{condition}", {}) if method == es.put else method(f"{DOC}{condition}")
        )
        assert (refused.status, refused.error["type"]) == (409, CONFLICT)
        assert "current document has seqNo [1] and primary term [1]" in refused.error["reason"]
    assert (await es.get(DOC)).document["_source"] == {"n": 1}


async def test_a_condition_on_a_missing_document_is_a_conflict(es):
    refused = await es.put(f"{DOC}?if_seq_no=0&if_primary_term=1", {})
    assert (refused.status, refused.error["type"]) == (409, CONFLICT)
    assert "but no document was found" in refused.error["reason"]


def test_another_primary_is_another_condition():
    index = DocumentIndex("leases")
    index.write("one", {})
    index.primary_term = 2
    second = index.write("one", {})
    with pytest.raises(SimulatedApiError, match="primary term"):
        index.write("one", {}, condition=Condition(second.seq_no, 1))
    index.write("one", {}, condition=Condition(second.seq_no, 2))


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        (f"{DOC}?if_seq_no=0", {}, 400, "action_request_validation_exception"),
        (f"{CREATE}?if_seq_no=0&if_primary_term=1", {}, 400, "action_request_validation_exception"),
        (f"{DOC}?op_type=delete", {}, 400, "illegal_argument_exception"),
        (f"{DOC}?routing=x", {}, 400, "illegal_argument_exception"),
        (DOC, [], 400, "document_parsing_exception"),
        ("/Leases/_doc/one", {}, 400, "invalid_index_name_exception"),
    ],
)
async def test_what_is_refused(es, path, body, status, kind):
    refused = await es.put(path, body)
    assert (refused.status, refused.error["type"]) == (status, kind)


async def test_an_index_that_does_not_exist(es):
    for refused in (await es.get(DOC), await es.delete(DOC), await es.delete("/leases")):
        assert (refused.status, refused.error["type"]) == (404, "index_not_found_exception")


async def test_a_deleted_index_repeats_versions(es):
    first = await es.put(CREATE, {})
    assert (await es.delete("/leases")).document == {"acknowledged": True}
    assert identity(await es.put(CREATE, {})) == identity(first)


async def test_a_write_waits_for_a_master(es):
    es.running.emulation.has_master = False
    refused = await es.put(f"{DOC}?timeout=1s", {})
    assert (refused.status, refused.error["type"]) == (503, "cluster_block_exception")
    es.running.emulation.has_master, es.running.emulation.writes_blocked = True, True
    assert (await es.put(DOC, {})).status == 403


ROLES = {
    "reader": ["leases:read"],
    "writer": ["lea*:read", "lea*:index"],
    "creator": ["leases:read", "leases:index", "leases:auto_configure"],
    "other": ["others:all"],
    "scaler": ["monitor_ml", "manage_ml"],
}


@pytest.mark.parametrize(
    ("role", "statuses"),
    [
        ("reader", (404, 403, 403, 403)),
        ("writer", (404, 403, 200, 403)),
        ("creator", (404, 201, 200, 403)),
        ("other", (403, 403, 403, 403)),
        ("scaler", (403, 403, 403, 403)),
        ("superuser", (404, 201, 200, 200)),
    ],
)
async def test_index_privileges(role, statuses):
    accounts = [Account(username="user", password="secret", roles=[role])]
    settings = scenario(security=SecuritySettings(accounts=accounts, roles=ROLES))
    async with client_of(settings) as es:
        auth = {"auth": "user:secret"}
        read = await es.get(DOC, **auth)
        created = await es.put(DOC, {}, **auth)
        es.running.emulation.indices.setdefault("leases", DocumentIndex("leases")).write("one", {})
        replaced = await es.put(DOC, {}, **auth)
        deleted = await es.delete(DOC, **auth)
    assert tuple(each.status for each in (read, created, replaced, deleted)) == statuses
    if replaced.status == 403:
        reason = replaced.error["reason"]
        assert "on indices [leases], this action is granted by the index privileges" in reason


async def test_many_documents_in_one_request_each_have_a_result(es):
    await es.put("/leases/_doc/old", {"n": 0})
    found = await es.bulk(
        "/leases/_bulk",
        {"index": {"_id": "old", "if_seq_no": 0, "if_primary_term": 1}},
        {"n": 1},
        {"create": {"_id": "old"}},
        {"n": 2},
        {"create": {"_id": "new"}},
        {"n": 3},
        {"delete": {"_id": "absent"}},
        {"index": {"_id": "new"}},
        [],
    )
    assert found.document["errors"] is True
    items = [next(iter(each.items())) for each in found.document["items"]]
    assert [(operation, item["status"]) for operation, item in items] == [
        *[("index", 200), ("create", 409), ("create", 201), ("delete", 404), ("index", 400)]
    ]
    assert items[1][1]["error"]["type"] == CONFLICT
    assert "error" not in items[3][1]

    read = await es.post("/leases/_mget", {"ids": ["old", "absent", "new"]})
    docs = read.document["docs"]
    assert [each["found"] for each in docs] == [True, False, True]
    assert [each["_source"] for each in docs if each["found"]] == [{"n": 1}, {"n": 3}]
    assert docs[0]["_seq_no"] == items[0][1]["_seq_no"] == 1


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "no requests added"),
        ([{"update": {"_id": "a"}}, {}], "but found [update]"),
        ([{"index": {"_id": "a", "routing": "x"}}, {}], "unknown parameter [routing]"),
        ([{"index": {"_id": "a" * 513}}, {}], "must be no longer than 512 bytes"),
        ([{"create": {"_id": "a", "if_seq_no": 0, "if_primary_term": 1}}, {}], "with create"),
        ([{"index": {"_id": "a", "if_seq_no": 0}}, {}], "must be set together"),
        (["index"], "Malformed action/metadata line [1]"),
    ],
)
async def test_requests_of_many_documents_that_are_refused_as_a_whole(es, lines, reason):
    refused = await es.bulk("/leases/_bulk", *lines)
    assert refused.status == 400
    assert reason in refused.error["reason"]


async def test_many_documents_of_an_index_that_does_not_exist(es):
    read = await es.post("/leases/_mget", {"ids": ["one"]})
    (item,) = read.document["docs"]
    assert (read.status, item["error"]["type"]) == (200, "index_not_found_exception")


async def test_an_index_is_created_once(es):
    settings = {"mappings": {"dynamic": False}}
    created = await es.put("/leases", settings)
    assert created.document == {
        "acknowledged": True,
        "shards_acknowledged": True,
        "index": "leases",
    }
    again = await es.put("/leases", settings)
    assert (again.status, again.error["type"]) == (400, "resource_already_exists_exception")


@pytest.mark.parametrize(
    ("privileges", "statuses"),
    [
        ((), (403, 403, 403)),
        (("read",), (200, 403, 403)),
        (("read", "index"), (200, 201, 403)),
        (("delete",), (403, 403, 404)),
    ],
)
async def test_privileges_are_checked_for_each_of_many_documents(privileges, statuses):
    roles = {"role": [f"leases:{name}" for name in privileges]}
    accounts = [Account(username="user", password="secret", roles=["role"])]
    async with client_of(scenario(security=SecuritySettings(accounts=accounts, roles=roles))) as es:
        es.running.emulation.indices["leases"] = DocumentIndex("leases")
        auth = {"auth": "user:secret"}
        read = await es.post("/leases/_mget", {"ids": ["a"]}, **auth)
        (item,) = read.document["docs"]
        lines = [{"index": {"_id": "a"}}, {}, {"delete": {"_id": "b"}}]
        written = await es.bulk("/leases/_bulk", *lines, **auth)
        found = [next(iter(each.values()))["status"] for each in written.document["items"]]
    assert (403 if "error" in item else 200, *found) == statuses
