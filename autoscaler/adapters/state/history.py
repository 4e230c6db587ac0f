"""What happened, as rows of the history: decisions, updates, and changes of other writers."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import msgspec

from autoscaler.adapters.state.database import HistoryEntry
from autoscaler.core.decision import (
    CompletedRollout,
    Decision,
    ExternalChange,
    Outcome,
    OutcomeKind,
    Plan,
)
from autoscaler.core.explanation import external_change_text
from autoscaler.core.state import FORGET_AFTER_S
from autoscaler.core.values import Observation
from autoscaler.ports import CycleTimes, ObservationFailed
from autoscaler.wire.decisions import managed

EventKind = Literal["decision", "update", "completed", "external_change"]

_NOT_SENT = frozenset(
    {
        OutcomeKind.UNCHANGED,
        OutcomeKind.DRY_RUN,
        OutcomeKind.OBSERVE_ONLY,
        OutcomeKind.WITHHELD,
        OutcomeKind.OUTDATED,
    }
)


class Event(NamedTuple):
    """Something that happened to a deployment. Encoded by the thread that writes it."""

    at: float  # Unix seconds
    deployment_id: str
    kind: EventKind
    subject: Outcome | CompletedRollout | ExternalChange

    def entry(self) -> HistoryEntry:
        """The entry. The content of a decision or an update is that of `/decisions/{id}`."""
        subject = self.subject
        content: object
        if isinstance(subject, Outcome):
            content = managed(subject)
        elif isinstance(subject, ExternalChange):
            content = {"message": external_change_text(subject)}
        else:
            content = {
                "allocations": subject.allocations,
                "lead_time_s": subject.lead_time_s,
                "new_node": subject.new_node,
            }
        return HistoryEntry(self.at, self.deployment_id, self.kind, msgspec.json.encode(content))


class EventSink(Protocol):
    def record(self, events: list[Event]) -> None:
        """Write the events soon, without waiting."""


class HistoryRecorder:
    """A Recorder that records what is new in each cycle.

    A decision is new if it desires other allocations than the last one, for another reason, or with
    another outcome.
    """

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._last: dict[str, tuple[float, tuple[object, ...]]] = {}  # with the time, by id

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        events = [
            *self._new(outcomes),
            *(Event(c.at, c.deployment_id, "external_change", c) for c in plan.external_changes),
            *(Event(plan.at, c.deployment_id, "completed", c) for c in plan.completed_rollouts),
        ]
        oldest = plan.at - FORGET_AFTER_S
        self._last = {name: each for name, each in self._last.items() if each[0] > oldest}
        if events:
            self._sink.record(events)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        if events := list(self._new(failure.outcomes)):
            self._sink.record(events)

    def _new(self, outcomes: tuple[Outcome, ...]) -> Iterator[Event]:
        for outcome in outcomes:
            decision, at = outcome.decision, outcome.at
            last, summary = self._last.get(decision.deployment_id), _summary(outcome)
            self._last[decision.deployment_id] = at, summary
            if outcome.kind not in _NOT_SENT:
                yield Event(at, decision.deployment_id, "update", outcome)
            elif last is None or last[1] != summary:
                yield Event(at, decision.deployment_id, "decision", outcome)


def _summary(outcome: Outcome) -> tuple[object, ...]:
    decision: Decision = outcome.decision
    return decision.current, decision.desired, decision.steps[-1].reason, outcome.kind
