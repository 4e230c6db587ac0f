"""The lease as a document of the cluster that it protects."""

from autoscaler.adapters.elasticsearch.api_errors import (
    ApiError,
    Forbidden,
    IndexRefused,
    Unauthenticated,
)
from autoscaler.adapters.elasticsearch.documents import (
    BLOCK_ADVICE,
    DocumentApi,
    DocumentChanged,
    DocumentVersion,
)
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.core.election import Lease, StoredLease
from autoscaler.ports import LeaseConflict, LeaseDenied, LeaseUnavailable
from autoscaler.wire.lease import decode_lease, encode_lease


class ElasticsearchLease:
    """A LeaseStore. An instance that cannot reach it cannot change the cluster either.

    The condition of a write is the document's sequence number and primary term, and reads are in
    real time. A primary shard that has been cut off may return an old document, but accepts no
    write.
    """

    def __init__(self, documents: DocumentApi, name: str) -> None:
        self._documents = documents
        self._name = name

    async def read(self) -> StoredLease | None:
        try:
            found = await self._documents.get(self._name)
        except ElasticsearchError as error:
            raise _unavailable(error) from error
        if found is None:
            return None
        return StoredLease(version=str(found.version), lease=decode_lease(found.source))

    async def write(self, lease: Lease, replaces: StoredLease | None) -> StoredLease:
        body = encode_lease(lease)
        before = None if replaces is None else DocumentVersion.of(replaces.version)
        try:
            written = await self._documents.put(self._name, body, before)
        except DocumentChanged as error:
            raise LeaseConflict(str(error)) from error
        except ElasticsearchError as error:
            raise _unavailable(error) from error
        return StoredLease(version=str(written), lease=decode_lease(body))


def _unavailable(error: ElasticsearchError) -> LeaseUnavailable:
    advice = ""
    if isinstance(error, ApiError) and error.type == "cluster_block_exception":
        advice = f"; {BLOCK_ADVICE}"
    elif isinstance(error, IndexRefused):
        advice = "; grant read, index and auto_configure for the index of the lease"
    elif isinstance(error, ApiError) and error.type == "index_not_found_exception":
        advice = "; create that index, or permit it in the setting action.auto_create_index"
    denied = isinstance(error, Unauthenticated | Forbidden)
    return (LeaseDenied if denied else LeaseUnavailable)(f"{error}{advice}")
