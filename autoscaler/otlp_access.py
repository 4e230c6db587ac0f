"""Where metrics and decisions are sent by OTLP, and with what.

The configuration and the exporter share these values. They are validated here only.
"""

import re
from pathlib import Path

from msgspec import Struct

from autoscaler.files import FileTooLarge, read_regular

MAX_HEADERS_BYTES = 65_536
"""The size limit of the file with headers, in bytes. Servers accept a few kilobytes of headers, so
a larger file was named by mistake."""

_TRANSIENT = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may be accepted.

Source: OTLP specification, "OTLP/HTTP Response".
"""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a header (RFC 9110, section 5.1)."""

_RESERVED = frozenset({"content-encoding", "content-length", "content-type", "host", "connection"})
"""Headers that the exporter sets, and those that make another request of it."""


class OtlpSettings(Struct, frozen=True, kw_only=True):
    """The receiver, and what it is sent."""

    endpoint: str  # without /v1/metrics and /v1/logs; empty: the cluster that is scaled
    headers_file: Path | None = None
    ca_certs: Path | None = None  # PEM; None: the system's authorities
    interval_s: float = 60.0
    decisions: bool = True  # as log records, after each cycle


class ExportFailed(Exception):
    """The receiver has not accepted a request, or may not have. The message says why.

    Attributes:
        retry_after_s: seconds for which the receiver asks to be left alone; None: it does not ask.
        permanent: the same request would be refused again, by its status.
    """

    def __init__(
        self, message: str, retry_after_s: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.permanent = status is not None and status not in _TRANSIENT


def headers_in(file: Path) -> dict[str, str]:
    """The headers in a file: one on each line, as `Name: value`.

    Raises:
        ValueError: the file cannot be read, or a line is no header. No value is shown.
    """
    try:
        lines = read_regular(file, MAX_HEADERS_BYTES).decode().splitlines()
    except FileTooLarge:
        raise ValueError(f"{file} is larger than 64 KiB, so it has no headers") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text") from None
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not line.strip():
            continue
        if not (colon and _NAME.fullmatch(name) and value.isprintable() and value.isascii()):
            raise ValueError(f"line {number} of {file} must be a header, such as Name: value")
        if name.lower() in _RESERVED:
            raise ValueError(f"line {number} of {file} names a header that the daemon itself sets")
        headers[name] = value
    return headers
