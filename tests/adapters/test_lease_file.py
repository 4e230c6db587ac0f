"""The lease as a file, and what may be at its path instead."""

import fcntl
import os

import pytest
from msgspec.structs import replace

from autoscaler.adapters import lease_file
from autoscaler.adapters.lease_file import RECORD_BYTES, LeaseFile
from autoscaler.core.election import Lease
from autoscaler.ports import LeaseUnavailable

LEASE = Lease(holder="one", ttl_s=30.0, renewed_at=1.0)


async def test_only_its_owner_can_read_the_file(tmp_path):
    path = tmp_path / "lease"
    await LeaseFile(path).write(LEASE, None)

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == RECORD_BYTES


async def test_a_longer_lease_leaves_nothing_behind(tmp_path):
    store = LeaseFile(tmp_path / "lease")
    first = await store.write(replace(LEASE, holder="a" * 200), None)
    second = await store.write(replace(LEASE, renewed_at=2.0), first)

    assert await store.read() == second


async def test_a_file_that_another_process_keeps_locked_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_file, "LOCK_PAUSE_S", 0.0)
    path = tmp_path / "lease"
    await LeaseFile(path).write(LEASE, None)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LeaseUnavailable, match="another process has locked it"):
            await LeaseFile(path).read()

    assert await LeaseFile(path).read() is not None


@pytest.mark.parametrize("kind", ["directory", "fifo", "link", "no directory"])
async def test_only_a_regular_file_is_used(kind, tmp_path):
    path = tmp_path / "lease"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "other").touch()
        path.symlink_to(tmp_path / "other")
    else:
        path = tmp_path / "missing" / "lease"

    with pytest.raises(LeaseUnavailable, match="cannot be used"):
        await LeaseFile(path).read()


@pytest.mark.parametrize("content", [b"precious", b"{}", b"\0precious", b"x" * RECORD_BYTES])
async def test_another_file_that_was_named_by_mistake_is_left_alone(content, tmp_path):
    path = tmp_path / "notes"
    path.write_bytes(content)
    store = LeaseFile(path)
    with pytest.raises(LeaseUnavailable, match="contains something else than a lease"):
        await store.read()
    with pytest.raises(LeaseUnavailable, match="contains something else than a lease"):
        await store.write(LEASE, None)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b'{"holder":"a","ttl', b'{"holder":1}', bytes(RECORD_BYTES)])
async def test_a_damaged_lease_can_be_replaced(content, tmp_path):
    path = tmp_path / "lease"
    path.write_bytes(content)
    store = LeaseFile(path)
    found = await store.read()
    assert found is not None
    assert found.lease is None
    assert (await store.write(LEASE, found)).lease == LEASE
