"""The documents of the saved state: odd responses, and what an operator is advised to do."""

import random
from contextlib import asynccontextmanager

import pytest

from autoscaler.adapters.elasticsearch.documents import DocumentApi
from autoscaler.adapters.elasticsearch.state_documents import StateDocuments
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.connection import Connection
from autoscaler.ports import DocumentsUnavailable, DocumentWrite
from tests.adapters.elasticsearch.servers import refusal, respond, serving
from tests.fakes import FakeClock

# As index blocks are reported: CheckedBlock in ClusterBlock.java, IndexMetadata.java.
BLOCK = "index [state] blocked by: [FORBIDDEN/8/index write (api)];"
UNAUTHORISED = "action [x] is unauthorized for user [u] on indices [state]"
ADVICE = [
    (
        403,
        "cluster_block_exception",
        BLOCK,
        "; remove the block; one of a full disk ends when the ",
    ),
    (403, "security_exception", UNAUTHORISED, "; grant read, index, delete and create_index for "),
    (503, "unavailable_shards_exception", "no shard", "unavailable_shards_exception: no shard"),
]


@asynccontextmanager
async def documents(*responses):
    async with serving(*responses) as server, documents_on(server) as found:
        yield found


@asynccontextmanager
async def documents_on(server):
    connection = Connection(hosts=(server.url,), retries=0)
    async with Transport(connection, FakeClock(), random.Random(1)) as transport:
        api = DocumentApi(transport, "state")
        yield StateDocuments(api, "state", FakeClock(), writer="one")


async def written(*responses):
    """The problem with a write."""
    async with documents(*responses) as found:
        try:
            result = await found.write([DocumentWrite("shared", b"content", None)])
        except DocumentsUnavailable as error:
            return str(error)
        assert result.versions == {}
        return result.problem


CREATED = respond({"acknowledged": True, "index": "state"})


@pytest.mark.parametrize(("status", "type_", "reason", "advice"), ADVICE)
async def test_a_refused_request(status, type_, reason, advice):
    problem = await written(CREATED, refusal(status, type_, reason))
    assert reason in problem
    assert advice in problem


@pytest.mark.parametrize(("status", "type_", "reason", "advice"), ADVICE)
async def test_a_refused_document(status, type_, reason, advice):
    error = {"type": type_, "reason": reason}
    item = {"create": {"_index": "state", "_id": "shared", "status": status, "error": error}}
    problem = await written(CREATED, respond({"errors": True, "items": [item]}))
    assert reason in problem
    assert advice in problem


ABSENT = {"_index": "state", "_id": "stopped", "found": False}


@pytest.mark.parametrize(
    "docs",
    [[], [ABSENT, ABSENT | {"_id": "another"}], [ABSENT | {"_id": "another"}]],
    ids=["none", "one too many", "another"],
)
async def test_a_document_that_a_response_does_not_mention_is_not_absent(docs):
    async with documents(respond({"docs": docs})) as found:
        with pytest.raises(DocumentsUnavailable, match="is not about the requested documents"):
            await found.read(["stopped"])


async def test_a_document_that_a_response_reports_as_absent_is():
    async with documents(respond({"docs": [ABSENT]})) as found:
        assert await found.read(["stopped"]) == {}


WRITTEN = {"_index": "state", "_id": "shared", "status": 201, "_seq_no": 3, "_primary_term": 1}


async def test_a_document_that_a_response_reports_as_written_is():
    async with documents(CREATED, respond({"items": [{"create": WRITTEN}]})) as found:
        result = await found.write([DocumentWrite("shared", b"content", None)])
        assert result.versions == {"shared": "3:1"}


@pytest.mark.parametrize(
    "item",
    [
        WRITTEN | {"status": 503},
        {name: value for name, value in WRITTEN.items() if name != "_seq_no"},
        {name: value for name, value in WRITTEN.items() if name != "_primary_term"},
    ],
    ids=["status", "number", "term"],
)
async def test_a_document_that_is_not_certainly_written_is_not(item):
    assert await written(CREATED, respond({"items": [{"create": item}]}))


@pytest.mark.parametrize("missing", ["_seq_no", "_primary_term"])
async def test_a_document_without_a_version_is_not_read(missing):
    read = {"_index": "state", "_id": "shared", "found": True, "_source": {"autoscaler_state": 1}}
    read |= {"_seq_no": 3, "_primary_term": 1}
    async with documents(respond({"docs": [read]})) as found:
        assert list(await found.read(["shared"])) == ["shared"]
    del read[missing]
    async with documents(respond({"docs": [read]})) as found:
        with pytest.raises(DocumentsUnavailable, match="lacks a version"):
            await found.read(["shared"])


async def test_no_field_is_indexed_also_where_settings_are_not_permitted():
    """As on serverless."""
    reason = "Settings [index.number_of_shards] are not available when running in serverless mode"
    responses = (
        refusal(400, "illegal_argument_exception", reason),
        CREATED,
        respond({"items": [{"create": WRITTEN}]}),
    )
    async with serving(*responses) as server, documents_on(server) as found:
        result = await found.write([DocumentWrite("shared", b"content", None)])
        assert result.versions == {"shared": "3:1"}
        assert server.paths == ["/state", "/state", "/state/_bulk"]
        assert set(server.body(0)) == {"settings", "mappings"}
        assert server.body(1) == {"mappings": {"dynamic": False}}
