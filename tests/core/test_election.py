"""The rules of a lease, one by one."""

import math

import pytest

from autoscaler.core.election import (
    MAX_CLOCK_DRIFT,
    MAX_TTL_S,
    RELEASED,
    Candidacy,
    Lease,
    StoredLease,
)

TTL_S = 30.0


def _stored(holder: str, version: str = "1", ttl_s: float = TTL_S) -> StoredLease:
    return StoredLease(version=version, lease=Lease(holder=holder, ttl_s=ttl_s))


def _candidacy(name: str = "a") -> Candidacy:
    return Candidacy(name=name, ttl_s=TTL_S)


def _holding(at: float) -> Candidacy:
    """An instance that has taken a released lease at `at`."""
    found = _candidacy().after_read(_stored(RELEASED), at)
    return found.after_write(_stored("a", "2"), at, at)


def test_an_instance_that_knows_nothing_neither_leads_nor_writes():
    unknown = _candidacy()

    assert not unknown.leads(0.0)
    assert unknown.holder is None
    assert not unknown.may_renew(0.0)


def test_a_released_lease_is_taken_at_once_and_begins_when_its_write_was_sent():
    found = _candidacy().after_read(_stored(RELEASED), 100.0)
    write = found.next_write(100.0)
    assert write is not None
    assert write.lease.holder == "a"
    assert write.lease.transitions == 1
    assert write.replaces == _stored(RELEASED)

    leader = found.after_write(_stored("a", "2"), 100.0, 104.0)

    end = 100.0 + TTL_S * (1.0 - MAX_CLOCK_DRIFT)
    assert leader.leads(104.0)
    assert leader.leading_since == 104.0
    assert leader.leads(end - 5.0, for_s=4.9)
    assert not leader.leads(end - 5.0, for_s=5.0)
    assert not leader.leads(end)


def test_a_lease_of_another_is_taken_after_it_has_been_unchanged_for_its_duration():
    found = _candidacy().after_read(_stored("b"), 100.0)
    assert found.next_write(129.9) is None

    again = found.after_read(_stored("b"), 130.0)

    assert again.next_write(130.0) is not None


def test_a_renewed_lease_is_waited_for_again():
    found = _candidacy().after_read(_stored("b"), 100.0).after_read(_stored("b", "2"), 120.0)

    assert found.next_write(149.9) is None
    assert found.next_write(150.0) is not None


@pytest.mark.parametrize(
    ("stated_s", "waited_s"),
    [
        (60.0, 60.0),
        (1.0, TTL_S),
        (-math.inf, TTL_S),
        (math.nan, TTL_S),
        (math.inf, MAX_TTL_S),
    ],
)
def test_the_longer_duration_counts_of_its_own_and_the_stated_one(stated_s, waited_s):
    found = _candidacy().after_read(_stored("b", ttl_s=stated_s), 0.0)

    assert found.next_write(waited_s - 0.1) is None
    assert found.next_write(waited_s) is not None


@pytest.mark.parametrize("found", [None, StoredLease(version="7", lease=None)])
def test_a_lease_that_is_absent_or_unreadable_is_taken_and_begins_one_duration_later(found):
    candidacy = _candidacy().after_read(found, 100.0)
    write = candidacy.next_write(100.0)
    assert write is not None
    assert write.replaces == found

    claimed = candidacy.after_write(_stored("a", "8"), 100.0, 100.5)
    assert not claimed.leads(100.5)
    renewed = claimed.after_write(_stored("a", "9"), 129.0, 129.5)

    assert not renewed.leads(130.4)
    assert renewed.leads(130.5)
    assert renewed.leading_since == 130.5


def test_its_own_name_after_a_lost_response_does_not_make_it_lead_at_once():
    lost = _candidacy().after_read(None, 100.0).after_failure()

    found = lost.after_read(_stored("a"), 110.0)
    renewed = found.after_write(_stored("a", "2"), 110.0, 110.0)

    assert not renewed.leads(139.9)
    assert renewed.after_write(_stored("a", "3"), 139.0, 139.0).leads(140.0)


def test_a_leader_that_finds_its_lease_deleted_writes_it_again_and_goes_on_leading():
    leader = _holding(100.0).after_failure().after_read(None, 110.0)
    assert leader.leads(110.0)
    assert leader.next_write(110.0) is not None

    again = leader.after_write(_stored("a", "3"), 110.0, 110.0)

    assert again.leads(139.0)
    assert again.leading_since == 100.0


def test_a_leader_that_finds_the_lease_of_another_does_not_lead_from_then_on():
    assert not _holding(100.0).after_read(_stored("b", "3"), 101.0).leads(101.0)
    assert not _holding(100.0).after_read(_stored(RELEASED, "3"), 101.0).leads(101.0)


def test_a_failed_renewal_ends_no_lease_and_the_lease_is_read_before_the_next():
    failed = _holding(100.0).after_failure()

    assert failed.leads(120.0)
    assert not failed.may_renew(120.0)
    assert _holding(100.0).may_renew(120.0)


def test_a_term_that_was_interrupted_begins_again():
    woken = _holding(100.0).after_read(_stored("a", "2"), 500.0)
    assert not woken.leads(500.0)

    renewed = woken.after_write(_stored("a", "3"), 500.0, 500.1)

    assert renewed.leading_since == 500.1


def test_a_renewal_keeps_when_it_was_acquired_and_is_no_transition():
    stored = StoredLease(
        version="2",
        lease=Lease(holder="a", ttl_s=TTL_S, transitions=4, acquired_at=90.0, renewed_at=90.0),
    )
    write = _candidacy().after_read(stored, 100.0).next_write(100.0)

    assert write is not None
    assert write.lease == Lease(
        holder="a", ttl_s=TTL_S, transitions=4, acquired_at=90.0, renewed_at=100.0
    )


def test_only_its_own_lease_is_released():
    leader = _holding(100.0)
    write = leader.release(110.0)
    assert write is not None
    assert write.lease.holder == RELEASED
    assert not leader.resigned().leads(100.0)

    assert _candidacy().after_read(_stored("b"), 0.0).release(1.0) is None
    assert _candidacy().after_read(None, 0.0).release(1.0) is None


def test_a_lease_that_has_not_begun_is_not_released():
    """Its former holder may still lead, and the next instance would not wait."""
    claimed = _candidacy().after_read(None, 100.0).after_write(_stored("a"), 100.0, 100.0)

    assert claimed.release(129.9) is None
    assert claimed.release(130.0) is not None


def test_an_instance_waits_until_the_lease_of_another_ends_but_no_longer_than_an_interval():
    found = _candidacy().after_read(_stored("b"), 100.0)

    assert found.wait_s(100.0, 0.0) == pytest.approx(6.0)
    assert found.wait_s(128.0, 0.0) == pytest.approx(2.0)
    assert found.wait_s(100.0, 1.0) == pytest.approx(4.8)
    assert found.wait_s(131.0, 0.0) > 0.0
    assert _holding(100.0).after_failure().wait_s(101.0, 0.0) == pytest.approx(1.5)
