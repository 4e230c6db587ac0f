"""One request to one of the hosts, and what may be done when that fails.

A request that only reads is repeated after a pause and on another host. One that changes something
goes to another host only while it has certainly not been sent: whoever asked decides about the
rest. Nothing is logged here, and no message contains what authenticates us.
"""

import asyncio
import random
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import aiohttp
from msgspec import Struct
from yarl import URL

from autoscaler import __version__
from autoscaler.adapters.elasticsearch.api_errors import ApiError, Unauthenticated
from autoscaler.adapters.elasticsearch.credentials import Authorization
from autoscaler.adapters.elasticsearch.error_rules import Operation, classify
from autoscaler.adapters.elasticsearch.errors import (
    ConnectionBroken,
    ElasticsearchError,
    GatewayError,
    MalformedResponse,
    NotElasticsearch,
    TlsError,
    TransportError,
    Unreachable,
)
from autoscaler.adapters.elasticsearch.hosts import Host, Hosts, place_of, urls_of
from autoscaler.adapters.elasticsearch.tls import Trust
from autoscaler.adapters.elasticsearch.transport_errors import retry_after, transport_error_of
from autoscaler.connection import Connection
from autoscaler.ports import Clock
from autoscaler.wire.errors import parse_error

# Unpacked, the statistics of a page of 1000 models on ten nodes each have about 15 MB.
MAX_BODY_BYTES = 128 * 2**20
# Within a data centre a connection that takes longer is not going to come about, and there is
# still time in the cycle for another host.
MAX_CONNECT_S = 3.0
_TRANSIENT = frozenset({429, 502, 503, 504})  # statuses that may be others a moment later
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 5.0


class HttpRequest(Struct, frozen=True, kw_only=True):
    method: str
    path: str  # percent-encoded
    query: Mapping[str, str] = {}
    body: bytes = b""
    operation: Operation = Operation.OTHER
    repeatable: bool = False  # whether sending it again changes nothing, and is worth the while
    extra_timeout_s: float = 0.0  # how much longer than usual, where the server is told to wait

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Transport:
    """Sends requests; use it as an asynchronous context manager.

    Raises:
        ConnectionSettingsError: `connection` cannot be obeyed.
    """

    def __init__(self, connection: Connection, clock: Clock, jitter: random.Random) -> None:
        self._connection = connection
        self._clock = clock
        self._jitter = jitter
        self._hosts = Hosts(urls_of(connection))
        self._trust = Trust(connection)
        self._authorization = Authorization(connection.auth)
        self._session: aiohttp.ClientSession | None = None
        self.opaque_id = "autoscaler"  # Elasticsearch repeats it in its logs and task lists

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={
                # A vendor type would tie us to one major version of the server.
                "Accept": "application/json",
                "User-Agent": f"autoscaler/{__version__}",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def send(self, request: HttpRequest) -> bytes:
        """The body of a successful answer.

        Raises:
            TransportError: no answer of Elasticsearch; its class says whether it may have acted.
            ApiError: Elasticsearch refused; its class says why.
        """
        # Attempts begin within one time-out, so that a whole request takes at most two.
        give_up_at = self._clock.now() + self._connection.request_timeout_s
        attempt = 0
        while True:
            try:
                return await self._send_to_some_host(request)
            except ElasticsearchError as error:
                pause_s = self._pause_s(error, attempt)
                if (
                    pause_s is None
                    or not request.repeatable
                    or attempt >= self._connection.retries
                    or self._clock.now() + pause_s >= give_up_at
                ):
                    raise
            await self._clock.sleep(pause_s)
            attempt += 1

    def _pause_s(self, error: ElasticsearchError, attempt: int) -> float | None:
        """How long to wait before another attempt; None: none is worth it.

        Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"), because replicas
        that failed together must not come back together.
        """
        asked_s = 0.0
        match error:
            case ApiError() | GatewayError() if error.status in _TRANSIENT:
                asked_s = error.retry_after_s or 0.0
            case Unreachable() | ConnectionBroken():
                pass
            case _:
                return None
        longest_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0**attempt)
        return asked_s + self._jitter.uniform(0.0, longest_s)

    async def _send_to_some_host(self, request: HttpRequest) -> bytes:
        failure: TransportError | None = None
        for host in self._hosts.in_turn(self._clock.now()):
            try:
                return await self._send_to(host, request)
            except (Unreachable, TlsError) as error:
                failure = error
            except ConnectionBroken as error:
                if not request.repeatable:
                    raise
                failure = error
        assert failure is not None
        raise failure

    async def _send_to(self, host: Host, request: HttpRequest) -> bytes:
        try:
            body = await self._send_authorised(host.url, request)
        except TransportError:
            host.failed(self._clock.now())
            raise
        except ApiError:
            host.answered()
            raise
        host.answered()
        return body

    async def _send_authorised(self, url: URL, request: HttpRequest) -> bytes:
        """Send; on a 401, which carries nothing out, once more if a file has new credentials."""
        try:
            return await self._exchange(url, request)
        except Unauthenticated:
            if not self._authorization.renew():
                raise
        return await self._exchange(url, request)

    async def _exchange(self, url: URL, request: HttpRequest) -> bytes:
        timeout_s = self._connection.request_timeout_s + request.extra_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send_once(url, request)
        except (aiohttp.ClientError, OSError) as error:  # a time-out is an OSError, too
            failure = transport_error_of(error, request=str(request), place=place_of(url))
            if isinstance(failure, TlsError):
                self._trust.reload_before_next()
            raise failure from error

    async def _send_once(self, url: URL, request: HttpRequest) -> bytes:
        assert self._session is not None, "use the transport as a context manager"
        headers = {"X-Opaque-Id": self.opaque_id, **self._authorization.headers}
        if request.body:
            headers["Content-Type"] = "application/json"
        async with self._session.request(
            request.method,
            _address(url, request),
            data=request.body or None,
            headers=headers,
            allow_redirects=False,  # they would carry the credentials elsewhere
            ssl=await self._trust.context_for(url),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=MAX_CONNECT_S),
        ) as response:
            body = await _bounded(response, request)
            return self._checked(url, request, response, body)

    def _checked(
        self, url: URL, request: HttpRequest, response: aiohttp.ClientResponse, body: bytes
    ) -> bytes:
        """The body of a success of Elasticsearch; anything else raises what it means."""
        status, place = response.status, place_of(url)
        is_product = response.headers.get("X-Elastic-Product") == "Elasticsearch"
        if 200 <= status < 300:
            if not is_product:
                raise NotElasticsearch(
                    f"{place} is not Elasticsearch; check the address, and that nothing between "
                    "removes the header X-Elastic-Product"
                )
            return body
        wait_s = retry_after(response.headers, self._clock.now())
        answer = parse_error(status, body)
        if answer.enveloped or is_product or status == 401:
            raise classify(request.operation, answer, request=str(request), retry_after_s=wait_s)
        if status >= 500 or status in _TRANSIENT:
            raise GatewayError(
                f"something in front of Elasticsearch at {place} answered {request} with {status}",
                status=status,
                retry_after_s=wait_s,
            )
        raise NotElasticsearch(
            f"{place} answered {request} with {status}, and not as Elasticsearch does; "
            "check the address, its path, and what stands between"
        )


def _address(url: URL, request: HttpRequest) -> URL:
    query = f"?{urlencode(request.query, safe='*,')}" if request.query else ""
    return URL(f"{str(url).rstrip('/')}{request.path}{query}", encoded=True)


async def _bounded(response: aiohttp.ClientResponse, request: HttpRequest) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            response.close()
            raise MalformedResponse(
                f"the answer to {request} is larger than {MAX_BODY_BYTES} bytes"
            )
    return bytes(body)
