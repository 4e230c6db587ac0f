"""Files of intervals: JSON lines, `.jsonl`, or compressed by zstd, `.jsonl.zst`.

Both directions stream, so that a file may be larger than the memory. What is written appears under
its name as a whole or not at all.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from autoscaler.errors import InputError, UserError
from autoscaler.files import open_regular, real_path
from autoscaler.wire.intervals import IntervalsError, Line, decoded, encoded

MAX_LINE_BYTES = 4 * 2**20
"""The size limit of a line, in bytes. A deployment on a thousand nodes takes 200 kB."""

_PLAIN, _COMPRESSED = ".jsonl", ".jsonl.zst"

_MAX_WINDOW_BYTES = 128 * 2**20
"""How far back a compressed file may refer, which is memory of its reader. The command `zstd` needs
an option for more, too."""

_INPUT_BYTES = 1024
"""Compressed bytes that are read at once. They become at most 32 MiB, whatever they are."""

_PLAIN_BYTES = 2**16
"""Other bytes that are read at once."""

MEGABYTE = 10**6

_OUTPUT_BYTES = 2**20
"""Bytes of lines that are written at once."""

_LEVEL = 6
"""The level of compression. Files are a tenth smaller than at the default of zstd, 3."""


class IntervalFileError(InputError):
    """A file cannot be read as intervals. The sentence names it, and the line."""


def read_intervals(
    path: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Line]:
    """The lines of a file, the header first.

    Args:
        progress: called with the megabytes of the file that were read, and with all.

    Raises:
        IntervalFileError: when the line that cannot be read is reached.
    """
    try:
        is_compressed = _is_compressed(path)
        with open_regular(path) as file:
            blocks = _blocks(file, _INPUT_BYTES if is_compressed else _PLAIN_BYTES, progress)
            yield from decoded(_lines(_decompressed(blocks) if is_compressed else blocks))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise IntervalFileError(f"{path}: cannot be read: {reason}") from error
    except IntervalsError as error:
        raise IntervalFileError(f"{path}: {error}") from error


def write_intervals(path: Path, lines: Iterable[Line]) -> int:
    """Write a file: under another name, which is then renamed.

    Returns:
        The number of lines.

    Raises:
        UserError: it cannot be written. An existing file stays unchanged then, and also if `lines`
            raises an error.
    """
    target = _target(path)
    partial = _partial(target)
    pending, size, count = [], 0, 0
    with _reported(path):
        file = partial.open("wb", buffering=0)
    try:
        with file:
            output = (_Compressed if _is_compressed(path) else _Plain)(file)
            for line in encoded(lines):
                count += 1
                pending.append(line)
                size += len(line)
                if size >= _OUTPUT_BYTES:
                    with _reported(path):
                        output.write(b"".join(pending))
                    pending, size = [], 0
            with _reported(path):
                output.write(b"".join(pending))
                output.end()
        with _reported(path):
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return count


def ensure_writable(path: Path) -> None:
    """Check that a file can be written, before what takes long.

    Raises:
        UserError: it cannot be written.
    """
    partial = _partial(_target(path))
    with _reported(path):
        partial.touch()
        partial.unlink()


# Reading


def _is_compressed(path: Path) -> bool:
    """
    Raises:
        IntervalsError: the name says that it is no file of intervals.
    """
    if path.name.endswith(_COMPRESSED):
        return True
    if path.name.endswith(_PLAIN):
        return False
    raise IntervalsError(
        f"its name must end in {_PLAIN} or {_COMPRESSED}, which says how it is written"
    )


def _blocks(file: BinaryIO, size: int, progress: Callable[[int, int], None]) -> Iterator[bytes]:
    total = max(1, os.fstat(file.fileno()).st_size // MEGABYTE)
    while block := file.read(size):
        progress(min(total, file.tell() // MEGABYTE), total)
        yield block


def _decompressed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The content of all frames.

    Raises:
        IntervalsError: it is not compressed by zstd, or ends inside a frame.
    """
    import zstandard  # noqa: PLC0415 - most processes read none

    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    frame = decompressor.decompressobj()
    is_inside = False
    for each in blocks:
        block = each
        while block:
            try:
                yield frame.decompress(block)
            except zstandard.ZstdError as error:
                raise IntervalsError(
                    "it cannot be decompressed: it is damaged, or no zstd"
                ) from error
            block = frame.unused_data if frame.eof else b""
            is_inside = not frame.eof
            if frame.eof:
                frame = decompressor.decompressobj()
    if is_inside:
        raise IntervalsError("it ends early, so a part is lost; copy it again")


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """
    Raises:
        IntervalsError: a line is too long.
    """
    number, rest = 1, b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            _check_length(line, number)
            number += 1
            yield line
        _check_length(rest, number)
    if rest:
        yield rest


def _check_length(line: bytes, number: int) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise IntervalsError(
            f"line {number}: it has more than {MAX_LINE_BYTES:,} bytes; name a file of intervals"
        )


# Writing


class _Plain:
    def __init__(self, file: FileIO) -> None:
        self._file = file

    def write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]

    def end(self) -> None:
        os.fsync(self._file.fileno())


class _Compressed(_Plain):
    def __init__(self, file: FileIO) -> None:
        import zstandard  # noqa: PLC0415

        super().__init__(file)
        self._frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()

    def write(self, content: bytes) -> None:
        super().write(self._frame.compress(content))

    def end(self) -> None:
        super().write(self._frame.flush())
        super().end()


def _target(path: Path) -> Path:
    """The file itself, if links lead to it.

    Raises:
        UserError: it is something else, or its name is not that of a file of intervals.
    """
    try:
        _is_compressed(path)
    except IntervalsError as error:
        raise UserError(f"cannot write {path}: {error}") from error
    with _reported(path):
        target = real_path(path)
        if target.exists() and not target.is_file():
            raise UserError(f"cannot write {path}: it is not a file; name a file")
    return target


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """
    Raises:
        UserError: instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"cannot write {path}: {reason}; name a file in an existing, writable folder"
        ) from error
