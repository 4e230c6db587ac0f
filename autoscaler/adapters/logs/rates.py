"""Log lines of one kind at a bounded rate, and the first lines of further kinds too."""

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

KINDS_AT_ONCE = 10_000
"""Kinds of one event whose first lines may follow each other at once, before they are limited as
the lines of one kind are. 10,000: a cycle of all deployments that can be observed is logged whole,
and deployments whose ids change with each poll do not fill the disk."""


class _Bucket:
    """So many lines at once, and `BURST` in each further period."""

    def __init__(self, size: int, at: float) -> None:
        self._size = self._left = float(size)
        self._at = at
        self.suppressed = 0  # lines since the last one that was not

    def take(self, at: float) -> bool:
        """Whether another line is permitted."""
        self._left = min(self._size, self._left + (at - self._at) * BURST / PERIOD_S)
        self._at = at
        if self._left < 1.0:
            self.suppressed += 1
            return False
        self._left -= 1.0
        return True


class RateLimit:
    """Decides which lines are written.

    Args:
        now: monotonic seconds.

    Attributes:
        suppressed: lines that were not written, in total.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kinds: OrderedDict[Hashable, _Bucket] = OrderedDict()
        self._first_lines: dict[Hashable, _Bucket] = {}  # by event
        self.suppressed = 0

    def admit(self, kind: Hashable, event: Hashable) -> int | None:
        """None if the line must not be written; otherwise the number of lines of its kind that were
        not written since the last one, or of other new kinds if it is the first one.

        Args:
            event: to which kinds belong; there are few.
        """
        at = self._now()
        known = self._kinds.get(kind)
        if known is None:
            bucket = self._first_lines.setdefault(event, _Bucket(KINDS_AT_ONCE, at))
        else:
            bucket = known
            self._kinds.move_to_end(kind)
        if not bucket.take(at):
            self.suppressed += 1
            return None
        if known is None:
            self._kinds[kind] = _Bucket(BURST, at)
            self._kinds[kind].take(at)
            if len(self._kinds) > MAX_KINDS:
                self._kinds.popitem(last=False)
        suppressed, bucket.suppressed = bucket.suppressed, 0
        return suppressed
