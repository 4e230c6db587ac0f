"""Server-sent events: after each cycle, what has changed, rendered once for all who listen.

An event is rendered in a thread, compressed once, and handed to every stream of the same key. A
stream whose client is slow gets the latest event when it can take one, not those between. The
events are separate blocks of one gzip stream: a block begins without reference to those before it,
so the same bytes serve clients that have begun at different times.
"""

import asyncio
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import structlog
from aiohttp import hdrs, web

from autoscaler.adapters.admin_http.connections import WRITE_TIMEOUT_S, ClientConnection
from autoscaler.adapters.admin_http.rendering import PAUSE_RATIO, accepts_gzip
from autoscaler.adapters.admin_http.responses import HEADERS
from autoscaler.threads import without_collector

MAX_STREAMS = 50
"""Streams at a time. 50: the other connections are left to Prometheus, probes and commands. A page
that gets no stream polls."""

KEEP_ALIVE_S = 15.0
"""Seconds after which a stream without an event gets a comment, so that proxies keep it."""

_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVEL = 1


class PushedEvent(NamedTuple):
    """The bytes of one event, for clients that read compressed streams and for others."""

    plain: bytes
    compressed: bytes

    @classmethod
    def of(cls, plain: bytes) -> "PushedEvent":
        compressor = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
        return cls(plain, compressor.compress(plain) + compressor.flush(zlib.Z_FULL_FLUSH))


def event_text(name: str, data: bytes) -> bytes:
    """An event whose data is one line of JSON."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


class TooManyStreams(Exception):
    """As many streams are open as may be."""


class _Stream:
    """One client: what it gets next."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._next: PushedEvent | None = None
        self._ended = False

    def offer(self, event: PushedEvent) -> None:
        self._next = event
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    async def next(self) -> PushedEvent | None:
        """The next event; None: the stream has ended."""
        while not self._ended:
            try:
                await asyncio.wait_for(self._changed.wait(), KEEP_ALIVE_S)
            except TimeoutError:
                return _KEEP_ALIVE
            self._changed.clear()
            if self._next is not None and not self._ended:
                event, self._next = self._next, None
                return event
        return None


_FAILED = "HTTP: an event for the status page could not be made; please report it"

_BEGIN = PushedEvent.of(b"retry: 3000\n\n")
"""After a lost connection, a browser connects again in 3 s."""

_KEEP_ALIVE = PushedEvent.of(b": \n\n")


class Live:
    """The streams, by the key of what they show."""

    def __init__(self, max_streams: int = MAX_STREAMS) -> None:
        self._max_streams = max_streams
        self._streams: dict[str, set[_Stream]] = {}
        self._renderers: dict[str, Callable[[], bytes]] = {}
        self._changed = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._ended = False
        self._log = structlog.get_logger("autoscaler.http")

    @property
    def count(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._streams.values()))

    def notify(self) -> None:
        """There is something new to send."""
        if self._streams:
            self._changed.set()

    async def stream(
        self, request: web.Request, key: str, render: Callable[[], bytes]
    ) -> web.StreamResponse:
        """Send the events with this key until the client leaves or the server ends.

        Args:
            render: returns an event, from any thread; once for all streams with the key.

        Raises:
            TooManyStreams: no further stream is possible.
        """
        if self._ended or self.count >= self._max_streams:
            raise TooManyStreams(f"{self._max_streams} streams are open already; poll instead")
        headers = {**HEADERS, hdrs.CONTENT_TYPE: "text/event-stream"}
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=headers)
        compressed = accepts_gzip(request)
        if compressed:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        response = web.StreamResponse(headers=headers)
        response.force_close()
        stream = _Stream()
        assert isinstance(request.protocol, ClientConnection)
        request.protocol.on_lost = stream.end  # and not with the next event, to free its place
        self._streams.setdefault(key, set()).add(stream)
        self._renderers[key] = render
        if self._sending is None:
            self._sending = asyncio.ensure_future(self._send())
        try:
            await response.prepare(request)
            await response.write(_GZIP_HEAD + _BEGIN.compressed if compressed else _BEGIN.plain)
            while (event := await stream.next()) is not None:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await response.write(event.compressed if compressed else event.plain)
        except (ConnectionError, TimeoutError):
            pass  # the client has gone, or does not read
        finally:
            self._remove(key, stream)
        return response

    async def end(self) -> None:
        """End all streams, so that none delays the end of the server."""
        self._ended = True
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        self.reconnect()

    def reconnect(self) -> None:
        """End the open streams. Their clients connect again, with what they may read by then."""
        for key in self._streams:
            self._end(key)

    def _remove(self, key: str, stream: _Stream) -> None:
        streams = self._streams[key]
        streams.discard(stream)
        if not streams:
            del self._streams[key], self._renderers[key]

    async def _send(self) -> None:
        """Render an event for each key after each cycle. A cycle that ends meanwhile counts when
        all keys have been rendered."""
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            self._changed.clear()
            for key in list(self._renderers):
                if (render := self._renderers.get(key)) is None:
                    continue
                began = loop.time()
                try:
                    event = await asyncio.to_thread(without_collector, partial(_made, render))
                except Exception as defect:
                    self._log.error("http.failed", message=_FAILED, exc_info=defect)
                    self._end(key)  # their pages poll, and get the error
                    continue
                for stream in self._streams.get(key, ()):
                    stream.offer(event)
                await asyncio.sleep(PAUSE_RATIO * (loop.time() - began))

    def _end(self, key: str) -> None:
        for stream in self._streams.get(key, ()):
            stream.end()


def _made(render: Callable[[], bytes]) -> PushedEvent:
    return PushedEvent.of(render())
