"""The JSON of the instructions of operators: what requests contain, and what is in force."""

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from autoscaler.core.instructions import (
    MAX_INSTRUCTION_S,
    MAX_REASON_CHARACTERS,
    MIN_INSTRUCTION_S,
    Override,
    Pause,
)
from autoscaler.wire.decision_views import InstructionView
from autoscaler.wire.decisions import instruction_view

MAX_ID_CHARACTERS = 512
"""Characters of a deployment id. Those of the cluster have no more."""

_Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]
_Time = Annotated[
    float,
    Meta(ge=MIN_INSTRUCTION_S, le=MAX_INSTRUCTION_S, description="Seconds until it ends."),
]
_Reason = Annotated[
    str, Meta(max_length=MAX_REASON_CHARACTERS, description="Why: shown wherever it has an effect.")
]
_Deployment = Annotated[_Id | None, Meta(description="A deployment id; null: all deployments.")]


class PauseRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold the allocations."""

    deployment: _Deployment
    for_s: _Time
    changes: Literal["everything", "increases", "decreases"] = "everything"
    reason: _Reason = ""


class UnpauseRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """End the pause of one deployment, or all pauses."""

    deployment: _Deployment
    reason: _Reason = ""


class OverrideRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Set a number of allocations, within the bounds of the rule."""

    deployment: _Id
    allocations: Annotated[int, Meta(ge=0, le=1_000_000)]
    for_s: _Time
    reason: _Reason = ""


class EndOverrideRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """End the override of a deployment."""

    deployment: _Id
    reason: _Reason = ""


class ResumeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Start a deployment that was stopped because it was idle."""

    deployment: _Id


class ResumeRolloutRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let a gradual rollout begin again."""

    deployment: _Id
    reason: _Reason = ""


class InstructionsResponse(Struct, frozen=True, kw_only=True):
    """The instructions that are in force."""

    autoscaler: str  # the version of the daemon
    instructions: tuple[InstructionView, ...]


class RequestAccepted(Struct, frozen=True, kw_only=True):
    """The request has its effect from the next cycle on."""

    autoscaler: str  # the version of the daemon
    message: str
    saved: bool  # whether it outlives the process


def instruction_views(
    instructions: Iterable[tuple[str | None, Pause | Override]], at: float
) -> tuple[InstructionView, ...]:
    """The views of instructions, those of all deployments first."""
    found = sorted(instructions, key=lambda each: (each[0] is not None, each[0] or ""))
    return tuple([instruction_view(name, each, at) for name, each in found])
