"""The tables of a recording, in an SQLite file: frames of the open block, and closed blocks.

A damaged file is set aside under another name, and a new one begins.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from autoscaler.sqlite_files import (
    SIDE_FILES,
    DatabaseDamaged,
    DatabaseKind,
    DatabaseUnusable,
    begin,
    beside,
    connected,
    create,
    ensure_complete,
    ensure_ours,
    ensure_regular,
    errors_named,
    identity_of,
    is_empty,
    pragma,
    rename,
    size_of,
    write_ahead,
)

FILE_NAME = "recording.db"

APPLICATION_ID = 0x61757272
"""Identifies the file as a recording of this program: "aurr"."""

SCHEMA_VERSION = 1
"""Version of the tables. Frames and blocks have a version of their own."""

SCHEMA = """
CREATE TABLE frames (id INTEGER PRIMARY KEY, at REAL NOT NULL, content BLOB NOT NULL);
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, first_at REAL NOT NULL, last_at REAL NOT NULL,
    cycles INTEGER NOT NULL, content BLOB NOT NULL
);
CREATE INDEX blocks_by_time ON blocks (last_at);
"""

_KIND = DatabaseKind(
    APPLICATION_ID, SCHEMA_VERSION, SCHEMA, "set directory in [recording] to another"
)


class RecordingInUse(DatabaseUnusable):
    """Another process writes the file. The message says what to do if that is not intended."""


class StoredFrame(NamedTuple):
    """A frame of the open block."""

    at: float
    content: bytes


class StoredBlock(NamedTuple):
    """A closed block."""

    number: int  # grows from block to block
    first_at: float
    last_at: float
    cycles: int
    content: bytes


class RecordingDatabase:
    """An open file. The methods raise `sqlite3.Error`; one that fails changes nothing."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._identity = identity_of(path)

    @property
    def is_in_place(self) -> bool:
        """Whether the path still leads to the open file, and that has not been emptied."""
        return self._identity is not None and identity_of(self._path) == self._identity

    @property
    def size_bytes(self) -> int:
        """Of the file, with its write-ahead log."""
        return size_of(self._path)

    def cluster(self) -> str:
        """The UUID of the cluster that the recording is of; empty: unknown."""
        tables = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'cluster'"
        if self._connection.execute(tables).fetchone() is None:
            return ""
        row = self._connection.execute("SELECT uuid FROM cluster").fetchone()
        return "" if row is None else str(row[0])

    def bind(self, cluster: str) -> None:
        """State which cluster the recording is of."""
        # Not in the schema: earlier releases read and write files with and without this table.
        with self._transaction("BEGIN IMMEDIATE") as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS cluster (uuid TEXT NOT NULL)")
            connection.execute("DELETE FROM cluster")
            connection.execute("INSERT INTO cluster VALUES (?)", (cluster,))

    def has_blocks(self, after: float, until: float) -> bool:
        """Whether a closed block ends later than an instant, and no later than another."""
        query = "SELECT 1 FROM blocks WHERE last_at > ? AND last_at <= ? LIMIT 1"
        return self._connection.execute(query, (after, until)).fetchone() is not None

    def append(self, frame: StoredFrame) -> None:
        """Add a frame to the open block. It outlives the process."""
        with self._transaction("BEGIN IMMEDIATE"):
            self._connection.execute("INSERT INTO frames (at, content) VALUES (?, ?)", frame)

    def frames(self) -> list[StoredFrame]:
        """The open block, in the order in which it was written."""
        rows = self._connection.execute("SELECT at, content FROM frames ORDER BY id")
        return [StoredFrame(*row) for row in rows]

    def close_block(
        self, content: bytes, frames: Sequence[StoredFrame], *, oldest: float, max_bytes: int
    ) -> None:
        """Replace the open block by a closed one, and remove the oldest ones.

        Args:
            content: of the closed block; empty: nothing of the open one can be read.
            oldest: instant before which blocks are removed.
            max_bytes: of all that remains; further blocks are removed.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            if content:
                times = [frame.at for frame in frames]
                connection.execute(
                    "INSERT INTO blocks (first_at, last_at, cycles, content) VALUES (?, ?, ?, ?)",
                    (min(times), max(times), len(times), content),
                )
            connection.execute("DELETE FROM frames")
            connection.execute("DELETE FROM blocks WHERE last_at < ?", (oldest,))
            excess = self._used_bytes() - max_bytes
            if excess > 0:
                connection.execute(
                    "DELETE FROM blocks WHERE id IN (SELECT id FROM (SELECT id, sum(length("
                    "content)) OVER (ORDER BY id) - length(content) AS older FROM blocks) "
                    "WHERE older < ?)",
                    (excess,),
                )
        self._connection.execute("PRAGMA incremental_vacuum").fetchall()

    def free_space(self) -> None:
        """Give the disk what removed blocks and the write-ahead log have taken."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def block_after(self, number: int, since: float) -> StoredBlock | None:
        """The first block of a higher number that ends at an instant or later."""
        row = self._connection.execute(
            "SELECT id, first_at, last_at, CAST(cycles AS INTEGER), content FROM blocks "
            "WHERE id > ? AND last_at >= ? ORDER BY id LIMIT 1",
            (number, since),
        ).fetchone()
        return None if row is None else StoredBlock(*row)

    def cycles_between(self, since: float, until: float) -> int:
        """How many cycles the blocks between two instants have, with those of the open one."""
        (cycles,) = self._connection.execute(
            "SELECT CAST(total(cycles) AS INTEGER) + (SELECT count(*) FROM frames) FROM blocks "
            "WHERE last_at >= ? AND first_at <= ?",
            (since, until),
        ).fetchone()
        return int(cycles)

    def first_at(self) -> float | None:
        """When the recording begins; None: it is empty."""
        found = [
            at
            for (at,) in (
                *self._connection.execute("SELECT min(first_at) FROM blocks"),
                *self._connection.execute("SELECT min(at) FROM frames"),
            )
            if at is not None
        ]
        return min(found, default=None)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever is read in the block is of one instant."""
        with self._transaction("BEGIN"):
            yield

    def close(self) -> None:
        self._connection.close()
        self._identity = None

    def _used_bytes(self) -> int:
        pages = pragma(self._connection, "page_count")
        return (pages - pragma(self._connection, "freelist_count")) * pragma(
            self._connection, "page_size"
        )

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        self._connection.execute(begin)
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise


def open_recording(path: Path) -> RecordingDatabase:
    """Open a file for writing, or create it.

    Raises:
        DatabaseUnusable: it must be left alone, or cannot be written.
        DatabaseDamaged: it should be set aside.
    """
    ensure_regular(path, _KIND)
    with errors_named(path, _KIND):
        create(path)
        connection = connected(path, "rw")
        try:
            if not is_empty(connection):
                _check(path, connection)
            else:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                begin(connection, _KIND)
            write_ahead(connection)
            # Each row is found by its number, so that little of a large file is in memory.
            connection.execute("PRAGMA cache_size = -512")
        except BaseException:
            connection.close()
            raise
        return RecordingDatabase(path, connection)


def read_recording(path: Path, *, leaves_nothing: bool = False) -> RecordingDatabase:
    """Open a file for reading, also while a daemon writes it.

    Args:
        leaves_nothing: SQLite creates no files beside it that would remain. A daemon that begins to
            write meanwhile may make what is read seem damaged.

    Raises:
        DatabaseUnusable: there is none, or it cannot be read.
        DatabaseDamaged: it is damaged.
    """
    ensure_regular(path, _KIND)
    with errors_named(path, _KIND):
        if not path.exists():
            raise DatabaseUnusable(f"{path} does not exist, so there is no recording")
        # Where SQLite cannot create files, it reads those that no process writes.
        is_still = leaves_nothing or not os.access(path.parent, os.W_OK)
        is_still = is_still and not beside(path, "-wal").exists()
        connection = connected(path, "ro&immutable=1" if is_still else "ro")
        try:
            if is_empty(connection):
                raise DatabaseDamaged("it is empty")
            _check(path, connection)
        except BaseException:
            connection.close()
            raise
        return RecordingDatabase(path, connection)


def set_recording_aside(path: Path, kind: str, suffix: str, *, kept: int) -> Path:
    """Rename a closed file, and remove the oldest that were set aside before: they may be large.

    Args:
        kind: why, for the new name.
        suffix: of the new name. It begins with the time, so that names are in its order.
        kept: files of this kind that remain, with the new one.

    Raises:
        DatabaseUnusable: the directory cannot be written.
    """
    names = path.parent.glob(f"{path.name}.{kind}-*")
    before = sorted(name for name in names if not name.name.endswith(SIDE_FILES))
    for old in before[: max(0, len(before) - kept + 1)]:
        for each in (old, *(beside(old, side) for side in SIDE_FILES)):
            with contextlib.suppress(OSError):
                each.unlink()
    aside = path.with_name(f"{path.name}.{kind}-{suffix}")
    rename(path, aside, _KIND)
    return aside


def _check(path: Path, connection: sqlite3.Connection) -> None:
    ensure_ours(connection, path, _KIND)
    ensure_complete(connection, _KIND)
