"""The cycles of a recording, also while a daemon writes it."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from autoscaler.adapters.recording.database import (
    RecordingDatabase,
    StoredFrame,
    read_recording,
)
from autoscaler.errors import UserError
from autoscaler.sqlite_files import DatabaseDamaged, DatabaseUnusable
from autoscaler.wire.recording import Frame, RecordedCycle, RecordingDamaged
from autoscaler.wire.recording_blocks import decompressed_block, decompressed_frame
from autoscaler.wire.recording_decoder import FrameDecoder


class RecordingUnreadable(UserError):
    """There is no recording, or it cannot be read."""


def recorded_cycles(
    path: Path,
    since: float,
    until: float,
    *,
    warn: Callable[[str], None] = lambda message: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[RecordedCycle]:
    """The recorded cycles until an instant, in the order in which they were written.

    Args:
        since: Unix seconds. The cycles of the block that contains this instant come too, so that
            the first later ones can be compared with earlier ones.
        until: Unix seconds.
        warn: called with a sentence for each part that is damaged, and is left out.
        progress: called with the cycles of the blocks that were read, and of all.

    Raises:
        RecordingUnreadable: there is no file, or it cannot be read.
    """
    try:
        with contextlib.closing(read_recording(path)) as database:
            yield from _cycles(database, path, since, until, warn, progress)
    except DatabaseUnusable as error:
        raise RecordingUnreadable(str(error)) from error
    except (DatabaseDamaged, sqlite3.Error) as error:
        raise RecordingUnreadable(
            f"{path} cannot be read: {error}; if it is a copy, export the recording with "
            "`autoscaler export` where the daemon writes it, and copy the export"
        ) from error


def _cycles(
    database: RecordingDatabase,
    path: Path,
    since: float,
    until: float,
    warn: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Iterator[RecordedCycle]:
    number, done = 0, 0
    total = database.cycles_between(since, until)
    progress(done, max(1, total))
    while True:
        frames: list[StoredFrame] = []
        # A block is closed in one transaction: what is read here is in one of the two tables.
        with database.unchanged():
            block = database.block_after(number, since)
            if block is None:
                frames = database.frames()
        if block is None:
            parts: Iterable[Frame] = (decompressed_frame(frame.content) for frame in frames)
            yield from _decoded(parts, path, until, warn)
            if frames:
                done += len(frames)
                progress(done, max(1, done, total))
            return
        number = block.number
        if block.first_at <= until:
            yield from _decoded(_frames_of(block.content), path, until, warn)
            done += block.cycles
            progress(done, max(1, done, total))  # the daemon may have written more meanwhile


def _frames_of(content: bytes) -> Iterator[Frame]:
    yield from decompressed_block(content)


def _decoded(
    frames: Iterable[Frame], path: Path, until: float, warn: Callable[[str], None]
) -> Iterator[RecordedCycle]:
    decoder = FrameDecoder()
    try:
        for frame in frames:
            cycle = decoder.cycle(frame)
            if cycle.at <= until:
                yield cycle
    except RecordingDamaged as error:
        warn(f"{path}: the rest of a block is left out, because {error}")
