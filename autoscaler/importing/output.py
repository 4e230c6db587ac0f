"""The lines of an import: collected, then written with what the source does not have."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import zstandard
from msgspec import Struct

from autoscaler import __version__
from autoscaler.errors import UserError
from autoscaler.files import real_path
from autoscaler.interval_files import write_intervals
from autoscaler.wire.intervals import (
    MAX_INTERVAL_S,
    Hardware,
    IntervalsHeader,
    Line,
    LoadInterval,
    Source,
    decoded,
    encoded,
)

_FIGURES = {
    "arrivals": "the requests that arrived",
    "busy_s": "the service times, so a replay must assume them",
    "in_flight": "the queues, so late requests cannot be compared with what was observed",
    "failed": "failed and rejected requests",
    "requested": "the requested allocations, so what really ran cannot be replayed",
    "running": "the running allocations, so what really ran cannot be replayed",
    "queue_capacity": "the capacity of the queues",
    "threads": "the threads of an allocation",
    "late_requests": "the late requests that the daemon computed",
}
"""What is missing without a figure of the intervals."""


class Imported(Struct, frozen=True, kw_only=True):
    """What was written."""

    intervals: int
    deployments: int
    arrivals: int
    since: float | None  # Unix seconds; None: there are no intervals
    until: float | None
    unknown: tuple[str, ...]


class Output:
    """Collects lines in a file without a name beside the one to be written: what is not known is
    known at the end only, and stands at the beginning. A context manager."""

    def __init__(self, path: Path, source: Source) -> None:
        self._path = path
        self._header = IntervalsHeader(source=source, program=f"autoscaler {__version__}")
        try:
            folder = real_path(path).parent
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - kept
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        self._compressed = zstandard.ZstdCompressor(level=1).stream_writer(
            self._file, closefd=False
        )
        self._known: Counter[str] = Counter()
        self._intervals = self._arrivals = 0
        self._long = 0
        self._by_node = self._hardware = False
        self._deployments: set[str] = set()
        self._issues: Counter[str] = Counter()
        self._since: float | None = None
        self._until: float | None = None
        self._collect([self._header])

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, lines: Iterable[LoadInterval | Hardware]) -> None:
        """Add lines, in the order of their instants.

        Raises:
            UserError: they cannot be kept.
        """
        self._collect(self._noted(lines))

    def write(self, further: Iterable[str] = ()) -> Imported:
        """Write the file.

        Args:
            further: sentences about what the source does not have.

        Raises:
            UserError: it cannot be written.
        """
        unknown = (*further, *self._unknown())
        try:
            self._compressed.flush(zstandard.FLUSH_FRAME)
            self._file.seek(0)
        except OSError as error:
            raise self._unwritable(error) from error
        header = IntervalsHeader(
            source=self._header.source, program=self._header.program, unknown=unknown
        )
        write_intervals(self._path, self._with(header))
        return Imported(
            intervals=self._intervals,
            deployments=len(self._deployments),
            arrivals=self._arrivals,
            since=self._since,
            until=self._until,
            unknown=unknown,
        )

    def _collect(self, lines: Iterable[Line]) -> None:
        try:
            for line in encoded(lines):
                self._compressed.write(line)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        reason = (error.strerror or str(error)).lower()
        return UserError(f"cannot write beside {self._path}: {reason}")

    def _with(self, header: IntervalsHeader) -> Iterator[Line]:
        reader = zstandard.ZstdDecompressor().stream_reader(self._file, closefd=False)
        for line in decoded(_lines(reader)):
            yield header if isinstance(line, IntervalsHeader) else line

    def _noted(self, lines: Iterable[LoadInterval | Hardware]) -> Iterator[LoadInterval | Hardware]:
        for line in lines:
            if isinstance(line, Hardware):
                self._hardware = True
            else:
                self._note(line)
            yield line

    def _note(self, line: LoadInterval) -> None:
        self._intervals += 1
        self._arrivals += line.arrivals or 0
        self._long += line.interval_s > MAX_INTERVAL_S
        self._by_node = self._by_node or bool(line.nodes)
        self._deployments.add(line.deployment)
        self._issues.update(line.issues)
        begin = line.at - line.interval_s
        self._since = begin if self._since is None else min(self._since, begin)
        self._until = line.at if self._until is None else max(self._until, line.at)
        self._known.update(name for name in _FIGURES if getattr(line, name) is not None)

    def _unknown(self) -> Iterator[str]:
        """A sentence for each figure that is unknown everywhere, or in many intervals."""
        if not self._intervals:
            return
        for name, meaning in _FIGURES.items():
            missing = self._intervals - self._known[name]
            if missing == self._intervals:
                yield f"{name} is unknown: the source does not have {meaning}"
            elif missing > self._intervals // 100 or (missing and name == "arrivals"):
                yield f"{name} is unknown in {missing:,} of {self._intervals:,} intervals"
        if self._long:
            yield (
                f"{self._long:,} of {self._intervals:,} intervals are longer than an hour, and a "
                "replay leaves them out: import shorter ones"
            )
        if not self._by_node:
            yield "nodes are unknown, so a slow node cannot be found"
        if not self._hardware:
            yield "the hardware is unknown, so capacity is not limited in a replay"
        for issue, count in sorted(self._issues.items()):
            yield f"{count:,} of {self._intervals:,} intervals have the issue {issue}"


def _lines(reader: zstandard.ZstdDecompressionReader) -> Iterator[bytes]:
    rest = b""
    while block := reader.read(2**16):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
