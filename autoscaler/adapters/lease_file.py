"""The lease as a file, for several instances on one host."""

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoscaler.core.election import Lease, StoredLease
from autoscaler.files import open_own
from autoscaler.ports import LeaseConflict, LeaseUnavailable
from autoscaler.wire.lease import decode_lease, encode_lease

RECORD_BYTES = 1024
"""The size of the file, in bytes. All leases have the same size, so that one system call replaces
the content as a whole."""

_BEGINNING = b'{"holder":'
"""Of each lease. A host that loses its power may leave zeros instead."""

LOCK_ATTEMPTS, LOCK_PAUSE_S = 20, 0.01
"""Attempts to lock the file, and seconds between two of them. 0.2 s in all: an instance holds the
lock for the few system calls of one read or write only, unless it is suspended in between."""


class LeaseFile:
    """A LeaseStore in a file.

    The lock of the file (flock) makes a read, or a comparison with the write after it, one step. It
    is not the lease: a process that hangs would keep it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> StoredLease | None:
        return await asyncio.to_thread(self._read)

    async def write(self, lease: Lease, replaces: StoredLease | None) -> StoredLease:
        return await asyncio.to_thread(self._write, lease, replaces)

    def _read(self) -> StoredLease | None:
        with self._locked() as descriptor:
            return _stored(os.pread(descriptor, RECORD_BYTES, 0))

    def _write(self, lease: Lease, replaces: StoredLease | None) -> StoredLease:
        content = encode_lease(lease).ljust(RECORD_BYTES - 1) + b"\n"
        with self._locked() as descriptor:
            found = _stored(os.pread(descriptor, RECORD_BYTES, 0))
            if found != replaces:
                raise LeaseConflict(f"{self._path} has changed")
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
        return StoredLease(version=_version(content), lease=decode_lease(content))

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The descriptor of the file, which no other process can read or write meanwhile.

        Raises:
            LeaseUnavailable: the file cannot be used, or is locked.
        """
        try:
            descriptor = open_own(self._path)
        except OSError as error:
            raise self._unavailable(error) from error
        try:
            _lock(descriptor)
            opened, named = os.fstat(descriptor), os.stat(self._path)
            if (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino):
                raise OSError(errno.ESTALE, "it has just been replaced")
            yield descriptor
        except OSError as error:
            raise self._unavailable(error) from error
        finally:
            os.close(descriptor)  # which ends the lock

    def _unavailable(self, error: OSError) -> LeaseUnavailable:
        return LeaseUnavailable(
            f"the lease {self._path} cannot be used: {error.strerror or error}; use a file in a "
            "directory of a local disk to which all instances may write"
        )


def _lock(descriptor: int) -> None:
    for attempt in range(LOCK_ATTEMPTS):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == LOCK_ATTEMPTS - 1:
                raise OSError(errno.EAGAIN, "another process has locked it") from None
            time.sleep(LOCK_PAUSE_S)  # in a thread of its own
    raise AssertionError("unreachable")


def _stored(content: bytes) -> StoredLease | None:
    """The content of the file; None: it is empty, as after its creation.

    Raises:
        OSError: it is another file, named by mistake, which must not be overwritten.
    """
    if not content:
        return None
    lease = decode_lease(content)
    if lease is None and not content.startswith(_BEGINNING) and content.strip(b"\0"):
        raise OSError(errno.EINVAL, "the file contains something else than a lease")
    return StoredLease(version=_version(content), lease=lease)


def _version(content: bytes) -> str:
    """The content itself, since each write has another instant of renewal."""
    return content.decode("utf-8", "surrogateescape")
