"""Instructions of operators: pauses, which hold allocations, and overrides, which set a number.

Each has an end, so that one that is forgotten does no harm for long. They are applied as
constraints: a pause only holds, and an override stays within the bounds of the rule.
"""

from collections.abc import Iterator, Mapping
from typing import Self, TypeVar

from msgspec.structs import replace

from autoscaler.core.units import duration_text
from autoscaler.core.values import FastStrEnum, Value

MIN_INSTRUCTION_S, MAX_INSTRUCTION_S = 60.0, 7 * 86_400.0
"""Seconds for which an instruction is in force. A week at most, because what lasts longer belongs
in the configuration, where others see it: `dry_run`, `exclude`, or other bounds."""

MAX_REASON_CHARACTERS = 200
"""Characters of the reason that an operator gives."""


class PausedChanges(FastStrEnum):
    """What a pause holds."""

    EVERYTHING = "everything"
    INCREASES = "increases"
    DECREASES = "decreases"


class Instruction(Value, frozen=True, kw_only=True):
    """What an operator wants until an instant, in Unix seconds."""

    since: float
    until: float
    by: str  # the name of the token
    reason: str = ""

    def is_in_force(self, at: float) -> bool:
        return at < self.until


class Pause(Instruction, frozen=True, kw_only=True):
    """Hold the allocations."""

    changes: PausedChanges


class Override(Instruction, frozen=True, kw_only=True):
    """Set a number of allocations, within the bounds of the rule."""

    allocations: int


Kind = TypeVar("Kind", Pause, Override)


class InstructionEventKind(FastStrEnum):
    """What has become of an instruction."""

    GIVEN = "given"
    WITHDRAWN = "withdrawn"
    ENDED = "ended"  # its time is over


class InstructionEvent(Value, frozen=True, kw_only=True):
    """An instruction was given or withdrawn, or has ended."""

    at: float
    kind: InstructionEventKind
    deployment_id: str | None  # None: all
    instruction: Pause | Override
    by: str  # the name of the token; empty: it has ended by itself


class Instructions(Value, frozen=True, kw_only=True):
    """All instructions, those that have ended included until they are removed."""

    pause: Pause | None = None  # of all deployments
    pauses: Mapping[str, Pause] = {}  # by deployment id
    overrides: Mapping[str, Override] = {}  # by deployment id

    def __iter__(self) -> Iterator[tuple[str | None, Pause | Override]]:
        """Each with its deployment id; None: of all deployments."""
        if self.pause is not None:
            yield None, self.pause
        yield from self.pauses.items()
        yield from self.overrides.items()

    def pauses_of(self, deployment_id: str, at: float) -> tuple[Pause, ...]:
        """The pauses that hold a deployment."""
        if self.pause is None and not self.pauses:
            return ()
        found = (self.pauses.get(deployment_id), self.pause)
        return tuple([pause for pause in found if pause is not None and pause.is_in_force(at)])

    def override_of(self, deployment_id: str, at: float) -> Override | None:
        """The override of a deployment."""
        override = self.overrides.get(deployment_id)
        return override if override is not None and override.is_in_force(at) else None

    def apply_to(self, deployment_id: str, at: float) -> bool:
        """Whether any of them applies to a deployment."""
        override = self.override_of(deployment_id, at)
        return override is not None or bool(self.pauses_of(deployment_id, at))

    def with_one(self, deployment_id: str | None, instruction: Pause | Override) -> Self:
        """With another instruction, which replaces one of the same kind."""
        if isinstance(instruction, Override):
            assert deployment_id is not None, "an override is of one deployment"
            return replace(self, overrides={**self.overrides, deployment_id: instruction})
        if deployment_id is None:
            return replace(self, pause=instruction)
        return replace(self, pauses={**self.pauses, deployment_id: instruction})

    def without(self, deployment_id: str | None, instruction: Pause | Override) -> Self:
        """Without one of them."""
        if isinstance(instruction, Override):
            return replace(self, overrides=_except(self.overrides, deployment_id))
        if deployment_id is None:
            return replace(self, pause=None)
        return replace(self, pauses=_except(self.pauses, deployment_id))

    def since(self, at: float) -> Self:
        """Those that have been given since an instant."""
        found = type(self)()
        for deployment_id, instruction in self:
            if instruction.since >= at:
                found = found.with_one(deployment_id, instruction)
        return found

    def updated(self, newer: Self) -> Self:
        """With others, which replace those of the same deployment and kind."""
        found = self
        for deployment_id, instruction in newer:
            found = found.with_one(deployment_id, instruction)
        return found


def _except(instructions: Mapping[str, Kind], deployment_id: str | None) -> dict[str, Kind]:
    return {name: each for name, each in instructions.items() if name != deployment_id}


def instruction_text(deployment_id: str | None, instruction: Pause | Override, at: float) -> str:
    """An instruction in words.

    >>> print(instruction_text("elser", Override(
    ...     allocations=8, since=0.0, until=3_600.0, by="alice", reason="load test"
    ... ), 0.0))
    elser: overridden to 8 allocations by alice for another 60 min: load test
    """
    name = "all deployments" if deployment_id is None else deployment_id
    return f"{name}: {done_text(instruction)} {given_text(instruction, at)}"


def done_text(instruction: Pause | Override) -> str:
    """
    >>> done_text(Pause(changes=PausedChanges.INCREASES, since=0.0, until=1.0, by="alice"))
    'increases are paused'
    """
    if isinstance(instruction, Override):
        s = "" if instruction.allocations == 1 else "s"
        return f"overridden to {instruction.allocations} allocation{s}"
    if instruction.changes is PausedChanges.EVERYTHING:
        return "paused"
    return f"{instruction.changes} are paused"


def given_text(instruction: Pause | Override, at: float) -> str:
    """By whom, for how long, and why."""
    wait = duration_text(max(0.0, instruction.until - at))
    reason = f": {instruction.reason}" if instruction.reason else ""
    return f"by {instruction.by} for another {wait}{reason}"


def resume_text(deployment_id: str, instructions: Instructions, at: float) -> str:
    """What follows from a request to resume a stopped deployment: a pause may hold it.

    >>> pause = Pause(changes=PausedChanges.INCREASES, since=0.0, until=3_600.0, by="alice")
    >>> held, _, remedy = resume_text("e5", Instructions(pauses={"e5": pause}), 0.0).partition("; ")
    >>> held
    'e5: stays stopped, because increases are paused by alice for another 60 min'
    >>> remedy
    'will be resumed then, or after `autoscaler unpause e5`'
    >>> resume_text("e5", Instructions(), 0.0)
    'e5: will be resumed in the next cycle'
    """
    holding = [
        pause
        for pause in instructions.pauses_of(deployment_id, at)
        if pause.changes is not PausedChanges.DECREASES
    ]
    if not holding:
        return f"{deployment_id}: will be resumed in the next cycle"
    pause = max(holding, key=lambda pause: pause.until)
    all_too = instructions.pause in holding
    held = "it is paused" if pause.changes is PausedChanges.EVERYTHING else done_text(pause)
    return (
        f"{deployment_id}: stays stopped, because {held} {given_text(pause, at)}; will be resumed "
        f"then, or after `autoscaler unpause {'--all' if all_too else deployment_id}`"
    )
