"""What a LeaseStore guarantees, for each implementation."""

import pytest
from msgspec.structs import replace

from autoscaler.core.election import RELEASED, Lease
from autoscaler.ports import LeaseConflict, LeaseUnavailable
from tests.contracts.leases import STORES, Elasticsearch, Kubernetes

LEASE = Lease(holder="one", ttl_s=30.0, transitions=3, acquired_at=1_000.0, renewed_at=1_000.5)
RENEWED = replace(LEASE, renewed_at=1_010.25)


@pytest.fixture(params=STORES, ids=lambda each: each.__name__)
async def place(request, tmp_path):
    async with request.param.opened(tmp_path) as found:
        yield found


@pytest.fixture(params=[Elasticsearch, Kubernetes], ids=lambda each: each.__name__)
async def remote(request, tmp_path):
    async with request.param.opened(tmp_path) as found:
        yield found


async def test_there_is_no_lease_at_first(place):
    assert await place.store.read() is None


async def test_a_written_lease_is_read_by_others_as_it_is(place):
    written = await place.store.write(LEASE, None)

    assert written.lease == LEASE
    assert await place.other.read() == written
    assert await place.store.read() == written


async def test_each_write_has_another_version(place):
    first = await place.store.write(LEASE, None)
    second = await place.store.write(RENEWED, first)

    assert second.version != first.version
    assert await place.other.read() == second


async def test_only_one_of_two_creates_the_lease(place):
    await place.store.write(LEASE, None)

    with pytest.raises(LeaseConflict):
        await place.other.write(replace(LEASE, holder="two"), None)

    found = await place.other.read()
    assert found is not None
    assert found.lease == LEASE


async def test_only_one_of_two_replaces_a_lease(place):
    first = await place.store.write(LEASE, None)
    await place.other.write(replace(RENEWED, holder="two"), first)

    with pytest.raises(LeaseConflict):
        await place.store.write(RENEWED, first)

    found = await place.store.read()
    assert found is not None
    assert found.lease is not None
    assert found.lease.holder == "two"


async def test_a_deleted_lease_is_not_replaced_and_can_be_created(place):
    first = await place.store.write(LEASE, None)
    place.delete()

    with pytest.raises(LeaseConflict):
        await place.store.write(RENEWED, first)
    assert await place.store.read() is None
    await place.other.write(RENEWED, None)


async def test_a_damaged_lease_is_there_and_can_be_replaced(place):
    await place.store.write(LEASE, None)
    place.damage()

    damaged = await place.store.read()
    assert damaged is not None
    assert damaged.lease is None
    with pytest.raises(LeaseConflict):
        await place.store.write(LEASE, None)

    written = await place.store.write(RENEWED, damaged)
    assert await place.other.read() == written


async def test_a_released_lease_has_no_holder(place):
    first = await place.store.write(LEASE, None)
    await place.store.write(replace(RENEWED, holder=RELEASED), first)

    found = await place.other.read()
    assert found is not None
    assert found.lease is not None
    assert found.lease.holder == RELEASED


@pytest.mark.parametrize("applied", [False, True])
async def test_a_write_without_a_response_is_unknown(remote, applied):
    first = await remote.store.write(LEASE, None)
    remote.fail(applied=applied)

    with pytest.raises((LeaseUnavailable, LeaseConflict)):
        await remote.store.write(RENEWED, first)

    found = await remote.other.read()
    assert found is not None
    assert found.lease == (RENEWED if applied else LEASE)
