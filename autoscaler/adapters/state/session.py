"""What one thread does with the file, from the moment that the process has it: no asyncio here.

Each deployment is a row, with a document of the whole state that contains it alone. So a change
writes a few rows, and encoding thousands of deployments is interrupted after each.
"""

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from autoscaler.adapters.state.database import Contents, Database
from autoscaler.adapters.state.former_file import FormerFile
from autoscaler.adapters.state.history import BoundedHistory, HistoryLimits
from autoscaler.adapters.state.lock import ProcessLock
from autoscaler.adapters.state.opening import (
    open_database,
    read_copy,
    salvaged,
    set_aside,
    was_set_aside,
)
from autoscaler.adapters.state.restore import CLUSTER, INSTRUCTIONS, SHARED, STOPPED
from autoscaler.adapters.state.stopped_copy import FILE_NAME, StoppedCopy
from autoscaler.ages import AgeLimit, always
from autoscaler.core.state import State
from autoscaler.ports import StateInUse
from autoscaler.sqlite_files import DatabaseDamaged, DatabaseUnusable, is_damage, remedy_for
from autoscaler.wire.history import Event, HistoryEntry, HistoryQuery
from autoscaler.wire.state import encode_state, encode_stopped

DEFAULT_LIMITS = HistoryLimits(30 * 86_400.0, 64_000_000)
"""30 days and 64 MB: about fifteen thousand entries."""


class Session:
    """The file while this process has it.

    Args:
        former: the file from which stopped deployments are taken over when this one begins.
    """

    def __init__(
        self,
        directory: Path,
        former: FormerFile | None,
        limits: HistoryLimits,
        clock_agrees: Callable[[], bool] = always,
    ) -> None:
        self.path = directory / FILE_NAME
        self._former = former
        self._limits = limits
        self._age = AgeLimit(limits.max_age_s, clock_agrees)
        self._history: BoundedHistory | None = None
        self._copy = StoppedCopy(self.path)
        self._lock: ProcessLock | None = None
        self._database: Database | None = None
        self._unusable = f"{self.path} is not open"  # why nothing is saved, before a restart; or ""
        self._hashes: dict[str, int] = {}  # of the rows as they are stored
        self._stopped = b""  # the document as it is stored
        self._instructions = b""  # the same; empty: there is none
        self._before = b""  # the same as `_cluster`, before it was set last
        self._cluster = b""  # the UUID of the cluster that the state is of; empty: unknown

    @property
    def size_bytes(self) -> int:
        """Of the file; 0 if there is none."""
        return 0 if self._database is None else self._database.size_bytes

    @property
    def is_usable(self) -> bool:
        """Whether there is a file that can be written."""
        return self._database is not None

    @property
    def is_alone(self) -> bool:
        """Whether no file was set aside in the directory."""
        return not was_set_aside(self.path)

    def take(self) -> tuple[Contents, tuple[str, ...]]:
        """Take the file: what is in it, and a message for each problem.

        Raises:
            StateInUse: another process has it.
            FormerFileUnreadable: the former file cannot be read.
        """
        messages: list[str] = []
        try:
            self._lock_directory()
            contents = self._open(messages)
        except DatabaseUnusable as error:
            messages.append(
                f"{error}, and restart the autoscaler; until then, nothing is saved, and no "
                "deployment is stopped"
            )
            self._unusable = str(error)
            contents = self._read(messages)
        except BaseException:
            self.give_up()
            raise
        return contents, tuple(messages)

    def write(self, state: State, *, complete: bool) -> None:
        """Write the rows that have changed.

        Args:
            complete: whether the stored deployments that are not in the state are removed.

        Raises:
            DatabaseUnusable: there is no usable file.
            sqlite3.Error: it cannot be written.
        """
        try:
            self._write(state, complete=complete)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._begin_again()
            self._write(state, complete=complete)

    def write_stopped(self, content: bytes) -> None:
        """Write the document of the stopped deployments, past all caches.

        Raises:
            DatabaseUnusable: there is no usable file.
            sqlite3.Error: it cannot be written.
            OSError: its copy cannot be written.
        """
        try:
            self._in_place().write_through(STOPPED, content)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._begin_again()
            self._in_place().write_through(STOPPED, content)
        self._copy.save(content)
        self._stopped = content

    def write_instructions(self, content: bytes) -> None:
        """Write the document of the instructions, past all caches.

        Raises:
            DatabaseUnusable: there is no usable file.
            sqlite3.Error: it cannot be written.
        """
        self._instructions = content
        try:
            self._in_place().write_through(INSTRUCTIONS, content)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._begin_again()

    def append(self, events: Sequence[Event], at: float) -> None:
        """Add events to the history, and remove what is too old or too much.

        Raises:
            DatabaseUnusable: there is no usable file.
            sqlite3.Error: it cannot be written.
        """
        self._history_in_place().append(events, at)

    def binds_anew(self, cluster: bytes) -> bool:
        """State which cluster the state is of, from now on. Whether the file is of another one."""
        self._before, self._cluster = self._cluster, cluster
        return self._before not in (b"", cluster) and self._database is not None

    def begin_for_cluster(self) -> str:
        """Set the file of another cluster aside, and begin a new one.

        Returns:
            What was done.

        Raises:
            DatabaseUnusable: the directory cannot be written.
            sqlite3.Error: it cannot be written.
        """
        database, self._database = self._database, None
        assert database is not None, "there is a file of another cluster"
        self._unusable = f"{self.path} is of another cluster, and cannot be set aside"
        self._stopped, self._instructions = encode_stopped({}), b""
        database.close()
        other = self._before.decode(errors="replace")
        aside = set_aside(self.path, "cluster", re.sub(r"[^A-Za-z0-9_-]", "-", other)[:64])
        self._copy.move_beside(aside)
        self._begin_file()
        return (
            f"{self.path} is of another cluster, {other}; it is now {aside.name}, a new one begins"
        )

    def history(self, query: HistoryQuery) -> list[HistoryEntry]:
        """The latest entries of the history, newest first.

        Raises:
            DatabaseUnusable: there is no usable file.
            sqlite3.Error: it cannot be read.
        """
        return self._in_place().history(query)

    def give_up(self) -> None:
        """Close the file, so that another process can take it."""
        database, self._database = self._database, None
        self._unusable = f"{self.path} is not open"
        self._hashes = {}
        try:
            if database is not None:
                database.close()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _lock_directory(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite writes where a link leads, and so does the rest.
            self.path = Path(os.path.realpath(self.path))
            self._copy = StoppedCopy(self.path)
            lock = ProcessLock(self.path.with_name(f"{self.path.name}.lock"))
            lock.acquire()
        except OSError as error:
            raise DatabaseUnusable(
                f"{self.path.parent} cannot be used: {error.strerror or error}; "
                + remedy_for(
                    error,
                    "give the autoscaler write access to it, or set state_dir to another directory",
                )
            ) from error
        self._lock = lock

    def _open(self, messages: list[str]) -> Contents:
        try:
            self._database = open_database(self.path)
            self._unusable = ""
            contents = self._database.contents()
        except DatabaseDamaged as damage:
            return self._salvage(str(damage), messages)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise DatabaseUnusable(
                    f"{self.path} cannot be read: {error}; check its disk"
                ) from error
            return self._salvage(str(error), messages)
        self._stopped = contents.documents.get(STOPPED, b"")
        self._instructions = contents.documents.get(INSTRUCTIONS, b"")
        self._cluster = contents.documents.pop(CLUSTER, b"")
        self._hashes = {name: hash(row) for name, row in contents.deployments.items()}
        if not self._stopped:  # the file begins
            self._stopped = self._copy.load() or self._taken_over()
            contents.documents[STOPPED] = self._stopped
            try:
                self.write_stopped(self._stopped)
            except (sqlite3.Error, OSError) as error:
                messages.append(f"{self.path} cannot be written: {error}; check its disk")
        return contents

    def _salvage(self, damage: str, messages: list[str]) -> Contents:
        """Begin a new file, and return the stopped deployments of the damaged one.

        Raises:
            DatabaseUnusable: the directory cannot be written.
        """
        try:
            messages.append(self._set_aside(damage))
        except DatabaseUnusable:
            messages.append(f"{self.path} is damaged: {damage}")
            raise
        except (sqlite3.Error, OSError) as error:
            messages.append(
                f"{self.path} is damaged: {damage}; a new one cannot be written: {error}; check "
                "its disk"
            )
        documents = {STOPPED: self._stopped, INSTRUCTIONS: self._instructions}
        return Contents({name: each for name, each in documents.items() if each}, {})

    def _taken_over(self) -> bytes:
        """The document of the stopped deployments of the former file."""
        return encode_stopped({} if self._former is None else self._former.load())

    def _read(self, messages: list[str]) -> Contents:
        """The content of a file that cannot be written, if it can be read; at least the stopped
        deployments."""
        contents = Contents({}, {})
        try:
            if os.path.exists(self.path):
                contents = read_copy(self.path)
        except (DatabaseUnusable, DatabaseDamaged) as error:
            if str(error) != self._unusable:
                messages.append(str(error))
        if stopped := self._stopped or self._copy.load():
            contents.documents.setdefault(STOPPED, stopped)
        return contents

    def _set_aside(self, damage: str) -> str:
        """Begin a new file with the stopped deployments of a damaged one. What has happened."""
        if self._database is not None:
            self._database.close()
            self._database = None
        stopped = self._stopped or salvaged(self.path, STOPPED) or self._copy.load()
        self._stopped = stopped or encode_stopped({})
        self._instructions = self._instructions or salvaged(self.path, INSTRUCTIONS) or b""
        aside = set_aside(self.path, "damaged", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        self._begin_file()
        kept = (
            "the stopped deployments were kept"
            if stopped
            else "if it recorded stopped deployments, start them by hand"
        )
        return f"{self.path} is damaged: {damage}; it is now {aside.name}, a new one begins; {kept}"

    def _begin_file(self) -> None:
        self._unusable = ""  # if it cannot begin now, the next write tries it again
        self._database, self._hashes = open_database(self.path), {}
        self.write_stopped(self._stopped)
        self._keep_instructions(self._database)

    def _keep_instructions(self, database: Database) -> None:
        """Write them into a new file."""
        if self._instructions:
            database.write_through(INSTRUCTIONS, self._instructions)

    def _begin_again(self) -> None:
        """Continue in a new file, because the present one turns out to be damaged."""
        self._set_aside("a write has failed")

    def _in_place(self) -> Database:
        """The open file, or a new one if it was moved or deleted, alone or with its directory.

        Raises:
            DatabaseUnusable: it cannot be opened, or another process has it since then.
        """
        if self._unusable:
            raise DatabaseUnusable(self._unusable)
        if self._database is None:
            self._begin_file()
            assert self._database is not None, "it has begun"
        if not self._database.is_in_place:
            self._database.close()
            self._lock_again()
            self._database, self._hashes = open_database(self.path), {}
            self._database.write_through(STOPPED, self._stopped)
            self._copy.save(self._stopped)
            self._keep_instructions(self._database)
        return self._database

    def _history_in_place(self) -> BoundedHistory:
        database = self._in_place()
        if self._history is None or self._history.database is not database:
            self._history = BoundedHistory(database, self._limits, self._age)
        return self._history

    def _lock_again(self) -> None:
        former = self._lock
        if former is None or former.is_in_place:
            return
        try:
            self._lock_directory()
        except StateInUse as error:
            raise DatabaseUnusable(str(error)) from error
        former.release()

    def _write(self, state: State, *, complete: bool) -> None:
        database = self._in_place()
        documents = {SHARED: encode_state(replace(state, deployments={})).content}
        if self._cluster:
            documents[CLUSTER] = self._cluster
        removed = [name for name in self._hashes if name not in state.deployments]
        written: dict[str, int] = {}
        rows = self._changed(state, written)
        database.write(documents, rows, removed if complete else ())
        self._hashes.update(written)
        if complete:
            for name in removed:
                del self._hashes[name]

    def _changed(self, state: State, written: dict[str, int]) -> Iterator[tuple[str, bytes]]:
        """The rows that have changed, one after the other: together they are larger than the state.

        Args:
            written: their hashes are added to it.
        """
        for name, known in state.deployments.items():
            row = encode_state(State(deployments={name: known})).content
            if self._hashes.get(name) != (digest := hash(row)):
                written[name] = digest
                yield name, row
