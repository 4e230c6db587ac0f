"""The tables of a recording, in an SQLite file: frames of the open block, and closed blocks.

A file that another program, or a later release, has written is left alone. A damaged one is set
aside under another name, and a new one begins.

Facts about SQLite: https://www.sqlite.org/fileformat2.html (application id, user version),
https://www.sqlite.org/wal.html (write-ahead log), https://www.sqlite.org/rescode.html.
"""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

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

_BUSY_S = 2.0
"""Seconds to wait for another program that uses the file, such as an export."""

_MAX_LOG_BYTES = 4 * 2**20
"""Size to which SQLite truncates its write-ahead log when all of it is in the file."""

_SIDE_FILES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps beside a database."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class RecordingUnusable(Exception):
    """The file is left alone. The message says why, and what to do."""


class RecordingInUse(RecordingUnusable):
    """Another process writes the file. The message says what to do if that is not intended."""


class RecordingCorrupt(Exception):
    """The file is damaged. The message says how."""


class StoredFrame(NamedTuple):
    """A frame of the open block."""

    at: float
    content: bytes


class StoredBlock(NamedTuple):
    """A closed block."""

    number: int  # grows from block to block
    first_at: float
    last_at: float
    content: bytes


class RecordingDatabase:
    """An open file. The methods raise `sqlite3.Error`; one that fails changes nothing."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._identity = _identity(path)

    @property
    def is_in_place(self) -> bool:
        """Whether the path still leads to the open file, and that has not been emptied: what is
        written to its write-ahead log then, the next program that opens it removes."""
        return self._identity is not None and _identity(self._path) == self._identity

    @property
    def size_bytes(self) -> int:
        """Of the file, with its write-ahead log."""
        return size_of(self._path)

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
            "SELECT id, first_at, last_at, content FROM blocks WHERE id > ? AND last_at >= ? "
            "ORDER BY id LIMIT 1",
            (number, since),
        ).fetchone()
        return None if row is None else StoredBlock(*row)

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
        pages = _pragma(self._connection, "page_count")
        return (pages - _pragma(self._connection, "freelist_count")) * _pragma(
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
        RecordingUnusable: it must be left alone, or cannot be written.
        RecordingCorrupt: it should be set aside.
    """
    _ensure_regular(path)
    with _errors_named(path):
        # SQLite creates files with the usual permissions, and gives those beside it the same ones.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = _connected(path, "rw")
        try:
            if not _is_empty(connection):
                _check(path, connection)
            else:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.executescript(
                    f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; "
                    f"PRAGMA user_version = {SCHEMA_VERSION}; {SCHEMA} COMMIT;"
                )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {_MAX_LOG_BYTES}")
            # Each row is found by its number, so that little of a large file is in memory.
            connection.execute("PRAGMA cache_size = -512")
        except BaseException:
            connection.close()
            raise
        return RecordingDatabase(path, connection)


def read_recording(path: Path) -> RecordingDatabase:
    """Open a file for reading, also while a daemon writes it.

    Raises:
        RecordingUnusable: there is none, or it cannot be read.
        RecordingCorrupt: it is damaged.
    """
    _ensure_regular(path)
    with _errors_named(path):
        if not path.exists():
            raise RecordingUnusable(f"{path} does not exist, so there is no recording")
        # Where SQLite cannot create files, it reads those that no process writes.
        is_still = not os.access(path.parent, os.W_OK) and not _beside(path, "-wal").exists()
        connection = _connected(path, "ro&immutable=1" if is_still else "ro")
        try:
            _check(path, connection)
        except BaseException:
            connection.close()
            raise
        return RecordingDatabase(path, connection)


def set_recording_aside(path: Path, suffix: str) -> Path:
    """Rename a damaged file, and remove the one that was set aside before: it may be large.

    Raises:
        RecordingUnusable: the directory cannot be written.
    """
    aside = path.with_name(f"{path.name}.damaged-{suffix}")
    try:
        for old in path.parent.glob(f"{path.name}.damaged-*"):
            with contextlib.suppress(OSError):
                old.unlink()
        os.replace(path, aside)
        for side in _SIDE_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.replace(_beside(path, side), _beside(aside, side))
    except OSError as error:
        raise RecordingUnusable(
            f"{path} cannot be renamed: {error.strerror or error}; {_ACCESS}"
        ) from error
    return aside


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED


def size_of(path: Path) -> int:
    """Bytes of a file and its write-ahead log; 0 if there is none."""
    size = 0
    for each in (path, _beside(path, "-wal")):
        with contextlib.suppress(OSError):
            size += each.stat().st_size
    return size


_ACCESS = (
    "give the autoscaler write access to it and to its directory, or set directory in [recording] "
    "to another"
)


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if is_damage(error):
            raise RecordingCorrupt(str(error)) from error
        raise RecordingUnusable(f"{path} cannot be opened: {error}; {_ACCESS}") from error
    except UnicodeDecodeError as error:  # SQLite's messages name parts of a damaged file
        raise RecordingCorrupt("a name in it is no text") from error
    except OSError as error:
        raise RecordingUnusable(
            f"{path} cannot be opened: {error.strerror or error}; {_ACCESS}"
        ) from error


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables == 0 and _pragma(connection, "application_id") == 0)


def _check(path: Path, connection: sqlite3.Connection) -> None:
    """
    Raises:
        RecordingUnusable: another program, or a later release, wrote the file.
        RecordingCorrupt: a table is missing.
    """
    if _is_empty(connection):
        raise RecordingCorrupt("it is empty")
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise RecordingUnusable(
            f"{path} is no recording, but the database of another program; move it, or set "
            "directory in [recording] to another"
        )
    version = _pragma(connection, "user_version")
    if version != SCHEMA_VERSION:
        raise RecordingUnusable(
            f"{path} is of version {version}, and this program reads version {SCHEMA_VERSION}; use "
            "the program that wrote it, or set directory in [recording] to another"
        )
    found = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master")}
    if set(filter(None, map(str.strip, SCHEMA.split(";")))) - found:
        raise RecordingCorrupt("a table or an index is missing or has other columns")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _ensure_regular(path: Path) -> None:
    """
    Raises:
        RecordingUnusable: something else than a file is at the path, or beside it. SQLite waits
            for a FIFO.
    """
    for each in (path, *(_beside(path, side) for side in _SIDE_FILES)):
        try:
            mode = each.stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RecordingUnusable(
                f"{each} cannot be opened: {error.strerror or error}; {_ACCESS}"
            ) from error
        if not stat.S_ISREG(mode):
            raise RecordingUnusable(
                f"{each} is no regular file; move it, or set directory in [recording] to another"
            )


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _identity(path: Path) -> tuple[int, int] | None:
    """None: there is no file, or an empty one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size else None
