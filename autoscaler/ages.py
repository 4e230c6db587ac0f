"""Which rows of a file are too old, by a clock that may be wrong.

The clock of a host is sometimes wrong when a process begins, by months where its battery is empty,
and corrected later. By such a clock everything is too old. So an age counts only if the clock has
gone a day (or the age, if that is shorter) over what is there: with this process, or with earlier
ones, which have left a row from between one and two days ago. It does not count while the clock of
the host contradicts the time of the process.
"""

import math
from collections.abc import Callable

LIVED_S = 86_400.0
"""Seconds that a clock has to go before an age by it counts. 1 d: a wrong one is noticed in it."""


def always() -> bool:
    """A clock that nothing contradicts."""
    return True


class AgeLimit:
    """The age up to which rows are kept.

    Args:
        max_age_s: seconds.
        clock_agrees: whether the clock of the host agrees with the time of the process.
    """

    def __init__(self, max_age_s: float, clock_agrees: Callable[[], bool] = always) -> None:
        self._max_age_s = max_age_s
        self._clock_agrees = clock_agrees
        self._began_at: float | None = None

    def oldest(self, at: float, has_rows: Callable[[float, float], bool]) -> float:
        """The instant before which rows are removed; minus infinity: none is.

        Args:
            at: now.
            has_rows: returns whether there are rows later than an instant and up to another.
        """
        if self._began_at is None or at < self._began_at:
            self._began_at = at
        lived_s = min(LIVED_S, self._max_age_s)
        lived = at - self._began_at >= lived_s or has_rows(at - 2.0 * lived_s, at - lived_s)
        return at - self._max_age_s if lived and self._clock_agrees() else -math.inf
