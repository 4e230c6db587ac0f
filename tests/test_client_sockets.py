"""Clients whose connections are closed when they end, however the other end behaves."""

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager

import aiohttp
import pytest
import trustme

from autoscaler import client_sockets
from autoscaler.client_sockets import client_session

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def opened(monkeypatch):
    """The sockets that the clients of a test have opened."""
    found = []
    make = client_sockets._ClientSocket.__init__

    def recorded(self, *arguments, **options):
        found.append(self)
        make(self, *arguments, **options)

    monkeypatch.setattr(client_sockets._ClientSocket, "__init__", recorded)
    return found


@asynccontextmanager
async def listening(authority, respond, **more):
    """The port of a server with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    for name, value in more.items():
        setattr(context, name, value)
    authority.configure_trust(context)
    server = await asyncio.start_server(respond, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(port, authority, *, trusted=True):
    context = ssl.create_default_context()
    if trusted:
        authority.configure_trust(context)
    async with (
        client_session() as session,
        session.get(f"https://localhost:{port}", ssl=context) as response,
    ):
        return await response.read()


def responding(head=b""):
    async def respond(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: 2\r\n\r\nok" % head)
        await writer.drain()
        await reader.read()  # until the client has closed
        writer.close()

    return respond


@pytest.mark.parametrize("head", [b"", b"Connection: close\r\n"])
async def test_after_a_response_the_socket_is_closed(authority, opened, head):
    async with listening(authority, responding(head)) as port:
        assert await ask(port, authority) == b"ok"
    assert opened
    assert {one.fileno() for one in opened} == {-1}


async def test_after_an_untrusted_certificate_the_socket_is_closed(authority, opened):
    async with listening(authority, responding()) as port:
        with pytest.raises(aiohttp.ClientSSLError):
            await ask(port, authority, trusted=False)
        assert {one.fileno() for one in opened} == {-1}


async def test_after_a_refusal_by_the_server_the_socket_is_closed(authority, opened):
    async with listening(authority, responding(), verify_mode=ssl.CERT_REQUIRED) as port:
        with pytest.raises(aiohttp.ClientError):
            await ask(port, authority)
        assert {one.fileno() for one in opened} == {-1}


async def test_a_server_that_never_closes_delays_no_client_for_long(authority, opened, monkeypatch):
    monkeypatch.setattr(client_sockets, "CLOSING_S", 0.01)
    ended = asyncio.Event()

    async def respond(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        writer.transport.pause_reading()  # the end of the client is not read
        await ended.wait()
        writer.transport.abort()

    async with listening(authority, respond) as port:
        assert await ask(port, authority) == b"ok"
        assert {one.fileno() for one in opened} == {-1}
        ended.set()


async def test_where_nothing_listens_the_socket_is_closed(authority, opened):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(free.getsockname()[1], authority)
    assert {one.fileno() for one in opened} == {-1}
