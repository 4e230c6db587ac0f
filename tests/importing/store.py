"""A metrics store on this host, whose responses a test chooses."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class StoreRequest(NamedTuple):
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


class StoreResponse(NamedTuple):
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Answer = Callable[[StoreRequest], StoreResponse]


def as_json(document: Any, status: int = 200) -> StoreResponse:
    return StoreResponse(status, json.dumps(document).encode())


def matrix(*series: tuple[dict[str, str], list[tuple[float, float | str]]]) -> StoreResponse:
    """A response of Prometheus: labels and values of each series."""
    result = [
        {"metric": labels, "values": [[at, str(value)] for at, value in values]}
        for labels, values in series
    ]
    return as_json({"status": "success", "data": {"resultType": "matrix", "result": result}})


@contextmanager
def served(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a store that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            response = answer(
                StoreRequest(parts.path, dict(parse_qsl(parts.query)), dict(self.headers), body)
            )
            self.send_response(response.status)
            self.send_header("Content-Type", response.content_type)
            self.send_header("Content-Length", str(len(response.body)))
            for name, value in response.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.body)

        do_POST = do_DELETE = do_GET  # noqa: N815 - as the base class names it

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
