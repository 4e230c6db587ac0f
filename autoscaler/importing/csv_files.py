"""`autoscaler import csv`: from files of request counts.

The files are those of back-tests (`simulation/trace_files.py`), whose times are dates or Unix
seconds. A bin that a file does not have, or whose count is empty, is unknown.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.errors import InputError
from autoscaler.importing.output import Imported, Output
from autoscaler.simulation.trace_files import read_traces
from autoscaler.simulation.traces import Trace
from autoscaler.wire.intervals import LoadInterval

SERVICE_TIME, ALLOCATIONS = "service_time_s", "allocations"
"""Columns that a file may have beside the counts: mean seconds of a request, running
allocations."""

_FIRST_INSTANT = 1e8
"""Unix seconds of 1973. Smaller times are those since the beginning of the file."""


class CsvImport(Struct, frozen=True, kw_only=True):
    files: tuple[Path, ...]
    path: Path
    starts_at: float | None = None  # Unix seconds, of files whose times begin at 0
    deployment: str = ""  # of a single file; empty: the column, or the name of the file
    column: str = "deployment"
    service_time_s: float | None = None  # where a file has no column for it
    allocations: int | None = None  # the same


def import_csv(options: CsvImport, warn: Callable[[str], None]) -> Imported:
    """
    Raises:
        UserError: a file is not of request counts, or the output cannot be written.
    """
    traces: dict[str, tuple[Path, Trace]] = {}
    for file in options.files:
        found = read_traces(
            file,
            group_column=options.column.lower(),
            further_columns=(SERVICE_TIME, ALLOCATIONS),
        )
        for group, trace in found.items():
            id_ = options.deployment or group or trace.name
            if id_ in traces:
                raise InputError(
                    f"{file}: {id_} is also in {traces[id_][0]}; name a deployment in one file only"
                )
            traces[id_] = file, trace
    for note in dict.fromkeys(note for _, trace in traces.values() for note in trace.notes):
        warn(note.replace("counted as idle", "unknown in the result"))
    loads = [_intervals(id_, *each, options) for id_, each in traces.items()]
    with Output(options.path, "csv") as output:
        output.add(merge(*loads, key=lambda line: line.at))
        return output.write(_assumed(options))


def _assumed(options: CsvImport) -> Iterable[str]:
    if options.service_time_s is not None:
        yield f"the service time was given as {options.service_time_s:g} s where a file has none"
    if options.allocations is not None:
        yield f"the allocations were given as {options.allocations} where a file has none"


def _intervals(
    deployment: str, file: Path, trace: Trace, options: CsvImport
) -> Iterator[LoadInterval]:
    start = trace.start
    if start < _FIRST_INSTANT:
        if options.starts_at is None:
            raise InputError(
                f"{file}: its times are not dates but seconds since a beginning; set --starts-at "
                "to the date of that"
            )
        start += options.starts_at
    service_times = trace.further.get(SERVICE_TIME)
    allocations = trace.further.get(ALLOCATIONS)
    for number, count in enumerate(trace.counts.tolist()):
        if trace.missing is not None and trace.missing[number]:
            continue
        service_time_s = _value(service_times, number, options.service_time_s)
        running = _value(allocations, number, options.allocations)
        whole = None if running is None else round(running)
        yield LoadInterval(
            deployment=deployment,
            at=start + (number + 1) * trace.bin_s,
            interval_s=trace.bin_s,
            arrivals=count,
            busy_s=None if service_time_s is None else count * service_time_s,
            requested=whole,
            running=whole,
        )


def _value(
    column: NDArray[np.float64] | None, number: int, otherwise: float | None
) -> float | None:
    if column is None or np.isnan(column[number]):
        return otherwise
    return float(column[number])
