"""The stored form of the instructions of operators, version 1, as JSON.

It is a document of its own, because it must not be lost with a state that is too old or of another
version. Once released, a field keeps its name, its type and its meaning.
"""

from typing import Literal

import msgspec

from autoscaler.core.instructions import Instructions, Override, Pause, PausedChanges
from autoscaler.wire.state import Damaged, UnknownVersion
from autoscaler.wire.state_document import Stored

INSTRUCTIONS_VERSION = 1
"""Version of the document."""


class StoredPause(Stored, frozen=True, kw_only=True):
    changes: Literal["everything", "increases", "decreases"]
    since: float
    until: float
    by: str
    reason: str


class StoredOverride(Stored, frozen=True, kw_only=True):
    allocations: int
    since: float
    until: float
    by: str
    reason: str


class InstructionsDocument(
    Stored, frozen=True, kw_only=True, tag_field="document", tag="autoscaler instructions"
):
    version: int
    pause: StoredPause | None  # of all deployments
    pauses: dict[str, StoredPause]  # by deployment id
    overrides: dict[str, StoredOverride]  # by deployment id


class _InstructionsHeader(msgspec.Struct, frozen=True):
    version: int


def encode_instructions(instructions: Instructions) -> bytes:
    """The document."""
    document = InstructionsDocument(
        version=INSTRUCTIONS_VERSION,
        pause=None if instructions.pause is None else _stored_pause(instructions.pause),
        pauses={name: _stored_pause(each) for name, each in instructions.pauses.items()},
        overrides={
            name: StoredOverride(
                allocations=each.allocations,
                since=each.since,
                until=each.until,
                by=each.by,
                reason=each.reason,
            )
            for name, each in instructions.overrides.items()
        },
    )
    return msgspec.json.encode(document)


def decode_instructions(content: bytes) -> Instructions:
    """The instructions of a document.

    Raises:
        UnknownVersion: a program of another version wrote it.
        Damaged: it cannot be decoded.
    """
    try:
        version = msgspec.json.decode(content, type=_InstructionsHeader).version
        if version != INSTRUCTIONS_VERSION:
            raise UnknownVersion(version, INSTRUCTIONS_VERSION)
        document = msgspec.json.decode(content, type=InstructionsDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged(str(error)) from error
    return Instructions(
        pause=None if document.pause is None else _pause(document.pause),
        pauses={name: _pause(each) for name, each in document.pauses.items()},
        overrides={
            name: Override(
                allocations=each.allocations,
                since=each.since,
                until=each.until,
                by=each.by,
                reason=each.reason,
            )
            for name, each in document.overrides.items()
        },
    )


def _stored_pause(pause: Pause) -> StoredPause:
    return StoredPause(
        changes=pause.changes.value,
        since=pause.since,
        until=pause.until,
        by=pause.by,
        reason=pause.reason,
    )


def _pause(stored: StoredPause) -> Pause:
    return Pause(
        changes=PausedChanges(stored.changes),
        since=stored.since,
        until=stored.until,
        by=stored.by,
        reason=stored.reason,
    )
