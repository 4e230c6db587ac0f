"""What is new in each cycle: decisions, updates, external changes, and changes of states."""

from collections.abc import Iterator
from typing import Protocol

from autoscaler.adapters.history.levels import ClusterLevels, DeploymentLevels
from autoscaler.core.decision import (
    CompletedRollout,
    ExternalChange,
    NoEffect,
    Outcome,
    OutcomeKind,
    Plan,
)
from autoscaler.core.explanation import completed_text, external_change_text, no_effect_text
from autoscaler.core.state import FORGET_AFTER_S
from autoscaler.core.values import Observation, Reason
from autoscaler.ports import CycleTimes, Leadership, ObservationFailed
from autoscaler.wire.history import SENT_NOTHING, Event, EventKind, Note

_Summary = tuple[int, int, Reason, OutcomeKind]


class EventSink(Protocol):
    def record(self, events: list[Event]) -> None:
        """Write the events soon, without waiting."""


class HistoryRecorder:
    """A Recorder that records what is new in each cycle.

    A decision is new if it desires other allocations than the last one, for another reason, or with
    another outcome.
    """

    def __init__(self, sink: EventSink, leadership: Leadership | None = None) -> None:
        self._sink = sink
        self._deployments = DeploymentLevels()
        self._cluster = ClusterLevels(leadership)
        self._last: dict[str, tuple[float, _Summary]] = {}  # with the time, by id

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        at = plan.at
        events = [
            *self._cluster.observed(at),
            *self._deployments.changes(observation, plan),
            *(
                _event(each.at, each, "external_change", external_change_text(each))
                for each in plan.external_changes
            ),
            *(_event(at, each, "no_effect", no_effect_text(each)) for each in plan.no_effect),
            *(
                _event(at, each, "completed", completed_text(each))
                for each in plan.completed_rollouts
            ),
            *self._decisions(outcomes),
        ]
        oldest = at - FORGET_AFTER_S
        self._last = {name: each for name, each in self._last.items() if each[0] > oldest}
        if events:
            self._sink.record(events)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        events = [*self._cluster.failed(failure, at), *self._decisions(failure.outcomes)]
        if events:
            self._sink.record(events)

    def _decisions(self, outcomes: tuple[Outcome, ...]) -> Iterator[Event]:
        for outcome in outcomes:
            name, at, summary = outcome.decision.deployment_id, outcome.at, _summary(outcome)
            last = self._last.get(name)
            self._last[name] = at, summary
            if outcome.kind not in SENT_NOTHING:
                yield Event(at, name, "update", outcome)
            elif last is None or last[1] != summary:
                # Every restart is followed by a first decision on each deployment. Their steps
                # would soon be all that the history has.
                brief = last is None and outcome.kind is OutcomeKind.UNCHANGED
                yield Event(at, name, "decision", outcome, brief=brief)


def _event(
    at: float,
    about: ExternalChange | NoEffect | CompletedRollout,
    kind: EventKind,
    message: str,
) -> Event:
    return Event(at, about.deployment_id, kind, Note(message))


def _summary(outcome: Outcome) -> _Summary:
    decision = outcome.decision
    reason = decision.reason
    if not decision.changes and reason is Reason.STABILISATION:
        # Under a steady load, the recommendation alternates between the current allocations and
        # fewer, which the stabilisation window holds.
        reason = decision.steps[0].reason
    return decision.current, decision.desired, reason, outcome.kind
