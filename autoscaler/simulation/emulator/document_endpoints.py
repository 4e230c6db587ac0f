"""Indices, and `{index}/_doc/{id}` and `{index}/_create/{id}`: single documents, read in real time.

An index is created by the first document, as with the default of `action.auto_create_index`.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from autoscaler.simulation.emulator.calls import ApiEndpoint, Call, StatusDocument
from autoscaler.simulation.emulator.documents import Condition, Document, DocumentIndex
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.parameters import illegal_argument
from autoscaler.simulation.errors import SimulatedApiError, invalid_request

_NAME = re.compile(r"(?!\.\.?$)[^-_+A-Z\\/*?\"<>| ,#:][^A-Z\\/*?\"<>| ,#:]*")
"""Names that an index may have, apart from their length."""

_MAX_ID_BYTES = 512

_NO_MASTER_WAIT_S = 60.0
"""Default of `timeout`: seconds that a write waits for a master."""


async def get_document(emulation: Emulation, call: Call) -> object:
    name, document_id = call.ids["index"], call.ids["id"]
    index = emulation.indices.get(name)
    if index is None:
        raise no_such_index(name)
    found = index.documents.get(document_id)
    if found is None:
        missing = {"_index": name, "_id": document_id, "found": False}
        return StatusDocument(status=404, document=missing)
    return {**heading(name, document_id, found), "found": True, "_source": found.source}


async def put_document(emulation: Emulation, call: Call) -> object:
    operation = call.query.get("op_type") or "index"
    if operation not in {"index", "create"}:
        raise illegal_argument(f"opType must be 'create' or 'index', found: [{operation}]")
    return await _write(emulation, call, create=operation == "create")


async def create_document(emulation: Emulation, call: Call) -> object:
    return await _write(emulation, call, create=True)


async def _write(emulation: Emulation, call: Call, *, create: bool) -> object:
    name, document_id = call.ids["index"], call.ids["id"]
    require_short(document_id)
    source, condition = source_of(call.body), _condition_of(call)
    if create and condition is not None:
        raise SimulatedApiError(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: compare and write operations can not be used with create;",
        )
    await require_writable(emulation, call)
    index = index_for_write(emulation, call, name)
    existed = document_id in index.documents
    written = index.write(document_id, source, create=create, condition=condition)
    result = "updated" if existed else "created"
    document = {**heading(name, document_id, written), "result": result, "_shards": SHARDS}
    return StatusDocument(status=200 if existed else 201, document=document)


async def delete_document(emulation: Emulation, call: Call) -> object:
    name, document_id = call.ids["index"], call.ids["id"]
    condition = _condition_of(call)
    await require_writable(emulation, call)
    index = emulation.indices.get(name)
    if index is None:
        raise no_such_index(name)
    deleted, existed = index.delete(document_id, condition=condition)
    result = "deleted" if existed else "not_found"
    document = {**heading(name, document_id, deleted), "result": result, "_shards": SHARDS}
    return StatusDocument(status=200 if existed else 404, document=document)


async def delete_index(emulation: Emulation, call: Call) -> object:
    name = call.ids["index"]
    if emulation.indices.pop(name, None) is None:
        raise no_such_index(name)
    return {"acknowledged": True}


def require_short(document_id: str) -> None:
    """
    Raises:
        SimulatedApiError: 400: the id is too long.
    """
    if (size := len(document_id.encode())) > _MAX_ID_BYTES:
        raise invalid_request(
            f"id [{document_id}] is too long, must be no longer than {_MAX_ID_BYTES} bytes but "
            f"was: {size}"
        )


async def require_writable(emulation: Emulation, call: Call) -> None:
    """Writes wait for a master, up to `timeout`."""
    timeout_s = call.query.duration_s("timeout")
    timeout_s = _NO_MASTER_WAIT_S if timeout_s is None else timeout_s
    if not await emulation.until(lambda: emulation.has_master, timeout_s=timeout_s):
        raise SimulatedApiError(
            503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/2/no master];"
        )
    if emulation.writes_blocked:
        raise SimulatedApiError(
            403, "cluster_block_exception", "blocked by: [FORBIDDEN/6/cluster read-only (api)];"
        )


async def create_index(emulation: Emulation, call: Call) -> object:
    """Create an index. Its settings and mappings have no effect."""
    name = call.ids["index"]
    if call.body:
        source_of(call.body)
    _require_valid(name)
    if name in emulation.indices:
        raise SimulatedApiError(
            400,
            "resource_already_exists_exception",
            f"index [{name}/{UUID}] already exists",
            metadata={"index_uuid": UUID, "index": name},
        )
    emulation.indices[name] = DocumentIndex(name)
    return {"acknowledged": True, "shards_acknowledged": True, "index": name}


def index_for_write(emulation: Emulation, call: Call, name: str) -> DocumentIndex:
    """The index, which the first document creates.

    Raises:
        SimulatedApiError: 400: invalid name; 403: the user may not create it.
    """
    index = emulation.indices.get(name)
    if index is not None:
        return index
    _require_valid(name)
    if emulation.security is not None and call.user is not None:
        emulation.security.authorise(call.user, "indices:admin/auto_create", index=name)
    return emulation.indices.setdefault(name, DocumentIndex(name))


def source_of(body: bytes) -> dict[str, Any]:
    """
    Raises:
        SimulatedApiError: 400: it is no object.
    """
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SimulatedApiError(
            400, "document_parsing_exception", f"[1:1] failed to parse: {error}"
        ) from None


def _condition_of(call: Call) -> Condition | None:
    return condition_of(call.query.integer("if_seq_no"), call.query.integer("if_primary_term"))


def condition_of(seq_no: int | None, term: int | None) -> Condition | None:
    """
    Raises:
        SimulatedApiError: 400: one is missing, or is out of range.
    """
    if seq_no is None and term is None:
        return None
    if seq_no is None or term is None or seq_no < 0 or term < 1:
        raise SimulatedApiError(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: ifSeqNo and ifPrimaryTerm must be set together;",
        )
    return Condition(seq_no, term)


def heading(index: str, document_id: str, document: Document) -> dict[str, Any]:
    return {
        "_index": index,
        "_id": document_id,
        "_version": document.version,
        "_seq_no": document.seq_no,
        "_primary_term": document.primary_term,
    }


def _require_valid(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise SimulatedApiError(
            400, "invalid_index_name_exception", f"Invalid index name [{name}], must be lowercase"
        )


def no_such_index(name: str) -> SimulatedApiError:
    return SimulatedApiError(
        404,
        "index_not_found_exception",
        f"no such index [{name}]",
        metadata={"resource.type": "index_or_alias", "resource.id": name, "index": name},
    )


UUID = "t0-WA5QTQ0aUyZ1aTWJPdw"
"""That of every index."""

SHARDS = {"total": 2, "successful": 1, "failed": 0}
INDEX = "/{index:[^/_][^/]*}"
_DOC, _CREATE = f"{INDEX}/_doc/{{id}}", f"{INDEX}/_create/{{id}}"
_WRITE = frozenset({"op_type", "refresh", "timeout", "if_seq_no", "if_primary_term"})


def _written(
    method: str, path: str, handler: Callable[[Emulation, Call], Awaitable[object]]
) -> ApiEndpoint:
    return ApiEndpoint(
        method=method,
        path=path,
        handler=handler,
        action="indices:data/write/index",
        parameters=_WRITE,
    )


ENDPOINTS = (
    ApiEndpoint(
        method="GET",
        path=_DOC,
        handler=get_document,
        action="indices:data/read/get",
        parameters=frozenset({"realtime"}),
    ),
    _written("PUT", _DOC, put_document),
    _written("POST", _DOC, put_document),
    _written("PUT", _CREATE, create_document),
    _written("POST", _CREATE, create_document),
    ApiEndpoint(
        method="DELETE",
        path=_DOC,
        handler=delete_document,
        action="indices:data/write/delete",
        parameters=_WRITE - {"op_type"},
    ),
    ApiEndpoint(
        method="DELETE",
        path=INDEX,
        handler=delete_index,
        action="indices:admin/delete",
        parameters=frozenset({"master_timeout", "timeout"}),
        needs_master=True,
    ),
    ApiEndpoint(
        method="PUT",
        path=INDEX,
        handler=create_index,
        action="indices:admin/create",
        parameters=frozenset({"master_timeout", "timeout", "wait_for_active_shards"}),
        needs_master=True,
    ),
)
