"""The daemon's own HTTP server."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Self

import msgspec
import structlog
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from autoscaler.adapters.admin_http.decisions import (
    DecisionRecorder,
    NoObservationYet,
    NoSuchDeployment,
)
from autoscaler.adapters.admin_http.health import Health
from autoscaler.adapters.admin_http.resume import ResumeAccepted
from autoscaler.errors import UserError
from autoscaler.wire.decisions import AdminError, ResponseHeader

_OPENMETRICS_END = b"# EOF\n"

SHUTDOWN_TIMEOUT_S = 1.5
"""Seconds for which a scrape in progress may delay the end of the daemon. Short, because the
process that stops the daemon waits for it."""

_INDEX = """autoscaler {version}

/metrics                    for Prometheus
/healthz                    200 while the control loop completes cycles
/readyz                     200 while the cluster is observed
/decisions                  the latest decisions and their reasons; ?deployment=GLOB filters them
/decisions/{{deployment_id}}  the same for one deployment
/resume/{{deployment_id}}     POST starts a deployment that was stopped because it was idle
"""

Resume = Callable[[str], bool]
"""Requests the start of a stopped deployment; False: it is not stopped. Must return at once."""

_OLD_RESUME_PATH = "/wake/{deployment_id:.+}"
"""The path of resume requests before it was renamed; works for one release."""


class CannotListen(UserError):
    """The address or port is not available. The message states what to change."""


def _none_stopped(_deployment_id: str) -> bool:
    return False


class AdminServer:
    """Serves metrics, health and decisions, and accepts requests to resume deployments.

    An async context manager, or `start` and `stop`.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        decisions: DecisionRecorder,
        *,
        host: str,
        port: int,
        version: str,
        resume: Resume = _none_stopped,
    ) -> None:
        self._registry = registry
        self._health = health
        self._decisions = decisions
        self._host, self._port = host, port
        self._version = version
        self._resume = resume
        self._log = structlog.get_logger("autoscaler.http")
        self._old_path_logged = False
        self._scraping = asyncio.Lock()
        self._explaining = asyncio.Lock()
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
        app.router.add_get("/healthz", _probe(self._health.why_not_alive))
        app.router.add_get("/readyz", _probe(self._health.why_not_ready))
        app.router.add_get("/decisions", self._explain_all)
        # By default, a part of a path matches neither braces nor slashes, quoted or not.
        app.router.add_get("/decisions/{deployment_id:.+}", self._explain_one)
        app.router.add_post("/resume/{deployment_id:.+}", self._resume_one)
        app.router.add_post(_OLD_RESUME_PATH, self._resume_by_old_path)
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

    async def _explain_all(self, request: web.Request) -> web.Response:
        return await self._explain(
            partial(self._decisions.list_deployments, request.query.get("deployment", "*"))
        )

    async def _explain_one(self, request: web.Request) -> web.Response:
        return await self._explain(
            partial(self._decisions.get_deployment, request.match_info["deployment_id"])
        )

    async def _explain(self, view: Callable[[], ResponseHeader]) -> web.Response:
        # A thousand deployments are two megabytes; like metrics, in a thread, one at a time.
        async with self._explaining:
            status, body = await asyncio.to_thread(self._encoded, view)
        response = web.Response(body=body, status=status, content_type="application/json")
        response.enable_compression()
        return response

    async def _resume_one(self, request: web.Request) -> web.Response:
        deployment_id = request.match_info["deployment_id"]
        response: ResumeAccepted | AdminError
        if self._resume(deployment_id):
            message = f"{deployment_id}: will be resumed in the next cycle"
            status, response = 202, ResumeAccepted(autoscaler=self._version, message=message)
        else:
            error = f"{deployment_id}: not stopped; `autoscaler explain` lists stopped deployments"
            status, response = 404, AdminError(autoscaler=self._version, error=error)
        body = msgspec.json.encode(response)
        return web.Response(body=body, status=status, content_type="application/json")

    async def _resume_by_old_path(self, request: web.Request) -> web.Response:
        if not self._old_path_logged:
            self._old_path_logged = True
            self._log.warning(
                "http.deprecated_path",
                message="HTTP: POST /wake/{id} is deprecated; use POST /resume/{id}",
            )
        response = await self._resume_one(request)
        response.headers["Deprecation"] = "true"
        return response

    def _encoded(self, view: Callable[[], ResponseHeader]) -> tuple[int, bytes]:
        """Status and body."""
        try:
            return 200, msgspec.json.encode(view())
        except NoObservationYet as reason:
            status, error = 503, AdminError(autoscaler=self._version, error=str(reason))
        except NoSuchDeployment as reason:
            status, error = 404, AdminError(autoscaler=self._version, error=str(reason))
        return status, msgspec.json.encode(error)


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
        return web.Response(text=f"{reason or 'ok'}\n", status=503 if reason else 200)

    return response


def _cause(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "not a valid host name"
    # The library's own text repeats the address. Errors of name resolution have negative codes.
    code = error.errno or 0
    return os.strerror(code).lower() if code > 0 else str(error)
