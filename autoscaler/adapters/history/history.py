"""Where events are recorded, and where they are read."""

from typing import Protocol

from autoscaler.adapters.history.recent import RecentHistory
from autoscaler.ports import Clock
from autoscaler.wire.history import Event, EventKind, HistoryEntry, HistoryQuery, Note


class StoredHistory(Protocol):
    """The history in the saved state."""

    @property
    def is_open(self) -> bool:
        """Whether this process has it."""

    @property
    def problem(self) -> str:
        """Why nothing is saved at present; empty: it is."""

    @property
    def place(self) -> str:
        """Where it is."""

    def record(self, events: list[Event]) -> None:
        """Write the events soon, without waiting."""

    def read_history(self, query: HistoryQuery) -> list[HistoryEntry] | None:
        """The latest entries, newest first; None: they cannot be read now.

        Waits for the disk, and may be called from any thread.
        """


class History:
    """The history of one cluster: in the saved state while this process has it, and in memory
    otherwise.

    Args:
        stored: None: the history is in memory only.
    """

    def __init__(self, clock: Clock, stored: StoredHistory | None) -> None:
        self._clock = clock
        self._stored = stored
        self._recent = RecentHistory()

    def record(self, events: list[Event]) -> None:
        """Record events soon, without waiting."""
        (self._usable or self._recent).record(events)

    def note(
        self,
        kind: EventKind,
        message: str,
        *,
        deployment_id: str = "",
        by: str = "",
        stated_reason: str = "",
    ) -> None:
        """Record one event.

        Args:
            message: one sentence.
            deployment_id: empty: it concerns the cluster or the daemon as a whole.
            by: the operator who caused it: the name of the token.
        """
        note = Note(message, by, stated_reason)
        self.record([Event(self._clock.now(), deployment_id, kind, note)])

    def read(self, query: HistoryQuery) -> tuple[list[HistoryEntry], str]:
        """The latest entries, newest first, and where they are kept; empty: in memory.

        Waits for the disk, and may be called from any thread.
        """
        if (stored := self._usable) is not None:
            entries = stored.read_history(query)
            if entries is not None:
                return entries, stored.place
        return self._recent.read(query), ""

    @property
    def _usable(self) -> StoredHistory | None:
        stored = self._stored
        return None if stored is None or not stored.is_open or stored.problem else stored
