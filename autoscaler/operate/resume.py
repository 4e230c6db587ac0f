"""Let the daemon start a deployment that it has stopped."""

from urllib.parse import quote

import msgspec

from autoscaler.adapters.admin_http.client import (
    URL_HINT,
    AdminRequestFailed,
    DaemonAddress,
    refusal_of,
    send,
)
from autoscaler.adapters.admin_http.resume import ResumeAccepted
from autoscaler.wire.decision_views import DeploymentResponse, ManagedView


async def resume(daemon: DaemonAddress, deployment_id: str) -> str:
    """Send the request to the daemon, and return its message, with the refusal of the last start,
    if it was refused.

    Raises:
        AdminRequestFailed: no daemon responds, or it refuses: the deployment is not stopped,
            or the token is not that of the daemon.
    """
    path = f"/resume/{quote(deployment_id, safe='')}"
    status, body = await send("POST", daemon, path)
    try:
        if status != 202:
            raise refusal_of(daemon, status, body)
        message = msgspec.json.decode(body, type=ResumeAccepted).message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AdminRequestFailed(
            f"unexpected response from {daemon.url}: {status} to POST {path}; {URL_HINT}"
        ) from error
    return message + await _last_refusal(daemon, deployment_id)


async def _last_refusal(daemon: DaemonAddress, deployment_id: str) -> str:
    """Why the last start was refused; empty if it was not, or if the daemon does not report it."""
    try:
        status, body = await send("GET", daemon, f"/decisions/{quote(deployment_id, safe='')}")
        found = msgspec.json.decode(body, type=DeploymentResponse).deployment
    except (AdminRequestFailed, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    last = found.last_update if isinstance(found, ManagedView) else None
    if status != 200 or last is None or last.current > 0 or not last.detail:
        return ""
    return f"; the last attempt was refused: {last.detail}"
