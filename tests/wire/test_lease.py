"""Leases as bytes: what cannot be read is no lease."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.election import Candidacy, Lease, StoredLease
from autoscaler.wire.kubernetes_lease import UnreadableObject, encode_kubernetes_lease, parse_lease
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
        b'{"holder": "a", "ttl_s": 1, "transitions": -1}',
        b'{"holder": "a", "ttl_s": 1, "transitions": 9223372036854775807}',
        b'{"holder": "a", "ttl_s": 1, "transitions": 99999999999999999999999999}',
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


EDITED_INSTANTS = st.sampled_from(
    (
        *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z"),
        *("1969-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "soon", ""),
    )
)
EDITED_NUMBERS = st.sampled_from((-1, 0, 7, 10**9, 2**31 - 1, 2**63 - 1, 2**64, 10**400))


@given(
    holder=st.sampled_from(["own", "other", ""]),
    ttl_s=EDITED_NUMBERS,
    transitions=EDITED_NUMBERS,
    acquired_at=EDITED_INSTANTS,
    renewed_at=EDITED_INSTANTS,
)
def test_a_lease_edited_by_hand_can_be_replaced_or_released(
    holder, ttl_s, transitions, acquired_at, renewed_at
):
    in_document = {
        "holder": holder,
        "ttl_s": ttl_s,
        "transitions": transitions,
        "acquired_at": acquired_at,
        "renewed_at": renewed_at,
    }
    in_kubernetes = {
        "holderIdentity": holder,
        "leaseDurationSeconds": ttl_s,
        "leaseTransitions": transitions,
        "acquireTime": acquired_at,
        "renewTime": renewed_at,
    }
    an_object = {"metadata": {"resourceVersion": "7"}, "spec": in_kubernetes}
    for found in (
        StoredLease(version="7", lease=decode_lease(json.dumps(in_document).encode())),
        parse_lease(json.dumps(an_object).encode())[0],
    ):
        candidacy = Candidacy(name="own", ttl_s=30.0).after_read(found, at=100.0)
        write = candidacy.next_write(1e6)
        assert write is not None
        leading = candidacy.after_write(StoredLease(version="8", lease=write.lease), 1e6, 1e6)
        releases = (candidacy.release(1e6), leading.release(2e6))
        for each in (write.lease, *(release.lease for release in releases if release)):
            assert json.loads(encode_lease(each))["transitions"] < 2**31
            _, metadata = parse_lease(encode_kubernetes_lease(each, {"resourceVersion": "9"}))
            assert metadata == {"resourceVersion": "9"}
