"""What is to go wrong, and how often: pure bookkeeping, of which the server only acts out the rest.

A fault strikes the requests that match its method and path, the given number of times, and then is
used up. Where several match, the one added first strikes.
"""

from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec
from msgspec import Struct


class Reset(StrEnum):
    """When the connection breaks, seen from the change the request asked for."""

    BEFORE = "before"  # it was not made
    AFTER = "after"  # it was made, and nobody hears of it


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to a request. Without any effect given, nothing does."""

    method: str = "*"
    path: str = "*"  # `*` stands for any text, slashes included
    calls: int | None = 1  # None: every call, until it is removed
    delay_s: float = 0.0  # before anything else
    status: int | None = None  # answered instead of handling the request
    error_type: str | None = None  # with `status`: Elasticsearch's envelope around `body`
    body: str = ""  # with `status`, as a proxy would: any text
    content_type: str = "text/html"
    reset: Reset | None = None
    truncate_to: int | None = None  # bytes of the answer that arrive before the connection ends

    def matches(self, method: str, path: str) -> bool:
        return fnmatchcase(method, self.method) and fnmatchcase(path, self.path)


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._swallowed: dict[str, int | None] = {}

    @property
    def in_force(self) -> tuple[Fault, ...]:
        return tuple(self._faults)

    @property
    def swallowed(self) -> Mapping[str, int | None]:
        """Nodes whose statistics are left out, and for how many answers more (None: all)."""
        return dict(self._swallowed)

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()
        self._swallowed.clear()

    def strike(self, method: str, path: str) -> Fault | None:
        """The fault that befalls this request, one call of which is now used up."""
        for index, fault in enumerate(self._faults):
            if fault.matches(method, path):
                self._use_up(index, fault)
                return fault
        return None

    def _use_up(self, index: int, fault: Fault) -> None:
        if fault.calls is None:
            return
        if fault.calls > 1:
            self._faults[index] = msgspec.structs.replace(fault, calls=fault.calls - 1)
        else:
            del self._faults[index]

    def swallow(self, node_id: str, calls: int | None) -> None:
        """Leave a node's statistics out of the next `calls` answers, or of all if None."""
        if calls is None or calls > 0:
            self._swallowed[node_id] = calls
        else:
            self._swallowed.pop(node_id, None)

    def missing_nodes(self) -> frozenset[str]:
        """The nodes that fail to answer one collection of statistics, which is now used up."""
        missing = frozenset(self._swallowed)
        for node_id, calls in list(self._swallowed.items()):
            if calls is not None:
                self.swallow(node_id, calls - 1)
        return missing
