"""Recorded request rates, and their files.

A trace is a text file, `.csv` or `.csv.gz`: lines `# key: value`, then a header and one row for
each bin of time, including idle bins. The columns `t_seconds` (start of the bin) and `requests` (an
integer) are required, `mean_size` (tokens) and `dispersion` (variance to mean of counts inside the
bin; 1 is Poisson) are optional, and others are ignored.
"""

import gzip
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.errors import InputError

_MAX_COUNT = 2**53
_MAX_DIGITS = len(str(_MAX_COUNT))
_ROUNDING = 1e-9  # of a bin
_SHOWN_CHARACTERS = 60
_ENCODING = "utf-8-sig"  # spreadsheets begin their files with a byte order mark
_NUMERIC_COLUMNS = ("t_seconds", "mean_size", "dispersion")


class TraceError(InputError, ValueError):
    """A file is not a trace. The message names the file and the line."""


class Trace(Struct, frozen=True, kw_only=True, eq=False):
    """Counts of requests in equal bins of time."""

    name: str
    bin_s: float
    counts: NDArray[np.int64]
    mean_size: NDArray[np.float64] | None = None  # a bin each; nan: none or unknown
    dispersion: NDArray[np.float64] | None = None  # a bin each; nan: none or unknown
    metadata: Mapping[str, str] = {}

    @property
    def duration_s(self) -> float:
        return len(self.counts) * self.bin_s

    @property
    def mean_per_s(self) -> float:
        return float(self.counts.mean()) / self.bin_s

    @property
    def p99_per_s(self) -> float:
        """The rate that one bin in a hundred exceeds."""
        return float(np.percentile(self.counts, 99.0, method="higher")) / self.bin_s

    @property
    def peak_per_s(self) -> float:
        return float(self.counts.max()) / self.bin_s

    def bins_of(self, instants_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """The bins that contain the instants, in seconds since the start of the first bin."""
        return np.minimum((instants_s / self.bin_s).astype(np.int64), len(self.counts) - 1)

    def first_bin_from(self, at_s: float) -> int:
        """The number of bins that begin before an instant, which may be outside the trace."""
        within_s = max(0.0, min(at_s, self.duration_s))
        return math.ceil(within_s / self.bin_s - _ROUNDING)

    def between(self, start_s: float, end_s: float) -> "Trace":
        """The bins that begin in [start_s, end_s), as a trace.

        Raises:
            ValueError: there are none.
        """
        chosen = slice(self.first_bin_from(start_s), self.first_bin_from(end_s))
        if not len(self.counts[chosen]):
            raise ValueError(
                f"trace {self.name} has no bin from {start_s:g} s to {end_s:g} s: it lasts "
                f"{self.duration_s:g} s in bins of {self.bin_s:g} s"
            )
        return Trace(
            name=self.name,
            bin_s=self.bin_s,
            counts=self.counts[chosen],
            mean_size=None if self.mean_size is None else self.mean_size[chosen],
            dispersion=None if self.dispersion is None else self.dispersion[chosen],
            metadata=self.metadata,
        )

    def factor_for(
        self, *, allocations: float, service_time_s: float, utilisation: float = 0.7
    ) -> float:
        """The factor for the rate with which its 99th percentile needs `allocations`.

        Raises:
            ValueError: the 99th percentile is 0.
        """
        if self.p99_per_s == 0.0:
            raise ValueError(f"trace {self.name} is idle at its 99th percentile; choose a window")
        return allocations * utilisation / service_time_s / self.p99_per_s


def read_trace(path: Path | str) -> Trace:
    """Read a trace.

    Raises:
        TraceError: the file cannot be read or is not a trace; the message names the line.
    """
    path = Path(path)
    reader = _Reader(path)
    try:
        with _opened(path) as lines:
            for line in lines:
                reader.read(line)
    except UnicodeDecodeError as error:
        raise reader.error("the next line is not UTF-8 text") from error
    except (OSError, EOFError, zlib.error) as error:
        raise reader.cut_off(getattr(error, "strerror", None) or str(error)) from error
    return reader.trace()


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding=_ENCODING)
    return path.open(encoding=_ENCODING)


class _Reader:
    """Reads a file line by line, and reports errors with the line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0
        self._metadata: dict[str, str] = {}
        self._columns: list[str] = []
        self._starts: list[float] = []
        self._rows: list[list[str]] = []

    def error(self, complaint: str) -> TraceError:
        return TraceError(f"{self._path}, line {self._line}: {complaint}")

    def cut_off(self, reason: str) -> TraceError:
        """The error of a file that cannot be read, or not beyond this line."""
        if self._line == 0:
            return TraceError(f"{self._path}: cannot be read: {reason}")
        return self.error(f"the next line cannot be read: {reason}")

    def read(self, line: str) -> None:
        self._line += 1
        text = line.strip()
        if text.startswith("#"):
            key, _, value = text[1:].partition(":")
            self._metadata[key.strip()] = value.strip()
        elif text and not self._columns:
            self._columns = self._header(text)
        elif text:
            self._rows.append(self._row(text))

    def trace(self) -> Trace:
        if not self._rows:
            self._line = max(1, self._line)
            raise self.error("the file ends before the first bin")
        counts = [int(row[self._columns.index("requests")]) for row in self._rows]
        return Trace(
            name=self._metadata.get("name") or self._path.name.split(".")[0],
            bin_s=self._bin_s(),
            counts=np.array(counts, dtype=np.int64),
            mean_size=self._optional("mean_size"),
            dispersion=self._optional("dispersion"),
            metadata=self._metadata,
        )

    def _header(self, text: str) -> list[str]:
        columns = [name.strip() for name in text.split(",")]
        if columns[0] != "t_seconds" or "requests" not in columns:
            raise self.error("the header must be t_seconds,requests and any further columns")
        return columns

    def _row(self, text: str) -> list[str]:
        row = [cell.strip() for cell in text.split(",")]
        if len(row) != len(self._columns):
            raise self.error(f"{len(row)} cells for {len(self._columns)} columns")
        for name, cell in zip(self._columns, row, strict=True):
            if name == "requests" and not _is_count(cell):
                raise self.error(f"requests must be an integer of at least 0, not {_shown(cell)}")
            if (
                name in _NUMERIC_COLUMNS
                and (cell or name == "t_seconds")
                and not _is_non_negative(cell)
            ):
                shown = _shown(cell)
                raise self.error(f"{name} must be a number of at least 0, not {shown}")
        self._check_spacing(float(row[0]))
        return row

    def _check_spacing(self, start: float) -> None:
        """All bins must be present and of equal length, because a gap would count as idle."""
        starts = self._starts
        starts.append(start)
        if len(starts) == 2 and start <= starts[0]:
            raise self.error("t_seconds must increase from row to row")
        if len(starts) > 2:
            width = starts[1] - starts[0]
            if abs(start - starts[-2] - width) > 1e-6 * width:
                raise self.error(f"the bin must begin {width:g} s after the one before")

    def _bin_s(self) -> float:
        if len(self._starts) > 1:
            return self._starts[1] - self._starts[0]
        stated = self._metadata.get("bin_seconds", "")
        if not _is_non_negative(stated) or float(stated) == 0.0:
            raise self.error("a single bin needs a line `# bin_seconds: ...`")
        return float(stated)

    def _optional(self, name: str) -> NDArray[np.float64] | None:
        if name not in self._columns:
            return None
        index = self._columns.index(name)
        return np.array([float(row[index] or "nan") for row in self._rows])


def _is_count(cell: str) -> bool:
    return cell.isdecimal() and len(cell) <= _MAX_DIGITS and int(cell) < _MAX_COUNT


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= _SHOWN_CHARACTERS else cell[:_SHOWN_CHARACTERS] + "...")


def _is_non_negative(cell: str) -> bool:
    try:
        return 0.0 <= float(cell) < math.inf
    except ValueError:
        return False
