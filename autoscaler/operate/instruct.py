"""Requests of operators to a running daemon, over its API."""

from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from autoscaler.adapters.admin_http.client import (
    URL_HINT,
    AdminRequestFailed,
    DaemonAddress,
    refusal_of,
    send,
)
from autoscaler.wire.instruction_views import RequestAccepted

API = "/api/v1"

RELOAD_TIMEOUT_S = 30.0
"""Seconds until a request is given up that waits for the daemon to read its configuration."""

Response = TypeVar("Response", bound=Struct)


class ApiReply(NamedTuple):
    """The daemon's response to a request, decoded and as JSON."""

    accepted: RequestAccepted
    body: bytes


async def instruct(daemon: DaemonAddress, name: str, request: Struct | None) -> ApiReply:
    """Send a request that changes something.

    Args:
        name: of the path below `API`.
        request: None: it has no body.

    Raises:
        AdminRequestFailed: no daemon responds, or it refuses.
    """
    body = b"" if request is None else msgspec.json.encode(request)
    found = await _sent(daemon, "POST", name, body, expected=202)
    return ApiReply(_decoded(daemon, name, found, RequestAccepted), found)


async def read(daemon: DaemonAddress, name: str, kind: type[Response]) -> tuple[Response, bytes]:
    """Read what the daemon shows, decoded and as JSON.

    Raises:
        AdminRequestFailed: no daemon responds, or it refuses.
    """
    found = await _sent(daemon, "GET", name, b"", expected=200)
    return _decoded(daemon, name, found, kind), found


async def _sent(
    daemon: DaemonAddress, method: str, name: str, body: bytes, *, expected: int
) -> bytes:
    path = f"{API}/{name}"
    status, found = await send(method, daemon, path, body=body, timeout_s=RELOAD_TIMEOUT_S)
    if status == expected:
        return found
    try:
        raise refusal_of(daemon, status, found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AdminRequestFailed(
            f"unexpected response from {daemon.url}: {status} to {method} {path}; {URL_HINT}"
        ) from error


def _decoded(daemon: DaemonAddress, name: str, body: bytes, kind: type[Response]) -> Response:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AdminRequestFailed(
            f"unexpected response from {daemon.url} to {API}/{name}; {URL_HINT}"
        ) from error
