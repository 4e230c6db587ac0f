"""Requests to the daemon's /decisions, over HTTP."""

from typing import NamedTuple
from urllib.parse import quote

import msgspec

from autoscaler.adapters.admin_http.client import (
    URL_HINT,
    AdminRequestFailed,
    DaemonAddress,
    refusal_of,
    send,
)
from autoscaler.config import Server
from autoscaler.connection import token_of
from autoscaler.errors import InputError
from autoscaler.wire.decision_views import DeploymentResponse, DeploymentsResponse

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""The loopback address that reaches a server listening on all addresses."""


class Reply(NamedTuple):
    """The daemon's response, decoded and as the JSON that was received."""

    response: DeploymentsResponse | DeploymentResponse
    body: bytes


def address_of(server: Server, url: str | None = None) -> DaemonAddress:
    """A daemon with this configuration, as seen from its own machine, and its token.

    Args:
        url: another address of it.

    Raises:
        InputError: it listens on any free port, so that the port is not known.
    """
    token, no_token = _token_of(server)
    tls = server.access.tls if url is None else None
    certificate = None if tls is None else tls.cert_file
    return DaemonAddress(url or _url_of(server), token, no_token, certificate=certificate)


def _token_of(server: Server) -> tuple[str, str]:
    """The first token of the configuration that this user can read, and why the others cannot be
    used: an operator may read only the own one."""
    problems = []
    for given in (*((server.token,) if server.token is not None else ()), *server.tokens.values()):
        try:
            return token_of(given), ""
        except ValueError as error:
            problems.append(str(error))
    return "", problems[0] if problems else ""


def _url_of(server: Server) -> str:
    if server.port == 0:
        raise InputError(
            "server.port is 0, so the daemon has taken any free port; "
            "set --url to the address in its log line daemon.started"
        )
    host = _LOOPBACK.get(server.host, server.host)
    scheme = "http" if server.access.tls is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{server.port}"


async def fetch(daemon: DaemonAddress, deployment_id: str | None = None) -> Reply:
    """Request one deployment, or all, from the daemon.

    Raises:
        AdminRequestFailed: no daemon responds, or it does not know the deployment, or has not
            observed the cluster yet.
    """
    path = "/decisions" if deployment_id is None else f"/decisions/{quote(deployment_id, safe='')}"
    status, body = await send("GET", daemon, path)
    try:
        if status != 200:
            raise refusal_of(daemon, status, body)
        kind: type[DeploymentsResponse | DeploymentResponse] = (
            DeploymentsResponse if deployment_id is None else DeploymentResponse
        )
        return Reply(msgspec.json.decode(body, type=kind), body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AdminRequestFailed(
            f"unexpected response from {daemon.url}: {status} to GET {path}; {URL_HINT}"
        ) from error


def pretty(reply: Reply) -> str:
    """The daemon's JSON, indented."""
    return msgspec.json.format(reply.body, indent=2).decode()
