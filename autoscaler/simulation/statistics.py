"""The counters of one process, in total and per minute.

Source of the meanings: elastic/elasticsearch, ml/inference/deployment/DeploymentManager.java and
ml/inference/pytorch/process/PyTorchResultProcessor.java.
"""

from msgspec import Struct

MINUTE_S = 60.0


class Counters(Struct, frozen=True, kw_only=True):
    """The counters that a process reports at an instant: totals since its start, and its queue."""

    start_time: float  # Unix seconds at which the process became ready: the epoch of the totals
    allocations: int  # acknowledged, clamped to the hardware
    threads_per_allocation: int
    completed: int  # results delivered before the deadline, cache hits included
    cache_hits: int
    errors: int
    rejections: int
    timeouts: int
    pending: int
    inference_ms: int  # sum over `completed`, whole milliseconds each, hits being 0
    last_access: float | None
    peak_per_minute: int
    completed_last_minute: int
    inference_ms_last_minute: int
    cache_hits_last_minute: int
    resident_bytes: int | None = None  # None: not simulated

    @property
    def mean_inference_ms(self) -> float | None:
        return _mean(self.inference_ms, self.completed)

    @property
    def mean_inference_ms_without_hits(self) -> float | None:
        """None also when every result came from the cache."""
        return _mean(self.inference_ms, self.completed - self.cache_hits)

    @property
    def mean_inference_ms_last_minute(self) -> float | None:
        """None when the last complete minute had no result."""
        return _mean(self.inference_ms_last_minute, self.completed_last_minute)


def _mean(total: int, count: int) -> float | None:
    return total / count if count else None


class ProcessTotals(Struct, frozen=True):
    """The three totals that are also counted per minute."""

    completed: int = 0
    inference_ms: int = 0
    cache_hits: int = 0


class MinuteBuckets:
    """One-minute buckets aligned to the start of the process, not to the wall clock."""

    def __init__(self, started_at: float) -> None:
        self.ends_at = started_at + MINUTE_S
        self.peak = 0
        self.last = ProcessTotals()  # of the last complete bucket
        self._before = ProcessTotals()  # totals when the open bucket began

    def close(self, now: float, totals: ProcessTotals) -> None:
        """Close the buckets that end by `now`, given the totals when the open one ends.

        Call this before the first result after `ends_at` is counted.
        """
        if now < self.ends_at:
            return
        self.last = ProcessTotals(
            totals.completed - self._before.completed,
            totals.inference_ms - self._before.inference_ms,
            totals.cache_hits - self._before.cache_hits,
        )
        self.peak = max(self.peak, self.last.completed)
        self._before = totals
        elapsed = 1 + int((now - self.ends_at) // MINUTE_S)
        if elapsed > 1:
            self.last = ProcessTotals()
        self.ends_at += elapsed * MINUTE_S
