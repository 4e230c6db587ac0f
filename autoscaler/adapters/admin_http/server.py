"""The daemon's own HTTP server."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Self

import msgspec
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from autoscaler.adapters.admin_http.decisions import (
    DecisionRecorder,
    NoObservationYet,
    NoSuchDeployment,
)
from autoscaler.adapters.admin_http.document import AdminError, ResponseHeader
from autoscaler.adapters.admin_http.health import Health
from autoscaler.adapters.admin_http.resume import ResumeAccepted
from autoscaler.errors import UserError

_OPENMETRICS_END = b"# EOF\n"

SHUTDOWN_TIMEOUT_S = 1.5
"""How long a scrape in progress may delay the end. Whoever stops the daemon waits for it."""

_INDEX = """autoscaler {version}

/metrics                    for Prometheus
/healthz                    200 while the control loop turns
/readyz                     200 while the cluster is observed
/decisions                  what was decided, and why; ?deployment=GLOB narrows it down
/decisions/{{deployment_id}}  the same of one deployment
/wake/{{deployment_id}}       POST starts one again that was stopped because nobody used it
"""

Resume = Callable[[str], bool]
"""Asks for a deployment to be started again; False: it is not asleep. Must return at once."""


class CannotListen(UserError):
    """The address or port is not to be had. The message says what to change."""


def _none_stopped(_deployment_id: str) -> bool:
    return False


class AdminServer:
    """Serves metrics, health and reasons, and takes note of who is to be woken.

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
        # Signals are the daemon's business, and probes every few seconds are not worth a line.
        runner = web.AppRunner(
            self._app(),
            handle_signals=False,
            access_log=None,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except (OSError, UnicodeError) as error:  # the latter for what cannot be a host's name
            await runner.cleanup()
            raise CannotListen(
                f"cannot listen on {self._host}:{self._port}: {_cause(error)}; "
                "set server.host and server.port to what is free"
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
        # Left to itself, a part of a path matches neither braces nor slashes, quoted or not.
        app.router.add_get("/decisions/{deployment_id:.+}", self._explain_one)
        app.router.add_post("/wake/{deployment_id:.+}", self._resume_one)
        return app

    async def _index(self, _request: web.Request) -> web.Response:
        return web.Response(text=_INDEX.format(version=self._version))

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        encode, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: content_type})
        response.enable_compression()
        # A thousand deployments take a second to encode and are eight megabytes. In a thread, the
        # control loop runs on meanwhile; family by family, no more than one is ever held; and
        # one scrape at a time, however many ask, cannot starve the loop.
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

    async def _explain(self, tell: Callable[[], ResponseHeader]) -> web.Response:
        # A thousand deployments are two megabytes; as with metrics, in a thread, one at a time.
        async with self._explaining:
            status, body = await asyncio.to_thread(self._encoded, tell)
        response = web.Response(body=body, status=status, content_type="application/json")
        response.enable_compression()
        return response

    async def _resume_one(self, request: web.Request) -> web.Response:
        deployment_id = request.match_info["deployment_id"]
        response: ResumeAccepted | AdminError
        if self._resume(deployment_id):
            message = f"{deployment_id} is asleep, and is started again in the next cycle"
            status, response = 202, ResumeAccepted(autoscaler=self._version, message=message)
        else:
            error = f"{deployment_id} is not asleep; `autoscaler explain` tells what is"
            status, response = 404, AdminError(autoscaler=self._version, error=error)
        body = msgspec.json.encode(response)
        return web.Response(body=body, status=status, content_type="application/json")

    def _encoded(self, tell: Callable[[], ResponseHeader]) -> tuple[int, bytes]:
        """Status and body."""
        try:
            return 200, msgspec.json.encode(tell())
        except NoObservationYet as why:
            status, refusal = 503, AdminError(autoscaler=self._version, error=str(why))
        except NoSuchDeployment as why:
            status, refusal = 404, AdminError(autoscaler=self._version, error=str(why))
        return status, msgspec.json.encode(refusal)


class _Family(Collector):
    """One family, as the encoders want it: a registry that has nothing else."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


def _encoded(registry: CollectorRegistry, encode: Callable[[Collector], bytes]) -> Iterator[bytes]:
    """The exposition in pieces, each of one family and none empty."""
    ended = b""
    for metric in registry.collect():
        encoded = encode(_Family(metric))
        # OpenMetrics ends with a mark, which belongs behind the last family only.
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
        return "this cannot be the name of a host"
    # The library's own text repeats the address. Errors of name resolution have negative numbers.
    number = error.errno or 0
    return os.strerror(number).lower() if number > 0 else str(error)
