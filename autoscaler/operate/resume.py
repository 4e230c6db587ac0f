"""Have the daemon start a deployment again that it has stopped."""

from urllib.parse import quote

import msgspec

from autoscaler.adapters.admin_http.client import URL_HINT, AdminRequestFailed, send
from autoscaler.adapters.admin_http.resume import ResumeAccepted
from autoscaler.wire.decisions import AdminError


async def resume(url: str, deployment_id: str) -> str:
    """Tell the daemon at `url`; what it answers.

    Raises:
        NoAnswer: there is no daemon, or it refuses: the deployment is not asleep.
    """
    status, body = await send("POST", url, f"/resume/{quote(deployment_id, safe='')}")
    try:
        if status != 202:
            raise AdminRequestFailed(msgspec.json.decode(body, type=AdminError).error)
        return msgspec.json.decode(body, type=ResumeAccepted).message
    except msgspec.DecodeError as error:
        raise AdminRequestFailed(
            f"{url} is not an autoscaler that wakes deployments: it answered {status}; {URL_HINT}"
        ) from error
