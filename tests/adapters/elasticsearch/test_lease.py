"""The lease in Elasticsearch: what an operator is advised to do where it cannot be used.

What every back-end has to do is in tests/contracts.
"""

import random

import pytest

from autoscaler.adapters.elasticsearch.documents import DocumentApi
from autoscaler.adapters.elasticsearch.lease import ElasticsearchLease
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.connection import Connection
from autoscaler.core.election import Lease
from autoscaler.ports import LeaseUnavailable
from tests.adapters.elasticsearch.servers import refusal, serving
from tests.fakes import FakeClock

# As index blocks are reported: CheckedBlock in ClusterBlock.java, IndexMetadata.java.
READ_ONLY = (403, "cluster_block_exception", "[FORBIDDEN/8/index write (api)]")
FULL_DISK = (
    429,
    "cluster_block_exception",
    "[TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only block]",
)


async def refused(status, type_, reason):
    """The message where the write of a lease is refused."""
    async with serving(refusal(status, type_, reason)) as server:
        connection = Connection(hosts=(server.url,))
        async with Transport(connection, FakeClock(), random.Random(1)) as transport:
            lease = ElasticsearchLease(DocumentApi(transport, "leases"), "autoscaler")
            with pytest.raises(LeaseUnavailable) as raised:
                await lease.write(Lease(holder="a", ttl_s=30.0), None)
            return str(raised.value)


@pytest.mark.parametrize(("status", "type_", "block"), [READ_ONLY, FULL_DISK])
async def test_a_block_of_the_index_is_no_lack_of_privileges(status, type_, block):
    message = await refused(status, type_, f"index [leases] blocked by: {block};")
    assert block in message
    assert "grant" not in message
    assert message.endswith(
        "; remove the block; one of a full disk ends when the data nodes have space again"
    )


async def test_a_lack_of_privileges_names_them():
    message = await refused(
        403, "security_exception", "action [x] is unauthorized for user [u] on indices [leases]"
    )
    assert message.endswith("; grant read, index and auto_configure for the index of the lease")


async def test_an_index_that_is_not_created_by_itself_is_to_be_created():
    """As TransportBulkAction.java and AutoCreateIndex.java report it."""
    reason = "no such index [leases] and [action.auto_create_index] is [false]"
    message = await refused(404, "index_not_found_exception", reason)
    assert reason in message
    assert message.endswith(
        "; create that index, or permit it in the setting action.auto_create_index"
    )
