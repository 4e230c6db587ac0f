"""Opening the SQLite file of the state: its checks, and what happens to a damaged one.

A damaged file is set aside under another name, and a new one begins.
"""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autoscaler.adapters.state.database import (
    SCHEMA,
    Contents,
    Database,
    checked_documents,
)
from autoscaler.sqlite_files import (
    SIDE_FILES,
    DatabaseDamaged,
    DatabaseKind,
    begin,
    beside,
    connected,
    create,
    ensure_complete,
    ensure_ours,
    ensure_regular,
    errors_named,
    is_empty,
    rename,
    write_ahead,
)

APPLICATION_ID = 0x61757473
"""Identifies the file as one of this program: "auts"."""

SCHEMA_VERSION = 1
"""Version of the tables. The documents in them have versions of their own."""

KEPT_DAMAGED_FILES = 3
"""Damaged files that are kept at most, and those of other clusters: the latest ones. 3, enough to
see that a disk damages files repeatedly."""

_KIND = DatabaseKind(APPLICATION_ID, SCHEMA_VERSION, SCHEMA, "set state_dir to another directory")


def open_database(path: Path) -> Database:
    """Open the file, or create it.

    Raises:
        DatabaseUnusable: it must be left alone.
        DatabaseDamaged: it should be set aside.
    """
    ensure_regular(path, _KIND)
    with errors_named(path, _KIND):
        return _opened(path, path)


def read_copy(path: Path) -> Contents:
    """The content of a file that cannot be written, and neither can its directory.

    SQLite cannot read the write-ahead log then. So this reads a copy.

    Raises:
        DatabaseUnusable: it must be left alone, or cannot be read either.
        DatabaseDamaged: its content contradicts itself.
    """
    with copied(path) as database:
        return database.contents()


@contextlib.contextmanager
def copied(path: Path) -> Iterator[Database]:
    """A copy of the file, opened, which is deleted afterwards.

    Raises:
        DatabaseUnusable: it must be left alone, or cannot be read.
        DatabaseDamaged: its content contradicts itself, perhaps because it was written meanwhile.
    """
    ensure_regular(path, _KIND)
    with errors_named(path, _KIND, "read"), tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, path.name)
        for suffix in ("", "-wal"):
            if not suffix or beside(path, suffix).exists():
                shutil.copyfile(beside(path, suffix), beside(copy, suffix))
        with contextlib.closing(_opened(copy, path)) as database:
            yield database


def salvaged(path: Path, name: str) -> bytes | None:
    """A document of a damaged file; None if it cannot be read any more."""
    try:
        with contextlib.closing(_connected(path)) as connection:
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
        DatabaseUnusable: the directory cannot be written.
    """
    aside = path.with_name(f"{path.name}.{kind}-{suffix}")
    rename(path, aside, _KIND)
    names = sorted(path.parent.glob(f"{path.name}.{kind}-*"), key=_modified_at)
    kept = [name for name in names if not name.name.endswith(SIDE_FILES)]
    for old in kept[:-KEPT_DAMAGED_FILES]:
        for each in (old, *(beside(old, side) for side in SIDE_FILES)):
            with contextlib.suppress(OSError):
                each.unlink()
    return aside


def was_set_aside(path: Path) -> bool:
    """Whether a file of this name has been set aside."""
    kinds = (f"{path.name}.damaged-*", f"{path.name}.cluster-*")
    return any(any(path.parent.glob(kind)) for kind in kinds)


def _opened(path: Path, named: Path) -> Database:
    """
    Args:
        named: the path that messages name.
    """
    create(path)
    connection = _connected(path)
    try:
        _prepare(connection, named)
    except BaseException:
        connection.close()
        raise
    return Database(path, connection)


def _prepare(connection: sqlite3.Connection, named: Path) -> None:
    if not is_empty(connection):
        ensure_ours(connection, named, _KIND)
        (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise DatabaseDamaged(str(result).replace("\n", " "))
        ensure_complete(connection, _KIND)
    else:
        begin(connection, _KIND)
    write_ahead(connection)


def _connected(path: Path) -> sqlite3.Connection:
    connection = connected(path, "rw")
    # No file of shared memory is needed, which would be one more that cannot be created.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection


def _modified_at(path: Path) -> tuple[float, str]:
    try:
        return path.stat().st_mtime, path.name
    except OSError:
        return 0.0, path.name
