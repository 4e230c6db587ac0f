"""The intervals of one deployment, in order and without overlaps, as arrays.

An interval whose arrivals are unknown, and the time between two intervals, is a gap. A simulation
needs some load there, and gets the one of the intervals around it; gaps are compared with nothing.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.replay.packed_intervals import PackedIntervals
from autoscaler.replay.plausible import plausible, plausible_hardware
from autoscaler.wire.intervals import MAX_INTERVAL_S, Hardware, IntervalsHeader, Line, LoadInterval

HOUR_S = 3600.0

SLACK_S = 1.0
"""Seconds between two intervals from which on there is a gap. 1 s: their ends are rounded."""

MAX_GAP_INTERVAL_S = 60.0
"""The longest interval of a gap, in seconds. The load within it has one rate."""

MAX_GAP_INTERVALS = 10_080
"""Intervals of a gap at most: those of a week. In a longer gap, they are longer."""

_MISLEADING = frozenset(
    {
        "first_observation",
        "observation_gap",
        "clock",
        "incomplete",
        "counter_decreased",
        "implausible",
        "not_reported",
    }
)
"""Issues with which the arrivals of an interval count as unknown."""

_PARTIAL = frozenset({"counter_reset", "new_node"})
"""Issues with which there were at least as many arrivals as known: a process began or ended, and
its last or first requests are not known."""

Floats = NDArray[np.float64]


class DeploymentRecord(Struct, frozen=True, kw_only=True, eq=False):
    """One deployment. Arrays have an element for each interval; nan is unknown, unless stated."""

    deployment: str
    model: str  # its id; empty: unknown
    edges: Floats  # Unix seconds: the beginning of the first interval, and the end of each
    known: NDArray[np.bool_]  # whether the arrivals are known; otherwise it is a gap
    arrivals: Floats  # without cache hits; in gaps, those that the intervals around it suggest
    completed: Floats  # without cache hits
    failed: Floats
    busy_s: Floats
    in_flight: Floats  # at the end
    requested: NDArray[np.int64]  # allocations at the end; where unknown, the last known ones
    running: Floats  # at the end
    intervals: tuple[LoadInterval | None, ...]  # None: nothing is known
    threads: int | None
    queue_capacity: int | None
    adaptive: bool  # whether adaptive allocations were enabled at any time
    hardware: tuple[Hardware, ...] = ()

    @property
    def since(self) -> float:
        return float(self.edges[0])

    @property
    def until(self) -> float:
        return float(self.edges[-1])

    @property
    def lengths_s(self) -> Floats:
        lengths_s: Floats = np.diff(self.edges)
        return lengths_s

    @property
    def hour_of(self) -> NDArray[np.int64]:
        """The hour of each interval, counted from the beginning of the record."""
        middles = (self.edges[:-1] + self.edges[1:]) / 2.0 - self.since
        return (middles / HOUR_S).astype(np.int64)

    @property
    def hours(self) -> int:
        """The hours of the record, the last of which may be shorter."""
        return int(self.hour_of[-1]) + 1

    def by_hour(self, values: Floats, counted: NDArray[np.bool_] | None = None) -> Floats:
        """Sums over the intervals of each hour without gaps, or over those that are `counted`."""
        used = np.where(self.known if counted is None else counted, values, 0.0)
        sums: Floats = np.bincount(self.hour_of, used, self.hours).astype(np.float64)
        return sums

    @property
    def known_fraction(self) -> float:
        """Of the time of the record."""
        lengths_s = self.lengths_s
        return float(lengths_s[self.known].sum() / lengths_s.sum())


class SortedLines(Struct, frozen=True, kw_only=True):
    """The lines of a file, sorted by deployment."""

    header: IntervalsHeader | None
    intervals: dict[str, PackedIntervals]
    since: float  # Unix seconds: the beginning and the end of all intervals; 0 without any
    until: float
    hardware: tuple[Hardware, ...]
    odd: int  # intervals with figures or times that no cluster has, which count as unknown
    long: int  # intervals that are too long, and left out

    def unusable(self) -> Iterator[str]:
        """Which intervals, or figures of them, are no part of any record."""
        if self.odd:
            have = "1 interval has" if self.odd == 1 else f"{self.odd:,} intervals have"
            yield f"{have} figures that no cluster has, such as negative ones"
        if self.long:
            are = "1 interval is" if self.long == 1 else f"{self.long:,} intervals are"
            yield f"{are} longer than an hour, in which it is not known when the requests arrived"


def recording_of(
    lines: Iterable[Line], since: float | None = None, until: float | None = None
) -> SortedLines:
    """The intervals between two instants. None: all of them."""
    header, hardware, odd, long = None, [], 0, 0
    first, last = math.inf, -math.inf
    intervals: dict[str, PackedIntervals] = {}
    for line in lines:
        if isinstance(line, IntervalsHeader):
            header = line
        elif isinstance(line, Hardware):
            if until is None or line.at <= until:
                hardware.append(plausible_hardware(line))
        elif (until is None or line.at <= until) and (
            since is None or line.at - line.interval_s >= since
        ):
            if line.interval_s > MAX_INTERVAL_S:
                long += 1
                continue
            found = plausible(line)
            odd += found is not line
            if found is not None:
                intervals.setdefault(line.deployment, PackedIntervals()).add(found)
                first, last = min(first, found.at - found.interval_s), max(last, found.at)
    return SortedLines(
        header=header,
        intervals=intervals,
        since=first if intervals else 0.0,
        until=last if intervals else 0.0,
        hardware=tuple(hardware),
        odd=odd,
        long=long,
    )


def record_of(
    deployment: str, intervals: Iterable[LoadInterval], hardware: tuple[Hardware, ...] = ()
) -> DeploymentRecord | None:
    """The record of a deployment; None: no arrivals or no allocations are known."""
    cells = list(_in_order(intervals))
    edges = np.array([cells[0][0], *(end for _, end, _ in cells)]) if cells else np.empty(0)
    found = tuple(each for _, _, each in cells)
    arrivals = _figures(found, "arrivals") - np.nan_to_num(_figures(found, "cache_hits"))
    requested = _figures(found, "requested")
    requested = np.where(np.isnan(requested), _figures(found, "running"), requested)
    misleading = np.array(
        [each is None or not _MISLEADING.isdisjoint(each.issues) for each in found], dtype=bool
    )
    known = ~np.isnan(arrivals) & ~misleading
    if not known.any() or np.isnan(requested).all():
        return None
    partial = known & np.array(
        [each is not None and not _PARTIAL.isdisjoint(each.issues) for each in found]
    )
    sure = known & ~partial if (known & ~partial).any() else known
    around = _between(np.maximum(arrivals, 0.0), sure, np.diff(edges))
    arrivals = np.where(sure, arrivals, np.fmax(np.where(known, arrivals, 0.0), around))
    completed = _figures(found, "completed")
    # Mere counts of requests have no completions. Those that did not fail have been completed.
    served = _figures(found, "arrivals") - np.nan_to_num(_figures(found, "failed"))
    completed = np.where(np.isnan(completed), served, completed)
    completed -= np.nan_to_num(_figures(found, "cache_hits"))
    return DeploymentRecord(
        deployment=deployment,
        model=next((each.model for each in reversed(found) if each and each.model), ""),
        edges=edges,
        known=known,
        arrivals=np.maximum(arrivals, 0.0).round(),
        completed=np.where(misleading, np.nan, completed),
        failed=np.where(misleading, np.nan, _figures(found, "failed")),
        busy_s=np.where(misleading, np.nan, _figures(found, "busy_s")),
        in_flight=_figures(found, "in_flight"),
        requested=_last_known(requested).astype(np.int64),
        running=_figures(found, "running"),
        intervals=found,
        threads=_last_of(found, "threads"),
        queue_capacity=_last_of(found, "queue_capacity"),
        adaptive=any(each is not None and each.adaptive is True for each in found),
        hardware=hardware,
    )


def _in_order(
    intervals: Iterable[LoadInterval],
) -> Iterator[tuple[float, float, LoadInterval | None]]:
    """Begin, end and interval, without overlaps; None where nothing is known."""
    until: float | None = None
    for each in sorted(intervals, key=lambda one: one.at):
        begin = each.at - each.interval_s
        if each.interval_s <= 0.0 or (until is not None and each.at <= until + SLACK_S / 2.0):
            continue
        if until is not None and begin > until + SLACK_S:
            parts = max(1, round((begin - until) / MAX_GAP_INTERVAL_S))
            parts = min(parts, MAX_GAP_INTERVALS)
            ends = np.linspace(until, begin, parts + 1).tolist()
            for start, end in pairwise(ends):
                yield start, end, None
            until = begin
        yield begin if until is None else until, each.at, each
        until = each.at


def _figures(found: Iterable[LoadInterval | None], name: str) -> Floats:
    values = [None if each is None else getattr(each, name) for each in found]
    return np.array([np.nan if value is None else float(value) for value in values])


def _last_of(found: Iterable[LoadInterval | None], name: str) -> int | None:
    values = [getattr(each, name) for each in found if each is not None]
    return next((value for value in reversed(values) if value is not None), None)


def _between(counts: Floats, sure: NDArray[np.bool_], lengths_s: Floats) -> Floats:
    """The counts of all intervals, from the rates of those that are sure."""
    middles = np.cumsum(lengths_s) - lengths_s / 2.0
    rates = np.interp(middles, middles[sure], counts[sure] / lengths_s[sure])
    expected: Floats = rates * lengths_s
    return expected


def _last_known(values: Floats) -> Floats:
    """The values, each unknown one as the last that is known, or else as the first."""
    places = np.where(np.isnan(values), -1, np.arange(len(values)))
    places = np.maximum.accumulate(places)
    places[places < 0] = int(np.flatnonzero(~np.isnan(values))[0])
    filled: Floats = values[places]
    return filled
