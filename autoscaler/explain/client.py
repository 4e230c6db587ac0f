"""The daemon's /decisions, over HTTP."""

from typing import NamedTuple
from urllib.parse import quote

import msgspec

from autoscaler.adapters.admin_http.client import URL_HINT, AdminRequestFailed, send
from autoscaler.adapters.admin_http.document import (
    AdminError,
    DeploymentResponse,
    DeploymentsResponse,
)
from autoscaler.config import Server
from autoscaler.errors import InputError

_OWN_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""How to reach who listens on all addresses."""


class Reply(NamedTuple):
    """What the daemon says, and the JSON in which it did."""

    response: DeploymentsResponse | DeploymentResponse
    body: bytes


def address_of(server: Server) -> str:
    """Where a daemon of this configuration answers, as seen from its own machine.

    Raises:
        ConfigurationMistake: it takes any free port, so nobody can tell.
    """
    if server.port == 0:
        raise InputError(
            "server.port is 0, so the daemon has taken any free port; "
            "name its address with --url, its log says the port at the start"
        )
    host = _OWN_MACHINE.get(server.host, server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}"


async def fetch(url: str, deployment_id: str | None = None) -> Reply:
    """Ask the daemon at `url` about one deployment, or about all.

    Raises:
        NoAnswer: there is no daemon, or it does not know the deployment, or knows nothing yet.
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
            f"{url} is not an autoscaler that explains itself: it answered {status} to {path}; "
            f"{URL_HINT}"
        ) from error


def pretty(reply: Reply) -> str:
    """The daemon's JSON, to be read."""
    return msgspec.json.format(reply.body, indent=2).decode()
