"""A file of finished runs, so that they are not run again after a crash or with more policies.

The first line names the format. Each other line is a digest of the rest of the line, the key of a
run, and its result as JSON. A line is written with one call when its run is finished: what a kill
cuts off is the end of the last line.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import msgspec
from msgspec import Struct

from autoscaler.errors import UserError
from autoscaler.files import open_own

HEADER = b"finished runs of autoscaler, format 1\n"

MAX_LINE = 64 * 2**20
"""Bytes. A run with its timeline has tens of kilobytes."""

MAX_SET_ASIDE = 1000
"""Files under which a damaged one is set aside before an error is raised."""

_DIGEST = 16  # hexadecimal digits

Place = tuple[str, int, int]
"""The key of a result, and the offset and length of its JSON."""

Run = TypeVar("Run", bound=Struct)
Say = Callable[[str], None]


class FinishedRuns(Generic[Run]):
    """Results by key. `opened_runs` makes it."""

    def __init__(self, path: Path, descriptor: int, run: type[Run], say: Say) -> None:
        self._path = path
        self._descriptor = descriptor
        self._decoder = msgspec.json.Decoder(run)
        self._say = say
        self._places: dict[str, tuple[int, int]] = {}  # offset and length of the JSON, by key
        self._writable = True

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Run | None:
        """The result of a run; None: it is not in the file, or not as this program writes it."""
        if key not in self._places:
            return None
        offset, length = self._places[key]
        try:
            return self._decoder.decode(os.pread(self._descriptor, length, offset))
        except (OSError, ValueError, RecursionError):
            return None

    def add(self, key: str, result: Run) -> None:
        """Write a result. If that fails, it is reported once, and no more are written."""
        if not self._writable:
            return
        try:
            _write(self._descriptor, _line(key, msgspec.json.encode(result)))
        except OSError as error:
            self._writable = False
            reason = (error.strerror or str(error)).lower()
            self._say(
                f"{self._path} cannot be written: {reason}; the runs that finish from now on are "
                "run again the next time"
            )

    def keep(self, place: Place) -> None:
        """Note where a result is."""
        key, offset, length = place
        self._places[key] = (offset, length)


@contextmanager
def opened_runs(path: Path, run: type[Run], say: Say) -> Iterator[FinishedRuns[Run]]:
    """Open the file, or create it. Only one process can.

    A file with other content is set aside under another name. So is one with damaged lines, of
    which the others are kept.

    Args:
        run: the type of the results.
        say: called with a sentence about what was set aside or cannot be written.

    Raises:
        UserError: it cannot be opened, or another process uses it.
    """
    descriptor, places = _opened(path, say)
    try:
        runs = FinishedRuns(path, descriptor, run, say)
        for place in places:
            runs.keep(place)
        yield runs
    finally:
        os.close(descriptor)


def _opened(path: Path, say: Say) -> tuple[int, list[Place]]:
    """The file, locked, and the places of its results.

    Raises:
        UserError: it cannot be opened, or another process uses it.
    """
    try:
        descriptor = _locked(path)
        try:
            whole, places = _read(descriptor)
            if not whole:
                aside = _set_aside(path)
                say(
                    f"{path} is damaged or no file of finished runs, and was set aside as "
                    f"{aside.name}; {len(places) or 'no'} finished runs of it are used"
                )
                damaged, descriptor = descriptor, _locked(path)
                try:
                    places = _copied(damaged, descriptor, places)
                finally:
                    os.close(damaged)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"--resume: cannot use {path}: {reason}; name a file in an existing, writable folder"
        ) from error
    return descriptor, places


def _locked(path: Path) -> int:
    descriptor = open_own(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(
            f"--resume: {path} is in use by another run; wait for it, or name another file"
        ) from error
    return descriptor


def _read(descriptor: int) -> tuple[bool, list[Place]]:
    """Whether the file has only whole lines, and the key, offset and length of each of these.

    An empty file gets its header, and the beginning of a last line is cut off.
    """
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        header = file.readline(len(HEADER))
        if header == HEADER:
            whole, lines, end = _lines(file)
        elif HEADER.startswith(header):  # empty, or cut off
            whole, lines, end = True, [], 0
        else:
            return False, []
    if whole:
        os.ftruncate(descriptor, end)
        os.lseek(descriptor, end, os.SEEK_SET)
        if end == 0:
            _write(descriptor, HEADER)
    return whole, lines


def _lines(file: BinaryIO) -> tuple[bool, list[Place], int]:
    """Whether all lines are whole, their places, and the end of the last one."""
    whole, lines, end = True, [], len(HEADER)
    while line := file.readline(MAX_LINE):
        if not line.endswith(b"\n"):
            whole &= len(line) < MAX_LINE
            break
        place = _place(line, end)
        if place is None:
            whole = False
        else:
            lines.append(place)
        end += len(line)
    return whole, lines, end


def _line(key: str, text: bytes) -> bytes:
    rest = key.encode() + b" " + text
    return _digest(rest) + b" " + rest + b"\n"


def _place(line: bytes, offset: int) -> Place | None:
    """Where the result of a line is; None: the line is damaged."""
    digest, _, rest = line.rstrip(b"\n").partition(b" ")
    if digest != _digest(rest):
        return None
    key, _, text = rest.partition(b" ")
    return key.decode("ascii", "replace"), offset + len(line) - 1 - len(text), len(text)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:_DIGEST].encode()


def _set_aside(path: Path) -> Path:
    for number in range(1, MAX_SET_ASIDE):
        aside = path.with_name(f"{path.name}.aside-{number}")
        if not os.path.lexists(aside):
            path.rename(aside)
            return aside
    raise UserError(f"--resume: {path} is damaged, and too many such files are beside it")


def _copied(damaged: int, descriptor: int, places: list[Place]) -> list[Place]:
    """Copy the results of a damaged file to an empty one. Returns their places there."""
    _write(descriptor, HEADER)
    for key, offset, length in places:
        _write(descriptor, _line(key, os.pread(damaged, length, offset)))
    _, copied = _read(descriptor)
    return copied


def _write(descriptor: int, content: bytes) -> None:
    """
    Raises:
        OSError: a part of it at least is not written.
    """
    if os.write(descriptor, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
