"""`{index}/_bulk` and `{index}/_mget`: many documents in one request, each with its own result.

Source: elastic/elasticsearch, `BulkRequestParser.java`, `TransportBulkAction.java`,
`MultiGetResponse.java`. Privileges are checked for each document.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.document_endpoints import (
    INDEX,
    SHARDS,
    UUID,
    condition_of,
    heading,
    index_for_write,
    no_such_index,
    require_short,
    require_writable,
    source_of,
)
from autoscaler.simulation.emulator.documents import Condition
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.parameters import illegal_argument
from autoscaler.simulation.errors import SimulatedApiError, invalid_request

_ACTIONS = {
    "index": "indices:data/write/index",
    "create": "indices:data/write/index",
    "delete": "indices:data/write/delete",
}
"""The actions that need a privilege, by operation."""

_PARAMETERS = frozenset({"_index", "_id", "if_seq_no", "if_primary_term"})


class _Item(NamedTuple):
    operation: str
    index_name: str
    document_id: str
    condition: Condition | None
    source: bytes


async def bulk(emulation: Emulation, call: Call) -> object:
    items = list(_items(call))
    if not items:
        raise invalid_request("no requests added")
    await require_writable(emulation, call)
    results = [{item.operation: _executed(emulation, call, item)} for item in items]
    failed = any("error" in result for each in results for result in each.values())
    return {"errors": failed, "took": 1, "items": results}


async def get_many(emulation: Emulation, call: Call) -> object:
    body = parse_body(call.body, _ManyIds, parser="multi_get")
    if not body.ids:
        raise invalid_request("no documents to get")
    return {"docs": [_found(emulation, call, document_id) for document_id in body.ids]}


class _ManyIds(Struct, forbid_unknown_fields=True):
    ids: list[str] = []


def _items(call: Call) -> Iterator[_Item]:
    """
    Raises:
        SimulatedApiError: 400: the request cannot be read.
    """
    if call.body and not call.body.endswith(b"\n"):
        raise illegal_argument("The bulk request must be terminated by a newline [\\n]")
    lines = enumerate(call.body.split(b"\n")[:-1], 1)
    for number, line in lines:
        if not line.strip():
            continue
        operation, parameters = _action(line, number)
        document_id = parameters.get("_id")
        if not isinstance(document_id, str):
            raise illegal_argument(f"Action/metadata line [{number}]: ids are not generated here")
        require_short(document_id)
        condition = condition_of(parameters.get("if_seq_no"), parameters.get("if_primary_term"))
        if condition is not None and operation == "create":
            raise invalid_request("compare and write operations can not be used with create")
        source = b""
        if operation != "delete":
            _, source = next(lines, (0, b""))
        index_name = str(parameters.get("_index", call.ids["index"]))
        yield _Item(operation, index_name, document_id, condition, source)


def _action(line: bytes, number: int) -> tuple[str, Mapping[str, Any]]:
    try:
        action = msgspec.json.decode(line, type=dict[str, dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        action = {}
    if len(action) != 1:
        raise illegal_argument(
            f"Malformed action/metadata line [{number}], expected one object with an operation"
        )
    ((operation, parameters),) = action.items()
    if operation not in _ACTIONS:
        raise illegal_argument(
            f"Malformed action/metadata line [{number}], expected field [create], [delete] or "
            f"[index] but found [{operation}]"
        )
    if unknown := sorted(set(parameters) - _PARAMETERS):
        raise illegal_argument(
            f"Action/metadata line [{number}] contains an unknown parameter [{unknown[0]}]"
        )
    return operation, parameters


def _executed(emulation: Emulation, call: Call, item: _Item) -> dict[str, Any]:
    named = {"_index": item.index_name, "_id": item.document_id}
    try:
        if emulation.security is not None and call.user is not None:
            action = _ACTIONS[item.operation]
            emulation.security.authorise(call.user, action, index=item.index_name)
        return _written(emulation, call, item)
    except SimulatedApiError as error:
        return {**named, "status": error.status, "error": _error(error)}


def _written(emulation: Emulation, call: Call, item: _Item) -> dict[str, Any]:
    if item.operation == "delete":
        index = emulation.indices.get(item.index_name)
        if index is None:
            raise no_such_index(item.index_name)
        written, existed = index.delete(item.document_id, condition=item.condition)
        result, status = ("deleted", 200) if existed else ("not_found", 404)
    else:
        source = source_of(item.source)
        index = index_for_write(emulation, call, item.index_name)
        existed = item.document_id in index.documents
        create = item.operation == "create"
        written = index.write(item.document_id, source, create=create, condition=item.condition)
        result, status = ("updated", 200) if existed else ("created", 201)
    named = heading(item.index_name, item.document_id, written)
    return {**named, "result": result, "_shards": SHARDS, "status": status}


def _found(emulation: Emulation, call: Call, document_id: str) -> dict[str, Any]:
    name = call.ids["index"]
    named = {"_index": name, "_id": document_id}
    try:
        if emulation.security is not None and call.user is not None:
            action = "indices:data/read/mget[shard]"
            emulation.security.authorise(call.user, action, index=name)
        if name not in emulation.indices:
            raise no_such_index(name)
    except SimulatedApiError as error:
        cause = _error(error)
        return {**named, "error": {"root_cause": [cause], **cause}}
    found = emulation.indices[name].documents.get(document_id)
    if found is None:
        return {**named, "found": False}
    return {**heading(name, document_id, found), "found": True, "_source": found.source}


def _error(error: SimulatedApiError) -> dict[str, Any]:
    placed = {"index_uuid": UUID} if "shard" in error.metadata else {}
    return {"type": error.type, "reason": error.reason, **placed, **error.metadata}


ENDPOINTS = (
    *(
        ApiEndpoint(
            method=method,
            path=f"{INDEX}/_bulk",
            handler=bulk,
            parameters=frozenset({"refresh", "timeout"}),
        )
        for method in ("POST", "PUT")
    ),
    *(
        ApiEndpoint(
            method=method,
            path=f"{INDEX}/_mget",
            handler=get_many,
            parameters=frozenset({"realtime"}),
        )
        for method in ("GET", "POST")
    ),
)
