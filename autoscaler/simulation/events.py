"""Scheduled actions, in order of time."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Events:
    """Actions by due time; actions of the same instant run in the order of scheduling."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()

    def schedule(self, at: float, action: Callable[[], None]) -> None:
        heappush(self._due, (at, next(self._serial), action))

    @property
    def next_at(self) -> float | None:
        return self._due[0][0] if self._due else None

    def run_due(self, now: float) -> None:
        """Run all actions due by `now`, including those scheduled by them."""
        while self._due and self._due[0][0] <= now:
            heappop(self._due)[2]()
