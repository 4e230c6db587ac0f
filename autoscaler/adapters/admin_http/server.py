"""The daemon's own HTTP server."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Self

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from autoscaler.adapters.admin_http.cluster_pages import ClusterPages
from autoscaler.errors import UserError
from autoscaler.text import printable

_OPENMETRICS_END = b"# EOF\n"

SHUTDOWN_TIMEOUT_S = 1.5
"""Seconds for which a scrape in progress may delay the end of the daemon. Short, because the
process that stops the daemon waits for it."""

_INDEX = """autoscaler {version}

/metrics                    for Prometheus
/healthz                    200 while the control loop completes cycles
/readyz                     200 while the latest observation of the cluster has succeeded
/decisions                  the latest decisions and their reasons; ?deployment=GLOB filters them
/decisions/{{deployment_id}}  the same for one deployment
/resume/{{deployment_id}}     POST starts a deployment that was stopped because it was idle
"""


class CannotListen(UserError):
    """The address or port is not available. The message states what to change."""


class AdminServer:
    """Serves the metrics and the health of the daemon, and the pages of its cluster.

    An async context manager, or `start` and `stop`.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        pages: ClusterPages,
        *,
        host: str,
        port: int,
        version: str,
    ) -> None:
        self._registry = registry
        self._pages = pages
        self._host, self._port = host, port
        self._version = version
        self._scraping = asyncio.Lock()
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            CannotListen: the port is in use, or the address is not this machine's.
        """
        # The daemon handles signals, and probes every few seconds would fill an access log.
        runner = web.AppRunner(
            self._app(),
            handle_signals=False,
            access_log=None,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except (OSError, UnicodeError) as error:  # UnicodeError: not a valid host name
            await runner.cleanup()
            raise CannotListen(
                f"cannot listen on {self._host}:{self._port}: {_cause(error)}; "
                "set server.host and server.port to a free address"
            ) from error
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening; at once if it never started."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self._index)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", _probe(self._pages.health.why_not_alive))
        app.router.add_get("/readyz", _probe(self._pages.health.why_not_ready))
        app.router.add_routes(self._pages.routes())
        return app

    async def _index(self, _request: web.Request) -> web.Response:
        return web.Response(text=_INDEX.format(version=self._version))

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        encode, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: content_type})
        response.enable_compression()
        # A thousand deployments take a second to encode and are eight megabytes. Encoding in a
        # thread lets the control loop continue; family by family limits the memory; one scrape
        # at a time limits the processor time that concurrent scrapes take from the loop.
        async with self._scraping:
            await response.prepare(request)
            chunks = _encoded(self._registry, encode)
            while chunk := await asyncio.to_thread(next, chunks, b""):
                await response.write(chunk)
            await response.write_eof()
        return response


class _Family(Collector):
    """A registry with one family, as the encoders require it."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


def _encoded(registry: CollectorRegistry, encode: Callable[[Collector], bytes]) -> Iterator[bytes]:
    """The exposition in pieces, one for each family, none empty."""
    ended = b""
    for metric in registry.collect():
        encoded = encode(_Family(metric))
        # The end mark of OpenMetrics must follow the last family only.
        if encoded.endswith(_OPENMETRICS_END):
            encoded, ended = encoded.removesuffix(_OPENMETRICS_END), _OPENMETRICS_END
        yield encoded
    if ended:
        yield ended


def _probe(why_not: Callable[[], str | None]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def response(_request: web.Request) -> web.Response:
        reason = why_not()
        text = printable(reason or "ok")
        return web.Response(text=f"{text}\n", status=503 if reason else 200)

    return response


def _cause(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "not a valid host name"
    # The library's own text repeats the address. Errors of name resolution have negative codes.
    code = error.errno or 0
    return os.strerror(code).lower() if code > 0 else str(error)
