"""Requests to a receiver of OTLP at an address of its own."""

import asyncio
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from autoscaler import __version__
from autoscaler.client_sockets import client_session
from autoscaler.masking import SecretMask
from autoscaler.otlp_access import ExportFailed, OtlpSettings, headers_in
from autoscaler.ports import Clock

TIMEOUT_S = 10.0
"""Seconds of a request, from connecting to the last byte. 10 s, as exporters of OpenTelemetry have
by default."""

CONTEXT_S = 300.0
"""Seconds for which the authorities are not read again. 5 min: reading those of a system takes
20 ms, and a new file takes effect soon."""

MAX_RESPONSE_BYTES = 65_536
"""The size limit of a response, which is a few numbers and a sentence."""

MAX_MESSAGE_BYTES = 300
"""Bytes of a refusal that are shown."""


class Collector:
    """Sends requests to one receiver, each on a connection of its own; none stays open."""

    def __init__(
        self, settings: OtlpSettings, clock: Clock, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._timeout_s = timeout_s
        self._mask = SecretMask()
        self._tls: ssl.SSLContext | None = None
        self._tls_made_at = 0.0

    async def send(self, path: str, body: bytes) -> bytes:
        """The body of the response to a request that was accepted.

        Raises:
            ExportFailed: it was not, or there was no response.
        """
        url = URL(f"{self._settings.endpoint}{path}")
        try:
            headers = self._headers()
            context = await self._context()
            async with (
                client_session(
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,  # a small response may become a large one
                ) as session,
                asyncio.timeout(self._timeout_s),  # not of the end of a connection that was served
                session.post(
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,  # they would carry the headers elsewhere
                    ssl=context,
                ) as response,
            ):
                content = self._mask.masked(await _bounded(response))
        except TimeoutError as error:
            raise ExportFailed(f"no response within {self._timeout_s:g} s") from error
        except ValueError as error:
            raise ExportFailed(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ExportFailed(f"no response: {error or type(error).__name__}") from error
        if 200 <= response.status < 300:
            return content
        text = content[:MAX_MESSAGE_BYTES].decode("utf-8", "replace").strip()
        raise ExportFailed(
            f"status {response.status}{f': {text}' if text else ''}",
            _retry_after(response.headers, self._clock.now()),
            response.status,
        )

    def _headers(self) -> dict[str, str]:
        """Read for each request, so that a new secret counts at once."""
        own = {} if self._settings.headers_file is None else headers_in(self._settings.headers_file)
        for value in own.values():
            self._mask.add(value, value.rpartition(" ")[2])
        return {
            "User-Agent": f"autoscaler/{__version__}",
            "Accept-Encoding": "identity",
            **own,
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
        }

    async def _context(self) -> ssl.SSLContext | bool:
        if not self._settings.endpoint.startswith("https:"):
            return True
        now = self._clock.now()
        if self._tls is None or now - self._tls_made_at >= CONTEXT_S:
            self._tls = await asyncio.to_thread(
                ssl.create_default_context, cafile=self._settings.ca_certs
            )
            self._tls_made_at = now
        return self._tls


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body of a response, or its beginning."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            response.close()
            break
    return bytes(body[:MAX_RESPONSE_BYTES])


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from the header, which has seconds or a date (RFC 9110, section 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
