"""The history in an open database, within its limits."""

from collections.abc import Sequence
from typing import NamedTuple

from autoscaler.adapters.state.database import Database
from autoscaler.ages import AgeLimit
from autoscaler.wire.history import Event


class HistoryLimits(NamedTuple):
    """What is kept of the history."""

    max_age_s: float
    max_bytes: int  # of the entries


class BoundedHistory:
    """Adds events, and removes what is too old or too much."""

    def __init__(self, database: Database, limits: HistoryLimits, age: AgeLimit) -> None:
        self.database = database
        self._limits = limits
        self._age = age
        self._bytes = database.history_bytes()

    def append(self, events: Sequence[Event], at: float) -> None:
        """
        Raises:
            sqlite3.Error: it cannot be written.
        """
        limits = self._limits
        self._bytes += self.database.append(event.entry() for event in events)
        excess_bytes = 0
        if self._bytes > limits.max_bytes:  # at once a tenth more, so that it is rare
            excess_bytes = self._bytes - limits.max_bytes + limits.max_bytes // 10
        oldest = self._age.oldest(at, self.database.has_history)
        self.database.forget_history(oldest, excess_bytes)
        if excess_bytes:
            self._bytes = self.database.history_bytes()
