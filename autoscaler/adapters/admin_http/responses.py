"""What every response has: strict headers, and errors as JSON."""

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from autoscaler.text import printable_json
from autoscaler.wire.decision_views import AdminError

HEADERS = {
    hdrs.CACHE_CONTROL: "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    hdrs.SERVER: "autoscaler",
}
"""Headers of every response: nothing is cached, run, embedded or read by pages of other sites."""


class RequestFailed(Exception):
    """A request that cannot be answered. The message says why, as one sentence."""

    status = 400

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


def json_body(response: Struct) -> bytes:
    """The response as JSON with printable characters only."""
    return printable_json(msgspec.json.encode(response).decode()).encode()


def error_response(status: int, error: str, version: str) -> web.Response:
    """An error as JSON."""
    body = json_body(AdminError(autoscaler=version, error=error))
    return web.Response(body=body, status=status, content_type="application/json")
