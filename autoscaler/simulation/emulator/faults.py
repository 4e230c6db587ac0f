"""Faults: which requests they apply to, and how often. The server produces their effects.

A fault applies to requests that match its method and path, for the given number of requests. If
several faults match, the first one added applies.
"""

from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec
from msgspec import Meta, Struct


class Reset(StrEnum):
    """Whether the connection breaks before or after the request is executed."""

    BEFORE = "before"  # not executed
    AFTER = "after"  # executed, without a response


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The effects on a request."""

    method: str = "*"
    path: str = "*"  # `*` stands for any text, slashes included
    calls: Annotated[int, Meta(ge=1)] | None = 1  # None: every call, until it is removed
    delay_s: Annotated[float, Meta(ge=0.0)] = 0.0  # before anything else
    # Between the execution of the request and its response.
    response_delay_s: Annotated[float, Meta(ge=0.0)] = 0.0
    # Returned instead of handling the request.
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    error_type: str | None = None  # with `status`: Elasticsearch's envelope around `body`
    body: str = ""  # with `status`; any text, as a proxy returns it
    content_type: str = "text/html"
    reset: Reset | None = None
    truncate_to: Annotated[int, Meta(ge=0)] | None = (
        None  # bytes of the response before the connection ends
    )

    def matches(self, method: str, path: str) -> bool:
        return fnmatchcase(method, self.method) and fnmatchcase(path, self.path)


class Faults:
    """The active faults."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._swallowed: dict[str, int | None] = {}

    @property
    def active(self) -> tuple[Fault, ...]:
        return tuple(self._faults)

    @property
    def swallowed(self) -> Mapping[str, int | None]:
        """Nodes whose statistics are missing, with the number of responses left (None: all)."""
        return dict(self._swallowed)

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()
        self._swallowed.clear()

    def strike(self, method: str, path: str) -> Fault | None:
        """The fault that applies to this request; counts one call of it."""
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
        """Omit the statistics of a node from the next `calls` responses, or from all if None."""
        if calls is None or calls > 0:
            self._swallowed[node_id] = calls
        else:
            self._swallowed.pop(node_id, None)

    def missing_nodes(self) -> frozenset[str]:
        """The nodes missing from this response; counts one response of each."""
        missing = frozenset(self._swallowed)
        for node_id, calls in list(self._swallowed.items()):
            if calls is not None:
                self.swallow(node_id, calls - 1)
        return missing
