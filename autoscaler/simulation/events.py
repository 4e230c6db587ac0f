"""What will happen by itself, in order of time."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Events:
    """Actions with the instants they are due; of the same instant, the first scheduled first."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()

    def schedule(self, at: float, action: Callable[[], None]) -> None:
        heappush(self._due, (at, next(self._serial), action))

    @property
    def next_at(self) -> float | None:
        return self._due[0][0] if self._due else None

    def run_due(self, now: float) -> None:
        """Run what is due by `now`, including what that schedules."""
        while self._due and self._due[0][0] <= now:
            heappop(self._due)[2]()
