"""The totals of a deployment over a run: requests, queue waits and allocation-seconds."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MIN_S, _MAX_S = 1e-4, 1e5
_PER_DECADE = 200
"""Bins of the histogram per factor of ten: a resolution of 1.2%."""


def _edges() -> NDArray[np.float64]:
    """Bounds of the histogram: a geometric series, and exactly 1, 2 and 5 of every decade."""
    decades = round(math.log10(_MAX_S / _MIN_S))
    series = _MIN_S * 10.0 ** (np.arange(decades * _PER_DECADE + 1) / _PER_DECADE)
    low = round(math.log10(_MIN_S))
    round_figures = [float(f"{digit}e{low + k}") for k in range(decades + 1) for digit in (1, 2, 5)]
    merged = np.concatenate([series, round_figures])
    # A member of the series that equals a round figure except for rounding would split a bin.
    keep = [not any(0 < abs(e - r) < 1e-9 * r for r in round_figures) for e in series]
    return np.unique(merged[np.concatenate([keep, [True] * len(round_figures)])])


_EDGES = _edges()
_FLUSH = 8192


class Ledger:
    """Totals over the life of a deployment, across restarts of its processes.

    Every request is counted once, as completed, rejected, timed_out or failed; otherwise it is
    in flight.
    A time-out is booked when the expired request leaves its queue or its worker.
    """

    def __init__(self, now: float, requested: int = 0) -> None:
        self.requests = 0
        self.completed = 0
        self.rejected = 0  # 429
        self.timed_out = 0
        self.failed = 0  # any other error
        self.changes = 0  # of the requested number of allocations
        self.requested_allocation_s = 0.0
        self.running_allocation_s = 0.0
        self._never_served = 0
        self._served_at_once = 0
        self._waits: list[float] = []
        self._histogram = np.zeros(len(_EDGES) + 1, dtype=np.int64)
        self._now, self._requested, self._running = now, requested, 0

    @property
    def in_flight(self) -> int:
        return self.requests - self.completed - self.rejected - self.timed_out - self.failed

    def book(
        self,
        *,
        requests: int = 0,
        completed: int = 0,
        rejected: int = 0,
        timed_out: int = 0,
        failed: int = 0,
        never_served: int = 0,
        served_at_once: int = 0,
        waits_s: Sequence[float] = (),
    ) -> None:
        """Add to the totals; `waits_s` are the queue waits of requests that were queued."""
        self.requests += requests
        self.completed += completed
        self.rejected += rejected
        self.timed_out += timed_out
        self.failed += failed
        self._never_served += never_served
        self._served_at_once += served_at_once
        self._waits += waits_s
        if len(self._waits) >= _FLUSH:
            self._flush()

    def accrue(self, now: float, *, requested: int, running: int) -> None:
        """Add the allocation-seconds since the last call, and set the allocations from now on."""
        elapsed = now - self._now
        self.requested_allocation_s += self._requested * elapsed
        self.running_allocation_s += self._running * elapsed
        if requested != self._requested:
            self.changes += 1
        self._now, self._requested, self._running = now, requested, running

    def waited_longer_than(self, limit_s: float) -> int:
        """Requests with a longer queue wait, and requests that were never served.

        Exact for limits of 1, 2 or 5 times a power of ten; otherwise the count is that of a limit
        up to 1.2% longer.
        """
        self._flush()
        first = int(np.searchsorted(_EDGES, limit_s, side="left")) + 1
        return int(self._histogram[first:].sum()) + self._never_served

    def wait_percentile(self, fraction: float) -> float:
        """The queue wait that `fraction` of the requests did not exceed, in seconds, within 1.2%.

        inf if that includes requests that were never served; nan without requests.
        """
        self._flush()
        served = self._served_at_once + int(self._histogram.sum())
        count = served + self._never_served
        if count == 0:
            return math.nan
        rank = max(1, math.ceil(fraction * count))
        if rank <= self._served_at_once:
            return 0.0
        if rank > served:
            return math.inf
        cumulated = self._served_at_once + np.cumsum(self._histogram)
        index = int(np.searchsorted(cumulated, rank, side="left"))
        return float(_EDGES[min(index, len(_EDGES) - 1)])

    def _flush(self) -> None:
        if self._waits:
            bins = np.searchsorted(_EDGES, self._waits, side="left")
            self._histogram += np.bincount(bins, minlength=len(self._histogram))
            self._waits.clear()
