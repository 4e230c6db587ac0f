"""The network between a daemon and the emulated cluster: no sockets, and faults on the way."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http import HttpVersion11, RawRequestMessage
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.connection import Connection
from autoscaler.ports import Clock
from tests.chaos.damage import damaged
from tests.chaos.schedule import Disturbance, Traffic
from tests.chaos.trace import Request, Trace

STATISTICS = "/_ml/trained_models/_stats"
LATENCY_S = 0.004
"""Seconds of the way to the cluster, and of the way back, without any fault."""

_ADAPTIVE = b'"adaptive_allocations"'


@lru_cache
def _tls_context(cafile: None = None) -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def without_authorities() -> AbstractContextManager[object]:
    """While no TLS context reads the system's authorities, which takes as long as ten cycles at
    each start. No request of the laboratory uses TLS."""
    return patch("ssl.create_default_context", _tls_context)


class Answer(Struct):
    """A response on its way back."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    ends_after: int | None = None  # bytes after which the connection breaks

    # What the daemon's HTTP client uses of a response:

    @property
    def content(self) -> "Answer":
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        if self.ends_after is None:
            yield self.body
            return
        yield self.body[: self.ends_after]
        raise aiohttp.ClientPayloadError("the connection was closed")

    def close(self) -> None:
        pass


class Server:
    """The emulated cluster, which is called instead of listening on a socket."""

    def __init__(self, application: web.Application, silent: Callable[[], frozenset[str]]) -> None:
        application.freeze()
        self._application = application
        self.silent = silent  # deployments of which the next statistics lack a node

    async def respond(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        raw = CIMultiDictProxy(CIMultiDict(headers))
        path = url.raw_path_qs
        message = RawRequestMessage(
            method, path, HttpVersion11, raw, (), False, None, False, False, URL(path, encoded=True)
        )
        parts: Any = (_Payload(body), _Nothing(), _Nothing(), None)
        request = web.Request(message, *parts, asyncio.get_running_loop(), client_max_size=2**24)
        response = await self._application._handle(request)
        assert isinstance(response, web.Response), response
        content = response.body or b""
        assert isinstance(content, bytes), content
        return Answer(response.status, dict(response.headers), content)


class _Payload:
    """The body of a request that has arrived completely."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def set_read_chunk_size(self, size: int) -> None:
        pass

    async def readany(self) -> bytes:
        body, self._body = self._body, b""
        return body


class _Nothing:
    """What belongs to a connection, which there is not."""

    max_field_size = max_line_length = 8190
    max_headers = 128
    transport = ssl_context = peername = sockname = None


class Network:
    """Carries the requests of one daemon. Disturbances begin and end at any time."""

    def __init__(self, server: Server, trace: Trace, daemon: str, clock: Clock) -> None:
        self._server = server
        self._trace = trace
        self._daemon = daemon
        self._clock = clock
        self.disturbances: dict[Disturbance, random.Random] = {}
        self.before_delivery: Callable[[], Any] | None = None  # awaited: a suspended process
        self._executing: set[asyncio.Task[Answer]] = set()

    async def exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """One request and its response. Raises what the HTTP library raises."""
        sent = self._trace.sent(self._daemon, method, url, body)
        disturbance = self._disturbance_of(sent, url)
        try:
            answer = await self._carried(sent, disturbance, (method, url, headers, body))
            sent.status = answer.status
            return answer
        finally:
            if self.before_delivery is not None:
                await self.before_delivery()
            self._trace.returned(sent)

    async def _carried(
        self,
        sent: Request,
        disturbance: tuple[Disturbance, random.Random] | None,
        request: tuple[str, URL, Mapping[str, str], bytes],
    ) -> Answer:
        await asyncio.sleep(LATENCY_S)
        if disturbance is None:
            answer = await self._execution(sent, 0.0, request)
            await asyncio.sleep(LATENCY_S)
            return answer
        fault, rng = disturbance
        sent.disturbed_by = fault.kind
        match fault.kind:
            case "refused":
                raise _refused(request[1])
            case "unreachable":
                await asyncio.sleep(3.0)
                raise aiohttp.ConnectionTimeoutError("connecting timed out")
            case "reset_before":
                raise aiohttp.ServerDisconnectedError
            case "status":
                return _error_of(fault, rng)
            case "odd":
                return _odd(rng)
            case "hang":
                await asyncio.Event().wait()
        late_s = fault.seconds if fault.kind == "late" else 0.0
        answer = await self._execution(sent, late_s, request)
        if fault.kind in ("slow", "hang_after"):
            await asyncio.sleep(fault.seconds if fault.kind == "slow" else 1e9)
        match fault.kind:
            case "reset_after":
                raise aiohttp.ClientOSError(104, "Connection reset by peer")
            case "status_after":
                return Answer(fault.status, {}, b"<html>bad gateway</html>")
            case "truncate":
                answer.ends_after = rng.randrange(max(1, len(answer.body)))
            case "garble":
                answer.body = _garbled(answer.body, rng)
            case "damage" if answer.status == 200:
                answer.body, tainted = damaged(answer.body, rng)
                sent.tainted |= tainted
        await asyncio.sleep(LATENCY_S)
        return answer

    async def _execution(
        self, sent: Request, late_s: float, request: tuple[str, URL, Mapping[str, str], bytes]
    ) -> Answer:
        """What the cluster does with a request, whether or not the client waits for it."""
        if late_s == 0.0 and sent.traffic is not Traffic.CHANGES:
            return await self._executed(sent, request)
        task = asyncio.ensure_future(self._executed_later(sent, late_s, request))
        self._executing.add(task)
        task.add_done_callback(self._executing.discard)
        return await asyncio.shield(task)

    async def _executed_later(
        self, sent: Request, late_s: float, request: tuple[str, URL, Mapping[str, str], bytes]
    ) -> Answer:
        await asyncio.sleep(late_s)
        return await self._executed(sent, request)

    async def _executed(
        self, sent: Request, request: tuple[str, URL, Mapping[str, str], bytes]
    ) -> Answer:
        with self._trace.execution(sent):
            if sent.traffic is Traffic.STATISTICS:
                sent.tainted |= self._server.silent()
            answer = await self._server.respond(*request)
            sent.executed_with = answer.status
        return answer

    def _disturbance_of(self, sent: Request, url: URL) -> tuple[Disturbance, random.Random] | None:
        for disturbance, rng in self.disturbances.items():
            matches = disturbance.traffic in (Traffic.ALL, sent.traffic)
            on_host = disturbance.host in ("", url.host)
            if matches and on_host and rng.random() < disturbance.probability:
                return disturbance, rng
        return None


def _refused(url: URL) -> Exception:
    key = ConnectionKey(url.host or "", url.port, False, True, None, None, None)
    return aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "Connection refused"))


_PRODUCT = {"X-Elastic-Product": "Elasticsearch", "Content-Type": "application/json"}


def _error_of(fault: Disturbance, rng: random.Random) -> Answer:
    """An error of the cluster, or of a proxy before it."""
    headers = {"Retry-After": str(rng.choice((0, 1, 30)))} if fault.status == 429 else {}
    if not fault.error_type:
        return Answer(fault.status, headers, b"<html>an error</html>")
    cause = {"type": fault.error_type, "reason": "a fault of the laboratory"}
    document = {"error": cause | {"root_cause": [cause]}, "status": fault.status}
    return Answer(fault.status, _PRODUCT | headers, msgspec.json.encode(document))


def _odd(rng: random.Random) -> Answer:
    """A response with status 200 that is none of Elasticsearch, or says nothing."""
    body = rng.choice(
        (b"", b"{}", b"[]", b"null", b"<html>log in</html>", b'{"acknowledged":false}')
    )
    return Answer(200, rng.choice((_PRODUCT, {})), body)


def _garbled(body: bytes, rng: random.Random) -> bytes:
    """The body with a few wrong bytes, which may still be JSON. Statistics without the key of the
    adaptive allocations would say that there are none, and no client could know better."""
    while True:
        garbled = bytearray(body)
        for _ in range(rng.randint(1, 8) if garbled else 0):
            garbled[rng.randrange(len(garbled))] = rng.choice(b'\x00\xff"}],:x')
        if garbled.count(_ADAPTIVE) == body.count(_ADAPTIVE) or not _is_json(garbled):
            return bytes(garbled)


def _is_json(body: bytes | bytearray) -> bool:
    try:
        msgspec.json.decode(body)
    except ValueError:  # of the text, or of its encoding
        return False
    return True


class Session:
    """Stands for the HTTP library's session."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def request(
        self, method: str, url: URL, *, data: bytes | None, headers: Mapping[str, str], **_: Any
    ) -> "_Exchange":
        return _Exchange(self._network, (method, url, headers, data or b""))

    async def close(self) -> None:
        pass


class _Exchange:
    def __init__(
        self, network: Network, request: tuple[str, URL, Mapping[str, str], bytes]
    ) -> None:
        self._network = network
        self._request = request

    async def __aenter__(self) -> Answer:
        return await self._network.exchange(*self._request)

    async def __aexit__(self, *_: object) -> None:
        pass


class SimulatedTransport(Transport):
    """The daemon's HTTP client, unmodified down to the session."""

    def __init__(
        self, connection: Connection, clock: Clock, jitter: random.Random, network: Network
    ) -> None:
        super().__init__(connection, clock, jitter)
        self._network = network

    async def __aenter__(self) -> Self:
        session: Any = Session(self._network)
        self._session = session
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        pass
