"""Requests to a metrics store over HTTP, and what can be wrong with its responses."""

import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from msgspec import Struct

from autoscaler import __version__
from autoscaler.client_sockets import client_session
from autoscaler.connection import Basic, Bearer, normal_host, secret_of
from autoscaler.core.units import duration_text
from autoscaler.errors import InputError, UserError
from autoscaler.http_errors import certificate_remedy, no_response_because
from autoscaler.masking import SecretMask
from autoscaler.text import printable

TIMEOUT_S = 150.0
"""Seconds of a request. Prometheus itself gives a query up after 2 minutes by default."""

MAX_RESPONSE_BYTES = 256 * 2**20
"""The size limit of a response, decompressed. Parts of a period are chosen so that responses have a
tenth of it."""

MAX_ERROR_BYTES = 65_536
"""Bytes of an error that are read."""

MAX_MESSAGE_CHARACTERS = 300
"""Characters of an error that are shown."""

_PIECE_BYTES = 2**16


class StoreAccess(Struct, frozen=True, kw_only=True):
    """Where a metrics store is, and how to prove and trust it."""

    url: str
    auth: Basic | Bearer | None = None
    ca_file: Path | None = None
    client_certificate: Path | None = None


class ImportFailed(UserError):
    """The source cannot be read. The sentence says what to do."""


class TooLarge(ImportFailed):
    """The response to a query is larger than the source, or this program, allows."""


class HttpReply(Struct, frozen=True):
    """A response whose body is JSON, by its type."""

    status: int
    body: bytes


class StoreClient:
    """Sends requests to one store. Redirects are not followed: they would carry the credentials.

    Raises:
        InputError: the address, a secret or a certificate cannot be used.
    """

    def __init__(self, access: StoreAccess) -> None:
        try:
            self.url = normal_host(access.url)
        except ValueError as error:
            raise InputError(f"the address of the source {error}") from error
        self._mask = SecretMask()
        self._headers = {"User-Agent": f"autoscaler/{__version__}", **self._authorization(access)}
        self._tls = _trust(access) if self.url.startswith("https:") else True
        self._session: aiohttp.ClientSession | None = None
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        session = client_session(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._session = await self._closing.enter_async_context(session)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._closing.aclose()

    async def get(self, path: str, parameters: Mapping[str, str]) -> HttpReply:
        """
        Raises:
            TooLarge: the response is too large.
            ImportFailed: there is none, or it is not JSON.
        """
        assert self._session is not None, "used as a context manager"
        try:
            async with self._session.get(
                self.url + path, params=parameters, allow_redirects=False, ssl=self._tls
            ) as response:
                is_error = not 200 <= response.status < 300
                body = await self._body_of(response, is_error=is_error)
                if response.content_type != "application/json":
                    raise self._not_json(response, body)
                return HttpReply(response.status, body)
        except TimeoutError as error:
            raise ImportFailed(
                f"{self.url}: no response within {duration_text(TIMEOUT_S)}; import less at once "
                "with --from and --to, or with --deployment"
            ) from error
        except aiohttp.ClientConnectorCertificateError as error:
            remedy = certificate_remedy(error) or "set --ca to the authority that has signed it"
            raise ImportFailed(
                f"cannot read {self.url}: {no_response_because(error)}; {remedy}"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ImportFailed(f"cannot read {self.url}: {no_response_because(error)}") from error

    async def _body_of(self, response: aiohttp.ClientResponse, *, is_error: bool) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_chunked(_PIECE_BYTES):
            body += piece
            if is_error and len(body) > MAX_ERROR_BYTES:
                response.close()
                break
            if len(body) > MAX_RESPONSE_BYTES:
                response.close()
                size = MAX_RESPONSE_BYTES // 2**20
                raise TooLarge(f"{self.url}: the response is larger than {size} MiB")
        return self._mask.masked(bytes(body))

    def refused(self, status: int, message: str = "") -> ImportFailed:
        """The error of a status that is none of success."""
        said = printable(message)[:MAX_MESSAGE_CHARACTERS]
        because = f": {said}" if said else ""
        if status in {401, 403}:
            return ImportFailed(
                f"{self.url} refuses the credentials (status {status}){because}; name them with "
                "--token-file, or with --user and --password-file"
            )
        if status == 404:
            return ImportFailed(
                f"{self.url} has no such API (status 404){because}; give the address before /api/v1"
            )
        if 300 <= status < 400:
            return ImportFailed(
                f"{self.url} redirects to another address (status {status}); give that address"
            )
        return ImportFailed(f"{self.url} refuses the request (status {status}){because}")

    def _not_json(self, response: aiohttp.ClientResponse, body: bytes) -> ImportFailed:
        if response.status in {401, 403, 404} or 300 <= response.status < 400:
            return self.refused(response.status)
        is_page = response.content_type == "text/html" or body.lstrip()[:1] == b"<"
        what = "a page" if is_page else f"{response.content_type}"
        return ImportFailed(
            f"{self.url} answers with {what} instead of JSON (status {response.status}); is a "
            "proxy or a login page in between?"
        )

    def _authorization(self, access: StoreAccess) -> dict[str, str]:
        try:
            match access.auth:
                case Basic(user, password):
                    secret = secret_of(password, ascii_only=False)
                    self._mask.add(secret)
                    return {"Authorization": aiohttp.encode_basic_auth(user, secret)}
                case Bearer(token):
                    secret = secret_of(token)
                    self._mask.add(secret)
                    return {"Authorization": f"Bearer {secret}"}
        except ValueError as error:
            raise InputError(f"the credentials of the source: {error}") from error
        return {}


def _trust(access: StoreAccess) -> ssl.SSLContext:
    """
    Raises:
        InputError: a file cannot be read, or is no certificate.
    """
    path = access.ca_file
    try:
        context = ssl.create_default_context(cafile=path)
        path = access.client_certificate
        if path is not None:
            context.load_cert_chain(path, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError included
        reason = "it is no PEM certificate"
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            reason = no_response_because(error)
        raise InputError(f"{path} cannot be used: {reason}") from error
    return context
