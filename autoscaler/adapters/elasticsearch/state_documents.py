"""The documents of the saved state, in an index of the cluster that is scaled."""

import hashlib
from collections.abc import Collection
from contextlib import suppress

from autoscaler.adapters.elasticsearch.api_errors import BadRequest, IndexRefused
from autoscaler.adapters.elasticsearch.documents import (
    BLOCK_ADVICE,
    DocumentApi,
    DocumentUpdate,
    DocumentVersion,
)
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError, NotLeading
from autoscaler.ports import (
    Clock,
    DocumentsNotSent,
    DocumentsUnavailable,
    DocumentsWritten,
    DocumentWrite,
    SavedDocument,
)
from autoscaler.wire.state_records import (
    Record,
    RecordTooLarge,
    RecordUnreadable,
    decode_record,
    encode_record,
)

MAX_ID_BYTES = 512
"""Of the id of a document (elastic/elasticsearch, `IndexRequest.java`)."""

_MAPPINGS = b'{"mappings":{"dynamic":false}}'
"""No field is indexed, because documents are only read by id."""

_SETTINGS = (
    b'{"settings":{"index":{"number_of_shards":1,"auto_expand_replicas":"0-1","hidden":true}},'
    + _MAPPINGS[1:]
)
"""The same, and what serverless does not permit to set."""

_GRANT = "grant read, index, delete and create_index for the index of the state"


class StateDocuments:
    """A DocumentStore. Reads are in real time, and an acknowledged write is on the disks of the
    primary shard and of its replicas.

    Args:
        index: the name of the index, which is created when the first document is written.
        writer: the name of this instance.
    """

    def __init__(self, documents: DocumentApi, index: str, clock: Clock, *, writer: str) -> None:
        self._documents = documents
        self._index = index
        self._clock = clock
        self._writer = writer
        self._exists = False  # the index, as far as is known

    @property
    def place(self) -> str:
        return f"the index {self._index}"

    async def read(self, names: Collection[str]) -> dict[str, SavedDocument]:
        ids = {_id(name): name for name in names}
        try:
            found = await self._documents.get_many(ids)
        except ElasticsearchError as error:
            raise _unavailable(error) from error
        self._exists = self._exists or bool(found)
        documents = {}
        for document_id, each in found.items():
            name, version = ids[document_id], str(each.version)
            try:
                writer, content = decode_record(each.source)
            except RecordUnreadable as error:
                documents[name] = SavedDocument(
                    version=version, content=b"", writer="", problem=f"{name} {error}"
                )
            else:
                documents[name] = SavedDocument(version=version, content=content, writer=writer)
        return documents

    async def write(self, writes: Collection[DocumentWrite]) -> DocumentsWritten:
        try:
            updates = {each.name: self._update(each) for each in writes}
        except RecordTooLarge as error:
            raise DocumentsUnavailable(str(error)) from error
        try:
            if not self._exists:
                await self._create_index()
                self._exists = True
            results = await self._documents.update_many(updates.values())
        except ElasticsearchError as error:
            raise _unavailable(error) from error
        versions, changed, problem = {}, [], ""
        for name, update in updates.items():
            result = results.get(update.document_id)
            if result is None:
                problem = f"the response does not mention {name}"
            elif result.version is not None:
                versions[name] = str(result.version)
            elif result.changed:
                changed.append(name)
            else:
                problem = result.problem
        return DocumentsWritten(versions, tuple(changed), _advised(problem))

    async def _create_index(self) -> None:
        """It may exist for a user who may not create it."""
        with suppress(IndexRefused, BadRequest):
            try:
                await self._documents.create_index(_SETTINGS)
            except BadRequest:
                await self._documents.create_index(_MAPPINGS)

    def _update(self, write: DocumentWrite) -> DocumentUpdate:
        """
        Raises:
            RecordTooLarge: it must not be written.
        """
        source = None
        if write.content is not None:
            record = Record(
                name=write.name.encode(errors="replace").decode(),
                writer=self._writer,
                written_at=self._clock.now(),
                content=write.content,
            )
            source = encode_record(record)
        replaces = None if write.replaces is None else DocumentVersion.of(write.replaces)
        return DocumentUpdate(_id(write.name), source, replaces)


def _id(name: str) -> str:
    """The name, or a hash of it where the name is too long for an id, or no text."""
    encoded = name.encode(errors="surrogatepass")
    if len(encoded) <= MAX_ID_BYTES and encoded.decode(errors="replace") == name:
        return name
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def _unavailable(error: ElasticsearchError) -> DocumentsUnavailable:
    if isinstance(error, NotLeading):
        return DocumentsNotSent(str(error))
    return DocumentsUnavailable(_advised(str(error)))


def _advised(problem: str) -> str:
    """The problem, with what to do where that is not obvious."""
    if "cluster_block_exception" in problem:
        return f"{problem}; {BLOCK_ADVICE}"
    return f"{problem}; {_GRANT}" if "security_exception" in problem else problem
