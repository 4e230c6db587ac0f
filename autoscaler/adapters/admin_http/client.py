"""Requests to the server of a running daemon."""

import aiohttp

from autoscaler.errors import UserError

DEFAULT_URL = "http://127.0.0.1:9464"
"""Where the daemon answers unless it is configured otherwise."""

TIMEOUT_S = 10.0
"""The daemon answers at once; a thousand deployments take it a fraction of a second."""

URL_HINT = "name the address of the daemon, [server] in its configuration, with --url"


class AdminRequestFailed(UserError):
    """The daemon cannot be asked, or refuses. The message says what to do."""


async def send(method: str, url: str, path: str) -> tuple[int, bytes]:
    """Status and body of what the daemon at `url` answers; `path` is percent-encoded.

    Raises:
        NoAnswer: nobody does, or what answers does not speak HTTP.
    """
    url = url.rstrip("/") if "://" in url else f"http://{url.rstrip('/')}"
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url + path) as response,
        ):
            return response.status, await response.read()
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise AdminRequestFailed(
            f"{url} is no address of the form {DEFAULT_URL}; {URL_HINT}"
        ) from error
    except aiohttp.ClientConnectorError as error:
        raise AdminRequestFailed(
            f"no daemon answers at {url}: {error.strerror or error}; "
            f"start it with `autoscaler run`, or {URL_HINT}"
        ) from error
    except TimeoutError as error:
        raise AdminRequestFailed(
            f"{url} did not answer within {TIMEOUT_S:.0f} s; {URL_HINT}"
        ) from error
    except aiohttp.ClientError as error:
        raise AdminRequestFailed(
            f"{url} does not speak HTTP as the daemon does: {error}; {URL_HINT}"
        ) from error
