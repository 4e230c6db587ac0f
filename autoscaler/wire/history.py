"""Entries of the history: what is stored of an event, and the view of an entry.

The content of an entry is a JSON object. That of a decision or an update is its whole view, which a
reader of another release can decode as far as it knows it.
"""

import math
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from autoscaler.core.decision import Outcome, OutcomeKind
from autoscaler.wire.decision_views import ManagedView
from autoscaler.wire.decisions import managed
from autoscaler.wire.history_views import HistoryEntryView

EventKind = Literal[
    "decision",  # differs from the one before
    "update",  # with its outcome, refusals included
    "completed",  # all requested allocations run
    "no_effect",  # an accepted update has not taken effect
    "external_change",  # by another writer
    "allocations_missing",  # fewer run than are requested
    "allocations_running",  # all run again
    "managed",  # a rule governs the deployment from now on
    "unmanaged",  # none does from now on
    "unreadable",  # the statistics of the deployment are invalid
    "vanished",  # the cluster no longer reports the deployment
    "observation_failed",  # the statistics cannot be read
    "observation_recovered",
    "leadership",  # this instance leads, or does not any more
    "started",  # the daemon
    "stopped",
    "config_reloaded",
    "config_refused",
    "instruction",  # of an operator
    "rollout",  # a gradual rollout has begun, waits, or was reverted
    "others",  # the number of further events of one kind and cycle
]

SENT_NOTHING = frozenset(
    {
        OutcomeKind.UNCHANGED,
        OutcomeKind.DRY_RUN,
        OutcomeKind.OBSERVE_ONLY,
        OutcomeKind.WITHHELD,
        OutcomeKind.OUTDATED,
    }
)
"""Outcomes without an update."""


class HistoryPosition(NamedTuple):
    """An entry, as the end of a range."""

    at: float
    number: int

    def __str__(self) -> str:
        return f"{self.at!r}:{self.number}"


class HistoryEntry(NamedTuple):
    """Something that happened, as it is stored."""

    at: float  # Unix seconds
    deployment_id: str  # empty: the cluster or the daemon as a whole
    kind: str
    content: bytes  # a JSON object
    number: int = 0  # orders entries of one instant, once it is stored

    @property
    def position(self) -> HistoryPosition:
        return HistoryPosition(self.at, self.number)


class HistoryQuery(NamedTuple):
    """Which entries are read, newest first."""

    deployment_id: str | None = None  # with those of the whole; None: of all deployments
    since: float = -math.inf  # Unix seconds
    before: HistoryPosition | None = None  # the entry that follows the newest one
    limit: int = 100


def position_of(text: str) -> HistoryPosition:
    """The position in the text of `HistoryPosition`.

    Raises:
        ValueError: it is none.
    """
    at, _, number = text.partition(":")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise ValueError("no position")
    found = HistoryPosition(float(at), int(number))
    if not math.isfinite(found.at):
        raise ValueError("no position")
    return found


class Note(NamedTuple):
    """An event in one sentence."""

    message: str
    by: str = ""  # the operator; empty: nothing that an operator did
    stated_reason: str = ""


class Event(NamedTuple):
    """Something that happened. Encoded by the thread that stores it."""

    at: float  # Unix seconds
    deployment_id: str  # empty: the cluster or the daemon as a whole
    kind: EventKind
    subject: Outcome | Note
    brief: bool = False  # whether the steps of the decision are left out

    def entry(self) -> HistoryEntry:
        """The event as it is stored."""
        subject = self.subject
        if isinstance(subject, Note):
            content = msgspec.json.encode(_Stored(**subject._asdict()))
        else:
            content = msgspec.json.encode(managed(subject))
            if self.brief:
                content = msgspec.json.encode(_DECODER.decode(content))
        return HistoryEntry(self.at, self.deployment_id, self.kind, content)


def view_of(entry: HistoryEntry, *, whole: bool) -> HistoryEntryView:
    """The view of an entry. One that cannot be read says so.

    Args:
        whole: includes the decision with its steps, where the entry has one.
    """
    try:
        stored = _DECODER.decode(entry.content)
    except _UNREADABLE:
        stored = _Stored(message="this entry cannot be read")
    return HistoryEntryView(
        at=entry.at,
        kind=entry.kind,
        message=stored.message or entry.kind.replace("_", " "),
        deployment=entry.deployment_id,
        current=stored.current,
        desired=stored.desired,
        reason=stored.reason,
        outcome=stored.outcome.kind,
        by=stored.by,
        stated_reason=stored.stated_reason,
        decision=_whole(entry) if whole else None,
    )


def _whole(entry: HistoryEntry) -> ManagedView | None:
    """The decision with its steps; None: the entry has none, or another release wrote it."""
    try:
        return msgspec.json.decode(entry.content, type=ManagedView)
    except _UNREADABLE:
        return None


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _StoredOutcome(Struct, frozen=True):
    kind: str = ""


class _Stored(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the view of an entry has of its content."""

    message: str = ""
    current: int | None = None
    desired: int | None = None
    reason: str = ""
    outcome: _StoredOutcome = _StoredOutcome()
    by: str = ""
    stated_reason: str = ""


_DECODER = msgspec.json.Decoder(_Stored)
