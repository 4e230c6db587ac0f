"""A server that repeats the token in what is no HTTP, or in its response: no text contains it."""

import asyncio
import errno
import socket
import ssl
from contextlib import asynccontextmanager

import aiohttp
import pytest

from autoscaler.adapters.kubernetes_lease import KubernetesAccess, KubernetesLease
from autoscaler.explain import AdminRequestFailed, DaemonAddress, fetch
from autoscaler.http_errors import no_response_because
from autoscaler.ports import LeaseUnavailable

TOKEN = "Tr0ub4dor-and-3-correct-horses"

RESPONSES = {
    "no HTTP": b"%s\r\n\r\n",
    "a status": b"HTTP/1.1 %s\r\n\r\n",
    "a reason": b"HTTP/1.1 200 %s\x01\r\n\r\n",
    "a header": b"HTTP/1.1 200 OK\r\n%s\x00: 1\r\n\r\n",
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
    "an encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
    "a compression": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 30\r\n\r\n%s",
    "a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
    "a part of a body": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n%s",
    "a redirection": b"HTTP/1.1 302 F\r\nLocation: /%s\r\nContent-Length: 0\r\n\r\n",
    "a cookie": b"HTTP/1.1 500 E\r\nSet-Cookie: @%s=1\r\nContent-Length: 0\r\n\r\n",
    "an error": (
        b'HTTP/1.1 403 F\r\nConnection: close\r\n\r\n{"autoscaler": "1", "error": "no %s"}'
    ),
}


@asynccontextmanager
async def responding_with(response):
    """The address of a server with this response, of which %s is the token that it received."""

    async def respond(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        (given,) = [line for line in head.split(b"\r\n") if line.startswith(b"Authorization")]
        writer.write(response.replace(b"%s", given.split()[-1]))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
async def test_a_command(response):
    async with responding_with(response) as url:
        with pytest.raises(AdminRequestFailed) as caught:
            await fetch(DaemonAddress(url, TOKEN))
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
async def test_kubernetes(tmp_path, response):
    (tmp_path / "token").write_text(TOKEN)
    async with responding_with(response) as url:
        access = KubernetesAccess(url=url, namespace="search", token_file=tmp_path / "token")
        async with KubernetesLease(access, "autoscaler") as store:
            with pytest.raises(LeaseUnavailable) as caught:
                await store.read()
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "names no file in"),
        ("a\nb", "must contain the secret on one line"),
        ("→", "must consist of ASCII characters"),
        ("x" * 100_000, "is larger than 64 KiB"),
    ],
)
async def test_a_token_of_kubernetes_that_cannot_be_used(tmp_path, content, text):
    if content is not None:
        (tmp_path / "token").write_text(content)
    access = KubernetesAccess(
        url="http://127.0.0.1:1", namespace="search", token_file=tmp_path / "token"
    )
    async with KubernetesLease(access, "autoscaler") as store:
        with pytest.raises(LeaseUnavailable, match=f"service account of the pod .*{text}"):
            await store.read()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, TOKEN), "connection refused"),
        (aiohttp.ClientOSError(errno.ECONNRESET, TOKEN), "connection reset by peer"),
        (aiohttp.ServerDisconnectedError(TOKEN), "the connection was lost"),
        (TimeoutError(TOKEN), "there was no response in time"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (ssl.SSLError(1, TOKEN), "no TLS connection: the handshake failed"),
        (ssl.SSLCertVerificationError(1, TOKEN), "its certificate is not trusted: it cannot be "),
    ],
)
def test_other_reasons(error, text):
    found = no_response_because(error)
    assert found.startswith(text)
    assert TOKEN not in found
