"""Requests to the daemon's /decisions, over HTTP."""

from typing import NamedTuple
from urllib.parse import quote

import msgspec

from autoscaler.adapters.admin_http.client import URL_HINT, AdminRequestFailed, send
from autoscaler.config import Server
from autoscaler.errors import InputError
from autoscaler.wire.decision_views import AdminError, DeploymentResponse, DeploymentsResponse

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""The loopback address that reaches a server listening on all addresses."""


class Reply(NamedTuple):
    """The daemon's response, decoded and as the JSON that was received."""

    response: DeploymentsResponse | DeploymentResponse
    body: bytes


def address_of(server: Server) -> str:
    """The URL of a daemon with this configuration, as seen from its own machine.

    Raises:
        InputError: it listens on any free port, so that the port is not known.
    """
    if server.port == 0:
        raise InputError(
            "server.port is 0, so the daemon has taken any free port; "
            "set --url to the address in its log line daemon.started"
        )
    host = _LOOPBACK.get(server.host, server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}"


async def fetch(url: str, deployment_id: str | None = None) -> Reply:
    """Request one deployment, or all, from the daemon at `url`.

    Raises:
        AdminRequestFailed: no daemon responds, or it does not know the deployment, or has not
            observed the cluster yet.
    """
    path = "/decisions" if deployment_id is None else f"/decisions/{quote(deployment_id, safe='')}"
    status, body = await send("GET", url, path)
    try:
        if status != 200:
            raise AdminRequestFailed(msgspec.json.decode(body, type=AdminError).error)
        kind: type[DeploymentsResponse | DeploymentResponse] = (
            DeploymentsResponse if deployment_id is None else DeploymentResponse
        )
        return Reply(msgspec.json.decode(body, type=kind), body)
    except msgspec.DecodeError as error:
        raise AdminRequestFailed(
            f"unexpected response from {url}: {status} to GET {path}; {URL_HINT}"
        ) from error


def pretty(reply: Reply) -> str:
    """The daemon's JSON, indented."""
    return msgspec.json.format(reply.body, indent=2).decode()
