"""Responses that take long to make: made in a thread, one at a time, for all who wait for them.

Three kinds take turns: a scrape waits for one page and one view of the API, however many are
requested at the same time.

The metrics of a thousand deployments take a second to encode and are eight megabytes. A thread lets
the control loop continue, and the limits below bound the processor time and the memory that
scrapes take from it: a long body exists only compressed, from when it is made until it is sent.
Nothing is sent from here, so a client that does not read delays no other.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple, Self

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from autoscaler.threads import without_collector

PAUSE_RATIO = 2.0
"""Seconds without rendering for each second of it, so that rendering takes a third of one processor
however many requests there are. Metrics have two formats, so a scrape waits for at most one other,
and for a page and a view: six seconds where each of them takes half of one."""


class Kind(Enum):
    """What is rendered."""

    METRICS = "metrics"
    PAGE = "page"  # for a person, with the series of its charts
    VIEW = "view"  # of the API


MAX_WAITING: Mapping[Kind, int] = {Kind.METRICS: 2, Kind.PAGE: 64, Kind.VIEW: 8}
"""How many different responses may wait to be rendered. Each of them takes processor time also if
its client has gone. Metrics have two formats. Pages: as many as there may be streams, and some
more, so that all get theirs who open one in the same moment; each takes a few milliseconds. A view
may be of all deployments, and take a hundred times as long."""

MIN_COMPRESSED_BYTES = 1_024
"""Shorter responses fit into one packet and are not compressed."""

_GZIP = 16 + zlib.MAX_WBITS
_LEVEL = 1  # 8 MB of metrics shrink to a twentieth, and the higher levels take three times as long

CHUNK_BYTES = 65_536
"""Bytes of a long body that are given to the connection at once. It is given more when the client
has taken most of them."""

_COMPRESSED_CHUNK_BYTES = 4_096  # about so many, compressed


class Rendered(NamedTuple):
    """The status and the body of a response."""

    status: int
    body: bytes
    size: int = 0  # of the body if `body` is it compressed; 0: it is not

    @classmethod
    def of(cls, status: int, pieces: Iterable[bytes]) -> Self:
        """The pieces as one body, which is compressed unless it is short."""
        compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)
        begin, compressed, size = b"", [], 0
        for piece in pieces:
            size += len(piece)
            if size < MIN_COMPRESSED_BYTES:
                begin += piece
            else:
                compressed.append(compressor.compress(begin + piece))
                begin = b""
        if size < MIN_COMPRESSED_BYTES:
            return cls(status, begin)
        return cls(status, b"".join([*compressed, compressor.flush()]), size)


class TooManyRenderings(Exception):
    """Too many different responses wait already."""


class _Awaited(NamedTuple):
    """A response that clients wait for."""

    function: Callable[[], Rendered]
    rendered: "asyncio.Future[Rendered]"


class Renderer:
    """Calls functions in a thread, one at a time."""

    def __init__(self) -> None:
        self._waiting: dict[Kind, dict[str, _Awaited]] = {kind: {} for kind in Kind}  # by key
        self._turns = deque(Kind)  # the kind that has waited longest for its turn first
        self._rendering: asyncio.Task[None] | None = None  # None: nothing waits
        self._free_at = 0.0

    async def render(
        self, key: str, function: Callable[[], Rendered], kind: Kind = Kind.VIEW
    ) -> Rendered:
        """The result of the function.

        It is called after the request, and once for all requests that wait for it.

        Args:
            key: requests with the same kind and key get the same result.

        Raises:
            TooManyRenderings: it would be one more than may wait.
        """
        waiting = self._waiting[kind]
        if key not in waiting:
            if len(waiting) >= MAX_WAITING[kind]:
                raise TooManyRenderings("too many different requests are being answered; wait")
            loop = asyncio.get_running_loop()
            waiting[key] = _Awaited(function, loop.create_future())
            if self._rendering is None:
                self._rendering = asyncio.ensure_future(self._render())
        return await asyncio.shield(waiting[key].rendered)

    async def stop(self) -> None:
        """End the calls that have not begun."""
        if self._rendering is not None:
            self._rendering.cancel()
            await asyncio.gather(self._rendering, return_exceptions=True)
            self._rendering = None
        for waiting in self._waiting.values():
            for each in waiting.values():
                each.rendered.cancel()
            waiting.clear()

    async def _render(self) -> None:
        loop = asyncio.get_running_loop()
        while any(self._waiting.values()):
            await asyncio.sleep(max(0.0, self._free_at - loop.time()))
            function, rendered = self._next()  # who comes from now on waits for the next call
            began = loop.time()
            try:
                rendered.set_result(await asyncio.to_thread(without_collector, function))
            except asyncio.CancelledError:
                rendered.cancel()
                raise
            except Exception as defect:
                rendered.set_exception(defect)
            self._free_at = loop.time() + PAUSE_RATIO * (loop.time() - began)
        self._rendering = None

    def _next(self) -> _Awaited:
        kind = next(each for each in self._turns if self._waiting[each])
        self._turns.remove(kind)
        self._turns.append(kind)
        waiting = self._waiting[kind]
        return waiting.pop(next(iter(waiting)))


def accepts_gzip(request: web.BaseRequest) -> bool:
    """Whether the client can read a compressed response."""
    for accepted in ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])).split(","):
        encoding, _, quality = accepted.replace(" ", "").lower().partition(";q=")
        if encoding == "gzip":
            return quality.rstrip("0.") != "" or not quality
    return False


def response_of(request: web.BaseRequest, rendered: Rendered, content_type: str) -> web.Response:
    """The response, compressed if the body is and the client can read that."""
    headers = {hdrs.CONTENT_TYPE: content_type}
    if not rendered.size:
        return web.Response(body=rendered.body, status=rendered.status, headers=headers)
    if accepts_gzip(request):
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        size, chunks = len(rendered.body), _slices(rendered.body, CHUNK_BYTES)
    else:
        size, chunks = rendered.size, _decompressed(rendered.body)
    headers[hdrs.CONTENT_LENGTH] = str(size)
    return web.Response(body=_Chunks(chunks), status=rendered.status, headers=headers)


class _Chunks(Payload):
    """A body that is made while it is sent."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__(chunks)
        self._chunks = chunks

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise NotImplementedError("it can be read once, by the client")

    async def write(self, writer: AbstractStreamWriter) -> None:
        for chunk in self._chunks:
            await writer.write(chunk)  # waits while the connection has enough to send


def _slices(body: bytes, size: int) -> Iterator[bytes]:
    return (body[begin : begin + size] for begin in range(0, len(body), size))


def _decompressed(compressed: bytes) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(_GZIP)
    for piece in _slices(compressed, _COMPRESSED_CHUNK_BYTES):
        rest = piece
        while rest:
            yield decompressor.decompress(rest, CHUNK_BYTES)
            rest = decompressor.unconsumed_tail
    yield decompressor.flush()
