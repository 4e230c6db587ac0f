"""One request to one of the hosts, and the retries after a failure.

A request that only reads is repeated after a pause and on another host. A request that changes
something is sent to another host only if it was certainly not sent before; the caller handles all
other failures. Nothing is logged here. Neither a message nor a body contains credentials: a server
may repeat the headers of a request, and what it repeats is masked.
"""

import asyncio
import math
import random
import ssl
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import NamedTuple, Self

import aiohttp
from yarl import URL

from autoscaler import __version__
from autoscaler.adapters.elasticsearch.api_errors import ApiError, Unauthenticated
from autoscaler.adapters.elasticsearch.credentials import Authorization
from autoscaler.adapters.elasticsearch.error_rules import Operation, classify
from autoscaler.adapters.elasticsearch.errors import (
    ConnectionBroken,
    ElasticsearchError,
    GatewayError,
    HostTimedOut,
    MalformedResponse,
    NotElasticsearch,
    NotLeading,
    Outdated,
    TlsError,
    TransportError,
    Unreachable,
)
from autoscaler.adapters.elasticsearch.hosts import Host, Hosts, place_of, urls_of
from autoscaler.adapters.elasticsearch.http_request import (
    HttpRequest,
    address_of,
    ensure_own_path,
)
from autoscaler.adapters.elasticsearch.hung_hosts import HostHangs, unless_hung
from autoscaler.adapters.elasticsearch.tls import Trust
from autoscaler.adapters.elasticsearch.transport_errors import (
    age_s,
    from_cache,
    gateway_remedy,
    origin_of,
    retry_after,
    transport_error_of,
)
from autoscaler.client_sockets import client_session
from autoscaler.connection import Connection
from autoscaler.core.units import duration_text
from autoscaler.ports import Clock, Leadership
from autoscaler.wire.bounds import ERROR_BYTES, count_values
from autoscaler.wire.errors import ErrorResponse, parse_error

MAX_CONNECT_S = 3.0
"""Maximum seconds for connecting. Within a data centre, a connection that takes longer will fail,
and 3 s leave time in the cycle for another host."""

_TRANSIENT = frozenset({429, 502, 503})
"""Statuses after which the same request may succeed a moment later. Not after 504: Elasticsearch
may still be busy with the request."""

MIN_TIMEOUT_S = 1.0
"""Seconds that the last of several hosts has at least for a response, if the others hang."""

FIRST_PAUSE_S = 0.5
"""Upper limit of the random pause before the second attempt, in seconds; doubled for each
further attempt."""

MAX_PAUSE_S = 5.0
"""Maximum of that upper limit, in seconds."""


class TimedBody(NamedTuple):
    """The body of a response, and when its request was sent and when it had arrived.

    Attempts that failed before are not included.
    """

    body: bytes
    sent_at: float
    arrived_at: float


class Transport:
    """Sends requests; use it as an asynchronous context manager.

    Raises:
        ConnectionSettingsError: a setting is invalid, or a file cannot be read.
    """

    def __init__(self, connection: Connection, clock: Clock, jitter: random.Random) -> None:
        self._connection = connection
        self._clock = clock
        self._jitter = jitter
        self._hosts = Hosts(urls_of(connection))
        self._trust = Trust(connection)
        self.authorization = Authorization(connection.auth)
        self._session: aiohttp.ClientSession | None = None
        self._closing = AsyncExitStack()
        self.leadership: Leadership | None = None  # None: this is the only instance
        self.changes_until = math.inf  # Unix seconds; no change is sent after it
        self.opaque_id = "autoscaler"  # Elasticsearch repeats it in its logs and task lists

    async def __aenter__(self) -> Self:
        session = client_session(
            headers={
                # A vendor type would require one major version of the server.
                "Accept": "application/json",
                "Cache-Control": "no-cache",  # of a proxy: old statistics show no load
                "User-Agent": f"autoscaler/{__version__}",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._session = await self._closing.enter_async_context(session)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def send(self, request: HttpRequest) -> bytes:
        """The body of a successful response.

        Raises:
            TransportError: no response from Elasticsearch; the class says whether it may have
                acted.
            ApiError: Elasticsearch refused; the class says why.
        """
        return (await self.send_timed(request)).body

    async def send_timed(self, request: HttpRequest) -> TimedBody:
        """The same, with its instants."""
        ensure_own_path(request)
        # All attempts begin within one time-out, so that a request takes at most two.
        give_up_at = self._clock.now() + self._connection.request_timeout_s
        attempt = received = 0
        while True:
            try:
                return await self._send_to_some_host(request)
            except ElasticsearchError as error:
                received += not isinstance(error, Unreachable | TlsError)
                error.requests = received
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
        """Seconds to wait before another attempt; None: another attempt would not help.

        Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"), because replicas
        that failed together must not come back together.
        """
        server_s = 0.0
        match error:
            case ApiError() | GatewayError() if error.status in _TRANSIENT:
                server_s = error.retry_after_s or 0.0
            case Unreachable() | ConnectionBroken():
                pass
            case _:
                return None
        max_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0**attempt)
        return server_s + self._jitter.uniform(0.0, max_s)

    async def _send_to_some_host(self, request: HttpRequest) -> TimedBody:
        failure: TransportError | None = None
        hosts = self._hosts.in_turn(self._clock.now(), prefer_working=not request.repeatable)
        time = asyncio.get_running_loop().time
        give_up_at = time() + self._connection.request_timeout_s + request.extra_timeout_s
        for host in hosts:
            try:
                if not request.repeatable or len(hosts) == 1:
                    return await self._send_to(host, request)
                # All hosts together have one time-out, except that the last one has a moment.
                timeout_s = max(give_up_at - time(), MIN_TIMEOUT_S)
                return await self._send_unless_hung(host, request, timeout_s)
            except (Unreachable, TlsError, HostTimedOut) as error:
                failure = error
            except ConnectionBroken as error:
                if not request.repeatable:
                    raise
                failure = error
        assert failure is not None
        raise failure

    async def _send_unless_hung(
        self, host: Host, request: HttpRequest, timeout_s: float
    ) -> TimedBody:
        """
        Raises:
            HostTimedOut: the host responds to nothing, so that another one may be tried.
        """
        try:
            return await unless_hung(
                self._send_to(host, request, timeout_s),
                partial(self._check, host.url),
                self._connection.request_timeout_s,
            )
        except HostHangs as error:
            host.failed(self._clock.now())
            raise HostTimedOut(
                f"{place_of(host.url)} responds neither to {request} nor to a request that costs "
                "it nothing; check whether the process hangs"
            ) from error

    async def _check(self, url: URL) -> None:
        """Request what costs a host nothing. Any response will do."""
        request = HttpRequest(method="HEAD", path="/")
        async with self._request(url, request, await self._trust.context_for(url)):
            pass

    async def _send_to(
        self, host: Host, request: HttpRequest, timeout_s: float | None = None
    ) -> TimedBody:
        """
        Args:
            timeout_s: what is left of the time-out of the request; None: all of it.
        """
        try:
            response = await self._send_authorised(host.url, request, timeout_s)
        except TransportError:
            host.failed(self._clock.now())
            raise
        except ApiError:
            host.succeeded()
            raise
        host.succeeded()
        return response

    async def _send_authorised(
        self, url: URL, request: HttpRequest, timeout_s: float | None
    ) -> TimedBody:
        """Send; after a 401, send once more if the file has new credentials."""
        try:
            return await self._exchange(url, request, timeout_s)
        except Unauthenticated:
            if not self.authorization.renew():
                raise
        return await self._exchange(url, request, timeout_s)

    async def _exchange(self, url: URL, request: HttpRequest, timeout_s: float | None) -> TimedBody:
        sent_at = self._clock.now()
        if timeout_s is None:
            timeout_s = self._connection.request_timeout_s + request.extra_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                body = await self._send_once(url, request, timeout_s)
        except (aiohttp.ClientError, OSError) as error:  # a time-out is an OSError, too
            failure = transport_error_of(
                error, request=str(request), place=place_of(url), timeout_s=timeout_s
            )
            if isinstance(failure, TlsError):
                self._trust.reload_before_next()
            raise failure from error
        return TimedBody(body, sent_at, self._clock.now())

    async def _send_once(self, url: URL, request: HttpRequest, timeout_s: float) -> bytes:
        context = await self._trust.context_for(url)
        # The last step before the request is sent. The process may have been suspended for long, at
        # any place before.
        self._require_permission(request, timeout_s)
        async with self._request(url, request, context) as response:
            # Before anything is decoded, so that no text from a response contains a secret.
            body = self.authorization.mask.masked(await _bounded(response, request))
            return self._checked(url, request, response, body)

    def _request(
        self, url: URL, request: HttpRequest, context: ssl.SSLContext | bool
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        assert self._session is not None, "use the transport as a context manager"
        headers = {"X-Opaque-Id": self.opaque_id, **self.authorization.headers}
        if request.body:
            headers |= request.headers or {"Content-Type": "application/json"}
        return self._session.request(
            request.method,
            address_of(url, request),
            data=request.body or None,
            headers=headers,
            allow_redirects=False,  # they would carry the credentials elsewhere
            ssl=context,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=MAX_CONNECT_S),
        )

    def _require_permission(self, request: HttpRequest, timeout_s: float) -> None:
        """
        Raises:
            Outdated: the request is a change that was decided too long ago.
            NotLeading: the request is a change, and another instance may lead within its time-out.
        """
        is_change = request.operation is not Operation.OTHER
        if is_change and (late_s := self._clock.now() - self.changes_until) > 0.0:
            raise Outdated(f"{request} would have been sent {duration_text(late_s)} too late")
        if not is_change and not request.needs_lead:
            return
        if self.leadership is not None and not self.leadership.leads(for_s=timeout_s):
            raise NotLeading(
                f"{request} was not sent, because this instance may not lead until its response"
            )

    def _checked(
        self, url: URL, request: HttpRequest, response: aiohttp.ClientResponse, body: bytes
    ) -> bytes:
        """The body of a 2xx response of Elasticsearch; raises the error for any other response."""
        status, place = response.status, place_of(url)
        is_product = response.headers.get("X-Elastic-Product") == "Elasticsearch"
        if 200 <= status < 300:
            if not is_product:
                raise NotElasticsearch(
                    f"{_shown(url)} is not Elasticsearch; check the address, and that no proxy "
                    "removes the header X-Elastic-Product"
                )
            if (old_s := age_s(response.headers)) > 0:
                raise from_cache(old_s, request=str(request), place=place)
            _ensure_few_values(body, request)
            return body
        if 300 <= status < 400 and (location := response.headers.get("Location")):
            where = origin_of(
                self.authorization.mask.masked(location.encode(errors="replace")).decode(), url
            )
            raise NotElasticsearch(
                f"{place} redirects {request} to {where} ({status}); redirects are not followed, "
                "so put the address of Elasticsearch itself into hosts"
            )
        wait_s = retry_after(response.headers, self._clock.now())
        error_response = parse_error(status, body)
        if _is_wrong_path(url, error_response, is_product=is_product):
            raise NotElasticsearch(
                f"no Elasticsearch at this path: {_shown(url)} responds to {request} with "
                f"{status}; check the address and its path in hosts, and any proxy"
            )
        if error_response.enveloped or is_product or status == 401:
            raise classify(
                request.operation, error_response, request=str(request), retry_after_s=wait_s
            )
        if status >= 500 or status in _TRANSIENT:
            raise GatewayError(
                f"a proxy before Elasticsearch at {place} responded to {request} with {status}"
                f"{gateway_remedy(status)}",
                status=status,
                retry_after_s=wait_s,
            )
        raise NotElasticsearch(
            f"unexpected response from {place}: {status} to {request}, not from Elasticsearch; "
            "check the address, its path, and any proxy"
        )


def _is_wrong_path(url: URL, response: ErrorResponse, *, is_product: bool) -> bool:
    """Whether something else is at the path of a host: another program, or a part of Elasticsearch,
    which takes an unknown path for an index."""
    if not is_product and not response.type:
        return response.status == 404 or (response.status == 405 and not response.enveloped)
    path = url.path.strip("/")
    return bool(path) and (
        f"uri [/{path}/" in response.reason
        or (response.type == "index_not_found_exception" and f"[{path}]" in response.reason)
    )


def _shown(url: URL) -> str:
    """The address of a host with its path, if it has one."""
    return str(url).rstrip("/") if url.path.strip("/") else place_of(url)


async def _bounded(response: aiohttp.ClientResponse, request: HttpRequest) -> bytes:
    """The body of a response; of that of an error, the beginning."""
    is_error = not 200 <= response.status < 300
    max_bytes = ERROR_BYTES if is_error else request.bound.max_bytes
    chunks, read_bytes = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        read_bytes += len(chunk)
        if read_bytes > max_bytes:
            response.close()  # the connection: reading the rest would take as long as it likes
            if is_error:
                return b"".join(chunks)[:max_bytes]
            raise MalformedResponse(
                f"the response to {request} is larger than {max_bytes >> 20} MiB"
            )
    return b"".join(chunks)


def _ensure_few_values(body: bytes, request: HttpRequest) -> None:
    values, most = count_values(body), request.bound.max_values
    if values > most:
        raise MalformedResponse(
            f"the response to {request} has about {values} JSON values, more than {most}"
        )
