"""The lock that one process holds for as long as it has the store."""

import fcntl
import os
from pathlib import Path

from autoscaler.files import open_own
from autoscaler.ports import StateInUse


class ProcessLock:
    """An advisory lock on a file of its own, with the id of the process that holds it as content.

    The kernel releases it when the process ends, however that happens. The file remains.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """
        Raises:
            StateInUse: another process holds the lock.
            OSError: the file cannot be created, something else is in its place, or the file system
                has no locks.
        """
        descriptor = open_own(self._path)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StateInUse(self._in_use(os.pread(descriptor, 32, 0))) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    @property
    def is_in_place(self) -> bool:
        """Whether the lock is on the file that another process would lock."""
        try:
            named, held = os.stat(self._path), os.fstat(self._descriptor)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _in_use(self, content: bytes) -> str:
        holder = content.strip().decode("ascii", "replace")
        process = f"process {holder}" if holder.isdigit() else "another process"
        return (
            f"{process} uses the state in {self._path.parent}; stop it, or set state_dir to "
            "another directory"
        )
