"""Responses as bytes: documents, and the two forms of an error of Elasticsearch."""

import msgspec
from aiohttp import web

from autoscaler.simulation.emulator.filtering import filter_document
from autoscaler.simulation.emulator.media_types import PLAIN
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.wire.errors import render_error


def document_response(
    document: object,
    *,
    media_type: str = PLAIN,
    filter_path: str = "",
    pretty: bool = False,
    status: int = 200,
) -> web.Response:
    """A document of structs, dicts, lists and scalars as JSON."""
    if filter_path:
        document = filter_document(msgspec.to_builtins(document), filter_path)
    return _response(msgspec.json.encode(document), media_type, pretty=pretty, status=status)


def error_response(
    error: SimulatedApiError, *, media_type: str = PLAIN, pretty: bool = False
) -> web.Response:
    """The envelope of an error, and the headers that come with it."""
    body = render_error(
        error.status,
        error.type,
        error.reason,
        metadata=error.metadata,
        caused_by=error.caused_by,
    )
    response = _response(body, media_type, pretty=pretty, status=error.status)
    headers = error.metadata.get("header")
    for name, values in headers.items() if isinstance(headers, dict) else ():
        for value in values:
            response.headers.add(name, value)
    return response


def text_error_response(status: int, reason: str) -> web.Response:
    """The older form, with a text for `error`, used when no handler is found."""
    return document_response({"error": reason, "status": status}, status=status)


def _response(body: bytes, media_type: str, *, pretty: bool, status: int) -> web.Response:
    if pretty:
        body = msgspec.json.format(body, indent=2) + b"\n"
    return web.Response(status=status, body=body, headers={"Content-Type": media_type})
