"""What one thread does with the file of a recording: no asyncio here."""

import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from autoscaler.adapters.recording.database import (
    FILE_NAME,
    RecordingDatabase,
    RecordingInUse,
    StoredFrame,
    open_recording,
    set_recording_aside,
)
from autoscaler.ages import AgeLimit, always
from autoscaler.files import open_own
from autoscaler.sqlite_files import DatabaseDamaged, DatabaseUnusable, is_damage, remedy_for
from autoscaler.wire.recording import Frame, RecordedCycle, RecordingDamaged
from autoscaler.wire.recording_blocks import (
    compressed_block,
    compressed_frame,
    decompressed_frame,
)
from autoscaler.wire.recording_encoder import FrameEncoder

BLOCK_S = 3_600.0
"""Seconds after which a block is closed. An hour: longer ones are hardly smaller."""

MAX_BLOCK_BYTES = 2 * 2**20
"""Bytes of the columns after which a block is closed earlier. 2 MiB, several of which are in memory
while it is compressed: 40 cycles of a thousand deployments on three nodes."""


RESERVED_BYTES = 64 * 2**20
"""Free bytes of the disk that the recording leaves to others, such as the saved state. 64 MiB, the
state of three thousand deployments; but at most a fifth of the disk."""


KEPT_CLUSTERS = 3
"""Recordings of other clusters that are kept, as many as of their states: the latest ones."""


class RecordingLimits(NamedTuple):
    """What is kept of a recording."""

    max_age_s: float
    max_bytes: int


class RecordingFile:
    """The file, from the first cycle that can be written on. It may be opened again at any time.

    Args:
        directory: created if it does not exist.
        clock_agrees: whether the clock of the host agrees with the times of the cycles.
    """

    def __init__(
        self,
        directory: Path,
        limits: RecordingLimits,
        clock_agrees: Callable[[], bool] = always,
    ) -> None:
        self.path = directory / FILE_NAME
        self._max_bytes = limits.max_bytes
        self._age = AgeLimit(limits.max_age_s, clock_agrees)
        self._lock = -1  # the descriptor of the locked file
        self._database: RecordingDatabase | None = None
        self._encoder = FrameEncoder()
        self._block_began_at = 0.0
        self._block_bytes = 0
        self._cluster = ""  # the UUID of the cluster that the open file is of; empty: unknown
        self.messages: list[str] = []  # what has happened to the file, for the log
        self.other_clusters: list[str] = []  # the same of a file of another cluster

    @property
    def size_bytes(self) -> int:
        """Of the file; 0 if it is not open."""
        return 0 if self._database is None else self._database.size_bytes

    def open(self, at: float) -> None:
        """Open the file, or create it, and close the block that an earlier process has left.

        Raises:
            RecordingInUse: another process writes it.
            DatabaseUnusable: it must be left alone, or cannot be written.
            sqlite3.Error: it cannot be written.
        """
        if self._database is not None and self._database.is_in_place:
            return
        self.give_up()
        try:
            self._take_lock()
            try:
                self._database = open_recording(self.path)
                self._cluster = self._database.cluster()
                self._close_block(at)
            except DatabaseDamaged as damage:
                self._begin_again(str(damage))
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                self._begin_again(str(error))
        except BaseException:
            self.give_up()
            raise

    def write(self, cycle: RecordedCycle, cluster: str = "") -> None:
        """Write one cycle. It outlives the process; a power failure may take the last ones.

        Args:
            cluster: the UUID of the cluster. A file of another one is set aside; where it is
                unknown, the file is taken to be of this one.

        Raises:
            DatabaseUnusable: there is no usable file.
            sqlite3.Error: it cannot be written.
        """
        self.open(cycle.at)
        self._begin_for(cluster)
        try:
            if self._free_bytes() <= 0:
                self._make_room(cycle.at)
            self._ensure_room()
            self._write(cycle, cluster)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._begin_again(str(error))
            self._ensure_room()
            self._write(cycle, cluster)

    def _ensure_room(self) -> None:
        """
        Raises:
            DatabaseUnusable: the disk has none.
        """
        if self._free_bytes() <= 0:
            raise DatabaseUnusable(
                f"the disk of {self.path} is almost full, and the rest is left to the saved state; "
                "use a larger disk, or a smaller max_mb in [recording]"
            )

    def first_at(self) -> float | None:
        """When the recording begins; None: it is empty."""
        return None if self._database is None else self._database.first_at()

    def give_up(self) -> None:
        """Close the file, so that another process can write it."""
        database, self._database = self._database, None
        if database is not None:
            database.close()
        self._cluster = ""
        self._begin_block()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite writes where a link leads, and so does the rest.
            self.path = Path(os.path.realpath(self.path))
            self._lock = open_own(self.path.with_name(f"{self.path.name}.lock"))
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecordingInUse(
                f"another process writes {self.path}; stop it, or set directory in [recording] to "
                "another"
            ) from error
        except OSError as error:
            raise DatabaseUnusable(
                f"{self.path.parent} cannot be used: {error.strerror or error}; "
                + remedy_for(
                    error,
                    "give the autoscaler write access to it, or set directory in [recording] to "
                    "another",
                )
            ) from error

    def _begin_for(self, cluster: str) -> None:
        """Set a file of another cluster aside, and begin a new one.

        Raises:
            DatabaseUnusable: the directory cannot be written.
        """
        other = self._cluster
        if cluster in ("", other) or not other or self._database is None:
            return
        self._database.close()
        self._database = None
        name = f"{_time_text()}-{re.sub(r'[^A-Za-z0-9_-]', '-', other)[:64]}"
        aside = set_recording_aside(self.path, "cluster", name, kept=KEPT_CLUSTERS)
        self.other_clusters.append(
            f"{self.path} is of another cluster, {other}; it is now {aside.name}, a new one begins"
        )
        self._begin_file()

    def _write(self, cycle: RecordedCycle, cluster: str) -> None:
        assert self._database is not None, "it is open"
        if cluster and not self._cluster:
            self._database.bind(cluster)
            self._cluster = cluster
        frame = self._encoder.frame(cycle)
        self._database.append(StoredFrame(cycle.at, compressed_frame(frame)))
        self._encoder.written()
        if not self._block_bytes:
            self._block_began_at = cycle.at
        self._block_bytes += 1 + sum(map(len, frame.columns.values()))
        if self._block_bytes > MAX_BLOCK_BYTES or not (
            0.0 <= cycle.at - self._block_began_at < BLOCK_S
        ):
            self._close_block_if_possible(cycle.at)

    def _close_block_if_possible(self, at: float) -> None:
        """Close the block; if the disk is full, after the next cycle. This one has been written."""
        try:
            self._close_block(at)
        except sqlite3.Error as error:
            if is_damage(error):
                raise

    def _close_block(self, at: float) -> None:
        """Replace the open block by a closed one, and remove what is too old or too much."""
        assert self._database is not None, "it is open"
        free_bytes = self._free_bytes() - 2 * MAX_BLOCK_BYTES  # for the next open block
        stored = self._database.frames()
        frames = self._readable(stored)
        self._database.close_block(
            compressed_block(frames) if frames else b"",
            stored[: len(frames)],
            oldest=self._age.oldest(at, self._database.has_blocks),
            max_bytes=min(self._max_bytes, self._database.size_bytes + free_bytes),
        )
        self._begin_block()

    def _free_bytes(self) -> int:
        """Bytes of the disk that the recording may use in addition; negative: it uses too much."""
        try:
            disk = os.statvfs(self.path.parent)
        except OSError:
            return 1  # writing shows what is wrong
        reserved = min(RESERVED_BYTES, disk.f_blocks * disk.f_frsize // 5)
        return disk.f_bavail * disk.f_frsize - reserved

    def _make_room(self, at: float) -> None:
        """Remove the oldest blocks, as far as the disk requires it."""
        assert self._database is not None, "it is open"
        self._close_block(at)
        self._database.free_space()

    def _readable(self, stored: list[StoredFrame]) -> list[Frame]:
        """The frames up to the first that is damaged: later ones differ from it."""
        frames: list[Frame] = []
        try:
            for each in stored:
                frame = decompressed_frame(each.content)
                if not frames and frame.layout is None:
                    raise RecordingDamaged("the first frame of a block is missing")
                frames.append(frame)
        except RecordingDamaged as error:
            lost = len(stored) - len(frames)
            self.messages.append(f"{self.path}: the last {lost} cycles are lost, because {error}")
        return frames

    def _begin_block(self) -> None:
        self._encoder.restart()
        self._block_bytes = 0

    def _begin_again(self, damage: str) -> None:
        """Set a damaged file aside, and begin a new one.

        Raises:
            DatabaseUnusable: the directory cannot be written.
        """
        database, self._database = self._database, None
        if database is not None:
            database.close()
        aside = set_recording_aside(self.path, "damaged", _time_text(), kept=1)
        self.messages.append(
            f"{self.path} is damaged: {damage}; it is now {aside.name}, a new one begins"
        )
        self._begin_file()

    def _begin_file(self) -> None:
        self._cluster = ""
        try:
            self._database = open_recording(self.path)
        except DatabaseDamaged as error:
            raise DatabaseUnusable(f"{self.path} cannot be created: {error}") from error
        self._begin_block()


def _time_text() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
