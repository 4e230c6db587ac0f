"""Exceptions of the HTTP library as errors that say what happened to the request."""

import os
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from autoscaler.adapters.elasticsearch.errors import (
    ConnectionBroken,
    ElasticsearchError,
    GatewayError,
    HostTimedOut,
    MalformedResponse,
    NotElasticsearch,
    TimedOut,
    TlsError,
    TransportError,
    Unreachable,
)
from autoscaler.core.units import duration_text
from autoscaler.http_errors import certificate_remedy
from autoscaler.wire.bounds import MAX_NAME

_OTHER_NAME = frozenset({62, 64})
"""For which OpenSSL rejects a certificate whose names do not include the host's:
X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


def transport_error_of(
    error: Exception, *, request: str, place: str, timeout_s: float
) -> TransportError:
    """The transport error for an exception of aiohttp, a time-out, or the operating system."""
    match error:
        case aiohttp.ClientSSLError():
            return untrusted(error, place)
        case aiohttp.ClientConnectorError():
            return unreachable(error.os_error, place)
        case aiohttp.ConnectionTimeoutError():
            return Unreachable(
                f"{place} cannot be reached: connecting timed out; check the address, and any "
                "firewall"
            )
        case TimeoutError():
            return TimedOut(
                f"no complete response from {place} to {request} within "
                f"{duration_text(timeout_s)}, the request_timeout"
            )
        case aiohttp.ClientOSError() if isinstance(error.__cause__, ssl.SSLError):
            # TLS 1.3: a server rejects the client certificate only after the handshake.
            return untrusted(error.__cause__, place)
        case aiohttp.ClientError() if "content-encoding" in str(error).lower():
            return MalformedResponse(
                f"the response from {place} to {request} cannot be decompressed; check any proxy"
            )
        case aiohttp.ClientResponseError():
            return NotElasticsearch(
                f"the response from {place} is not HTTP; check the address and port"
            )
        case _:
            return ConnectionBroken(
                f"the connection to {place} was lost before the response to {request} was complete"
            )


def while_collecting(error: TimedOut | GatewayError) -> TransportError:
    """A time-out of the statistics, with its remedy: they are expensive to collect."""
    slow = "the cluster takes longer to collect the statistics"
    explained: TimedOut | GatewayError
    match error:
        case HostTimedOut():
            return error
        case GatewayError(status=504):
            explained = GatewayError(
                f"{error}; {slow} than the proxy waits, so raise the time-out of the proxy, "
                "request_timeout and poll_interval",
                status=504,
                retry_after_s=error.retry_after_s,
            )
        case TimedOut():
            explained = TimedOut(
                f"{error}; {slow}, so raise request_timeout, and poll_interval with it to "
                "send fewer requests"
            )
        case _:
            return error
    explained.requests = error.requests
    return explained


def remedy_of(error: ElasticsearchError) -> str:
    """What to do about a failure at the start, as the rest of its sentence; empty if the sentence
    has a remedy, or none is known."""
    if ";" in (sentence := str(error)):
        return ""
    match error:
        case ConnectionBroken() if "https://" in sentence:
            return "; check any proxy"
        case ConnectionBroken():
            # A port that uses TLS drops the connection on a request in plain HTTP.
            return "; check whether the address must begin with https"
        case TimedOut() | GatewayError(status=504):
            return "; check whether Elasticsearch or a proxy is overloaded"
    return ""


def gateway_remedy(status: int) -> str:
    """What to do about a status of a proxy; empty: nothing is known to help."""
    match status:
        case 502 | 503:
            return "; check whether Elasticsearch runs, and whether the proxy reaches it"
        case 429:
            return "; raise the rate limit of the proxy, or poll_interval"
        case 504:
            return ""  # the statistics have a remedy of their own; see `while_collecting`
    return "; see the log of the proxy"


def unreachable(error: OSError, place: str) -> Unreachable:
    return Unreachable(
        f"{place} cannot be reached: {_reason_of(error)}; "
        "check the address, and whether the server is running"
    )


def _reason_of(error: OSError) -> str:
    # asyncio puts the address into `strerror`; the message already contains it as `place`.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def untrusted(error: OSError, place: str) -> TlsError:
    cause: Exception = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message.rstrip(".")
        return TlsError(
            f"the certificate of {place} is not trusted: {reason}; {_trust_remedy(cause)}"
        )
    reason = getattr(cause, "reason", None) or "the handshake failed"
    return TlsError(
        f"no TLS connection with {place}: {reason}; "
        "check that the port uses TLS, and client_certificate if the server requires one"
    )


def _trust_remedy(cause: ssl.SSLCertVerificationError) -> str:
    if cause.verify_code in _OTHER_NAME:
        return "use a name of the certificate as the host name in hosts, or set ca_fingerprint"
    return certificate_remedy(cause) or "check ca_certs or ca_fingerprint"


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by the `Retry-After` header, which is in seconds or a date; None without it.

    Source: RFC 9110, section 10.2.3.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def age_s(headers: Mapping[str, str]) -> int:
    """Seconds for which a cache has had a response; 0 if it is none of a cache.

    Source: RFC 9111, section 5.1. Elasticsearch sends no age.
    """
    text = headers.get("Age", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def from_cache(old_s: float, *, request: str, place: str) -> MalformedResponse:
    return MalformedResponse(
        f"{place} responded to {request} from a cache, {duration_text(old_s)} after Elasticsearch; "
        "exclude Elasticsearch from the cache of the proxy"
    )


def origin_of(location: str, base: URL) -> str:
    """Where a redirect leads, without the path, which may contain anything."""
    try:
        return str(base.join(URL(location)).origin())[:MAX_NAME]
    except ValueError:
        return "another address"
