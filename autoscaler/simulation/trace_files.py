"""Files of request counts -> traces, in the forms in which spreadsheets and databases export them.

A file is text, `.csv` or `.csv.gz`: lines `# key: value`, then a header and one row for each bin of
time. One column has the starts of the bins and one the counts of requests; `mean_size` (tokens) and
`dispersion` (variance to mean of counts inside the bin; 1 is Poisson) are optional, and others are
ignored. Each value that is changed or left out becomes a note of the trace.
"""

import csv
import gzip
import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from autoscaler.files import open_regular
from autoscaler.simulation.traces import Trace, TraceError

TIME_COLUMNS = ("t_seconds", "t", "time", "timestamp", "@timestamp", "datetime", "date")
COUNT_COLUMNS = ("requests", "count")
"""The names of the two required columns, in upper or lower case. The first one present is used."""

_OPTIONAL_COLUMNS = ("mean_size", "dispersion")
_DELIMITERS = ",;\t|"
_ENCODING = "utf-8-sig"  # spreadsheets begin their files with a byte order mark

_MAX_COUNT = 2.0**53
MAX_BINS = 20_000_000
"""More bins than two thirds of a year in seconds come from a wrong time in one of the rows."""

MAX_LINE = 65_536
"""Characters of a line. Exports have a hundred columns; other files may have no line end."""

_EPOCH_UNITS = ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6), (math.inf, 1e-9))
"""Below which number a time counts seconds, milliseconds, microseconds and nanoseconds. Seconds
reach 1e11 in the year 5138, milliseconds in 1973."""

_SPACING = 1e-4  # of a bin, by which starts may differ from its multiples
_SHOWN_CHARACTERS = 60
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}([,.' _\u00a0\u202f][0-9]{3})+([.,][0-9]*)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ABSENT = frozenset({"", "null", "na", "n/a", "nan", "-"})


class Gaps(StrEnum):
    """What missing bins mean."""

    ZERO = "zero"  # nothing was requested
    REFUSE = "refuse"  # the file is incomplete


class _Row(NamedTuple):
    line: int
    group: str  # empty where rows are not grouped
    time: float  # in the unit of the file
    requests: float | None  # None: the cell is empty
    optional: tuple[float, ...]


def read_trace(path: Path | str, *, gaps: Gaps = Gaps.ZERO) -> Trace:
    """Read a trace.

    Raises:
        TraceError: the file cannot be read or is not a trace; the message names the line.
    """
    (trace,) = _read(_Reader(Path(path)), gaps).values()
    return trace


def read_traces(
    path: Path, *, group_column: str, further_columns: tuple[str, ...] = ()
) -> dict[str, Trace]:
    """Read a trace for each value of a column; where there is no such column, one, for "".

    Args:
        further_columns: optional ones, whose values are in `Trace.further`.

    Raises:
        TraceError: the file cannot be read, or is not of traces; the message names the line.
    """
    return _read(_Reader(path, group_column, further_columns), Gaps.ZERO)


def _read(reader: "_Reader", gaps: Gaps) -> dict[str, Trace]:
    path = reader.path
    try:
        with open_regular(path) as file, _text_of(file, path) as text:
            while line := text.readline(MAX_LINE):
                reader.read(line)
    except csv.Error as error:
        raise reader.error(f"cannot be read: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise reader.cut_off(getattr(error, "strerror", None) or str(error)) from error
    return reader.traces(gaps)


def _text_of(file: BinaryIO, path: Path) -> TextIOWrapper:
    """The text of a file. Bytes that are not UTF-8 become surrogates: their line is known then."""
    if path.suffix == ".gz":
        file = cast("BinaryIO", gzip.GzipFile(fileobj=file))
    return TextIOWrapper(file, encoding=_ENCODING, errors="surrogateescape")


class _Reader:
    """Reads a file line by line, and reports errors with the line."""

    def __init__(
        self, path: Path, group_column: str = "", further_columns: tuple[str, ...] = ()
    ) -> None:
        self.path = path
        self._group_column = group_column
        self._optional_columns = (*_OPTIONAL_COLUMNS, *further_columns)
        self._further_columns = further_columns
        self._group: int | None = None  # the column
        self._line = 0
        self._metadata: dict[str, str] = {}
        self._delimiter = ","
        self._columns: list[str] = []
        self._used: list[int] = []  # columns: the time, the requests, and those that are optional
        self._is_iso: bool | None = None  # whether times are dates
        self._rows: list[_Row] = []
        self._notes_of_file: list[str] = []
        self._notes: list[str] = []

    def error(self, complaint: str, line: int | None = None) -> TraceError:
        return TraceError(f"{self.path}, line {line or self._line}: {complaint}")

    def cut_off(self, reason: str) -> TraceError:
        """The error of a file that cannot be read, or not beyond this line."""
        if self._line == 0:
            return TraceError(f"{self.path}: cannot be read: {reason}")
        return self.error(f"the next line cannot be read: {reason}")

    def read(self, line: str) -> None:
        self._line += 1
        if len(line) == MAX_LINE:
            raise self.error(f"it has {MAX_LINE:,} characters or more; name a file of counts")
        if not line.isascii() and _SURROGATE.search(line):
            raise self.error("it is not UTF-8; save the file as UTF-8")
        text = line.strip(" \r\n")
        if text.startswith("#"):
            key, _, value = text[1:].partition(":")
            self._metadata[key.strip()] = value.strip()
        elif not text.strip() or (not self._columns and text.lower().startswith("sep=")):
            return
        elif self._columns:
            self._rows.append(self._row(self._split(text)))
        else:
            self._read_header(text)

    # Columns

    def _split(self, text: str) -> list[str]:
        if '"' in text:
            cells = next(csv.reader([text], delimiter=self._delimiter, skipinitialspace=True))
        else:
            cells = text.split(self._delimiter)
        return [cell.strip() for cell in cells]

    def _read_header(self, text: str) -> None:
        for self._delimiter in _DELIMITERS:
            names = [name.lower() for name in self._split(text)]
            time, requests = _first(TIME_COLUMNS, names), _first(COUNT_COLUMNS, names)
            if time is not None and requests is not None:
                optional = [names.index(name) for name in self._optional_columns if name in names]
                self._group = _first((self._group_column,), names)
                self._columns, self._used = names, [time, requests, *optional]
                return
        for self._delimiter in _DELIMITERS:
            cells = self._split(text)
            if len(cells) == 2 and cells[0][:1].isdigit() and _NUMBER.fullmatch(cells[1]):
                self._columns, self._used = [TIME_COLUMNS[0], COUNT_COLUMNS[0]], [0, 1]
                self._notes_of_file.append(
                    f"{self.path}: there is no header; the columns are taken for times and counts"
                )
                self._rows.append(self._row(cells))
                return
        raise self.error(
            "the header must be t_seconds,requests and any further columns, in any order; "
            f"the time may also be called {_or(TIME_COLUMNS[1:])}, and the requests count"
        )

    def _row(self, cells: list[str]) -> _Row:
        if len(cells) != len(self._columns):
            raise self.error(f"{len(cells)} cells for {len(self._columns)} columns")
        time, requests, *optional = self._used
        return _Row(
            line=self._line,
            group="" if self._group is None else cells[self._group],
            time=self._time(self._columns[time], cells[time]),
            requests=self._number(self._columns[requests], cells[requests]),
            optional=tuple(
                math.nan if (size := self._number(self._columns[at], cells[at])) is None else size
                for at in optional
            ),
        )

    # Cells

    def _number(self, name: str, cell: str) -> float | None:
        """A number of at least 0; None where there is none."""
        if cell.lower() in _ABSENT:
            return None
        if _NUMBER.fullmatch(cell):
            number = float(cell)
            if 0.0 <= number < _MAX_COUNT:
                return number
            reason = "at least 0" if number < 0.0 else "below 2^53"
        elif _GROUPED.fullmatch(cell):
            reason = "written without separators of thousands"
        elif _DECIMAL_COMMA.fullmatch(cell):
            reason = "written with a decimal point"
        else:
            reason = "at least 0"
        raise self.error(f"{name} must be a number, {reason}, not {_shown(cell)}")

    def _time(self, name: str, cell: str) -> float:
        is_iso = not _NUMBER.fullmatch(cell)
        try:
            time = _instant(cell) if is_iso else float(cell)
        except ValueError:
            time = math.nan
        if not 0.0 <= time < math.inf:
            raise self.error(
                f"{name} must be a number of at least 0, or a date and time such as "
                f"2026-01-31T12:00:00Z, not {_shown(cell)}"
            )
        if self._is_iso not in (None, is_iso):
            raise self.error(f"{name} must be written like those before it, not {_shown(cell)}")
        self._is_iso = is_iso
        return time

    # The trace

    def _note(self, sentence: str) -> None:
        self._notes.append(f"{self.path}: {sentence}")

    def traces(self, gaps: Gaps) -> dict[str, Trace]:
        """The trace of each group of rows."""
        if not self._rows:
            self._line = max(1, self._line)
            raise self.error("the file ends before the first bin")
        groups: dict[str, list[_Row]] = {}
        for row in self._rows:
            groups.setdefault(row.group, []).append(row)
        found = {}
        for group, rows in groups.items():
            self._notes = list(self._notes_of_file)
            found[group] = self._trace(rows, gaps)
        return found

    def _trace(self, unordered: list[_Row], gaps: Gaps) -> Trace:
        rows = self._in_order(unordered)
        bin_s = self._bin_s(rows)
        bins = self._bins(rows, bin_s)
        self._check_gaps(rows, bins, gaps)
        values = np.full((int(bins[-1]) + 1, 1 + len(rows[0].optional)), np.nan)
        values[bins, 0] = [math.nan if row.requests is None else row.requests for row in rows]
        values[bins, 1:] = [row.optional for row in rows]
        columns = [name for name in self._optional_columns if name in self._columns]
        optional = {name: values[:, 1 + index] for index, name in enumerate(columns)}
        missing = np.isnan(values[:, 0])
        counts = self._whole(np.nan_to_num(values[:, 0]), rows)
        return Trace(
            name=self._metadata.get("name") or self.path.name.split(".")[0],
            bin_s=bin_s,
            counts=counts,
            mean_size=optional.get("mean_size"),
            dispersion=optional.get("dispersion"),
            metadata=self._metadata,
            notes=tuple(self._notes),
            start=rows[0].time,
            missing=missing if missing.any() else None,
            further={name: optional[name] for name in self._further_columns if name in optional},
        )

    def _in_order(self, unordered: list[_Row]) -> list[_Row]:
        """The rows by time, which is in seconds then."""
        latest = max(row.time for row in unordered)
        unit_s = next(unit_s for below, unit_s in _EPOCH_UNITS if latest < below)
        rows = sorted(unordered, key=lambda row: row.time)
        for before, row in pairwise(rows):
            if row.time == before.time:
                later, earlier = max(row.line, before.line), min(row.line, before.line)
                raise self.error(
                    f"the time is that of line {earlier}; add up the requests of each time", later
                )
        if rows != unordered:
            self._note("the rows are not in the order of their times, and were sorted")
        return [row._replace(time=row.time * unit_s) for row in rows]

    def _bin_s(self, rows: list[_Row]) -> float:
        """The most frequent distance of two rows; the shortest of those that are equally so."""
        if len(rows) > 1:
            times = np.array([row.time for row in rows])
            frequent = Counter(np.round(np.diff(times), 6).tolist())
            rounded = min(frequent, key=lambda width: (-frequent[width], width))
            widths = np.diff(times)
            return float(widths[np.argmin(np.abs(widths - rounded))])
        stated = self._metadata.get("bin_seconds", "")
        if not _NUMBER.fullmatch(stated) or float(stated) <= 0.0:
            raise self.error("a single bin needs a line `# bin_seconds: ...`")
        return float(stated)

    def _bins(self, rows: list[_Row], bin_s: float) -> NDArray[np.int64]:
        """The bin of each row."""
        widths = np.diff([row.time for row in rows]) / bin_s
        whole = np.round(widths)
        uneven = np.flatnonzero((np.abs(widths - whole) > _SPACING) | (whole < 1.0))
        if len(uneven):
            row = rows[int(uneven[0]) + 1]
            raise self.error(
                f"the bin must begin {bin_s:g} s after the one before, or a multiple of it, "
                f"not {widths[uneven[0]] * bin_s:g} s",
                row.line,
            )
        if whole.sum() >= MAX_BINS:
            row = rows[int(np.argmax(whole)) + 1]
            raise self.error(
                f"there would be more than {MAX_BINS:,} bins of {bin_s:g} s; is this time right?",
                row.line,
            )
        return np.concatenate([[0], np.cumsum(whole)]).astype(np.int64)

    def _check_gaps(self, rows: list[_Row], bins: NDArray[np.int64], gaps: Gaps) -> None:
        before = np.diff(bins, prepend=-1) - 1
        empty = np.array([row.requests is None for row in rows])
        missing = int(before.sum() + empty.sum())
        if not missing:
            return
        line = rows[int(np.flatnonzero((before > 0) | empty)[0])].line
        bins_are = "1 bin is" if missing == 1 else f"{missing:,} bins are"
        if gaps is Gaps.REFUSE:
            raise self.error(f"{bins_are} missing, the first at or before this line", line)
        self._note(f"{bins_are} missing, the first at or before line {line}, and counted as idle")

    def _whole(self, counts: NDArray[np.float64], rows: list[_Row]) -> NDArray[np.int64]:
        """Counts as integers. The remainders are carried over, so that their sum stays."""
        fractional = counts != np.floor(counts)
        if not fractional.any():
            return counts.astype(np.int64)
        line = next(row.line for row in rows if row.requests is not None and row.requests % 1.0)
        found = int(fractional.sum())
        counts_are = "1 count is" if found == 1 else f"{found:,} counts are"
        self._note(
            f"{counts_are} fractional, the first in line {line}, and rounded so that the sum stays"
        )
        # The tolerance is for sums such as 0.1 + 0.2 + 0.2, which are not exact.
        so_far = np.floor(np.cumsum(counts) + 0.5 + 1e-9)
        return np.diff(so_far, prepend=0.0).astype(np.int64)


def _instant(text: str) -> float:
    """Unix seconds of a date and time in ISO 8601; without an offset it is in UTC.

    Raises:
        ValueError: it is none.
    """
    text = re.sub(r"\s*(UTC|GMT)$", "Z", text)
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp()


def _first(known: Sequence[str], names: Sequence[str]) -> int | None:
    """The column of the first known name."""
    return next((names.index(name) for name in known if name in names), None)


def _or(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= _SHOWN_CHARACTERS else cell[:_SHOWN_CHARACTERS] + "...")
