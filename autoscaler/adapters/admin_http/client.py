"""Requests to the server of a running daemon."""

import os

import aiohttp

from autoscaler.core.units import duration_text
from autoscaler.errors import UserError

DEFAULT_URL = "http://127.0.0.1:9464"
"""The address of a daemon with the default [server]."""

TIMEOUT_S = 10.0
"""Seconds until a request is given up. The daemon needs less than 1 s for 1,000 deployments."""

URL_HINT = "set --url to the address in [server]"


class AdminRequestFailed(UserError):
    """The daemon cannot be reached, or rejects the request. The message states the remedy."""


async def send(
    method: str, url: str, path: str, *, timeout_s: float | None = None
) -> tuple[int, bytes]:
    """Send a request to the daemon at `url`; return the status and the body of its response.

    Args:
        path: percent-encoded.

    Raises:
        AdminRequestFailed: there is no response, or it is not HTTP.
    """
    url = url.rstrip("/") if "://" in url else f"http://{url.rstrip('/')}"
    timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url + path) as response,
        ):
            return response.status, await response.read()
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise AdminRequestFailed(
            f"{url}: invalid address, expected one such as {DEFAULT_URL}; {URL_HINT}"
        ) from error
    except aiohttp.ClientConnectorError as error:
        raise AdminRequestFailed(
            f"cannot connect to the daemon at {url}: {_cause(error)}; "
            f"start it with `autoscaler run`, or {URL_HINT}"
        ) from error
    except TimeoutError as error:
        raise AdminRequestFailed(
            f"no response from {url} within {duration_text(timeout_s)}; {URL_HINT}"
        ) from error
    except aiohttp.ClientError as error:
        raise AdminRequestFailed(
            f"unexpected response from {url}: not HTTP ({error}); {URL_HINT}"
        ) from error


def _cause(error: aiohttp.ClientConnectorError) -> str:
    # The library's own text repeats the address. Errors of name resolution have negative codes.
    code = error.errno or 0
    return os.strerror(code).lower() if code > 0 else str(error.strerror or error)
