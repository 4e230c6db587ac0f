"""Requests to the server of a running daemon."""

import aiohttp

from autoscaler.mistakes import Mistake

USUAL_URL = "http://127.0.0.1:9464"
"""Where the daemon answers unless it is configured otherwise."""

TIMEOUT_S = 10.0
"""The daemon answers at once; a thousand deployments take it a fraction of a second."""

NAME_IT = "name the address of the daemon, [server] in its configuration, with --url"


class NoAnswer(Mistake):
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
        raise NoAnswer(f"{url} is no address of the form {USUAL_URL}; {NAME_IT}") from error
    except aiohttp.ClientConnectorError as error:
        raise NoAnswer(
            f"no daemon answers at {url}: {error.strerror or error}; "
            f"start it with `autoscaler run`, or {NAME_IT}"
        ) from error
    except TimeoutError as error:
        raise NoAnswer(f"{url} did not answer within {TIMEOUT_S:.0f} s; {NAME_IT}") from error
    except aiohttp.ClientError as error:
        raise NoAnswer(
            f"{url} does not speak HTTP as the daemon does: {error}; {NAME_IT}"
        ) from error
