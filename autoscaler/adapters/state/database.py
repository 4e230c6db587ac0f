"""The SQLite file of the state: its tables, its checks, and what happens to a damaged one.

A file that this program cannot have written, or that a later release wrote, is left alone. A
damaged one is set aside under another name, and a new one begins.

Facts about SQLite: https://www.sqlite.org/fileformat2.html (application id, user version),
https://www.sqlite.org/wal.html (write-ahead log, read-only databases),
https://www.sqlite.org/rescode.html (result codes).
"""

import contextlib
import os
import shutil
import sqlite3
import stat
import tempfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

APPLICATION_ID = 0x61757473
"""Identifies the file as one of this program: "auts"."""

SCHEMA_VERSION = 1
"""Version of the tables. The documents in them have versions of their own."""

KEPT_DAMAGED_FILES = 3
"""Damaged files that are kept at most, the latest ones. 3, enough to see that a disk damages
files repeatedly."""

_SCHEMA = """
CREATE TABLE documents (name TEXT PRIMARY KEY, content BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE deployments (id TEXT PRIMARY KEY, content BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE history (
    at REAL NOT NULL, deployment TEXT NOT NULL, kind TEXT NOT NULL, content BLOB NOT NULL
);
CREATE INDEX history_by_time ON history (at);
CREATE INDEX history_by_deployment ON history (deployment, at);
"""
# With checksums, because SQLite does not notice a changed byte inside a value.

_SIDE_FILES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps beside a database."""

_BUSY_S = 2.0
"""Seconds to wait for a program that reads the file, such as a back-up."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_MAX_LOG_BYTES = 4 * 2**20
"""Size to which SQLite truncates its write-ahead log when all of it is in the file."""


class Unusable(Exception):
    """The file is left alone. The message says why, and what to do."""


class DatabaseDamaged(Exception):
    """The content of the file contradicts itself, or it is no database."""


class Contents(NamedTuple):
    """The documents in the file, by name and by deployment id."""

    documents: dict[str, bytes]
    deployments: dict[str, bytes]


class HistoryEntry(NamedTuple):
    """Something that happened to a deployment."""

    at: float  # Unix seconds
    deployment_id: str
    kind: str
    content: bytes  # a JSON object


class Database:
    """An open file. The functions raise `sqlite3.Error`; one that fails changes nothing."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._identity = _identity(path)

    @property
    def size_bytes(self) -> int:
        """Of the file, with its write-ahead log."""
        return sum(map(_size_of, (self._path, _beside(self._path, "-wal"))))

    @property
    def is_in_place(self) -> bool:
        """Whether the path still leads to the open file."""
        return _identity(self._path) == self._identity

    def contents(self) -> Contents:
        with _damage_named():
            return Contents(
                _documents(self._connection.execute("SELECT * FROM documents")),
                _documents(self._connection.execute("SELECT * FROM deployments")),
            )

    def write(
        self,
        documents: Mapping[str, bytes],
        deployments: Mapping[str, bytes],
        removed: Collection[str] = (),
    ) -> None:
        """Write documents, and remove those of some deployments. They outlive the process; a power
        failure may undo the last writes, and never parts of one."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", _rows(documents)
            )
            connection.executemany(
                "INSERT OR REPLACE INTO deployments VALUES (?, ?, ?)", _rows(deployments)
            )
            connection.executemany(
                "DELETE FROM deployments WHERE id = ?", [(name,) for name in removed]
            )

    def write_through(self, name: str, content: bytes) -> None:
        """Write a document. When this returns, it outlives a power failure."""
        self._connection.execute("PRAGMA synchronous = FULL")
        try:
            with self._transaction() as connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", _rows({name: content})
                )
        finally:
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def append(self, entries: Sequence[HistoryEntry]) -> None:
        """Add entries to the history."""
        with self._transaction() as connection:
            connection.executemany("INSERT INTO history VALUES (?, ?, ?, ?)", entries)

    def history(self, deployment_id: str | None, since: float, limit: int) -> list[HistoryEntry]:
        """The latest entries of the history, newest first.

        Args:
            deployment_id: None: of all deployments.
        """
        with _damage_named():
            rows = self._connection.execute(
                "SELECT * FROM history WHERE (deployment = ?1 OR ?1 IS NULL) AND at >= ?2 "
                "ORDER BY at DESC, rowid DESC LIMIT ?3",
                (deployment_id, since, limit),
            )
            return [HistoryEntry(*row) for row in rows]

    def history_bytes(self) -> int:
        """The content of the history."""
        query = "SELECT coalesce(sum(length(content)), 0) FROM history"
        with _damage_named():
            (size,) = self._connection.execute(query).fetchone()
        return int(size)

    def forget_history(self, before: float, excess_bytes: int) -> None:
        """Remove the entries before an instant, and so many bytes of the oldest others."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM history WHERE at < ?", (before,))
            if excess_bytes <= 0:
                return
            connection.execute(
                "DELETE FROM history WHERE rowid IN (SELECT rowid FROM (SELECT rowid, sum(length("
                "content)) OVER (ORDER BY at, rowid) - length(content) AS older FROM history) "
                "WHERE older < ?)",
                (excess_bytes,),
            )

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _damage_named():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _damage_named() -> Iterator[None]:
    """The messages of SQLite name parts of a damaged file, which may be no text."""
    try:
        yield
    except UnicodeDecodeError as error:
        named = sqlite3.DatabaseError("a name or a document in it is no text")
        named.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise named from error


def _rows(documents: Mapping[str, bytes]) -> list[tuple[str, bytes, int]]:
    return [(name, content, _checksum(name, content)) for name, content in documents.items()]


def _documents(rows: Iterable[tuple[object, object, object]]) -> dict[str, bytes]:
    """
    Raises:
        sqlite3.DatabaseError: a row is not the one that was written.
    """
    documents = {}
    for name, content, checksum in rows:
        if (
            not isinstance(name, str)
            or not isinstance(content, bytes)
            or checksum != _checksum(name, content)
        ):
            damage = sqlite3.DatabaseError("the checksum of a document differs")
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage
        documents[name] = content
    return documents


def _checksum(name: str, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(name.encode()))


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED


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
    _ensure_regular(path)
    try:
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory, path.name)
            for suffix in ("", "-wal"):
                if not suffix or _beside(path, suffix).exists():
                    shutil.copyfile(_beside(path, suffix), _beside(copy, suffix))
            with contextlib.closing(_opened(copy, path)) as database:
                return database.contents()
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
            rows = connection.execute("SELECT * FROM documents WHERE name = ?", (name,))
            return _documents(rows).get(name)
    except (sqlite3.Error, UnicodeDecodeError):
        return None


def set_aside(path: Path, suffix: str) -> Path:
    """Rename the file, with those beside it, and remove the oldest that were set aside before.

    Args:
        suffix: of the new name.

    Returns:
        The new path.

    Raises:
        Unusable: the directory cannot be written.
    """
    aside = path.with_name(f"{path.name}.damaged-{suffix}")
    try:
        os.replace(path, aside)
        for side in _SIDE_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.replace(_beside(path, side), _beside(aside, side))
    except OSError as error:
        raise Unusable(
            f"{path} is damaged and cannot be renamed: {error.strerror or error}; {_ACCESS}"
        ) from error
    names = sorted(path.parent.glob(f"{path.name}.damaged-*"), key=_modified_at)
    kept = [name for name in names if not name.name.endswith(_SIDE_FILES)]
    for old in kept[:-KEPT_DAMAGED_FILES]:
        for each in (old, *(_beside(old, side) for side in _SIDE_FILES)):
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
    with _damage_named():
        if not _is_empty(connection):
            _check(named, connection)
        else:
            connection.executescript(
                f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {SCHEMA_VERSION}; {_SCHEMA} COMMIT;"
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


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _ensure_regular(path: Path) -> None:
    """
    Raises:
        Unusable: something else than a file is at the path.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unusable(f"{path} cannot be opened: {error.strerror or error}; {_ACCESS}") from error
    if not stat.S_ISREG(mode):
        raise Unusable(f"{path} is no regular file; move it, or set state_dir to another directory")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _modified_at(path: Path) -> tuple[float, str]:
    try:
        return path.stat().st_mtime, path.name
    except OSError:
        return 0.0, path.name
