"""Log lines of one kind at a bounded rate."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

BURST = 60
"""Lines of one kind that may follow each other at once. 60, more than any kind has in a minute
while nothing is wrong, at level debug and the shortest poll interval."""

PERIOD_S = 60.0
"""Seconds in which so many lines are permitted again, evenly."""

MAX_KINDS = 20_000
"""Kinds to remember. 20,000: several of each of 5,000 deployments. Beyond, the one that was not
logged for the longest time is forgotten."""


class _Kind:
    def __init__(self, at: float) -> None:
        self.left = float(BURST)
        self.at = at
        self.suppressed = 0


class RateLimit:
    """Decides which lines are written.

    Args:
        now: monotonic seconds.

    Attributes:
        suppressed: lines that were not written, in total.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()
        self.suppressed = 0

    def admit(self, kind: Hashable) -> int | None:
        """None if the line must not be written; otherwise the number of lines of its kind that were
        not written since the last one."""
        at = self._now()
        found = self._kinds.setdefault(kind, _Kind(at))
        self._kinds.move_to_end(kind)
        if len(self._kinds) > MAX_KINDS:
            self._kinds.popitem(last=False)
        found.left = min(float(BURST), found.left + (at - found.at) * BURST / PERIOD_S)
        found.at = at
        if found.left < 1.0:
            found.suppressed += 1
            self.suppressed += 1
            return None
        found.left -= 1.0
        suppressed, found.suppressed = found.suppressed, 0
        return suppressed
