"""The search for the violation weight with which a scheduler uses exactly the error budget."""

import math

MIN_BUDGET_USE = 0.94
"""The search stops at a schedule that uses at least this fraction of the error budget."""

MAX_COST_RATIO = 1.003
"""The search also stops when the best schedule costs at most 0.3% more than the costliest
schedule that violates the SLO."""

MIN_LOG_ERROR = 0.05
"""Smallest logarithmic deviation from the error budget that the interpolation distinguishes."""

MIN_LOG_GAP = 0.03
"""The search ends when the logarithms of two weights are closer than this, unless stated."""

MIN_LOG_WEIGHT, INITIAL_LOG_WEIGHT, MAX_LOG_WEIGHT = math.log(1e-3), math.log(2.0), math.log(1e4)
"""Logarithms of the violation weight, in allocation-seconds for each violation. The highest weight
avoids every violation that allocations can avoid."""


class WeightSearch:
    """A search for the violation weight that uses exactly the error budget.

    Steps double until there is a weight on either side; then regula falsi with the Illinois rule.
    The error is the logarithm of the ratio of violations to budget, limited to 1 in magnitude:
    at weights too low to serve anything, all requests violate the SLO at once.
    """

    def __init__(self, min_log_gap: float = MIN_LOG_GAP) -> None:
        self.log_weight = INITIAL_LOG_WEIGHT
        self._min_log_gap = min_log_gap
        self._step = 0.5
        self._low: tuple[float, float] | None = None
        self._high: tuple[float, float] | None = None

    @property
    def ended(self) -> bool:
        """Whether no other weight is left to try."""
        if self._low is None or self._high is None:
            return False
        return self._high[0] - self._low[0] < self._min_log_gap

    def add(self, log_error: float) -> None:
        """Take the logarithmic error at the present weight into account."""
        end = (self.log_weight, min(1.0, max(MIN_LOG_ERROR, abs(log_error))))
        if log_error > 0.0:
            self._high = _halved(self._high)
            self._low = end
        else:
            self._low = _halved(self._low)
            self._high = end
        if self._low is not None and self._high is not None:
            (low, over), (high, under) = self._low, self._high
            self.log_weight = low + (high - low) * over / (over + under)
        else:
            step = self._step if log_error > 0.0 else -self._step
            self.log_weight = min(MAX_LOG_WEIGHT, max(MIN_LOG_WEIGHT, self.log_weight + step))
            self._step *= 2.0


def _halved(end: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if end is None else (end[0], end[1] / 2.0)
