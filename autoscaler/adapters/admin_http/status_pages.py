"""The status page of one cluster: all deployments, one in depth, and what keeps them current."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from aiohttp import hdrs, web
from msgspec import Meta, Struct

from autoscaler import __version__
from autoscaler.adapters.admin_http.decisions import (
    DecisionRecorder,
    NoObservationYet,
    NoSuchDeployment,
)
from autoscaler.adapters.admin_http.endpoints import ApiCall, Endpoint, LazyResponse
from autoscaler.adapters.admin_http.health import Health
from autoscaler.adapters.admin_http.live import Live, TooManyStreams, event_text
from autoscaler.adapters.admin_http.page.contents import OverviewQuery, PageContents, ReadHistory
from autoscaler.adapters.admin_http.rendering import Kind, Rendered, Renderer, response_of
from autoscaler.adapters.admin_http.responses import error_response, json_body
from autoscaler.adapters.admin_http.series import Series, SeriesRecorder, last_points, series_of
from autoscaler.core.condition import Level
from autoscaler.core.decision import Outcome, Plan
from autoscaler.core.values import Observation
from autoscaler.ports import CycleTimes, ObservationFailed
from autoscaler.text import printable
from autoscaler.wire.decision_views import AdminError

HTML = "text/html; charset=utf-8"

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
}
"""Headers of a page: it loads its own files, and nothing else."""

STATIC_FILES = {
    "charts.js": "text/javascript; charset=utf-8",
    "favicon.svg": "image/svg+xml",
    "live.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "uPlot.LICENSE": "text/plain; charset=utf-8",
    "uPlot.iife.min.js": "text/javascript; charset=utf-8",
    "uPlot.min.css": "text/css; charset=utf-8",
}
"""The files that pages load, with their types."""

KEEP_STATIC = "public, max-age=31536000, immutable"
"""How long browsers keep a file: its path changes with it."""

MAX_FILTER = 256
"""The size limit of the filter, in characters. Ids of deployments are shorter."""

NEWEST_POINTS = 12
"""Points that an event repeats, for a stream that has missed some."""

_FRAGMENTS = {
    "overview": ("heading", "rows", "recent"),
    "deployment": ("heading", "now", "shadow", "past", "why"),
}
"""The parts of each page that change, each a template."""

ONE_DEPLOYMENT = "/deployments/{deployment_id:[^/]+}"
"""The path of one deployment. A slash in its id has to be quoted."""


class SeriesQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which points of the series."""

    since: Annotated[
        float, Meta(ge=0.0, description="Unix seconds; only later points are given.")
    ] = 0.0


class PageEvent(Struct, frozen=True, kw_only=True):
    """What an open page gets after each cycle."""

    fragments: dict[str, str]  # HTML, by the name of the part of the page
    series: Series | None  # the newest points of its charts


class StatusPages:
    """The routes of the pages, and a Recorder after whose cycles the open pages are sent again.

    Args:
        read_history: reads what happened to a deployment.
        prefix: of the paths of the cluster.
    """

    def __init__(
        self,
        decisions: DecisionRecorder,
        health: Health,
        renderer: Renderer,
        read_history: ReadHistory,
        prefix: str = "",
    ) -> None:
        self._decisions = decisions
        self._renderer = renderer
        self._prefix = prefix
        self._series = SeriesRecorder()
        self.contents = PageContents(decisions, health, read_history, prefix)
        self.live = Live()

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._series.planned(observation, plan, outcomes, took)
        self.live.notify()

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._series.skipped(failure, at)
        self.live.notify()

    def routes(self) -> list[web.RouteDef]:
        """The pages, and what they load. `/` is the server's, and leads to the same overview."""
        return [
            *([web.get(f"{self._prefix}/", self.overview)] if self._prefix else ()),
            web.get(f"{self._prefix}{ONE_DEPLOYMENT}", self._get_deployment),
            web.get(f"{self._prefix}/live", self._follow_overview),
            web.get(f"{self._prefix}/live{ONE_DEPLOYMENT}", self._follow_deployment),
            web.get("/static/{tag}/{name}", self._get_static),
            web.get("/favicon.ico", self._get_favicon),
        ]

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The figures over time, and the events."""
        return (
            Endpoint(
                name="series",
                method=hdrs.METH_GET,
                path="/deployments/{deployment_id}/series",
                summary="The figures of one deployment over the last hours, from memory",
                response=Series,
                handler=self._get_series,
                query=SeriesQuery,
            ),
            Endpoint(
                name="events",
                method=hdrs.METH_GET,
                path="/events",
                summary="A server-sent event `cycle` after each cycle, with the time of its "
                "observation and why later ones failed",
                response="text/event-stream",
                handler=self._get_events,
                errors={503: "As many streams are open as may be."},
            ),
        )

    async def overview(self, request: web.Request) -> web.StreamResponse:
        """All deployments, as a page."""
        query = _query(request)
        return await self._page(
            request, "overview", f"page {query!r}", partial(self.contents.overview, query)
        )

    async def _get_deployment(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["deployment_id"]
        points = self._series.points(name)
        make = partial(self.contents.deployment, name, points)
        return await self._page(request, "deployment", f"page of {name}", make)

    async def _page(
        self,
        request: web.Request,
        template: str,
        key: str,
        context: Callable[[], dict[str, Any]],
    ) -> web.StreamResponse:
        make = partial(self._rendered, template, context)
        rendered = await self._renderer.render(key, make, Kind.PAGE)
        response = response_of(request, rendered, HTML)
        response.headers.update(PAGE_HEADERS)
        return response

    def _rendered(self, template: str, context: Callable[[], dict[str, Any]]) -> Rendered:
        try:
            return Rendered.of(200, [_html(template, context())])
        except NoObservationYet as reason:
            made = self.contents.error("Not observed yet", str(reason))
            return Rendered.of(503, [_html("error", made)])
        except NoSuchDeployment as reason:
            made = self.contents.error("No such deployment", str(reason))
            return Rendered.of(404, [_html("error", made)])

    async def _follow_overview(self, request: web.Request) -> web.StreamResponse:
        query = _query(request)
        render = partial(_event, "overview", partial(self.contents.overview, query))
        return await self._follow(request, f"{query!r}", render)

    async def _follow_deployment(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["deployment_id"]
        return await self._follow(request, f"of {name}", partial(self._deployment_event, name))

    def _deployment_event(self, name: str) -> bytes:
        points = self._series.points(name)
        newest = series_of(last_points(points, NEWEST_POINTS))
        return _event("deployment", partial(self.contents.deployment, name, points), newest)

    async def _get_series(self, call: ApiCall) -> LazyResponse:
        points = self._series.points(call.deployment_id)
        return LazyResponse(partial(series_of, points, call.query.since), Kind.PAGE)

    async def _get_events(self, call: ApiCall) -> web.StreamResponse:
        return await self._follow(call.request, "cycles", partial(_cycle_event, self._decisions))

    async def _follow(
        self, request: web.Request, key: str, render: Callable[[], bytes]
    ) -> web.StreamResponse:
        try:
            return await self.live.stream(request, key, render)
        except TooManyStreams as reason:
            response = error_response(503, str(reason), self._decisions.version)
            response.headers[hdrs.RETRY_AFTER] = "60"
            return response

    async def _get_static(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in STATIC_FILES:
            raise web.HTTPNotFound
        return _static(name)

    async def _get_favicon(self, request: web.Request) -> web.Response:
        return _static("favicon.svg")


def _query(request: web.Request) -> OverviewQuery:
    """What the overview shows; what makes no sense is ignored, as a person may have typed it."""
    given = request.query
    level, number = given.get("level", ""), given.get("n", "")
    return OverviewQuery(
        q=printable(given.get("q", ""))[:MAX_FILTER],
        level=level if level in set(Level) else "",
        n=int(number) if number.isascii() and number.isdigit() and len(number) < 7 else 1,
    )


def _html(template: str, context: dict[str, Any]) -> bytes:
    # The template engine takes memory that a daemon without an open page does not need.
    from autoscaler.adapters.admin_http.page.html import render

    return render(template, context).encode()


def _event(
    template: str, context: Callable[[], dict[str, Any]], series: Series | None = None
) -> bytes:
    """The parts of a page that change, and the newest points of its charts."""
    try:
        made = context()
    except (NoObservationYet, NoSuchDeployment) as reason:
        return _problem_event(reason)
    fragments = {name: _html(name, made).decode() for name in _FRAGMENTS[template]}
    return event_text("cycle", json_body(PageEvent(fragments=fragments, series=series)))


def _problem_event(reason: Exception) -> bytes:
    return event_text("problem", json_body(AdminError(autoscaler=__version__, error=str(reason))))


def _cycle_event(decisions: DecisionRecorder) -> bytes:
    try:
        return event_text("cycle", json_body(decisions.header()))
    except NoObservationYet as reason:
        return _problem_event(reason)


def _static(name: str) -> web.Response:
    from autoscaler.adapters.admin_http.page.html import static_file

    headers = {hdrs.CONTENT_TYPE: STATIC_FILES[name], hdrs.CACHE_CONTROL: KEEP_STATIC}
    return web.Response(body=static_file(name), headers=headers)
