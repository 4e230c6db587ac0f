"""The request to read the configuration again, as an endpoint."""

from collections.abc import Awaitable, Callable

from autoscaler.adapters.admin_http.endpoints import ApiCall, Endpoint
from autoscaler.adapters.admin_http.responses import RequestFailed
from autoscaler.ports import RequestRefused
from autoscaler.wire.instruction_views import RequestAccepted

Reload = Callable[[], Awaitable[str]]
"""Reads the configuration again. Returns what came of it.

Raises:
    RequestRefused: it is not valid; the previous one stays in effect.
"""


def reload_endpoint(reload: Reload, version: str) -> Endpoint:
    """
    Args:
        version: the daemon's.
    """

    async def handler(_call: ApiCall) -> RequestAccepted:
        try:
            message = await reload()
        except RequestRefused as refused:
            raise RequestFailed(str(refused), 409) from refused
        return RequestAccepted(autoscaler=version, message=message, saved=True)

    return Endpoint(
        name="reload",
        method="POST",
        path="/reload",
        summary="Read the configuration again, and say what came of it",
        response=RequestAccepted,
        handler=handler,
        status=202,
        errors={409: "The configuration is not valid; the previous one stays in effect."},
    )
