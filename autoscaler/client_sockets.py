"""The sockets of HTTP clients, and when they are closed.

`aiohttp` does not wait for every connection that it closes: one with TLS that was refused, or whose
response ends it, is closed in later turns of the event loop. A program that ends before has left
the socket open, and may write a warning about it.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import AddrInfoType, ClientSession, TCPConnector

CLOSING_S = 1.0
"""Seconds that the other end has to close a connection with TLS. After them this end closes it."""


class _ClientSocket(socket.socket):
    """A socket that says when it is closed, by whatever it was opened for."""

    closed: asyncio.Event

    def close(self) -> None:
        super().close()
        self.closed.set()


@asynccontextmanager
async def client_session(**options: Any) -> AsyncIterator[ClientSession]:
    """A session whose sockets are all closed when the context ends.

    Args:
        options: of `aiohttp.ClientSession`.
    """
    opened: list[_ClientSocket] = []

    def open_socket(address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = _ClientSocket(family=family, type=kind, proto=protocol)
        made.closed = asyncio.Event()
        opened[:] = [one for one in opened if not one.closed.is_set()] + [made]
        return made

    session = ClientSession(connector=TCPConnector(socket_factory=open_socket), **options)
    try:
        yield session
    finally:
        await session.close()
        if not await _all_closed(opened):
            for one in opened:
                if not one.closed.is_set():
                    _end(one)
            await _all_closed(opened)


async def _all_closed(opened: list[_ClientSocket]) -> bool:
    """Whether all are closed within `CLOSING_S`."""
    try:
        async with asyncio.timeout(CLOSING_S):
            for one in opened:
                await one.closed.wait()
    except TimeoutError:
        return False
    return True


def _end(one: _ClientSocket) -> None:
    """End both directions: the event loop reads that nothing follows, and closes the socket."""
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:  # the other end has ended it
        return
