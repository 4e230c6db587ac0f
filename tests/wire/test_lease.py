"""Leases as bytes: what cannot be read is no lease."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.election import Lease
from autoscaler.wire.kubernetes_lease import UnreadableObject, parse_lease
from autoscaler.wire.lease import decode_lease, encode_lease

INSTANTS = st.integers(0, 4_000_000_000_000_000).map(lambda micros: micros / 1e6)


@given(st.text(max_size=50), st.floats(1.0, 3600.0), st.integers(0, 10**9), INSTANTS, INSTANTS)
def test_a_decoded_lease_stays_as_it_is(holder, ttl_s, transitions, acquired_at, renewed_at):
    lease = Lease(
        holder=holder,
        ttl_s=ttl_s,
        transitions=transitions,
        acquired_at=acquired_at,
        renewed_at=renewed_at,
    )
    once = decode_lease(encode_lease(lease))

    assert once is not None
    assert decode_lease(encode_lease(once)) == once
    assert (once.holder, once.ttl_s, once.transitions) == (holder, ttl_s, transitions)
    assert math.isclose(once.renewed_at, renewed_at, abs_tol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b'{"holder": 7, "ttl_s": 1}',
        b'{"holder": "a"}',
        b'{"holder": "a", "ttl_s": "30s"}',
        b'{"holder": "a", "ttl_s": 1e999}',
        b'{"holder":' * 5000,
    ],
)
def test_what_is_no_lease_is_unknown(body):
    assert decode_lease(body) is None


def test_instants_that_cannot_be_read_are_none():
    body = b'{"holder": "a", "ttl_s": 30, "acquired_at": "soon", "renewed_at": "2026-01-01"}'
    assert decode_lease(body) == Lease(holder="a", ttl_s=30.0)


@pytest.mark.parametrize(
    ("spec", "holder"),
    [
        ('{"holderIdentity": "a", "leaseDurationSeconds": 15}', "a"),
        ('{"holderIdentity": "", "leaseDurationSeconds": 1}', ""),
        ('{"leaseDurationSeconds": 15, "holderIdentity": null}', ""),
        ('{"holderIdentity": "a"}', None),
        ('{"holderIdentity": "a", "leaseDurationSeconds": "15"}', None),
        ("{}", None),
        ("[]", None),
    ],
)
def test_the_spec_of_a_kubernetes_lease(spec, holder):
    body = f'{{"metadata": {{"resourceVersion": "5"}}, "spec": {spec}}}'.encode()
    stored, metadata = parse_lease(body)

    assert stored.version == "5"
    assert metadata == {"resourceVersion": "5"}
    assert (None if stored.lease is None else stored.lease.holder) == holder


@pytest.mark.parametrize("body", [b"", b"{}", b'{"metadata": {}}', b'{"metadata": []}', b"\xff"])
def test_what_is_no_object(body):
    with pytest.raises(UnreadableObject):
        parse_lease(body)
