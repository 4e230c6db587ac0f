"""Requests as bytes, which no client library would send, and their responses."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple


class Answer(NamedTuple):
    """A response; `status` is None if there was none, only a closed connection."""

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    complete: bool  # as long as its Content-Length says


def request(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {each}" for name, each in headers.items())]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("utf-8", "surrogateescape")


async def exchange(port: int, sent: bytes) -> Answer:
    """Send bytes, read until the server closes the connection, and parse the last response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    with suppress(ConnectionError):
        writer.write(sent)
        writer.write_eof()
        while piece := await reader.read(65_536):
            received += piece
    writer.close()
    return parsed(received)


def parsed(received: bytes) -> Answer:
    head, separator, body = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head, separator, body = body.partition(b"\r\n\r\n")
    if not separator:
        return Answer(None, {}, received, complete=False)
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    complete = int(headers.get("Content-Length", -1)) == len(body)
    return Answer(int(status.split(" ")[1]), headers, body, complete)
