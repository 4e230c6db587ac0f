"""The latest entries of the history, in memory: for a daemon whose history is not stored."""

import asyncio
import threading
from collections import deque
from itertools import islice

from autoscaler.wire.history import Event, HistoryEntry, HistoryQuery

MAX_BYTES = 4_000_000
"""Content of the entries at most. 4 MB: two thousand brief ones and five hundred whole decisions,
which are the last day of a few deployments, or the last hours of a hundred."""

MAX_WAITING = 2_000
"""Events that wait to be encoded at most; later ones replace the oldest. 2,000: two for each of a
thousand deployments."""


class RecentHistory:
    """Events are encoded by a thread. They can be read from any thread."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = self._number = 0
        self._waiting: deque[Event] = deque(maxlen=MAX_WAITING)
        self._entries: deque[HistoryEntry] = deque()
        self._lock = threading.Lock()
        self._encoding: asyncio.Future[None] | None = None

    def record(self, events: list[Event]) -> None:
        """Add events soon, without waiting."""
        self._waiting.extend(events)
        if self._encoding is None or self._encoding.done():
            self._encoding = asyncio.get_running_loop().run_in_executor(None, self._encode)

    def read(self, query: HistoryQuery) -> list[HistoryEntry]:
        """The latest entries, newest first."""
        self._encode()
        with self._lock:
            found = (entry for entry in reversed(self._entries) if _matches(entry, query))
            return list(islice(found, query.limit))

    def _encode(self) -> None:
        with self._lock:
            while self._waiting:
                entry = self._waiting.popleft().entry()
                self._number += 1
                self._entries.append(entry._replace(number=self._number))
                self._bytes += len(entry.content)
                while self._bytes > self._max_bytes:
                    self._bytes -= len(self._entries.popleft().content)


def _matches(entry: HistoryEntry, query: HistoryQuery) -> bool:
    if query.deployment_id is not None and entry.deployment_id not in {"", query.deployment_id}:
        return False
    if entry.at < query.since:
        return False
    return query.before is None or entry.position < query.before
