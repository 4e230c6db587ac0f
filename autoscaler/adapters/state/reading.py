"""What is in a state directory, read without taking the state."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from autoscaler.adapters.state.database import Database
from autoscaler.adapters.state.opening import copied
from autoscaler.adapters.state.stopped_copy import FILE_NAME
from autoscaler.errors import UserError
from autoscaler.sqlite_files import DatabaseDamaged, DatabaseUnusable, beside
from autoscaler.wire.history import HistoryEntry, HistoryQuery

_Read = TypeVar("_Read")

_ATTEMPTS = 5
"""Copies of a file that is written meanwhile. 5: a daemon writes at most a tenth of the time."""


class FileHistory:
    """The history in the file of a directory. It changes nothing there, and takes no lock, so that
    a daemon may use the file or begin to.

    What it reads is a copy, which is complete if the file has not been written meanwhile.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME

    def read(self, query: HistoryQuery) -> list[HistoryEntry]:
        """The latest entries, newest first.

        Raises:
            HistoryUnreadable: there is no file, or it cannot be read.
        """
        if not self.path.exists():
            raise HistoryUnreadable(f"{self.path} does not exist, so there is no history in a file")
        try:
            return _read(self.path, lambda database: database.history(query))
        except DatabaseUnusable as error:
            raise HistoryUnreadable(str(error)) from error
        except DatabaseDamaged as damage:
            raise HistoryUnreadable(f"{self.path} is damaged: {damage}") from damage
        except _BeingWritten:
            raise HistoryUnreadable(f"{self.path} is being written; try again") from None


def problem_of(path: Path) -> str:
    """Why the daemon could not use the file as it is, and what it would do; empty if it could, or
    if the file is written all the time."""
    try:
        _read(path, Database.contents)
    except DatabaseUnusable as error:
        return str(error)
    except DatabaseDamaged as damage:
        return f"{path} is damaged: {damage}; the daemon sets it aside, and begins a new one"
    except _BeingWritten:
        pass
    return ""


def _read(path: Path, read: Callable[[Database], _Read]) -> _Read:
    """What a function reads from a copy of the file.

    Raises:
        DatabaseUnusable: it must be left alone, or cannot be read.
        DatabaseDamaged: its content contradicts itself.
        _BeingWritten: each copy was written meanwhile.
    """
    for _ in range(_ATTEMPTS):
        before = _versions(path)
        try:
            with copied(path) as database:
                found = read(database)
        except DatabaseDamaged:
            if _versions(path) == before:
                raise
            continue
        if _versions(path) == before:
            return found
    raise _BeingWritten


class _BeingWritten(Exception):
    """The file is written more often than it can be copied."""


class HistoryUnreadable(UserError):
    """There is no file with a history, or it cannot be read."""


class _Version(NamedTuple):
    inode: int
    size: int
    modified_ns: int


def _versions(path: Path) -> list[_Version | None]:
    """Of the file and its write-ahead log; None: it does not exist."""
    versions: list[_Version | None] = []
    for each in (path, beside(path, "-wal")):
        try:
            found = each.stat()
        except OSError:
            versions.append(None)
        else:
            versions.append(_Version(found.st_ino, found.st_size, found.st_mtime_ns))
    return versions
