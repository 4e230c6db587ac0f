"""The state that the documents of a file contain, as far as it can be used now."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from autoscaler.adapters.state.database import Contents
from autoscaler.core.flow.shadowing import only_totals
from autoscaler.core.instructions import Instructions
from autoscaler.core.policies import AnyPolicy
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.core.units import duration_text
from autoscaler.core.values import Value
from autoscaler.ports import DocumentsUnavailable
from autoscaler.wire.instruction_document import decode_instructions
from autoscaler.wire.state import (
    AnotherDocument,
    Damaged,
    UnknownVersion,
    decode_state,
    decode_stopped,
    is_of_later_release,
)

SHARED, STOPPED, CLUSTER, INSTRUCTIONS = "shared", "stopped", "cluster", "instructions"
"""Names of the documents: what all deployments share, the stopped deployments, the UUID of the
cluster, and the instructions of operators."""

DEPLOYMENTS = "deployments"
"""Name of the document that lists the deployments which have documents, where there are no rows."""

MAX_STATE_AGE_S = 86_400.0
"""Seconds after which a stored state is not continued. 1 d, because the error budget covers a day,
and loads recur daily; what is known of the present load is not used after a gap of minutes."""

MAX_CLOCK_STEP_S = 60.0
"""Seconds by which a stored state may be later than now, because the host's clock was set back.
60 s: until then, two observations are not compared, and everything is held."""


class Restored(Value, frozen=True, kw_only=True):
    """The state, and why parts of it are missing."""

    state: State
    age_s: float | None = None  # of the whole state; None: there is none
    messages: tuple[str, ...] = ()


def opened_text(place: object, size_bytes: int, found: Restored) -> str:
    """Where the state is, how large and how old."""
    age = "" if found.age_s is None else f", from {duration_text(max(found.age_s, 0.0))} ago"
    known, stopped = len(found.state.deployments), len(found.state.stopped)
    return (
        f"the state is in {place}, {size_bytes / 1e6:.1f} MB{age}: {known} "
        f"deployment{'s' if known != 1 else ''}, and {stopped} stopped"
    )


def restored(contents: Contents, policies: Iterable[AnyPolicy], at: float) -> Restored:
    """The state at the Unix time `at`. If it is too old or ahead, which may be a wrong clock, only
    the stopped deployments, the instructions, the gradual rollouts and the totals of dry runs."""
    stopped, messages = _stopped(contents)
    instructions, problems = _instructions(contents)
    messages += problems
    nothing = State(stopped=stopped, instructions=instructions)
    if (document := contents.documents.get(SHARED)) is None:
        return Restored(state=nothing, messages=messages)
    shared = decode_state(document)
    age_s = at - (shared.state.seen_at or 0.0)
    # What ran before, and whether it was reverted, must not be lost with a state that is too old.
    nothing = replace(nothing, rollouts=shared.state.rollouts)
    if shared.messages:
        return Restored(state=nothing, messages=messages + shared.messages)
    decoded = [decode_state(each, tuple(policies)) for each in contents.deployments.values()]
    deployments = {name: d for one in decoded for name, d in one.state.deployments.items()}
    nothing = replace(nothing, deployments=only_totals(deployments, at - MAX_STATE_AGE_S))
    if age_s > MAX_STATE_AGE_S:
        messages += (f"starting without the stored state: it is {duration_text(age_s)} old",)
    elif age_s < -MAX_CLOCK_STEP_S:
        later = duration_text(-age_s)
        messages += (f"starting without the stored state: it is {later} ahead of the host's clock",)
    else:
        return Restored(
            state=replace(
                shared.state, deployments=deployments, stopped=stopped, instructions=instructions
            ),
            age_s=age_s,
            messages=(*messages, *(text for one in decoded for text in one.messages)),
        )
    return Restored(state=nothing, messages=messages)


def _stopped(contents: Contents) -> tuple[dict[str, StoppedDeployment], tuple[str, ...]]:
    if (document := contents.documents.get(STOPPED)) is None:
        return {}, ()
    try:
        return decode_stopped(document), ()
    except (AnotherDocument, UnknownVersion, Damaged) as error:
        return {}, (f"{stopped_problem(error)}; start them by hand",)


def _instructions(contents: Contents) -> tuple[Instructions, tuple[str, ...]]:
    if (document := contents.documents.get(INSTRUCTIONS)) is None:
        return Instructions(), ()
    try:
        return decode_instructions(document), ()
    except (UnknownVersion, Damaged) as error:
        damaged = "damaged: " if isinstance(error, Damaged) else ""
        problem = f"the record of pauses and overrides is {damaged}{error}"
        return Instructions(), (f"{problem}; none is in force, so give them again",)


def stopped_problem(error: AnotherDocument | UnknownVersion | Damaged) -> str:
    """Why the record of stopped deployments cannot be read."""
    damaged = "damaged: " if isinstance(error, Damaged) else ""
    return f"the record of stopped deployments is {damaged}{error}"


def ensure_known(documents: Mapping[str, bytes]) -> None:
    """Check that documents may be replaced.

    Raises:
        DocumentsUnavailable: a later release wrote one, or the stopped deployments cannot be read.
    """
    if SHARED in documents and is_of_later_release(documents[SHARED]):
        raise DocumentsUnavailable("a later release wrote it; use that, or another index")
    if STOPPED in documents:
        try:
            decode_stopped(documents[STOPPED])
        except (AnotherDocument, Damaged, UnknownVersion) as error:
            raise DocumentsUnavailable(
                f"{stopped_problem(error)}; use the program that wrote it, or "
                f"start them by hand and delete the document {STOPPED}"
            ) from error
