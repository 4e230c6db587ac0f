"""The OpenAPI 3.1 document of /api/v1, made of the endpoints and of the types of their JSON."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from autoscaler.adapters.admin_http.endpoints import API, Endpoint
from autoscaler.wire.decision_views import AdminError

_SCHEMAS = "#/components/schemas/"

_ERRORS = {
    400: "The request is malformed.",
    401: "The token, or the user and the password, are missing or wrong.",
    403: "The request comes from another site, or without a certificate where one is required, or "
    "the daemon has no token.",
    421: "The Host is not one of the daemon's.",
    429: "Too many different requests are being answered, or this address sends too many.",
    500: "Internal error; the log has the details.",
}
"""What may go wrong with any request."""

_BODY_ERRORS = {
    411: "The length of the body is not stated.",
    413: "The body is too large.",
    415: "The body is not JSON.",
}


def openapi_document(endpoints: Iterable[Endpoint], version: str, prefix: str = "") -> bytes:
    """The document as JSON.

    Args:
        version: the daemon's.
        prefix: the beginning of the paths of one of several clusters.
    """
    endpoints = tuple(endpoints)
    types: list[type[Struct]] = [AdminError]
    for each in endpoints:
        types += [one for one in (each.response, each.body) if isinstance(one, type)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_SCHEMAS + "{name}")
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        path = paths.setdefault(f"{prefix}{API}{each.path}", {})
        path[each.method.lower()] = _operation(each, schema_of)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "autoscaler", "version": version, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "user": {"type": "http", "scheme": "basic"},
            },
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


_DESCRIPTION = (
    "What the daemon knows and has decided, and the instructions of operators. Instants are Unix "
    "seconds, names of durations end in _s, ratios are fractions; null is unknown, or unbounded. "
    "Later releases may add fields to responses, and values to reasons and kinds."
)


def _operation(endpoint: Endpoint, schema_of: dict[type[Struct], Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, schema_of),
        "security": [{"token": []}] if endpoint.changes else [{}, {"token": []}, {"user": []}],
    }
    if endpoint.body is not None:
        content = {"application/json": {"schema": schema_of[endpoint.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    if "{deployment_id}" in endpoint.path:
        parameters.append(
            {
                "name": "deployment_id",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1},
            }
        )
    if endpoint.query is not None:
        _, components = msgspec.json.schema_components([endpoint.query])
        schema = components[endpoint.query.__name__]
        parameters += [
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "schema": one,
            }
            for name, one in schema["properties"].items()
        ]
    return parameters


def _responses(endpoint: Endpoint, schema_of: dict[type[Struct], Any]) -> dict[str, Any]:
    if isinstance(endpoint.response, str):
        content: dict[str, Any] = {endpoint.response: {}}
    else:
        content = {"application/json": {"schema": schema_of[endpoint.response]}}
    error = {"application/json": {"schema": schema_of[AdminError]}}
    errors = _ERRORS | (_BODY_ERRORS if endpoint.body is not None else {413: "It has a body."})
    return {
        str(endpoint.status): {"description": "As requested.", "content": content},
        **{
            str(status): {"description": text, "content": error}
            for status, text in sorted((errors | dict(endpoint.errors)).items())
        },
    }
