"""Documents, read in real time and replaced on the condition that they are unchanged.

Methods raise `TransportError` and `ApiError`, as `Transport.send` does.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Raw

from autoscaler.adapters.elasticsearch.api_errors import ApiError, Conflict, NotFound
from autoscaler.adapters.elasticsearch.errors import (
    DocumentRefused,
    MalformedResponse,
    Unconfirmed,
)
from autoscaler.adapters.elasticsearch.http_request import HttpRequest
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.wire.bounds import shortened
from autoscaler.wire.documents import (
    FoundDocument,
    FoundDocuments,
    MissingDocument,
    WrittenDocument,
    WrittenDocuments,
)
from autoscaler.wire.lenient import decode

BLOCK_ADVICE = "remove the block; one of a full disk ends when the data nodes have space again"
"""What to do about a `cluster_block_exception`."""

_APPLIED = frozenset({200, 201, 404})
"""Statuses of documents that were written or deleted; 404: there was none to delete."""

Response = TypeVar("Response")


class DocumentVersion(NamedTuple):
    """The last change of a document. A deleted index that is created again repeats versions."""

    seq_no: int
    primary_term: int

    def __str__(self) -> str:
        return f"{self.seq_no}:{self.primary_term}"

    @property
    def is_known(self) -> bool:
        """Whether a response has stated it."""
        return self.seq_no >= 0 and self.primary_term > 0

    @classmethod
    def of(cls, text: str) -> Self:
        """The version whose text this is."""
        seq_no, _, primary_term = text.partition(":")
        return cls(int(seq_no), int(primary_term))


class StoredDocument(NamedTuple):
    version: DocumentVersion
    source: Raw  # JSON


class DocumentChanged(Exception):
    """The document is not the one that should have been replaced. Nothing was written."""


class DocumentUpdate(NamedTuple):
    """A document that is to be created, replaced or deleted."""

    document_id: str
    source: bytes | None  # JSON on one line; None: it is deleted
    replaces: DocumentVersion | None  # None: there should be none


class UpdateResult(NamedTuple):
    """What has become of a DocumentUpdate."""

    version: DocumentVersion | None  # None: it was not applied
    changed: bool = False  # the document is not the one that should have been replaced
    problem: str = ""  # why it was refused otherwise


class DocumentApi:
    """The documents of one index.

    Args:
        leader_only: whether only the leader may write.
    """

    def __init__(self, transport: Transport, index: str, *, leader_only: bool = False) -> None:
        self._transport = transport
        self._index = index
        self._leader_only = leader_only

    async def get(self, document_id: str) -> StoredDocument | None:
        """The document; None: there is none. Needs the index privilege `read`."""
        path = self._path("_doc", document_id)
        request = HttpRequest(method="GET", path=path, repeatable=True)
        try:
            found = _read(await self._transport.send(request), FoundDocument, path)
        except NotFound as error:
            if error.type == "index_not_found_exception" or _is_missing(error, document_id):
                return None
            raise
        if not found.found:
            return None
        return StoredDocument(DocumentVersion(found.seq_no, found.primary_term), found.source)

    async def put(
        self, document_id: str, source: bytes, replaces: DocumentVersion | None
    ) -> DocumentVersion:
        """Replace the document of that version; None: create it. Needs the index privilege
        `index`, and `auto_configure` if the index does not exist.

        Raises:
            DocumentChanged: there is another one.
        """
        operation = "_create" if replaces is None else "_doc"
        path = self._path(operation, document_id)
        query = {}
        if replaces is not None:
            query = {
                "if_seq_no": str(replaces.seq_no),
                "if_primary_term": str(replaces.primary_term),
            }
        request = HttpRequest(
            method="PUT", path=path, query=query, body=source, needs_lead=self._leader_only
        )
        try:
            body = await self._transport.send(request)
        except Conflict as error:
            raise DocumentChanged(str(error)) from error
        written = _read(body, WrittenDocument, path)
        if written.result not in {"created", "updated"}:
            raise Unconfirmed(f"the response of {path} does not confirm the write")
        return DocumentVersion(written.seq_no, written.primary_term)

    async def create_index(self, settings: bytes) -> None:
        """Create the index, if it does not exist. Needs the index privilege `create_index`."""
        path = f"/{quote(self._index, safe='')}"
        request = HttpRequest(method="PUT", path=path, body=settings, needs_lead=self._leader_only)
        try:
            await self._transport.send(request)
        except ApiError as error:
            if error.type != "resource_already_exists_exception":
                raise

    async def get_many(self, document_ids: Collection[str]) -> dict[str, StoredDocument]:
        """Those of the documents that exist, by id. Needs the index privilege `read`.

        Raises:
            DocumentRefused: one of them cannot be read.
        """
        path = f"/{quote(self._index, safe='')}/_mget"
        body = msgspec.json.encode({"ids": list(document_ids)})
        request = HttpRequest(method="POST", path=path, body=body, repeatable=True)
        docs = _read(await self._transport.send(request), FoundDocuments, path).docs
        if {each.id for each in docs} != set(document_ids):
            raise MalformedResponse(f"the response of {path} is not about the requested documents")
        found = {}
        for each in docs:
            if each.error is None and each.found:
                version = DocumentVersion(each.seq_no, each.primary_term)
                if not version.is_known:
                    raise MalformedResponse(f"the response of {path} lacks a version")
                found[each.id] = StoredDocument(version, each.source)
            elif each.error is not None and not _no_index(each.error):
                raise DocumentRefused(f"{path} was refused: {_problem(each.error)}")
        return found

    async def update_many(self, updates: Iterable[DocumentUpdate]) -> dict[str, UpdateResult]:
        """Apply updates, each by itself. Needs the index privileges `index` and `delete`, and
        `auto_configure` or `create_index` if the index does not exist.

        Returns:
            The results, by id.
        """
        path = f"/{quote(self._index, safe='')}/_bulk"
        body = b"".join(line for update in updates for line in _lines(update))
        request = HttpRequest(method="POST", path=path, body=body, needs_lead=self._leader_only)
        written = _read(await self._transport.send(request), WrittenDocuments, path)
        results = {}
        for each in (each for item in written.items for each in item.values()):
            version = DocumentVersion(each.seq_no, each.primary_term)
            if each.error is None and each.status in _APPLIED and version.is_known:
                results[each.id] = UpdateResult(version)
            elif each.status == 409:
                results[each.id] = UpdateResult(None, changed=True)
            else:
                problem = _problem(each.error or {})
                results[each.id] = UpdateResult(None, problem=f"{each.status} {problem}")
        return results

    def _path(self, operation: str, document_id: str) -> str:
        return f"/{quote(self._index, safe='')}/{operation}/{quote(document_id, safe='')}"


def _lines(update: DocumentUpdate) -> tuple[bytes, ...]:
    """The lines of an update in the body of `_bulk`."""
    action: dict[str, Any] = {"_id": update.document_id}
    if (version := update.replaces) is not None:
        action |= {"if_seq_no": version.seq_no, "if_primary_term": version.primary_term}
    if update.source is None:
        return msgspec.json.encode({"delete": action}), b"\n"
    operation = "create" if version is None else "index"
    return msgspec.json.encode({operation: action}), b"\n", update.source, b"\n"


def _no_index(error: Mapping[str, Any]) -> bool:
    return error.get("type") == "index_not_found_exception"


def _problem(error: Mapping[str, Any]) -> str:
    return shortened(f"{error.get('type', 'no type')}: {error.get('reason', 'no reason given')}")


def _is_missing(error: NotFound, document_id: str) -> bool:
    """Whether a 404 says that there is no such document, and not that something else is missing."""
    try:
        missing = msgspec.json.decode(error.reason, type=MissingDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return not missing.found and missing.id == document_id


def _read(body: bytes, type_: type[Response], path: str) -> Response:
    try:
        return decode(body, type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedResponse(f"the response of {path} cannot be read: {error}") from error
