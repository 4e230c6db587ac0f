"""The documents of the saved state: what an operator is advised to do where they cannot be used."""

import random

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


async def written(*responses):
    """The problem with a write."""
    async with serving(*responses) as server:
        connection = Connection(hosts=(server.url,), retries=0)
        async with Transport(connection, FakeClock(), random.Random(1)) as transport:
            documents = StateDocuments(
                DocumentApi(transport, "state"), "state", FakeClock(), writer="one"
            )
            try:
                found = await documents.write([DocumentWrite("shared", b"content", None)])
            except DocumentsUnavailable as error:
                return str(error)
            assert found.versions == {}
            return found.problem


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
