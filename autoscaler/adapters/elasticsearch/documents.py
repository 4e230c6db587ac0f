"""Single documents, read in real time and replaced on the condition that they are unchanged.

Methods raise `TransportError` and `ApiError`, as `Transport.send` does.
"""

from typing import NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Raw

from autoscaler.adapters.elasticsearch.api_errors import Conflict, NotFound
from autoscaler.adapters.elasticsearch.errors import MalformedResponse, Unconfirmed
from autoscaler.adapters.elasticsearch.transport import HttpRequest, Transport
from autoscaler.wire.documents import FoundDocument, MissingDocument, WrittenDocument
from autoscaler.wire.lenient import decode

Response = TypeVar("Response")


class DocumentVersion(NamedTuple):
    """The last change of a document. A deleted index that is created again repeats versions."""

    seq_no: int
    primary_term: int


class StoredDocument(NamedTuple):
    version: DocumentVersion
    source: Raw  # JSON


class DocumentChanged(Exception):
    """The document is not the one that should have been replaced. Nothing was written."""


class DocumentApi:
    """The documents of one index."""

    def __init__(self, transport: Transport, index: str) -> None:
        self._transport = transport
        self._index = index

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
        request = HttpRequest(method="PUT", path=path, query=query, body=source)
        try:
            body = await self._transport.send(request)
        except Conflict as error:
            raise DocumentChanged(str(error)) from error
        written = _read(body, WrittenDocument, path)
        if written.result not in {"created", "updated"}:
            raise Unconfirmed(f"the response of {path} does not confirm the write")
        return DocumentVersion(written.seq_no, written.primary_term)

    def _path(self, operation: str, document_id: str) -> str:
        return f"/{quote(self._index, safe='')}/{operation}/{quote(document_id, safe='')}"


def _is_missing(error: NotFound, document_id: str) -> bool:
    """Whether a 404 says that there is no such document, and not that something else is missing."""
    try:
        missing = msgspec.json.decode(error.reason, type=MissingDocument)
    except (msgspec.DecodeError, RecursionError):
        return False
    return not missing.found and missing.id == document_id


def _read(body: bytes, type_: type[Response], path: str) -> Response:
    try:
        return decode(body, type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedResponse(f"the response of {path} cannot be read: {error}") from error
