"""Loopback servers with prepared responses, and clients for them."""

import asyncio
import json
import random
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.connection import Connection
from autoscaler.wire.errors import render_error
from tests.fakes import FakeClock

PRODUCT = {"X-Elastic-Product": "Elasticsearch"}


def respond(document, status=200, headers=PRODUCT):
    async def give(request):
        return web.json_response(document, status=status, headers=headers)

    return give


def refusal(status, type_, reason, *, headers=(), **more):
    async def give(request):
        body = render_error(status, type_, reason, **more)
        return web.Response(
            body=body,
            status=status,
            content_type="application/json",
            headers={**PRODUCT, **dict(headers)},
        )

    return give


def page(status, text="<html>Bad Gateway</html>", **headers):
    """A response of a proxy."""

    async def give(request):
        return web.Response(status=status, text=text, content_type="text/html", headers=headers)

    return give


async def reset(request):
    """Read the request, then drop the connection."""
    await request.read()
    request.transport.abort()
    return web.Response()


async def truncated(request):
    response = web.StreamResponse(headers=PRODUCT)
    response.content_length = 1000
    await response.prepare(request)
    await response.write(b'{"count":')
    request.transport.close()
    return response


def only(path, response, otherwise):
    """One response for one path."""

    async def give(request):
        return await (response if request.path == path else otherwise)(request)

    return give


class Server:
    """Returns `responses` in turn and repeats the last one; a dict has one for each path."""

    def __init__(self, *responses):
        self.responses = list(responses)
        self.requests = []
        self.bodies = []
        self._end = asyncio.Event()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._respond)
        self._server = TestServer(application, host="127.0.0.1")

    async def _respond(self, request):
        self.requests.append(request)
        self.bodies.append(await request.read())
        chosen = self.responses[0]
        if len(self.responses) > 1:
            self.responses.pop(0)
        if isinstance(chosen, dict):
            chosen = chosen.get(request.path, self.no_handler)
        return await chosen(request)

    async def never(self, request):
        await self._end.wait()
        return web.Response()

    async def no_handler(self, request):
        reason = f"no handler found for uri [{request.path_qs}] and method [{request.method}]"
        return web.json_response({"error": reason}, status=400, headers=PRODUCT)

    @property
    def url(self):
        return str(self._server.make_url("/"))

    @property
    def paths(self):
        return [request.path for request in self.requests]

    def body(self, index=-1):
        return json.loads(self.bodies[index])

    def header(self, name, index=-1):
        return self.requests[index].headers.get(name)

    async def start(self, context=None):
        if context is not None:
            self._server.scheme = "https"
            self._server.skip_url_asserts = True
        await self._server.start_server(ssl=context)

    async def stop(self):
        self._end.set()
        await self._server.close()


@asynccontextmanager
async def serving(*responses, tls=None):
    server = Server(*responses)
    await server.start(tls)
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def api_for(*servers, clock=None, leadership=None, **settings):
    """The API of a cluster whose hosts are `servers`."""
    settings.setdefault("hosts", tuple(getattr(s, "url", s) for s in servers))
    clock = clock or FakeClock(start=1_000.0)
    async with Transport(Connection(**settings), clock, random.Random(7)) as transport:
        transport.leadership = leadership
        yield ElasticsearchApi(transport)


def info(number="8.18.3", flavour="default"):
    return {"cluster_name": "demo", "version": {"number": number, "build_flavor": flavour}}


def deployment(deployment_id, **more):
    return {
        "model_id": f"model-of-{deployment_id}",
        "deployment_stats": {"deployment_id": deployment_id, "state": "started", **more},
    }


def stats(*entries, count=None):
    return {
        "count": len(entries) if count is None else count,
        "trained_model_stats": list(entries),
    }


def endpoint(inference_id, service="elasticsearch", **settings):
    return {
        "inference_id": inference_id,
        "task_type": "sparse_embedding",
        "service": service,
        "service_settings": {"num_threads": 1, "model_id": "m", **settings},
    }


async def assigning(request):
    """Accept a start or an update, and return the assignment that it leads to."""
    id_, _, operation = request.path.removeprefix("/_ml/trained_models/").partition("/deployment/")
    body = json.loads(await request.read() or b"{}")
    task = {
        "model_id": id_ if operation == "_start" else "m",
        "deployment_id": body.get("deployment_id", id_),
        "number_of_allocations": body.get("number_of_allocations", 2),
    }
    document = assignment()["assignment"] | {
        "task_parameters": task,
        "adaptive_allocations": body.get("adaptive_allocations"),
    }
    return await respond({"assignment": document})(request)


async def echoing(request):
    """Accept the update of an endpoint, and return the endpoint after it."""
    settings = json.loads(await request.read())["service_settings"]
    id_ = request.path.split("/", 3)[3].removesuffix("/_update")
    return await respond(endpoint(id_, **settings))(request)


def assignment(allocations=4, deployment_id="elser", **more):
    task = {
        "model_id": "m",
        "deployment_id": deployment_id,
        "number_of_allocations": allocations,
    }
    return {
        "assignment": {
            "task_parameters": task | more,
            "routing_table": {"n1": {"current_allocations": 2, "target_allocations": 2}},
            "assignment_state": "started",
            "start_time": "2025-10-20T08:13:20.000Z",
            "adaptive_allocations": None,
        }
    }
