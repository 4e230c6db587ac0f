"""What the server answers under /api/v1: one entry for each path, of which the routes and the
OpenAPI document are made."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from autoscaler.adapters.admin_http.connections import ClientConnection
from autoscaler.adapters.admin_http.guard import CALLER
from autoscaler.adapters.admin_http.rendering import Kind, Rendered, Renderer, response_of
from autoscaler.adapters.admin_http.responses import RequestFailed, error_response, json_body
from autoscaler.wire.decision_views import AdminError

API = "/api/v1"
"""The beginning of all paths, after that of the cluster where it has a name."""

ONE_DEPLOYMENT = "/deployments/{deployment_id}"
"""The path of one deployment. The id is percent-encoded, a slash in it included."""

_JSON = "application/json"


class ApiCall(NamedTuple):
    """A request to one endpoint, decoded."""

    request: web.Request
    deployment_id: str  # of the path; empty if it has none
    query: Any  # of the type `Endpoint.query`
    body: Any  # of the type `Endpoint.body`
    caller: str  # the name of the token; empty: it has none


class LazyResponse(NamedTuple):
    """A response that may be large: `make` is called in a thread, once for all requests with the
    same path and query that wait for it."""

    make: Callable[[], Struct]
    kind: Kind = Kind.VIEW


Response = Struct | LazyResponse | web.StreamResponse
"""What a handler returns. A Struct becomes JSON with the status of its endpoint."""

Handler = Callable[[ApiCall], Awaitable[Response]]
"""Answers a request.

Raises:
    RequestFailed: it cannot be answered; the message says why.
"""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Args:
        name: what it does, as one word or several with underscores; unique.
        method: GET, or POST if it changes something, so that it requires a token.
        path: below `API`, as OpenAPI writes it. Its only parameter is `{deployment_id}`.
        response: the type of the JSON, or the media type of anything else.
        query: a type whose fields are the parameters; it forbids unknown ones. None: there are
            none, and all are ignored.
        body: the type of the JSON; None: no body.
        errors: what may go wrong, by status, besides what may with any request.
    """

    name: str
    method: str
    path: str
    summary: str
    response: type[Struct] | str
    handler: Handler
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    status: int = 200
    errors: Mapping[int, str] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether it changes something, so that it requires a token."""
        return self.method != hdrs.METH_GET


def api_routes(
    endpoints: Iterable[Endpoint], renderer: Renderer, version: str, prefix: str = ""
) -> list[web.RouteDef]:
    """The routes of the endpoints.

    Args:
        renderer: of the views.
        version: the daemon's, for error responses.
        prefix: the beginning of the paths of one of several clusters.
    """
    return [
        (web.get if each.method == hdrs.METH_GET else web.post)(
            # By default, a parameter matches no braces. A slash has to be quoted to be part of one.
            f"{prefix}{API}{each.path}".replace("{deployment_id}", "{deployment_id:[^/]+}"),
            partial(_answer, each, renderer, version),
        )
        for each in endpoints
    ]


async def _answer(
    endpoint: Endpoint, renderer: Renderer, version: str, request: web.Request
) -> web.StreamResponse:
    try:
        response = await endpoint.handler(
            ApiCall(
                request=request,
                deployment_id=request.match_info.get("deployment_id", ""),
                query=_query(endpoint, request),
                body=await _body(endpoint, request),
                caller=request.get(CALLER, ""),
            )
        )
    except RequestFailed as error:
        return error_response(error.status, str(error), version)
    if isinstance(response, LazyResponse):
        make = partial(rendered, response.make, version)
        return response_of(
            request, await renderer.render(request.path_qs, make, response.kind), _JSON
        )
    if isinstance(response, Struct):
        body = json_body(response)
        return web.Response(body=body, status=endpoint.status, content_type=_JSON)
    return response


def rendered(make: Callable[[], Struct], version: str) -> Rendered:
    """A response or an error, encoded."""
    try:
        return Rendered.of(200, [json_body(make())])
    except RequestFailed as failed:
        error = AdminError(autoscaler=version, error=str(failed))
        return Rendered.of(failed.status, [json_body(error)])


def _query(endpoint: Endpoint, request: web.Request) -> Any:
    if endpoint.query is None:
        return None
    given = dict(request.query)
    if len(given) < len(request.query):
        raise RequestFailed("a parameter is given more than once")
    try:
        return msgspec.convert(given, endpoint.query, strict=False)
    except msgspec.ValidationError as error:
        raise RequestFailed(f"invalid parameters: {_problem(error)}") from error


async def _body(endpoint: Endpoint, request: web.Request) -> Any:
    if endpoint.body is None:
        if request.can_read_body:
            raise RequestFailed("this request has no body", 413)
        return None
    assert isinstance(request.protocol, ClientConnection)
    request.protocol.await_body()
    content = await request.read()
    request.protocol.begin()
    try:
        body = msgspec.json.decode(content, type=endpoint.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestFailed(f"invalid body: {_problem(error)}") from error
    # The decoder takes the last value of a repeated key, which need not be the one that was meant.
    json.loads(content, object_pairs_hook=_refuse_repeated)
    return body


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
    """
    Raises:
        RequestFailed: a key of an object is there more than once.
    """
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise RequestFailed(f"invalid body: the key {key!a} is given more than once")


def _problem(error: Exception) -> str:
    """The message of the decoder, as the end of a sentence.

    >>> _problem(ValueError("Expected `int`")), _problem(ValueError("JSON is malformed"))
    ('expected `int`', 'JSON is malformed')
    """
    text = str(error)
    return text if text.startswith("JSON") else text[:1].lower() + text[1:]
