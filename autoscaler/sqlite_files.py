"""SQLite files of this program: what is theirs, what is damaged, and which are left alone.

A file that another program, or a later release, has written is left alone. A damaged one is for the
caller to set aside. Symbolic links are followed, as SQLite does.

Facts about SQLite: https://www.sqlite.org/fileformat2.html (application id, user version),
https://www.sqlite.org/wal.html (write-ahead log), https://www.sqlite.org/rescode.html.
"""

import contextlib
import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SIDE_FILES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps beside a database."""

_BUSY_S = 2.0
"""Seconds to wait for another program that uses the file, such as a back-up."""

_CACHE_KIB = 256
"""Pages that SQLite keeps in memory for a connection that writes, which hardly reads. 256 KiB: the
inner pages of the tables. By default it keeps 2 MB, of rows that have just been written."""

_MAX_LOG_BYTES = 4 * 2**20
"""Size to which SQLite truncates its write-ahead log when all of it is in the file."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DatabaseUnusable(Exception):
    """The file is left alone, or cannot be used. The message says why, and what to do."""


class DatabaseDamaged(Exception):
    """The content of the file contradicts itself, or it is no database. The message says how."""


class DatabaseKind(NamedTuple):
    """What the files of one kind have in common."""

    application_id: int
    version: int  # of the tables; what they contain has versions of its own
    schema: str  # statements, each with a semicolon
    elsewhere: str  # the change with which another file is used, for messages

    @property
    def access(self) -> str:
        """What to do about a file that cannot be opened."""
        return f"give the autoscaler write access to it and to its directory, or {self.elsewhere}"


def create(path: Path) -> None:
    """Create a file that is not there yet, readable by its owner alone.

    SQLite creates files with the usual permissions, and gives those beside it the same ones.

    Raises:
        OSError: it cannot be created, or written.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def connected(path: Path, mode: str) -> sqlite3.Connection:
    """
    Args:
        mode: `rw` or `ro`, perhaps with further parameters of a URI of SQLite.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing has been written to the file."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables == 0 and pragma(connection, "application_id") == 0)


def begin(connection: sqlite3.Connection, kind: DatabaseKind) -> None:
    """Create the tables of an empty file."""
    connection.executescript(
        f"BEGIN; PRAGMA application_id = {kind.application_id}; "
        f"PRAGMA user_version = {kind.version}; {kind.schema} COMMIT;"
    )


def write_ahead(connection: sqlite3.Connection) -> None:
    """What is written outlives the process; a power failure may undo the last transactions."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {_MAX_LOG_BYTES}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")


def ensure_ours(connection: sqlite3.Connection, path: Path, kind: DatabaseKind) -> None:
    """
    Raises:
        DatabaseUnusable: another program, or a later release, wrote the file.
    """
    if pragma(connection, "application_id") != kind.application_id:
        raise DatabaseUnusable(
            f"{path} is the database of another program; move it, or {kind.elsewhere}"
        )
    version = pragma(connection, "user_version")
    if version != kind.version:
        raise DatabaseUnusable(
            f"{path} is of version {version}, and this program reads version {kind.version}; use "
            f"the program that wrote it, or {kind.elsewhere}"
        )


def ensure_complete(connection: sqlite3.Connection, kind: DatabaseKind) -> None:
    """
    Raises:
        DatabaseDamaged: a table is missing.
    """
    found = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master")}
    # SQLite keeps the statements as they were written.
    if set(filter(None, map(str.strip, kind.schema.split(";")))) - found:
        raise DatabaseDamaged("a table or an index is missing or has other columns")


def ensure_regular(path: Path, kind: DatabaseKind) -> None:
    """
    Raises:
        DatabaseUnusable: something else than a file is at the path, or beside it. SQLite waits for
            a FIFO.
    """
    for each in (path, *(beside(path, side) for side in SIDE_FILES)):
        try:
            mode = each.stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DatabaseUnusable(
                f"{each} cannot be opened: {error.strerror or error}; {kind.access}"
            ) from error
        if not stat.S_ISREG(mode):
            raise DatabaseUnusable(f"{each} is no regular file; move it, or {kind.elsewhere}")


@contextmanager
def errors_named(path: Path, kind: DatabaseKind, action: str = "opened") -> Iterator[None]:
    """Errors of SQLite and of the file system in the block are raised as those of this module.

    Args:
        action: what cannot be done with the file.
    """
    try:
        with damage_named():
            yield
    except sqlite3.Error as error:
        if is_damage(error):
            raise DatabaseDamaged(str(error)) from error
        raise DatabaseUnusable(
            f"{path} cannot be {action}: {error}; {remedy_for(error, kind.access)}"
        ) from error
    except OSError as error:
        raise DatabaseUnusable(
            f"{path} cannot be {action}: {error.strerror or error}; "
            f"{remedy_for(error, kind.access)}"
        ) from error


def remedy_for(error: OSError | sqlite3.Error, otherwise: str) -> str:
    """What to do about a file or a directory that cannot be used.

    Args:
        otherwise: the remedy unless its disk is full.
    """
    code = getattr(error, "sqlite_errorcode", None)
    full = isinstance(error, OSError) and error.errno in _FULL
    if full or (code is not None and code & 0xFF == sqlite3.SQLITE_FULL):
        return "free space on its disk"
    return otherwise


@contextmanager
def damage_named() -> Iterator[None]:
    """The messages of SQLite name parts of a damaged file, which may be no text."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise damage("a name or a document in it is no text") from error


def damage(what: str) -> sqlite3.DatabaseError:
    """An error as SQLite raises it for a damaged file."""
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED


def rename(path: Path, target: Path, kind: DatabaseKind) -> None:
    """Rename a closed file, with those beside it.

    Raises:
        DatabaseUnusable: the directory cannot be written.
    """
    try:
        os.replace(path, target)
        for side in SIDE_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.replace(beside(path, side), beside(target, side))
    except OSError as error:
        raise DatabaseUnusable(
            f"{path} cannot be renamed: {error.strerror or error}; {kind.access}"
        ) from error


def identity_of(path: Path) -> tuple[int, int] | None:
    """Device and inode; None: there is no file, or an empty one. What is written to the write-ahead
    log of an emptied file, the next program that opens it removes."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size else None


def size_of(path: Path) -> int:
    """Bytes of a file and its write-ahead log; 0 if there is none."""
    size = 0
    for each in (path, beside(path, "-wal")):
        with contextlib.suppress(OSError):
            size += each.stat().st_size
    return size


def beside(path: Path, suffix: str) -> Path:
    """The file that SQLite keeps beside a database under a suffix."""
    return path.with_name(path.name + suffix)


def pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
