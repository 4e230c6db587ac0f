"""Recorded request rates. `trace_files` reads them."""

import math
from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.errors import InputError

_ROUNDING = 1e-9  # of a bin


class TraceError(InputError, ValueError):
    """A file is not a trace, or a trace cannot be used. The message names it, and the line."""


class Trace(Struct, frozen=True, kw_only=True, eq=False):
    """Counts of requests in equal bins of time."""

    name: str
    bin_s: float
    counts: NDArray[np.int64]
    mean_size: NDArray[np.float64] | None = None  # a bin each; nan: none or unknown
    dispersion: NDArray[np.float64] | None = None  # a bin each; nan: none or unknown
    metadata: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()  # a sentence for each thing that was not taken as it is written
    start: float = 0.0  # of the first bin, as the file counts time; seconds
    missing: NDArray[np.bool_] | None = None  # bins that the file does not have; None: none
    further: Mapping[str, NDArray[np.float64]] = {}  # other columns that were requested

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
            notes=self.notes,
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
