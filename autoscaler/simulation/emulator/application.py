"""The HTTP side: a request becomes a call of an endpoint, and its result a response.

Everything common to all endpoints is here: faults, media types, credentials,
privileges, parameters. An endpoint is called only when all of these are in order.
"""

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from autoscaler.simulation.emulator import (
    admin,
    admin_inference,
    bulk_endpoints,
    cluster_endpoints,
    deployment_endpoints,
    document_endpoints,
    health_endpoints,
    infer_endpoints,
    inference_endpoints,
    model_endpoints,
    node_endpoints,
    security_endpoints,
)
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call, StatusDocument
from autoscaler.simulation.emulator.disruption import replaced_response, reset, truncated
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.faults import Fault, Reset
from autoscaler.simulation.emulator.media_types import PLAIN, check_content, negotiate
from autoscaler.simulation.emulator.parameters import Query, parse_boolean
from autoscaler.simulation.emulator.responses import (
    document_response,
    error_response,
    text_error_response,
)
from autoscaler.simulation.emulator.serverless import available_on_serverless
from autoscaler.simulation.errors import SimulatedApiError

_MAX_BODY_BYTES = 16 * 2**20

AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_application(emulation: Emulation) -> web.Application:
    """The emulated cluster as an aiohttp application."""

    @web.middleware
    async def respond(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
        return await _respond(emulation, request, handler)

    application = web.Application(middlewares=[respond], client_max_size=_MAX_BODY_BYTES)
    for endpoint in _endpoints(emulation):
        application.router.add_route(
            endpoint.method, endpoint.path, _aiohttp_handler(emulation, endpoint)
        )
    return application


def _endpoints(emulation: Emulation) -> Iterable[ApiEndpoint]:
    serverless = emulation.cluster.behaviour.serverless
    return map(available_on_serverless, _all(emulation)) if serverless else _all(emulation)


def _all(emulation: Emulation) -> Iterable[ApiEndpoint]:
    yield from cluster_endpoints.ENDPOINTS
    yield from health_endpoints.ENDPOINTS
    yield from node_endpoints.ENDPOINTS
    yield from model_endpoints.ENDPOINTS
    yield from deployment_endpoints.ENDPOINTS
    yield from infer_endpoints.endpoints_of(emulation.cluster.behaviour)
    yield from inference_endpoints.endpoints_of(emulation.cluster.behaviour)
    yield from document_endpoints.ENDPOINTS
    yield from bulk_endpoints.ENDPOINTS
    yield from admin.ENDPOINTS
    yield from admin_inference.ENDPOINTS
    if emulation.security is not None:
        yield from security_endpoints.ENDPOINTS


async def _respond(
    emulation: Emulation, request: web.Request, handler: AiohttpHandler
) -> web.StreamResponse:
    """The response to any request, with the faults that apply."""
    fault = None if _is_admin(request) else emulation.faults.strike(request.method, request.path)
    if fault is None:
        return await _handled(request, handler)
    if fault.delay_s:
        # The client may disconnect during the delay; the request is executed all the same.
        await request.read()
        await emulation.clock.sleep(fault.delay_s)
    if fault.reset is Reset.BEFORE:
        return reset(request)
    if fault.status is not None:
        return replaced_response(fault)
    response = await _handled(request, handler)
    if fault.response_delay_s:
        await emulation.clock.sleep(fault.response_delay_s)
    return await _disrupted(fault, request, response)


async def _disrupted(
    fault: Fault, request: web.Request, response: web.Response
) -> web.StreamResponse:
    if fault.reset is Reset.AFTER:
        return reset(request)
    if fault.truncate_to is not None:
        return await truncated(response, request, fault.truncate_to)
    return response


async def _handled(request: web.Request, handler: AiohttpHandler) -> web.Response:
    try:
        response = await handler(request)
        assert isinstance(response, web.Response), response
    except web.HTTPException as error:
        response = _http_error(error, request)
    # Official clients reject responses without this header.
    response.headers["X-Elastic-Product"] = "Elasticsearch"
    if (opaque_id := request.headers.get("X-Opaque-Id")) is not None:
        response.headers["X-Opaque-Id"] = opaque_id
    return response


def _http_error(error: web.HTTPException, request: web.Request) -> web.Response:
    """The error response of Elasticsearch for an error of aiohttp."""
    where = f"uri [{request.path_qs}] and method [{request.method}]"
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = sorted(error.allowed_methods)
        reason = f"Incorrect HTTP method for {where}, allowed: [{', '.join(allowed)}]"
        response = text_error_response(405, reason)
        response.headers["Allow"] = ",".join(allowed)
        return response
    if isinstance(error, web.HTTPNotFound):
        return text_error_response(400, f"no handler found for {where}")
    return text_error_response(error.status, error.reason)


def _aiohttp_handler(emulation: Emulation, endpoint: ApiEndpoint) -> AiohttpHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        media_type, pretty = PLAIN, False
        try:
            media_type = negotiate(
                request.headers.get("Accept"), major=emulation.cluster.behaviour.major
            )
            pretty = "pretty" in request.query and parse_boolean(request.query["pretty"])
            call = await _call(emulation, endpoint, request)
            document = await endpoint.handler(emulation, call)
        except SimulatedApiError as error:
            return error_response(error, media_type=media_type, pretty=pretty)
        status = 200
        if isinstance(document, StatusDocument):
            status, document = document.status, document.document
        return document_response(
            document,
            status=status,
            media_type=media_type,
            filter_path=request.query.get("filter_path", ""),
            pretty=pretty,
        )

    return handle


async def _call(emulation: Emulation, endpoint: ApiEndpoint, request: web.Request) -> Call:
    """Perform the checks that are common to all endpoints.

    Raises:
        SimulatedApiError: a check failed.
    """
    body = await request.read()
    if body and not _is_admin(request):
        check_content(request.headers.get("Content-Type"), major=emulation.cluster.behaviour.major)
    user = None
    if emulation.security is not None and not _is_admin(request):
        user = emulation.security.authenticate(request.headers.get("Authorization"), request.path)
        if endpoint.action is not None:
            index = request.match_info.get("index", "")
            emulation.security.authorise(user, endpoint.action, index=index)
    query = Query(request.query)
    query.require_known(request.path, endpoint.parameters)
    await emulation.catch_up()
    call = Call(
        method=request.method,
        path=request.path,
        ids=dict(request.match_info),
        query=query,
        body=body,
        user=user,
    )
    if endpoint.validate is not None:
        endpoint.validate(emulation, call)
    if endpoint.needs_master:
        await _require_master(emulation, query)
        if emulation.writes_blocked and endpoint.method != "GET":
            raise SimulatedApiError(
                403, "cluster_block_exception", "blocked by: [FORBIDDEN/6/cluster read-only (api)];"
            )
    return call


async def _require_master(emulation: Emulation, query: Query) -> None:
    """Wait for a master, up to the `master_timeout` of the request."""
    timeout_s = query.duration_s("master_timeout")
    timeout_s = 30.0 if timeout_s is None else timeout_s
    if not await emulation.until(lambda: emulation.has_master, timeout_s=timeout_s):
        raise SimulatedApiError(
            503, "master_not_discovered_exception", "no master was elected before master_timeout"
        )


def _is_admin(request: web.Request) -> bool:
    """Whether a request is to the emulator itself and not to the cluster."""
    return request.path.startswith("/_emulator/")
