"""The pages of one cluster: its endpoints, its decisions, and requests to resume deployments."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from urllib.parse import quote

import structlog
from aiohttp import web

from autoscaler.adapters.admin_http.decisions import DecisionRecorder
from autoscaler.adapters.admin_http.endpoints import Endpoint, api_routes, rendered
from autoscaler.adapters.admin_http.health import Health
from autoscaler.adapters.admin_http.history import ReadHistory, history_endpoints
from autoscaler.adapters.admin_http.rendering import Renderer, response_of
from autoscaler.adapters.admin_http.responses import error_response, json_body
from autoscaler.adapters.admin_http.resume import ResumeAccepted
from autoscaler.adapters.admin_http.status import status_endpoints
from autoscaler.adapters.admin_http.status_pages import StatusPages
from autoscaler.ports import NotResumed
from autoscaler.wire.decision_views import ResponseHeader
from autoscaler.wire.history import HistoryEntry, HistoryQuery

Resume = Callable[[str], bool]
"""Requests the start of a stopped deployment; False: it is not stopped. Must return at once.

Raises:
    NotResumed: this instance may not start it.
"""

MAX_GLOB = 256
"""The size limit of a glob pattern, in characters. Ids of deployments are shorter."""

_OLD_RESUME_PATH = r"/wake/{deployment_id:[\s\S]+}"
"""The path of resume requests before it was renamed; works for one release."""


def _none_stopped(_deployment_id: str) -> bool:
    return False


def _resume_text(deployment_id: str) -> str:
    return f"{deployment_id}: will be resumed in the next cycle"


def _no_history(_query: HistoryQuery) -> tuple[list[HistoryEntry], str]:
    return [], ""


async def _nothing_saved() -> None:
    return


class ClusterPages:
    """Serves the decisions for one cluster, and accepts requests to resume its deployments.

    Args:
        resume_text: returns what follows from a request to resume a deployment.
        save_resume_requests: is awaited before a request is confirmed.
        cluster: the cluster's name: its paths begin with /clusters/NAME. Empty where there is one
            cluster only, whose paths have no such beginning.
        read_history: reads what happened.
        endpoints: of the cluster, besides those of its status and its deployments.
    """

    def __init__(
        self,
        health: Health,
        decisions: DecisionRecorder,
        *,
        resume: Resume = _none_stopped,
        resume_text: Callable[[str], str] = _resume_text,
        save_resume_requests: Callable[[], Awaitable[None]] = _nothing_saved,
        cluster: str = "",
        read_history: ReadHistory = _no_history,
        endpoints: Iterable[Endpoint] = (),
    ) -> None:
        self.health = health
        self._decisions = decisions
        self._version = decisions.version
        self._resume, self._resume_text = resume, resume_text
        self._save_resume_requests = save_resume_requests
        self.prefix = f"/clusters/{quote(cluster, safe='')}" if cluster else ""
        self._renderer = Renderer()
        self.status_pages = StatusPages(
            decisions, health, self._renderer, read_history, self.prefix
        )
        self.endpoints = (
            *self.status_pages.endpoints(),
            *status_endpoints(decisions, health, cluster, self.status_pages.contents.state_saved),
            *history_endpoints(read_history, decisions.version),
            *endpoints,
        )
        self._log = structlog.get_logger("autoscaler.http")
        self._old_path_logged = False

    def note_reload(self, failure: str) -> None:
        """Show why the configuration that was read again is not in effect; empty: it is."""
        self._decisions.reload_failure = failure

    def note_configuration(self, text: str) -> None:
        """Show which configuration is in force, in a few words."""
        self.status_pages.contents.configuration = text

    def reconnect_streams(self) -> None:
        """End the open streams, because others may read from now on; see `Live.reconnect`."""
        self.status_pages.live.reconnect()

    async def end_streams(self) -> None:
        """End the responses that would otherwise go on for as long as their clients listen."""
        await self.status_pages.live.end()

    async def stop(self) -> None:
        """Render nothing more."""
        await self._renderer.stop()

    def routes(self) -> list[web.RouteDef]:
        # By default, a part of a path matches neither braces nor slashes, quoted or not, and a
        # full stop matches no line end.
        one = r"{deployment_id:[\s\S]+}"
        routes = [
            web.get(f"{self.prefix}/decisions", self._list_decisions),
            web.get(f"{self.prefix}/decisions/{one}", self._get_decision),
            web.post(f"{self.prefix}/resume/{one}", self._resume_one),
            *self.status_pages.routes(),
            *api_routes(self.endpoints, self._renderer, self._version, self.prefix),
        ]
        if not self.prefix:
            routes.append(web.post(_OLD_RESUME_PATH, self._resume_by_old_path))
        return routes

    async def _list_decisions(self, request: web.Request) -> web.Response:
        glob = request.query.get("deployment", "*")
        if len(glob) > MAX_GLOB:
            error = f"deployment must have at most {MAX_GLOB} characters"
            return error_response(400, error, self._version)
        return await self._render(request, partial(self._decisions.list_deployments, glob))

    async def _get_decision(self, request: web.Request) -> web.Response:
        deployment_id = request.match_info["deployment_id"]
        return await self._render(request, partial(self._decisions.get_deployment, deployment_id))

    async def _render(
        self, request: web.Request, view: Callable[[], ResponseHeader]
    ) -> web.Response:
        make = partial(rendered, view, self._version)
        return response_of(
            request, await self._renderer.render(request.path_qs, make), "application/json"
        )

    async def _resume_one(self, request: web.Request) -> web.Response:
        deployment_id = request.match_info["deployment_id"]
        try:
            stopped = self._resume(deployment_id)
        except NotResumed as reason:
            return error_response(409, str(reason), self._version)
        if not stopped:
            error = f"{deployment_id}: not stopped; `autoscaler explain` lists stopped deployments"
            return error_response(404, error, self._version)
        await self._save_resume_requests()
        message = self._resume_text(deployment_id)
        body = json_body(ResumeAccepted(autoscaler=self._version, message=message))
        return web.Response(body=body, status=202, content_type="application/json")

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
