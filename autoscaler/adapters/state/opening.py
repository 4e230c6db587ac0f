"""Opening the SQLite file of the state: its checks, and what happens to a damaged one.

A file that this program cannot have written, or that a later release wrote, is left alone. A
damaged one is set aside under another name, and a new one begins.

Facts about SQLite: https://www.sqlite.org/fileformat2.html (application id, user version),
https://www.sqlite.org/wal.html (write-ahead log, read-only databases).
"""

import contextlib
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autoscaler.adapters.state.database import (
    SCHEMA,
    Contents,
    Database,
    beside,
    checked_documents,
    damage_named,
    is_damage,
)

APPLICATION_ID = 0x61757473
"""Identifies the file as one of this program: "auts"."""

SCHEMA_VERSION = 1
"""Version of the tables. The documents in them have versions of their own."""

KEPT_DAMAGED_FILES = 3
"""Damaged files that are kept at most, and those of other clusters: the latest ones. 3, enough to
see that a disk damages files repeatedly."""

_DEFINITIONS = frozenset(filter(None, map(str.strip, SCHEMA.split(";"))))
"""Of the tables and indexes, as SQLite keeps them."""

_SIDE_FILES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps beside a database."""

_BUSY_S = 2.0
"""Seconds to wait for a program that reads the file, such as a back-up."""

_MAX_LOG_BYTES = 4 * 2**20
"""Size to which SQLite truncates its write-ahead log when all of it is in the file."""


class Unusable(Exception):
    """The file is left alone. The message says why, and what to do."""


class DatabaseDamaged(Exception):
    """The content of the file contradicts itself, or it is no database."""


def open_database(path: Path) -> Database:
    """Open the file, or create it.

    Raises:
        Unusable: it must be left alone.
        DatabaseDamaged: it should be set aside.
    """
    _ensure_regular(path)
    try:
        return _opened(path, path)
    except sqlite3.Error as error:
        if is_damage(error):
            raise DatabaseDamaged(str(error)) from error
        raise Unusable(f"{path} cannot be opened: {error}; {_ACCESS}") from error
    except OSError as error:
        raise Unusable(f"{path} cannot be opened: {error.strerror or error}; {_ACCESS}") from error


def read_copy(path: Path) -> Contents:
    """The content of a file that cannot be written, and neither can its directory.

    SQLite cannot read the write-ahead log then. So this reads a copy.

    Raises:
        Unusable: it must be left alone, or cannot be read either.
        DatabaseDamaged: its content contradicts itself.
    """
    with copied(path) as database:
        return database.contents()


@contextlib.contextmanager
def copied(path: Path) -> Iterator[Database]:
    """A copy of the file, opened, which is deleted afterwards.

    Raises:
        Unusable: it must be left alone, or cannot be read.
        DatabaseDamaged: its content contradicts itself, perhaps because it was written meanwhile.
    """
    _ensure_regular(path)
    try:
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory, path.name)
            for suffix in ("", "-wal"):
                if not suffix or beside(path, suffix).exists():
                    shutil.copyfile(beside(path, suffix), beside(copy, suffix))
            with contextlib.closing(_opened(copy, path)) as database:
                yield database
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror or error}; {_ACCESS}") from error
    except sqlite3.Error as error:
        if is_damage(error):
            raise DatabaseDamaged(str(error)) from error
        raise Unusable(f"{path} cannot be read: {error}; {_ACCESS}") from error


def salvaged(path: Path, name: str) -> bytes | None:
    """A document of a damaged file; None if it cannot be read any more."""
    try:
        with contextlib.closing(_connected(f"{path.as_uri()}?mode=rw")) as connection:
            rows = connection.execute(
                "SELECT name, content, checksum FROM documents WHERE name = ?", (name,)
            )
            return checked_documents(rows).get(name)
    except (sqlite3.Error, UnicodeDecodeError):
        return None


def set_aside(path: Path, kind: str, suffix: str) -> Path:
    """Rename the file, with those beside it, and remove the oldest that were set aside before.

    Args:
        kind: why, for the new name; the oldest files of the same kind are removed.
        suffix: of the new name.

    Returns:
        The new path.

    Raises:
        Unusable: the directory cannot be written.
    """
    aside = path.with_name(f"{path.name}.{kind}-{suffix}")
    try:
        os.replace(path, aside)
        for side in _SIDE_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.replace(beside(path, side), beside(aside, side))
    except OSError as error:
        raise Unusable(f"{path} cannot be renamed: {error.strerror or error}; {_ACCESS}") from error
    names = sorted(path.parent.glob(f"{path.name}.{kind}-*"), key=_modified_at)
    kept = [name for name in names if not name.name.endswith(_SIDE_FILES)]
    for old in kept[:-KEPT_DAMAGED_FILES]:
        for each in (old, *(beside(old, side) for side in _SIDE_FILES)):
            with contextlib.suppress(OSError):
                each.unlink()
    return aside


_ACCESS = "give the autoscaler write access to it and to its directory, or set state_dir to another"


def _opened(path: Path, named: Path) -> Database:
    """
    Args:
        named: the path that messages name.
    """
    # SQLite creates files with the usual permissions, and gives those beside it the same ones.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = _connected(f"{path.as_uri()}?mode=rw")
    try:
        _prepare(connection, named)
    except BaseException:
        connection.close()
        raise
    return Database(path, connection)


def _prepare(connection: sqlite3.Connection, named: Path) -> None:
    with damage_named():
        if not _is_empty(connection):
            _check(named, connection)
        else:
            connection.executescript(
                f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {SCHEMA_VERSION}; {SCHEMA} COMMIT;"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {_MAX_LOG_BYTES}")


def _connected(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    # No file of shared memory is needed, which would be one more that cannot be created.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables == 0 and _pragma(connection, "application_id") == 0)


def _check(path: Path, connection: sqlite3.Connection) -> None:
    """
    Raises:
        Unusable: another program, or a later release, wrote the file.
        DatabaseDamaged: the content contradicts itself.
    """
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise Unusable(
            f"{path} is the database of another program; move it, or set state_dir to another "
            "directory"
        )
    version = _pragma(connection, "user_version")
    if version != SCHEMA_VERSION:
        raise Unusable(
            f"{path} is of version {version}, and this program reads version {SCHEMA_VERSION}; use "
            "the program that wrote it, or set state_dir to another directory"
        )
    (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise DatabaseDamaged(str(result).replace("\n", " "))
    found = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master")}
    if _DEFINITIONS - found:
        raise DatabaseDamaged("a table or an index is missing or has other columns")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _ensure_regular(path: Path) -> None:
    """
    Raises:
        Unusable: something else than a file is at the path, or beside it. SQLite waits for a FIFO.
    """
    for each in (path, *(beside(path, side) for side in _SIDE_FILES)):
        try:
            mode = each.stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Unusable(
                f"{each} cannot be opened: {error.strerror or error}; {_ACCESS}"
            ) from error
        if not stat.S_ISREG(mode):
            raise Unusable(
                f"{each} is no regular file; move it, or set state_dir to another directory"
            )


def _modified_at(path: Path) -> tuple[float, str]:
    try:
        return path.stat().st_mtime, path.name
    except OSError:
        return 0.0, path.name
