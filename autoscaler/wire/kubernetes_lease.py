"""The Lease of Kubernetes, `coordination.k8s.io/v1`, as JSON.

Source: kubernetes/api, `coordination/v1/types.go`. `leaseDurationSeconds` is a whole number, and
the instants are MicroTime: UTC with six digits.
"""

import math
from typing import Any

import msgspec
from msgspec import Struct, field

from autoscaler.core.election import RELEASED, Lease, StoredLease
from autoscaler.wire.bounds import Name
from autoscaler.wire.lease import Count, micro_time, seconds_of


class LeaseSpec(Struct, kw_only=True, rename="camel", omit_defaults=True):
    holder_identity: Name | None = None
    lease_duration_seconds: Count | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: Count | None = None


class LeaseObject(Struct, kw_only=True):
    """`metadata` is kept as it is, labels and owners included."""

    metadata: dict[str, Any]
    spec: LeaseSpec = field(default_factory=LeaseSpec)


class _ObjectWithUnreadableSpec(Struct, kw_only=True):
    metadata: dict[str, Any]


class UnreadableObject(ValueError):
    """The response is no object of Kubernetes."""


def parse_lease(body: bytes) -> tuple[StoredLease, dict[str, Any]]:
    """The lease and its metadata.

    Raises:
        UnreadableObject: it has no metadata with a version.
    """
    lease: Lease | None = None
    try:
        found = msgspec.json.decode(body, type=LeaseObject)
        metadata, lease = found.metadata, _lease_of(found.spec)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            metadata = msgspec.json.decode(body, type=_ObjectWithUnreadableSpec).metadata
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableObject(str(error)) from error
    version = metadata.get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise UnreadableObject("it has no resourceVersion")
    return StoredLease(version=version, lease=lease), metadata


def _lease_of(spec: LeaseSpec) -> Lease | None:
    if spec.lease_duration_seconds is None:
        return None
    return Lease(
        holder=spec.holder_identity or RELEASED,
        ttl_s=float(spec.lease_duration_seconds),
        transitions=spec.lease_transitions or 0,
        acquired_at=seconds_of(spec.acquire_time or ""),
        renewed_at=seconds_of(spec.renew_time or ""),
    )


def encode_kubernetes_lease(lease: Lease, metadata: dict[str, Any]) -> bytes:
    spec = LeaseSpec(
        holder_identity=lease.holder,
        lease_duration_seconds=max(1, math.ceil(lease.ttl_s)),
        acquire_time=micro_time(lease.acquired_at),
        renew_time=micro_time(lease.renewed_at),
        lease_transitions=lease.transitions,
    )
    return msgspec.json.encode(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }
    )
