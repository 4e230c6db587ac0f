"""The dispersion of arrival counts within seconds, from polls that follow each other closely.

The queue of a deployment forgets a burst within its relaxation time, which is seconds at most. Only
variation within that time lengthens its waits beyond what the present rate explains (W. Whitt and
W. You, Using robust queueing to expose the impact of dependence in single-server queues, Operations
Research, 2018). A rate that changes every minute raises the dispersion of counts of 10 s as bursts
do, but it is part of the load to expect already. Counts of two seconds tell one from the other.
"""

from autoscaler.core.slo.service_time import LEARNING_RATE, observed_dispersion
from autoscaler.core.values import Value

MAX_LENGTH_RATIO = 1.5
"""Ratio of the lengths of two consecutive intervals up to which their counts are compared."""

MIN_PAIRS = 10.0
"""Compared pairs of counts from which on their dispersion is used. 10: its standard error is then
a little less than a half, and two or three load jumps are enough."""

MAX_BY_CHANCE = 1.4
"""Dispersion of windows that a Poisson stream may show by chance: about three standard deviations
above 1. Up to this value there is nothing for the short intervals to explain."""

KEPT = 0.999
"""Factor on the number of pairs with each complete window. 0.999: without early polls, even the
largest number of them falls below `MIN_PAIRS` within five hours."""

MAX_PAIRS = 1.0 / LEARNING_RATE
"""Pairs over which is averaged, as with the windows."""


class ShortCounts(Value, frozen=True, kw_only=True):
    """The dispersion of the counts of intervals that are shorter than a window."""

    requests: int = 0  # of the last interval
    interval_s: float = 0.0  # its length; 0: it was not short
    dispersion: float = 1.0  # variance of the counts over their mean
    pairs: float = 0.0  # counts that were compared with the one before, decayed

    @property
    def is_known(self) -> bool:
        """Whether enough counts were compared."""
        return self.pairs >= MIN_PAIRS

    def after(self, requests: int, interval_s: float) -> "ShortCounts":
        """The same after another short interval."""
        dispersion, pairs = self.dispersion, self.pairs
        if self.interval_s > 0.0:
            longer = interval_s / self.interval_s
            if 1.0 / MAX_LENGTH_RATIO <= longer <= MAX_LENGTH_RATIO:
                pairs = min(MAX_PAIRS, pairs + 1.0)
                observed = observed_dispersion(self.requests, requests, longer)
                dispersion += (observed - dispersion) / (pairs + 1.0)
        return ShortCounts(
            requests=requests, interval_s=interval_s, dispersion=dispersion, pairs=pairs
        )

    def interrupted(self) -> "ShortCounts":
        """The same after an interval that is not short, or whose length is uncertain."""
        if self.interval_s <= 0.0:
            return self
        return ShortCounts(dispersion=self.dispersion, pairs=self.pairs)

    def older(self) -> "ShortCounts":
        """The same a window later."""
        if self.pairs <= 0.0:
            return self
        return ShortCounts(
            requests=self.requests,
            interval_s=self.interval_s,
            dispersion=self.dispersion,
            pairs=KEPT * self.pairs,
        )
