"""The connections to the server: how many there are at a time, and how long each may take.

A connection serves one request and is then closed, so that none is idle between requests. Whatever
clients do, the server has a bounded number of descriptors and a bounded amount of memory: when the
limit is reached, the connection that has waited longest for its client makes room for the next one.
"""

import asyncio
import logging
import math
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from aiohttp import hdrs, web

from autoscaler.adapters.admin_http.refusals import RefusalReason, Refusals
from autoscaler.adapters.admin_http.responses import HEADERS, error_response

MAX_CONNECTIONS, MIN_CONNECTIONS = 128, 4
"""Connections at a time, where the process may have enough descriptors, and where it may not. 128:
fifty open pages have a stream each, as many people may open one in the same moment, and a
Prometheus server, an orchestrator's probes and an operator need a handful."""

RESERVED_DESCRIPTORS = 40
"""Descriptors that the server leaves to the rest of the daemon. 40: connections to the nodes of the
cluster, the state, the configuration, the log, the loop itself, and as many again."""

HEAD_TIMEOUT_S = 5.0
"""Seconds from connecting until the head of the request is complete. It is one packet."""

BODY_TIMEOUT_S = 5.0
"""Seconds from then until the body is complete. It is one packet as well."""

WRITE_TIMEOUT_S = 10.0
"""Seconds in which a client takes the response. 10 s, which is how long Prometheus waits for a
scrape unless configured otherwise."""

CLOSE_TIMEOUT_S = 3.0
"""Seconds from the end of the response until the connection is closed, even if the client has not
taken all of it, or is still sending."""

LINGER_S = 1.0
"""Seconds for which a body that is not accepted is read and discarded, so that its client reads the
response before it finds the connection closed."""

MAX_HEAD_BYTES = 32_768
"""The size limit of the head of a request. Heads of browsers with cookies have a few kilobytes."""

LARGE_BYTES, MAX_LARGE = 262_144, 4
"""How many responses larger than so many bytes are sent at a time. The metrics of 1,000 deployments
are 8 MB: four of them fit into the memory that the process is given, one for each connection does
not."""

ACCEPT_RETRY_S = 1.0
"""Seconds until the next attempt to accept a connection after the process has run out of
descriptors."""

BACKLOG = 128
"""Connections that the kernel keeps until they are accepted. They take no descriptors."""

_SILENT = logging.Logger("autoscaler.http.silent", logging.CRITICAL + 1)
"""For the library, which logs a line for each malformed request."""


def connection_limit(soft_limit: int) -> int:
    """Connections at a time for a process that may have so many descriptors."""
    if soft_limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, soft_limit - RESERVED_DESCRIPTORS))


class ClientConnection(web.RequestHandler):
    """One connection. It serves one request, and is closed if its client takes too long."""

    def __init__(self, manager: web.Server, listener: "Listener") -> None:
        self._own_loop = asyncio.get_running_loop()
        super().__init__(
            manager,
            loop=self._own_loop,
            access_log=None,  # type: ignore[arg-type]
            logger=_SILENT,
            auto_decompress=False,
            lingering_time=LINGER_S,
        )
        self._listener = listener
        self._socket: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes: int | None = 0  # None: the head is complete
        self.waiting_since: float | None = None  # for its client; None: the client waits
        self._connecting: asyncio.Task[None] | None = None  # the TLS handshake
        self.on_lost: Callable[[], None] | None = None  # called when the client has gone

    def await_handshake(self, connecting: "asyncio.Task[None]") -> None:
        """Wait for the TLS handshake from now on."""
        self._connecting = connecting
        self._wait(HEAD_TIMEOUT_S)

    def end_handshake(self) -> None:
        """It has succeeded, or there will be no connection."""
        self._connecting = None
        if self._socket is None:
            self._set_deadline(None)
            self._listener.remove(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport
        self._wait(HEAD_TIMEOUT_S)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._listener.refusals.note(
                    RefusalReason.MALFORMED, "the head of a request was too large"
                )
                self.abort()
                return
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays open: a client that sends no more may still read, but
        TLS of asyncio ends with the first that ends it."""
        encrypted = self._socket is not None and self._socket.get_extra_info("sslcontext")
        return self._head_bytes != 0 and not encrypted

    def begin(self) -> None:
        """The head of the request is complete."""
        self._head_bytes = None
        self.waiting_since = None
        self._set_deadline(None)

    def await_body(self) -> None:
        """Wait for the body of the request from now on, until `begin` is called again."""
        self._wait(BODY_TIMEOUT_S)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        self._head_bytes = None
        for name, value in HEADERS.items():
            resp.headers.setdefault(name, value)
        resp.force_close()
        size = resp.content_length or 0
        self._wait(WRITE_TIMEOUT_S)
        with self._listener.sending(self, size):
            finished = await super().finish_response(request, resp, start_time)
        self._wait(CLOSE_TIMEOUT_S)
        return finished

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, UnicodeError) and hdrs.EXPECT in request.headers:
            status = 400  # the library repeats that header, which may be no text
        if status >= 500:
            self._listener.refusals.note(
                RefusalReason.DEFECT, "a request failed; please report it", exc
            )
            error = "internal error; the log has the details"
        else:
            self._listener.refusals.note(RefusalReason.MALFORMED, "a request was malformed")
            error = "malformed request"
        return error_response(status, error, self._listener.version)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._set_deadline(None)
        self._listener.remove(self)
        if self.on_lost is not None:
            self.on_lost()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once."""
        if self._socket is not None:
            self._socket.abort()
        elif self._connecting is not None:
            self._connecting.cancel()

    def _wait(self, timeout_s: float) -> None:
        """Wait for the client from now on, for so long."""
        self.waiting_since = self._own_loop.time()
        self._set_deadline(timeout_s)

    def _set_deadline(self, timeout_s: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None
        if timeout_s is not None and self in self._listener:
            self._deadline = self._own_loop.call_later(timeout_s, self._give_up)

    def _give_up(self) -> None:
        self._listener.refusals.note(
            RefusalReason.SLOW, "a client took too long to send its request or take the response"
        )
        self.abort()


class Listener:
    """Accepts connections, at most so many at a time.

    Args:
        server: serves the requests.
        version: the daemon's, for error responses.
        max_connections: by default, as many as leave enough descriptors to the daemon.
        tls: of connections from now on; None: plain HTTP.
    """

    def __init__(
        self,
        server: web.Server,
        refusals: Refusals,
        *,
        version: str,
        max_connections: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.refusals = refusals
        self.version = version
        self._server = server
        if max_connections is None:
            max_connections = connection_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._max_connections = max_connections
        self._connections: dict[ClientConnection, None] = {}  # in the order of their arrival
        self._large: list[ClientConnection] = []
        self._room = asyncio.Event()
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._handshakes: set[asyncio.Task[None]] = set()
        self.tls = tls

    def __contains__(self, connection: ClientConnection) -> bool:
        return connection in self._connections

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return int(self._sockets[0].getsockname()[1])

    async def start(self, host: str, port: int) -> None:
        """Begin to listen.

        Raises:
            OSError: the port is in use, or the address is not this machine's.
            UnicodeError: the host is not a valid name.
        """
        # The library resolves and binds; it would accept without a limit.
        loop = asyncio.get_running_loop()
        bound = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        self._sockets = [each.dup() for each in bound.sockets]
        bound.close()
        for each in self._sockets:
            each.setblocking(False)
            each.listen(BACKLOG)
            self._accepting.append(asyncio.ensure_future(self._accept(each)))

    async def stop(self) -> None:
        """Accept no further connection."""
        tasks = [*self._accepting, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in self._sockets:
            each.close()
        self._accepting, self._sockets = [], []

    async def close(self) -> None:
        """Close the connections that are still open. Their clients have not taken all of the
        response yet, or have not responded to the end of TLS."""
        for connection in list(self._connections):
            connection.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                while self._connections:
                    self._room.clear()
                    await self._room.wait()

    def remove(self, connection: ClientConnection) -> None:
        """A connection is closed."""
        self._connections.pop(connection, None)
        self._room.set()

    @contextmanager
    def sending(self, connection: ClientConnection, size: int) -> Iterator[None]:
        """While a response of so many bytes is sent. The oldest large one makes room for it."""
        if size <= LARGE_BYTES:
            yield
            return
        while len(self._large) >= MAX_LARGE:
            self.refusals.note(
                RefusalReason.SLOW,
                "a client that had not taken its response made room for another large one",
            )
            self._large.pop(0).abort()
        self._large.append(connection)
        try:
            yield
        finally:
            if connection in self._large:
                self._large.remove(connection)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                self.refusals.note(
                    RefusalReason.DESCRIPTORS,
                    f"a connection cannot be accepted: {(error.strerror or str(error)).lower()}",
                )
                await asyncio.sleep(ACCEPT_RETRY_S)
                continue
            try:
                await self._make_room()
            except asyncio.CancelledError:
                accepted.close()
                raise
            await self._connect(accepted)

    async def _connect(self, accepted: socket.socket) -> None:
        connection = ClientConnection(self._server, self)
        self._connections[connection] = None
        if self.tls is not None:  # others do not wait for the handshake
            task = asyncio.ensure_future(self._shake_hands(connection, accepted, self.tls))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)
            connection.await_handshake(task)
            return
        try:
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError:  # the client has gone
            self.remove(connection)
            accepted.close()
        except asyncio.CancelledError:  # the loop closes the socket
            self.remove(connection)
            raise

    async def _shake_hands(
        self, connection: ClientConnection, accepted: socket.socket, tls: ssl.SSLContext
    ) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=tls,
                ssl_handshake_timeout=HEAD_TIMEOUT_S,
                ssl_shutdown_timeout=CLOSE_TIMEOUT_S,
            )
        except OSError as error:  # the loop has closed the socket; ssl.SSLError included
            if isinstance(error, ssl.SSLError):
                self.refusals.note(RefusalReason.MALFORMED, "a TLS handshake failed")
        finally:
            connection.end_handshake()

    async def _make_room(self) -> None:
        while len(self._connections) >= self._max_connections:
            self._room.clear()
            self.refusals.note(
                RefusalReason.CONNECTIONS,
                f"there are {self._max_connections} connections, so the one that has waited "
                "longest for its client makes room for a new one",
            )
            min(self._connections, key=_waiting_since).abort()
            await self._room.wait()


def _waiting_since(connection: ClientConnection) -> float:
    """Those whose clients wait for the response come last, the oldest of them first."""
    return math.inf if connection.waiting_since is None else connection.waiting_since
