"""The tables of the state, in an open SQLite file."""

import contextlib
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from autoscaler.sqlite_files import damage, damage_named, identity_of, size_of
from autoscaler.wire.history import HistoryEntry, HistoryQuery

SCHEMA = """
CREATE TABLE documents (name TEXT PRIMARY KEY, content BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE deployments (id TEXT PRIMARY KEY, content BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE history (
    at REAL NOT NULL, deployment TEXT NOT NULL, kind TEXT NOT NULL, content BLOB NOT NULL
);
CREATE INDEX history_by_time ON history (at);
CREATE INDEX history_by_deployment ON history (deployment, at);
"""
# With checksums, because SQLite does not notice a changed byte inside a value.

_LAST_INSTANT = 253_402_300_799.0
"""The end of the year 9999, in Unix seconds. The calendar has no later one, nor has an entry."""


class Contents(NamedTuple):
    """The documents in the file, by name and by deployment id."""

    documents: dict[str, bytes]
    deployments: dict[str, bytes]


class Database:
    """An open file. The functions raise `sqlite3.Error`; one that fails changes nothing."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._identity = identity_of(path)

    @property
    def size_bytes(self) -> int:
        """Of the file, with its write-ahead log."""
        return size_of(self._path)

    @property
    def is_in_place(self) -> bool:
        """Whether the path still leads to the open file, and that has not been emptied."""
        return self._identity is not None and identity_of(self._path) == self._identity

    def contents(self) -> Contents:
        with damage_named():
            return Contents(
                checked_documents(self._connection.execute("SELECT * FROM documents")),
                checked_documents(self._connection.execute("SELECT * FROM deployments")),
            )

    def write(
        self,
        documents: Mapping[str, bytes],
        deployments: Iterable[tuple[str, bytes]],
        removed: Collection[str] = (),
    ) -> None:
        """Write documents, and remove those of some deployments. They outlive the process; a power
        failure may undo the last writes, and never parts of one.

        Args:
            deployments: each id with its document, which is written before the next one is taken.
        """
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", _rows(documents.items())
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
                    "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", _rows([(name, content)])
                )
        finally:
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def append(self, entries: Iterable[HistoryEntry]) -> int:
        """Add entries to the history, each of which is written before the next one is taken.

        Returns:
            The bytes of their content.
        """
        size = 0
        with self._transaction() as connection:
            for entry in entries:
                connection.execute("INSERT INTO history VALUES (?, ?, ?, ?)", entry[:4])
                size += len(entry.content)
        return size

    def history(self, query: HistoryQuery) -> list[HistoryEntry]:
        """The latest entries of the history, newest first.

        Entries have no checksums. Whatever damage has made of one, it has an instant and texts, and
        does not keep the others from being read.
        """
        conditions: list[str] = ["at BETWEEN ? AND ?"]
        values: list[float | str] = [max(query.since, 0.0), _LAST_INSTANT]
        if query.deployment_id is not None:
            conditions.append("deployment IN (?, '')")
            values.append(query.deployment_id)
        if query.before is not None:
            conditions.append("(at, rowid) < (?, ?)")
            values += query.before
        newest = "ORDER BY at DESC, rowid DESC"
        # The inner query needs an index alone. Sorting whole rows would read the content of all.
        statement = (
            "SELECT at, CAST(deployment AS BLOB), CAST(kind AS BLOB), CAST(content AS BLOB), rowid "  # noqa: S608
            f"FROM history WHERE rowid IN (SELECT rowid FROM history "
            f"WHERE {' AND '.join(conditions)} {newest} LIMIT ?) {newest}"
        )
        with damage_named():
            rows = self._connection.execute(statement, (*values, query.limit))
            return [
                HistoryEntry(at, _text(deployment), _text(kind), content, number)
                for at, deployment, kind, content, number in rows
            ]

    def history_bytes(self) -> int:
        """The content of the history."""
        query = "SELECT coalesce(sum(length(content)), 0) FROM history"
        with damage_named():
            (size,) = self._connection.execute(query).fetchone()
        return int(size)

    def has_history(self, after: float, until: float) -> bool:
        """Whether there are entries later than an instant, and no later than another."""
        query = "SELECT 1 FROM history WHERE at > ? AND at <= ? LIMIT 1"
        with damage_named():
            return self._connection.execute(query, (after, until)).fetchone() is not None

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
        self._identity = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with damage_named():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
                    self._connection.execute("ROLLBACK")
                raise


def _text(stored: bytes) -> str:
    return stored.decode(errors="replace")


def _rows(documents: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes, int]]:
    return ((name, content, _checksum(name, content)) for name, content in documents)


def checked_documents(rows: Iterable[tuple[object, object, object]]) -> dict[str, bytes]:
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
            raise damage("the checksum of a document differs")
        documents[name] = content
    return documents


def _checksum(name: str, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(name.encode()))
