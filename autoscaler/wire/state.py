"""The state between cycles as bytes, and back. MessagePack, because JSON has neither nan nor inf.

`autoscaler.wire.state_document` defines the stored form, apart from the values of the core. There
are two documents. The whole state can be lost: if it cannot be read, the daemon starts without it,
with a message. The stopped deployments cannot: if they cannot be read, that is an error.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from autoscaler.core.policies import AnyPolicy, memory_format_of
from autoscaler.core.slo.memory import SloMemory
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import DeploymentState, PolicyMemory, State, StoppedDeployment
from autoscaler.core.values import Value
from autoscaler.wire.slo_document import StoredSloMemory
from autoscaler.wire.state_document import (
    StateDocument,
    StoppedDocument,
    Stored,
    StoredAdaptiveAllocations,
    StoredDeployment,
    StoredDeploymentStats,
    StoredGradualRollout,
    StoredMemory,
    StoredShadow,
    StoredState,
    StoredStoppedDeployment,
)

STATE_VERSION = 4
"""Version of the document of the whole state. Version 1 did not have `cold_start_s`, version 2
neither the shadows of dry runs nor gradual rollouts, and version 3 neither `is_first_start` nor
recent updates, nor when the deployment of a rollout was created. All can still be read."""

STOPPED_VERSION = 3
"""Version of the document of the stopped deployments. Version 1 was JSON. Version 2 did not have
the memory that processes use. Both can still be read."""

STOPPED_VERSIONS = (1, 2, STOPPED_VERSION)
"""The versions of that document that this program reads."""

Target = TypeVar("Target")

_SLO_MEMORIES: Mapping[int, type[Stored]] = {3: StoredSloMemory}
"""The stored form of the memory of the policy `slo`, by version. The memory of other policies is
stored as the type in their `memory_format`."""

_DAMAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)
"""Exceptions of msgspec about invalid content; a `ValidationError` is a `DecodeError`."""


class UnknownVersion(Exception):
    """A document of a version that this program does not read."""

    def __init__(self, version: int, *known: int) -> None:
        *others, last = map(str, known)
        versions = f"versions {', '.join(others)} and {last}" if others else f"version {last}"
        super().__init__(f"of version {version}, and this program reads {versions}")


class Damaged(Exception):
    """A document that cannot be decoded."""


class AnotherDocument(Exception):
    """A document of another kind."""

    def __init__(self, document: str, expected: str) -> None:
        super().__init__(f"another document, {document!r:.60} instead of {expected!r}")


class EncodedState(Value, frozen=True):
    """An encoded state, and a message for each part that is missing in it."""

    content: bytes
    messages: tuple[str, ...] = ()


class DecodedState(Value, frozen=True):
    """A decoded state, and a message for each part that was dropped."""

    state: State
    messages: tuple[str, ...] = ()


def encode_state(state: State) -> EncodedState:
    """The whole state, with the memory of each policy that has a `memory_format`.

    A memory that cannot be encoded is left out, with a message.
    """
    deployments, messages = {}, []
    for name, known in state.deployments.items():
        try:
            memory = _stored_memory(known.memory)
        except Exception as error:  # of any kind, from the type of an installed policy
            messages.append(f"{name}: the memory of its policy is not stored: {error}")
            memory = None
        stored = _converted(replace(known, memory=None), StoredDeployment)
        deployments[name] = replace(stored, memory=memory)
    stored_state = _converted(replace(state, deployments={}), StoredState)
    document = StateDocument(
        version=STATE_VERSION, state=replace(stored_state, deployments=deployments)
    )
    return EncodedState(msgspec.msgpack.encode(document), tuple(messages))


def decode_state(content: bytes, policies: Iterable[AnyPolicy] = ()) -> DecodedState:
    """The state of an encoded document; an empty one, with a message, if it cannot be decoded.

    A policy's memory of an unknown policy or version is dropped, with a message. The policy then
    begins again for that deployment.

    Args:
        policies: the policies in use. Each reads the version in its `memory_format`.
    """
    try:
        version = _check_header(content, StateDocument, *_DOCUMENTS)
        stored: StoredState = msgspec.msgpack.decode(content, type=_DOCUMENTS[version]).state
        state = _converted(replace(stored, deployments={}), State)
        known = {
            name: _converted(replace(each, memory=None), DeploymentState)
            for name, each in stored.deployments.items()
        }
    except (AnotherDocument, UnknownVersion) as error:
        return DecodedState(State(), (f"starting without the stored state: it is {error}",))
    except _DAMAGE as error:
        return DecodedState(
            State(), (f"starting without the stored state: it is damaged: {error}",)
        )
    formats = {policy.name: memory_format_of(policy) for policy in policies}
    types = {name: (each.version, each.type) for name, each in formats.items() if each is not None}
    messages = []
    for name, each in stored.deployments.items():
        try:
            known[name] = replace(known[name], memory=_memory(each.memory, types))
        except _MemoryDropped as error:
            messages.append(f"{name}: starting without the stored memory of its policy: {error}")
    return DecodedState(replace(state, deployments=known), tuple(messages))


def is_of_later_release(content: bytes) -> bool:
    """Whether a document of the whole state has a version that this program does not know yet."""
    try:
        return msgspec.msgpack.decode(content, type=_Header).version > STATE_VERSION
    except _DAMAGE:
        return False


def encode_stopped(stopped: Mapping[str, StoppedDeployment]) -> bytes:
    """The stopped deployments, by id."""
    document = StoppedDocument(
        version=STOPPED_VERSION,
        stopped={name: _converted(each, StoredStoppedDeployment) for name, each in stopped.items()},
    )
    return msgspec.msgpack.encode(document)


def decode_stopped(content: bytes) -> dict[str, StoppedDeployment]:
    """The stopped deployments of an encoded document, by id.

    Raises:
        UnknownVersion: a program of another version wrote it.
        AnotherDocument: it is of another kind.
        Damaged: it cannot be decoded.
    """
    try:
        if content.lstrip().startswith(b"{"):
            return _of_version_1(content)
        version = _check_header(content, StoppedDocument, *STOPPED_VERSIONS)
        stored: Mapping[str, StoredStoppedDeployment]
        if version == STOPPED_VERSION:
            stored = msgspec.msgpack.decode(content, type=StoppedDocument).stopped
        else:
            stored = msgspec.msgpack.decode(content, type=_DocumentVersion2).stopped
        return {name: _converted(each, StoppedDeployment) for name, each in stored.items()}
    except _DAMAGE as error:
        raise Damaged(str(error)) from error


class _Header(Struct, frozen=True):
    version: int
    document: str = ""  # the kind; empty: not stated


def _check_header(content: bytes, kind: type[StateDocument | StoppedDocument], *known: int) -> int:
    """Compare the kind of the document, then its version, which only has a meaning for its kind.

    Args:
        known: the versions of that kind that this program reads, all but version 1 of the stopped
            deployments in this encoding.

    Returns:
        The version.
    """
    header = msgspec.msgpack.decode(content, type=_Header)
    expected = str(kind.__struct_config__.tag)
    if header.document and header.document != expected:
        raise AnotherDocument(header.document, expected)
    if header.version not in known or (header.version == 1 and kind is StoppedDocument):
        raise UnknownVersion(header.version, *known)
    return header.version


def _converted(value: object, target: type[Target]) -> Target:
    """The value with the same attributes, from the core to its stored form or back."""
    return msgspec.convert(value, target, from_attributes=True)


class _MemoryDropped(Exception):
    """A stored memory that this program cannot read."""


def _stored_memory(memory: PolicyMemory | None) -> StoredMemory | None:
    if memory is None or memory.version is None:
        return None
    value: object = memory.value
    if memory.policy == SloPolicy.name:
        value = _converted(value, _SLO_MEMORIES[memory.version])
    content = msgspec.msgpack.encode(value)
    return StoredMemory(policy=memory.policy, version=memory.version, value=content)


def _memory(
    stored: StoredMemory | None, types: Mapping[str, tuple[int, Any]]
) -> PolicyMemory | None:
    if stored is None:
        return None
    policy = f"policy {stored.policy!r}"
    try:
        if stored.policy == SloPolicy.name:
            if stored.version not in _SLO_MEMORIES:
                raise _MemoryDropped(f"version {stored.version} of {policy} is not known")
            form = msgspec.msgpack.decode(stored.value, type=_SLO_MEMORIES[stored.version])
            value: object = _converted(form, SloMemory)
        elif stored.policy not in types:
            raise _MemoryDropped(f"{policy} is not in use, or its memory is not stored")
        else:
            version, memory_type = types[stored.policy]
            if version != stored.version:
                raise _MemoryDropped(
                    f"it is of version {stored.version}, and {policy} reads version {version}"
                )
            value = msgspec.msgpack.decode(stored.value, type=memory_type)
    except _MemoryDropped:
        raise
    except Exception as error:  # of any kind, from the type of an installed policy
        raise _MemoryDropped(f"it is damaged: {error}") from error
    return PolicyMemory(stored.policy, stored.version, value)


# Version 3 of the state, without the fields that were added later.


class _DeploymentVersion3(StoredDeployment, frozen=True, kw_only=True):
    recent_updates: int = 0


class _GradualRolloutVersion3(StoredGradualRollout, frozen=True, kw_only=True):
    created_at: float | None = None


class _StateVersion3(StoredState, frozen=True, kw_only=True):
    deployments: Mapping[str, _DeploymentVersion3]
    rollouts: Mapping[str, _GradualRolloutVersion3]
    is_first_start: bool = False


class _StateDocumentVersion3(
    Struct, frozen=True, kw_only=True, tag_field="document", tag=StateDocument.__struct_config__.tag
):
    version: int
    state: _StateVersion3


# Version 2 of the state, without the shadows and the gradual rollouts, which were added later.


class _DeploymentVersion2(_DeploymentVersion3, frozen=True, kw_only=True):
    shadow: StoredShadow | None = None


class _StateVersion2(_StateVersion3, frozen=True, kw_only=True):
    deployments: Mapping[str, _DeploymentVersion2]
    rollouts: Mapping[str, _GradualRolloutVersion3] = msgspec.field(default_factory=dict)


class _StateDocumentVersion2(
    Struct, frozen=True, kw_only=True, tag_field="document", tag=StateDocument.__struct_config__.tag
):
    version: int
    state: _StateVersion2


# Version 1 of the state, without another field that was added later.


class _StateVersion1(_StateVersion2, frozen=True, kw_only=True):
    cold_start_s: float | None = None


class _StateDocumentVersion1(
    Struct, frozen=True, kw_only=True, tag_field="document", tag=StateDocument.__struct_config__.tag
):
    version: int
    state: _StateVersion1


_DOCUMENTS: Mapping[int, Any] = {
    1: _StateDocumentVersion1,
    2: _StateDocumentVersion2,
    3: _StateDocumentVersion3,
    STATE_VERSION: StateDocument,
}
"""The form of the document of the whole state, by version."""


# Version 2 of the stopped deployments, without the fields that were added later.


class _StatsVersion2(StoredDeploymentStats, frozen=True, kw_only=True):
    runtime_memory_bytes: int | None = None
    peak_runtime_memory_bytes: int | None = None


class _StoppedVersion2(StoredStoppedDeployment, frozen=True, kw_only=True):
    stats: _StatsVersion2


class _DocumentVersion2(
    Struct,
    frozen=True,
    kw_only=True,
    tag_field="document",
    tag=StoppedDocument.__struct_config__.tag,
):
    version: int
    stopped: dict[str, _StoppedVersion2]


# Version 1 of the stopped deployments, with the names that fields had at that time.


class _StatsVersion1(_StatsVersion2, frozen=True, kw_only=True):
    running_allocations: int | None = field(name="live_allocations")
    adaptive: StoredAdaptiveAllocations | None = field(name="native")


class _BackOffVersion1(Struct, frozen=True, kw_only=True):
    times: int
    until: float
    reason: str = field(name="because")


class _StoppedVersion1(Struct, frozen=True, kw_only=True):
    stats: _StatsVersion1
    since: float
    usage: bytes
    back_off: _BackOffVersion1 | None = field(name="refused")


class _DocumentVersion1(Struct, frozen=True, kw_only=True):
    version: int
    stopped: dict[str, _StoppedVersion1] = field(name="asleep")


def _of_version_1(content: bytes) -> dict[str, StoppedDeployment]:
    version = msgspec.json.decode(content, type=_Header).version
    if version != 1:
        raise UnknownVersion(version, *STOPPED_VERSIONS)
    stored = msgspec.json.decode(content, type=_DocumentVersion1).stopped
    return {name: _converted(each, StoppedDeployment) for name, each in stored.items()}
