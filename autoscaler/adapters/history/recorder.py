"""What is new in each cycle: decisions, updates, external changes, and changes of states."""

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

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
from autoscaler.core.rollout_status import RolloutEvent, rollout_event_text
from autoscaler.core.state import FORGET_AFTER_S
from autoscaler.core.values import Observation, Reason
from autoscaler.ports import CycleTimes, Leadership, ObservationFailed
from autoscaler.wire.history import SENT_NOTHING, Event, EventKind, Note

REPEAT_AFTER_S = 3_600.0
"""Seconds for which a decision that sends nothing is not recorded again, while the allocations stay
the same. An hour: a few entries a day for each reason."""


class _Summary(NamedTuple):
    """What distinguishes a decision from the one before."""

    current: int
    desired: int
    reason: Reason
    kind: OutcomeKind


class _Last:
    """The last decision on one deployment, and when each with these allocations was recorded."""

    def __init__(self) -> None:
        self.at = -math.inf
        self._summary: _Summary | None = None
        self._recorded_at: dict[_Summary, float] = {}

    @property
    def is_first(self) -> bool:
        return self._summary is None

    def is_new(self, summary: _Summary, at: float) -> bool:
        """Take note of a decision. Whether it is to be recorded."""
        before, self._summary, self.at = self._summary, summary, at
        if before == summary:
            return False
        if before is None or before.current != summary.current:
            self._recorded_at = {summary: at}
            return True
        is_due = at - self._recorded_at.get(summary, -math.inf) >= REPEAT_AFTER_S
        if is_due:
            self._recorded_at[summary] = at
        return is_due


class EventSink(Protocol):
    def record(self, events: list[Event]) -> None:
        """Write the events soon, without waiting."""


class HistoryRecorder:
    """A Recorder that records what is new in each cycle.

    A decision is new if it desires other allocations than the last one, for another reason, or with
    another outcome. One that sends nothing is not recorded again soon: reasons to change nothing
    alternate from poll to poll, and so do the decisions of a dry run.
    """

    def __init__(self, sink: EventSink, leadership: Leadership | None = None) -> None:
        self._sink = sink
        self._deployments = DeploymentLevels()
        self._cluster = ClusterLevels(leadership)
        self._last: dict[str, _Last] = {}  # by id

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
            *(
                _event(each.at, each, "rollout", rollout_event_text(each))
                for each in plan.rollout_events
            ),
            *self._decisions(outcomes),
        ]
        oldest = at - FORGET_AFTER_S
        self._last = {name: last for name, last in self._last.items() if last.at > oldest}
        if events:
            self._sink.record(events)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        events = [*self._cluster.failed(failure, at), *self._decisions(failure.outcomes)]
        if events:
            self._sink.record(events)

    def _decisions(self, outcomes: tuple[Outcome, ...]) -> Iterator[Event]:
        for outcome in outcomes:
            name, at = outcome.decision.deployment_id, outcome.at
            last = self._last.setdefault(name, _Last())
            is_first = last.is_first
            is_new = last.is_new(_summary(outcome), at)
            if outcome.kind not in SENT_NOTHING:
                yield Event(at, name, "update", outcome, brief=not is_new)
            elif is_new:
                # Every restart is followed by a first decision on each deployment. Their steps
                # would soon be all that the history has.
                brief = is_first and outcome.kind is OutcomeKind.UNCHANGED
                yield Event(at, name, "decision", outcome, brief=brief)


def _event(
    at: float,
    about: ExternalChange | NoEffect | CompletedRollout | RolloutEvent,
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
    return _Summary(decision.current, decision.desired, reason, outcome.kind)
