"""A lease as JSON: in a document of Elasticsearch, and in a file.

    {"holder": "host-1-a1b2c3", "ttl_s": 30.0, "transitions": 4,
     "acquired_at": "2026-01-01T00:00:00.000000Z", "renewed_at": "2026-01-01T00:03:20.125000Z"}

The instants are those of the holder's clock, in UTC, for operators.
"""

import math
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from autoscaler.core.election import Lease
from autoscaler.wire.bounds import Name

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"

_MAX_AT = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Later instants cannot be written in each zone."""

Count = Annotated[int, Meta(ge=0, le=10**9)]
"""A number that a lease may have and all stores can hold: Kubernetes has 32 bits for it. A larger
one was edited by hand, and could not be counted on from."""


class LeaseDocument(Struct, kw_only=True):
    holder: Name
    ttl_s: float
    transitions: Count = 0
    acquired_at: str = ""
    renewed_at: str = ""


def encode_lease(lease: Lease) -> bytes:
    return msgspec.json.encode(
        LeaseDocument(
            holder=lease.holder,
            ttl_s=lease.ttl_s,
            transitions=lease.transitions,
            acquired_at=micro_time(lease.acquired_at),
            renewed_at=micro_time(lease.renewed_at),
        )
    )


def decode_lease(body: bytes | msgspec.Raw) -> Lease | None:
    """The lease; None: it cannot be read. Instants that cannot be read are 0."""
    try:
        document = msgspec.json.decode(body, type=LeaseDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not math.isfinite(document.ttl_s):
        return None
    return Lease(
        holder=document.holder,
        ttl_s=document.ttl_s,
        transitions=document.transitions,
        acquired_at=seconds_of(document.acquired_at),
        renewed_at=seconds_of(document.renewed_at),
    )


def micro_time(at: float) -> str:
    """Unix seconds as an instant in UTC with six digits, Kubernetes' MicroTime.

    >>> micro_time(1.5)
    '1970-01-01T00:00:01.500000Z'
    """
    return datetime.fromtimestamp(at, UTC).strftime(_TIME_FORMAT)


def seconds_of(text: str) -> float:
    """Unix seconds of such an instant; 0 if it cannot be read, or not be written again.

    >>> seconds_of("1970-01-01T00:00:01.500000Z"), seconds_of("1970-01-01T00:00:02Z")
    (1.5, 2.0)
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    at = found.timestamp() if found.tzinfo is not None else 0.0
    return at if 0.0 <= at < _MAX_AT else 0.0
