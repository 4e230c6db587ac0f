"""Faults that end a connection or replace a response."""

import socket
import struct

from aiohttp import web

from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.emulator.responses import error_response
from autoscaler.simulation.errors import SimulatedApiError

_LINGER_FOR_NOTHING = struct.pack("ii", 1, 0)


def replaced_response(fault: Fault) -> web.Response:
    """The response that replaces the real one: an error of the cluster, or a page of a proxy; with
    the content type of Elasticsearch, a success of the cluster that changes nothing."""
    assert fault.status is not None
    if fault.error_type is not None:
        return error_response(SimulatedApiError(fault.status, fault.error_type, fault.body))
    headers = {"Content-Type": fault.content_type}
    if fault.content_type == "application/json" and fault.status < 300:
        headers["X-Elastic-Product"] = "Elasticsearch"
    return web.Response(status=fault.status, text=fault.body, headers=headers)


def reset(request: web.Request) -> web.Response:
    """Break the connection with a TCP reset, as a crashing process or a firewall does."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_NOTHING)
        request.transport.abort()
    return web.Response()  # never sent


async def truncated(response: web.Response, request: web.Request, size: int) -> web.StreamResponse:
    """Send the first `size` bytes of a response with its full Content-Length, then disconnect."""
    body = response.body
    assert isinstance(body, bytes)
    partial = web.StreamResponse(status=response.status, headers=response.headers)
    partial.content_length = len(body)
    await partial.prepare(request)
    await partial.write(body[:size])
    if request.transport is not None:
        request.transport.close()
    return partial
