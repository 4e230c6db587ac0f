"""A copy of the stopped deployments beside the database, in case the database is damaged.

Only the daemon starts them again, so their record must outlive the loss of a file.
"""

import contextlib
import os
from pathlib import Path

from autoscaler.adapters.state.former_file import FormerFile
from autoscaler.core.state import StoppedDeployment
from autoscaler.files import open_own, read_regular
from autoscaler.wire.state import AnotherDocument, Damaged, UnknownVersion, decode_stopped

FILE_NAME = "autoscaler.sqlite"
"""Name of the database in the state directory."""

_MAX_BYTES = 64 * 2**20
"""Largest copy that is read: a thousand stopped deployments on ten nodes each need 4 MiB."""


class StoppedCopy:
    """The document of the stopped deployments as a file, which is replaced as a whole.

    Args:
        database: the file beside which it is.
    """

    def __init__(self, database: Path) -> None:
        self._path = database.with_suffix(".stopped")

    def load(self) -> bytes | None:
        """The document; None if there is none, or it cannot be read."""
        try:
            content = read_regular(self._path, _MAX_BYTES)
            decode_stopped(content)
        except (OSError, AnotherDocument, Damaged, UnknownVersion):
            return None
        return content

    def move_beside(self, database: Path) -> None:
        """Rename the file as the database has been renamed."""
        with contextlib.suppress(FileNotFoundError):
            os.replace(self._path, database.with_name(f"{database.name}.stopped"))

    def save(self, content: bytes) -> None:
        """
        Raises:
            OSError: the file cannot be written, or something else is in the place of the one that
                replaces it; its content is unchanged.
        """
        # One name, so that a process that is killed leaves at most one file behind.
        temporary = self._path.with_suffix(".stopped-new")
        with open(open_own(temporary), "wb") as file:
            file.truncate()
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
        # Without it, a power failure may lose the new name, though not the content. Some file
        # systems do not support it.
        with contextlib.suppress(OSError):
            _sync(self._path.parent)


def recorded_stopped(directory: Path, former: Path | None) -> dict[str, StoppedDeployment]:
    """The stopped deployments, by id, as they are recorded in a directory: also while another
    process has the state.

    Args:
        former: the file of an earlier release, for a directory that has no record yet.

    Raises:
        FormerFileUnreadable: that file cannot be read.
    """
    content = StoppedCopy(directory / FILE_NAME).load()
    if content is not None:
        return decode_stopped(content)
    return {} if former is None else FormerFile(former).load()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
