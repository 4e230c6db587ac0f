"""The JSON of the history: the daemon renders it, and `autoscaler history` and the page read it.

All types are plain, as those of the decisions. Instants are Unix seconds.
"""

from typing import Annotated

from msgspec import Meta, Struct

from autoscaler.wire.decision_views import ManagedView

MAX_LIMIT = 1_000
"""Entries of one response, at most: with whole decisions, about 5 MB."""


class HistoryEntryView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to a deployment, to the cluster, or to the daemon."""

    at: float
    kind: str
    message: str  # one sentence
    deployment: str = ""  # empty: the cluster or the daemon as a whole
    current: int | None = None  # allocations of a decision or an update; None: it is neither
    desired: int | None = None
    reason: str = ""  # of the decision, such as "target_tracking"
    outcome: str = ""  # of the decision or the update, such as "no_capacity"
    by: str = ""  # the operator who gave an instruction: the name of the token
    stated_reason: str = ""  # that the operator gave
    decision: ManagedView | None = None  # if it was asked for; None: unknown, or there is none


class HistoryResponse(Struct, frozen=True, kw_only=True):
    """Entries of the history, newest first."""

    autoscaler: str  # the version of the daemon
    kept_in: str  # the file; empty: in the memory of the daemon, until it ends
    entries: tuple[HistoryEntryView, ...]
    next: str = ""  # the value of `before` for the entries that follow; empty: there are none


class HistoryParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of a request."""

    since: Annotated[float, Meta(ge=0.0, description="Unix seconds.")] = 0.0
    before: Annotated[
        str, Meta(max_length=64, description="The value of `next` in an earlier response.")
    ] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] = 100
    details: Annotated[bool, Meta(description="Whether decisions have their steps.")] = False
