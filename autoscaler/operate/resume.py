"""Let the daemon start a deployment that it has stopped."""

from urllib.parse import quote

import msgspec

from autoscaler.adapters.admin_http.client import URL_HINT, AdminRequestFailed, send
from autoscaler.adapters.admin_http.resume import ResumeAccepted
from autoscaler.wire.decisions import AdminError


async def resume(url: str, deployment_id: str) -> str:
    """Send the request to the daemon at `url`, and return its message.

    Raises:
        AdminRequestFailed: no daemon responds, or it refuses: the deployment is not stopped.
    """
    path = f"/resume/{quote(deployment_id, safe='')}"
    status, body = await send("POST", url, path)
    try:
        if status != 202:
            raise AdminRequestFailed(msgspec.json.decode(body, type=AdminError).error)
        return msgspec.json.decode(body, type=ResumeAccepted).message
    except msgspec.DecodeError as error:
        raise AdminRequestFailed(
            f"unexpected response from {url}: {status} to POST {path}; {URL_HINT}"
        ) from error
