"""Requests to the server of a running daemon."""

import ssl
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec

from autoscaler.client_sockets import client_session
from autoscaler.core.units import duration_text
from autoscaler.errors import UserError
from autoscaler.files import read_regular
from autoscaler.http_errors import certificate_remedy, no_response_because
from autoscaler.masking import SecretMask
from autoscaler.server_access import MAX_PEM_BYTES
from autoscaler.wire.decision_views import AdminError

DEFAULT_URL = "http://127.0.0.1:9464"
"""The address of a daemon with the default [server]."""

TIMEOUT_S = 10.0
"""Seconds until a request is given up. The daemon needs less than 1 s for 1,000 deployments."""

MAX_RESPONSE_BYTES, MAX_PIECE_BYTES = 64 * 2**20, 2**16
"""The size limit of a response, and of the pieces it is read in, both decompressed. The decisions
for 10,000 deployments are 20 MB."""

URL_HINT = "set --url to the address in [server]"


class DaemonAddress(NamedTuple):
    """Where a daemon is reached, and the token that it requires."""

    url: str
    token: str = ""
    no_token: str = ""  # why the token of the configuration cannot be used
    user: str = ""  # with `password`, instead of the token
    password: str = ""
    certificate: Path | None = None  # of the daemon, as it is configured on this host
    ca_file: Path | None = None  # of authorities to trust instead of the system's
    client_certificate: Path | None = None  # with its key, for a daemon that requires one

    def __repr__(self) -> str:
        return f"DaemonAddress({self.url!r}, ...)"


class AdminRequestFailed(UserError):
    """The daemon cannot be reached, or rejects the request. The message states the remedy."""


class DaemonUnreachable(AdminRequestFailed):
    """No connection to the daemon can be made."""


async def send(
    method: str,
    daemon: DaemonAddress,
    path: str,
    *,
    body: bytes = b"",
    timeout_s: float | None = None,
) -> tuple[int, bytes]:
    """Send a request to the daemon; return the status and the body of its response.

    Args:
        path: percent-encoded.
        body: JSON; empty: there is none.

    Raises:
        AdminRequestFailed: there is no response, or it is not HTTP.
    """
    url = daemon.url.rstrip("/")
    url = url if "://" in daemon.url else f"http://{url}"
    timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    tls = _trust(daemon) if url.startswith("https:") else True
    try:
        async with (
            client_session(timeout=timeout, headers=_headers(daemon)) as session,
            session.request(
                method,
                url + path,
                data=body or None,
                headers={"Content-Type": "application/json"} if body else None,
                allow_redirects=False,
                ssl=tls,
            ) as response,
        ):
            mask = SecretMask()
            mask.add(daemon.token)
            mask.add(daemon.password)
            return response.status, mask.masked(await _body_of(response))
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, UnicodeError) as error:
        raise AdminRequestFailed(
            f"{url}: invalid address, expected one such as {DEFAULT_URL}; {URL_HINT}"
        ) from error
    except aiohttp.ClientSSLError as error:
        only = f"it has to be the one in {daemon.certificate}, or " if daemon.certificate else ""
        remedy = (
            certificate_remedy(error)
            or f"{only}set --ca to the authority that has signed it, or {URL_HINT}"
        )
        raise AdminRequestFailed(
            f"the daemon at {url} is not trusted: {no_response_because(error)}; {remedy}"
        ) from error
    except aiohttp.ClientConnectorError as error:
        raise DaemonUnreachable(
            f"cannot connect to the daemon at {url}: {no_response_because(error)}; "
            f"start it with `autoscaler run`, or {URL_HINT}"
        ) from error
    except TimeoutError as error:
        raise AdminRequestFailed(
            f"no response from {url} within {duration_text(timeout_s)}; {URL_HINT}"
        ) from error
    except aiohttp.ClientError as error:
        raise AdminRequestFailed(
            f"unexpected response from {url}: {no_response_because(error)}; {URL_HINT}"
        ) from error


def _headers(daemon: DaemonAddress) -> dict[str, str]:
    if daemon.user:
        authorization = aiohttp.encode_basic_auth(daemon.user, daemon.password)
    elif daemon.token:
        authorization = f"Bearer {daemon.token}"
    else:
        return {}
    return {"Authorization": authorization}


def _trust(daemon: DaemonAddress) -> ssl.SSLContext:
    """What the certificate of the daemon has to be, and the one of this client.

    Raises:
        AdminRequestFailed: a file cannot be read, or is no certificate.
    """
    path = daemon.ca_file or daemon.certificate
    try:
        if daemon.ca_file is not None:
            context = ssl.create_default_context(cafile=str(daemon.ca_file))
        elif daemon.certificate is not None:
            pem = read_regular(daemon.certificate, MAX_PEM_BYTES).decode("ascii")
            end = pem.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
            # The first is the daemon's own, which is trusted whatever its names are.
            context = ssl.create_default_context(cadata=pem[pem.index(ssl.PEM_HEADER) : end])
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.check_hostname = False
        else:
            context = ssl.create_default_context()
        path = daemon.client_certificate
        if path is not None:
            context.load_cert_chain(path, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError included
        reason = "it is no PEM certificate"
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            reason = no_response_because(error)
        raise AdminRequestFailed(f"{path} cannot be used: {reason}") from error
    return context


async def _body_of(response: aiohttp.ClientResponse) -> bytes:
    """
    Raises:
        AdminRequestFailed: it is larger than the response of any daemon.
    """
    body = bytearray()
    async for piece in response.content.iter_chunked(MAX_PIECE_BYTES):
        body += piece
        if len(body) > MAX_RESPONSE_BYTES:
            raise AdminRequestFailed(
                f"unexpected response from {response.url.origin()}: larger than "
                f"{MAX_RESPONSE_BYTES // 2**20} MiB; {URL_HINT}"
            )
    return bytes(body)


def refusal_of(daemon: DaemonAddress, status: int, body: bytes) -> AdminRequestFailed:
    """The error in a response.

    Raises:
        msgspec.DecodeError: the response is not that of a daemon.
    """
    error = msgspec.json.decode(body, type=AdminError).error
    if status == 401 and daemon.no_token:
        error = f"{error}; {daemon.no_token}"
    return AdminRequestFailed(error)
