"""The daemon's own HTTP server."""

import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Self

import structlog
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS_TYPE
from prometheus_client.openmetrics.exposition import generate_latest as encode_openmetrics

from autoscaler.adapters.admin_http.cluster_pages import ClusterPages
from autoscaler.adapters.admin_http.connections import ClientConnection, Listener
from autoscaler.adapters.admin_http.endpoints import ApiCall, Endpoint, api_routes
from autoscaler.adapters.admin_http.exposition import exposition
from autoscaler.adapters.admin_http.guard import MAX_BODY_BYTES, Guard, Tokens
from autoscaler.adapters.admin_http.openapi import openapi_document
from autoscaler.adapters.admin_http.refusals import OnRefused, RefusalReason, Refusals
from autoscaler.adapters.admin_http.rendering import (
    Kind,
    Rendered,
    Renderer,
    TooManyRenderings,
    response_of,
)
from autoscaler.adapters.admin_http.responses import error_response
from autoscaler.errors import UserError
from autoscaler.server_access import ServerAccess, certificate_problem, server_context
from autoscaler.text import printable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OPENMETRICS = "application/openmetrics-text"
_EXCLUDED = re.compile(r"q=0(\.0{0,3})?")

SHUTDOWN_TIMEOUT_S = 1.5
"""Seconds for which a scrape in progress may delay the end of the daemon. Short, because the
process that stops the daemon waits for it."""

_INDEX = """autoscaler {version}

/                           the status page, for browsers
/metrics                    for Prometheus
/healthz                    200 while the control loop completes cycles
/readyz                     200 while the latest observation of the cluster has succeeded
/decisions                  the latest decisions and their reasons; ?deployment=GLOB filters them
/decisions/{{deployment_id}}  the same for one deployment
/api/v1/openapi.json        the paths under /api/v1: status, deployments, history, instructions
/resume/{{deployment_id}}     POST starts a deployment that was stopped because it was idle
"""


_HTTP_ERRORS: Mapping[int, str] = {
    404: "no such path; GET / lists all",
    405: "no such method for this path; the header Allow lists the others",
}


def _not_counted(_reason: str) -> None:
    pass


class CannotListen(UserError):
    """The address or port is not available. The message states what to change."""


class AdminServer:
    """Serves the metrics and the health of the daemon, and the pages of its cluster.

    An async context manager, or `start` and `stop`.

    Args:
        guard: by default, reads are open and changes are refused.
        on_refused: counts the requests that are not answered, and the connections that are closed.
        tls: None: plain HTTP.
        max_connections: by default, as many as leave enough descriptors to the daemon.
        endpoints: of the process as a whole.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        pages: ClusterPages,
        *,
        host: str,
        port: int,
        version: str,
        guard: Guard | None = None,
        tls: ssl.SSLContext | None = None,
        on_refused: OnRefused = _not_counted,
        max_connections: int | None = None,
        endpoints: Iterable[Endpoint] = (),
    ) -> None:
        self._registry = registry
        self._pages = pages
        self._host, self._port = host, port
        self._version = version
        self._guard = guard or Guard(Tokens(None))
        self._refusals = Refusals(on_refused)
        self._tls = tls
        self._max_connections = max_connections
        self._renderer = Renderer()
        self._own = (*endpoints, self._openapi_endpoint())
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        assert self._listener is not None
        return self._listener.port

    def replace_access(self, access: ServerAccess) -> None:
        """Apply other certificates, users and limits, to connections from now on.

        Raises:
            CannotListen: the certificates are not usable; nothing has changed.
        """
        try:
            self._tls = None if access.tls is None else server_context(access.tls)
        except ValueError as error:
            raise CannotListen(f"server.tls: {error}") from error
        if access.tls is not None and (problem := certificate_problem(access.tls)):
            structlog.get_logger("autoscaler.http").warning("http.certificate", message=problem)
        if self._listener is not None:
            self._listener.tls = self._tls
        self._guard.replace_access(access)

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            CannotListen: the port is in use, or the address is not this machine's.
        """
        # The daemon handles signals.
        runner = web.AppRunner(
            self._app(), handle_signals=False, shutdown_timeout=SHUTDOWN_TIMEOUT_S
        )
        await runner.setup()
        assert runner.server is not None
        listener = Listener(
            runner.server,
            self._refusals,
            version=self._version,
            max_connections=self._max_connections,
            tls=self._tls,
        )
        try:
            await listener.start(self._host, self._port)
        except (OSError, UnicodeError) as error:  # UnicodeError: not a valid host name
            await runner.cleanup()
            raise CannotListen(
                f"cannot listen on {self._host}:{self._port}: {_cause(error)}; "
                "set server.host and server.port to a free address"
            ) from error
        self._runner, self._listener = runner, listener

    async def stop(self) -> None:
        """Stop listening; at once if it never started."""
        if self._runner is not None and self._listener is not None:
            await self._listener.stop()
            await self._runner.cleanup()
            await self._listener.close()
            await self._renderer.stop()
            await self._pages.stop()
            self._runner = self._listener = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guarded], client_max_size=MAX_BODY_BYTES)
        health = self._pages.health
        app.on_shutdown.append(self._end_streams)
        app.router.add_get("/", self._index)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", _probe(health.why_not_alive))
        app.router.add_get("/readyz", _probe(health.why_not_ready, health.role))
        app.router.add_routes(self._pages.routes())
        app.router.add_routes(
            api_routes(self._own, self._renderer, self._version, self._pages.prefix)
        )
        return app

    def _openapi_endpoint(self) -> Endpoint:
        return Endpoint(
            name="openapi",
            method=hdrs.METH_GET,
            path="/openapi.json",
            summary="This document",
            response="application/json",
            handler=self._openapi,
        )

    async def _openapi(self, call: ApiCall) -> web.StreamResponse:
        endpoints = (*self._own, *self._pages.endpoints)
        rendered = await self._renderer.render(
            call.request.path,
            lambda: Rendered.of(
                200, [openapi_document(endpoints, self._version, self._pages.prefix)]
            ),
        )
        return response_of(call.request, rendered, "application/json")

    async def _end_streams(self, _app: web.Application) -> None:
        await self._pages.end_streams()

    async def _index(self, request: web.Request) -> web.StreamResponse:
        """The status page for browsers, and a list of paths for others."""
        if _accepts(request, "text/html"):
            return await self._pages.status_pages.overview(request)
        return web.Response(text=_INDEX.format(version=self._version))

    async def _metrics(self, request: web.Request) -> web.Response:
        openmetrics = _accepts(request, _OPENMETRICS)
        content_type = OPENMETRICS_TYPE if openmetrics else CONTENT_TYPE_PLAIN_0_0_4
        encode = encode_openmetrics if openmetrics else generate_latest
        rendered = await self._renderer.render(
            content_type,
            lambda: Rendered.of(200, exposition(self._registry, encode)),
            Kind.METRICS,
        )
        return response_of(request, rendered, content_type)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers what the guard permits, and makes errors JSON."""
        assert isinstance(request.protocol, ClientConnection)
        request.protocol.begin()
        if (refusal := await self._guard.why_not(request)) is not None:
            self._refusals.note(refusal.reason, f"a request was refused: {refusal.error}")
            response = error_response(refusal.status, refusal.error, self._version)
            if refusal.status == 401:
                response.headers[hdrs.WWW_AUTHENTICATE] = refusal.challenge
            if refusal.retry_after_s:
                response.headers[hdrs.RETRY_AFTER] = str(refusal.retry_after_s)
            return response
        try:
            return await handler(request)
        except TooManyRenderings as error:
            self._refusals.note(RefusalReason.BUSY, f"a request was refused: {error}")
            response = error_response(429, str(error), self._version)
            response.headers[hdrs.RETRY_AFTER] = "5"
            return response
        except web.HTTPException as error:
            text = _HTTP_ERRORS.get(error.status, error.reason)
            response = error_response(error.status, text, self._version)
            if hdrs.ALLOW in error.headers:
                response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
            return response


def _accepts(request: web.Request, media_type: str) -> bool:
    """Whether the client names a media type, and not with the weight 0, which excludes it.

    Source: RFC 9110, section 12.4.2.
    """
    for each in ",".join(request.headers.getall(hdrs.ACCEPT, [])).lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        if name == media_type and not any(map(_EXCLUDED.fullmatch, parameters)):
            return True
    return False


def _ok() -> str:
    return "ok"


def _probe(
    why_not: Callable[[], str | None], otherwise: Callable[[], str] = _ok
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def response(_request: web.Request) -> web.Response:
        reason = why_not()
        text = printable(reason or otherwise())
        return web.Response(text=f"{text}\n", status=503 if reason else 200)

    return response


def _cause(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "not a valid host name"
    # The library's own text repeats the address. Errors of name resolution have negative codes.
    code = error.errno or 0
    return os.strerror(code).lower() if code > 0 else str(error)
