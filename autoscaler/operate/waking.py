"""Have the daemon start a deployment again that it has stopped."""

from urllib.parse import quote

import msgspec

from autoscaler.adapters.admin_http.client import NAME_IT, NoAnswer, send
from autoscaler.adapters.admin_http.document import Refusal
from autoscaler.adapters.admin_http.waking import Noted


async def wake(url: str, deployment_id: str) -> str:
    """Tell the daemon at `url`; what it answers.

    Raises:
        NoAnswer: there is no daemon, or it refuses: the deployment is not asleep.
    """
    status, body = await send("POST", url, f"/wake/{quote(deployment_id, safe='')}")
    try:
        if status != 202:
            raise NoAnswer(msgspec.json.decode(body, type=Refusal).error)
        return msgspec.json.decode(body, type=Noted).message
    except msgspec.DecodeError as error:
        raise NoAnswer(
            f"{url} is not an autoscaler that wakes deployments: it answered {status}; {NAME_IT}"
        ) from error
