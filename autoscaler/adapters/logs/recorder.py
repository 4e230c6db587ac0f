"""Cycles as log lines: one for each change, and none for what stays the same."""

import logging
import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from autoscaler.adapters.logs.logged_decisions import LoggedDecisions
from autoscaler.adapters.logs.polls import PollLog
from autoscaler.core.decision import NOT_SENT, Decision, Outcome, OutcomeKind, Plan
from autoscaler.core.explanation import (
    completed_text,
    external_change_text,
    no_effect_text,
    reported_text,
    shortfall_text,
    unmanaged_text,
)
from autoscaler.core.rollout_status import RolloutEventKind, rollout_event_text
from autoscaler.core.shortfall import Shortfall, ShortfallCause
from autoscaler.core.units import duration_text
from autoscaler.core.values import Observation
from autoscaler.ports import CycleTimes, FailureKind, ObservationFailed
from autoscaler.wire.decisions import log_fields

_NEEDS_OPERATOR = {FailureKind.UNAUTHENTICATED, FailureKind.FORBIDDEN, FailureKind.DEFECT}
"""Failures that last until an operator acts; they are logged as errors."""

_ROLLOUT_LEVELS = {
    RolloutEventKind.REVERTED: logging.ERROR,
    RolloutEventKind.WAITS: logging.WARNING,
    RolloutEventKind.CHANGED: logging.WARNING,
}

REPEAT_AFTER_S = 600.0
"""Seconds for which missing allocations are not warned about again unless fewer run than then. 10
min, because a process that crashes and restarts would fill the log."""

CHANGE_INTERVAL_S = 60.0
"""Least seconds between two log lines about a change of the missing allocations of one deployment,
unless fewer run than at any warning. 60 s, so that a node that returns in steps is a few lines."""

MAX_LINES = 10
"""Deployments of one cycle that have a line of their own about each of the following: they are not
managed, not readable or no longer reported. One more line has the number of the others. 10, because
a proxy that damages responses, or a response that was cut off, concerns all of them."""

T = TypeVar("T")


class LogRecorder:
    """Writes what changed since the last cycle; everything else at level debug.

    Every decision is one line, complete in itself: `message` is the explanation, `steps` are the
    reasons as data; at level debug with the candidates. The event names the outcome:

        decision.made          not sent: nothing to change, a dry run, or withheld
        update.accepted        the cluster has accepted the update
        update.refused         it has refused the update; `detail` is its message
        update.unanswered      no response
        update.completed       all requested allocations are running
        update.no_effect       an accepted update has not taken effect
        rollout.begun          a gradual rollout begins, or begins again with another rule
        rollout.waits          it waits for an operator, because there was no saved state
        rollout.changed        another writer has set what it returns to
        rollout.reverted       more requests were late in its hours than before
        deployment.changed     another writer has changed it
        allocations.missing    fewer run than are requested, and no rollout explains it
        allocations.changed    some of the missing ones run again, or further ones are missing
        allocations.running    all that are requested run again
        deployment.unmanaged   not managed, with the reason
        deployment.unreadable  its statistics are invalid
        deployment.unreadable_figures  some of its figures cannot be read, and are unknown
        deployment.vanished    the cluster no longer reports it
        deployments.more       the number of further deployments to which an event applies
        deployments.left_out   the cluster has more deployments than are observed
        poll.due               when the next poll is due, at level debug: whenever the cause differs
        poll.stretched         polls are further apart than poll_interval
        poll.restored          they are not any more
        observation.failed     the statistics could not be read
        observation.slowed     they are read less often until they can be read again
        observation.recovered  they can be read again
    """

    def __init__(self, logger: FilteringBoundLogger | None = None) -> None:
        self._log = logger or structlog.get_logger("autoscaler")
        self._decisions = LoggedDecisions()
        self._external: set[str] = set()  # deployments under external control
        self._shortfalls: dict[str, Shortfall] = {}  # as last logged, while allocations miss
        self._change_logged_at: dict[str, float] = {}
        self._warned: dict[str, tuple[float, int]] = {}  # when, and how many ran then
        self._unmanaged: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}
        self._unreadable_figures: dict[str, str] = {}
        self._left_out = 0
        self._known: frozenset[str] = frozenset()
        self._polls = PollLog(self._log)
        self._forbidden = False
        self._failure: tuple[FailureKind, str] | None = None
        self._skipped = 0
        self._failing_since = 0.0
        self._slowed_to_s = 0.0  # the interval between attempts, as last logged

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        for _ in self.planned_in_parts(observation, plan, outcomes, took):
            pass

    def planned_in_parts(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> Generator[None, None, None]:
        """See `RecorderInParts`."""
        self._recover(observation.at)
        for decision in plan.decisions:
            self._log_shortfall(decision)
        self._log_external_changes(plan)
        for outcome in outcomes:
            self._decision(outcome)
            yield
        for done in plan.completed_rollouts:
            self._log.info(
                "update.completed",
                message=completed_text(done),
                deployment=done.deployment_id,
                allocations=done.allocations,
                took_s=done.lead_time_s,
                new_node=done.new_node,
            )
        for found in plan.no_effect:
            self._log.warning(
                "update.no_effect",
                message=no_effect_text(found),
                deployment=found.deployment_id,
                accepted_at=found.accepted_at,
                times=found.times,
                wait_s=found.wait_s,
            )
        for event in plan.rollout_events:
            self._log.log(
                _ROLLOUT_LEVELS.get(event.kind, logging.INFO),
                f"rollout.{event.kind}",
                message=rollout_event_text(event),
                deployment=event.deployment_id,
            )
        self._log_unmanaged(plan)
        self._log_unreadable(observation.unreadable)
        self._log_unreadable_figures(observation.unreadable_figures)
        self._log_left_out(observation)
        self._log_vanished(observation, plan)
        self._polls.planned(plan)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        if self._failure is None:
            self._failing_since = at
        self._skipped += 1
        level = logging.ERROR if failure.kind in _NEEDS_OPERATOR else logging.WARNING
        # Messages of one failure differ between cycles and hosts; those of defects identify them.
        kind = (failure.kind, str(failure) if failure.kind is FailureKind.DEFECT else "")
        if kind == self._failure:
            level = logging.DEBUG
        self._failure = kind
        fields: dict[str, Any] = {"message": str(failure), "kind": str(failure.kind)}
        if failure.kind is FailureKind.DEFECT:
            fields["exc_info"] = failure.__cause__ or failure
        self._log.log(level, "observation.failed", **fields)
        for outcome in failure.outcomes:
            self._decision(outcome)
        if failure.next_after_s > self._slowed_to_s:
            self._slowed_to_s = failure.next_after_s
            self._log.info(
                "observation.slowed",
                message="cluster: statistics that cannot be read are requested every "
                f"{duration_text(self._slowed_to_s)}, until a request succeeds",
                interval_s=self._slowed_to_s,
            )

    def _recover(self, at: float) -> None:
        if self._failure is None:
            return
        lasted_s = at - self._failing_since
        self._log.info(
            "observation.recovered",
            message=f"cluster: statistics are available again after {duration_text(lasted_s)}",
            kind=str(self._failure[0]),
            skipped_cycles=self._skipped,
            lasted_s=lasted_s,
        )
        self._failure, self._skipped, self._slowed_to_s = None, 0, 0.0

    def _decision(self, outcome: Outcome) -> None:
        decision, kind = outcome.decision, outcome.kind
        is_new = self._decisions.is_new(decision, kind)
        event, level = "decision.made", _level(kind)
        external = decision.externally_controlled
        if external and decision.deployment_id not in self._external:
            level, is_new = logging.WARNING, True
        (self._external.add if external else self._external.discard)(decision.deployment_id)
        if kind is OutcomeKind.ACCEPTED:
            event, is_new, self._forbidden = "update.accepted", True, False
        elif kind is OutcomeKind.UNKNOWN:
            event = "update.unanswered"
        elif kind is OutcomeKind.FORBIDDEN:
            # A missing privilege affects all deployments, so one line is enough.
            event, is_new, self._forbidden = "update.refused", not self._forbidden, True
        elif kind not in NOT_SENT:
            event = "update.refused"
        self._write(event, level if is_new else logging.DEBUG, outcome)

    def _write(self, event: str, level: int, outcome: Outcome) -> None:
        # The texts of a thousand unchanged decisions cost more than the decisions themselves.
        if self._log.is_enabled_for(level):
            candidates = self._log.is_enabled_for(logging.DEBUG)
            self._log.log(level, event, **log_fields(outcome, candidates=candidates))

    def _log_shortfall(self, decision: Decision) -> None:
        """Warn once of missing allocations, report the changes, and when all run."""
        name, shortfall = decision.deployment_id, decision.shortfall
        logged = self._shortfalls.get(name)
        if shortfall is None:
            if logged is not None and decision.running is not None:
                del self._shortfalls[name]
                lasted = duration_text(decision.at - logged.since)
                self._log.info(
                    "allocations.running",
                    message=f"{name}: all {decision.running} allocations run again, after {lasted}",
                    deployment=name,
                    running=decision.running,
                    lasted_s=decision.at - logged.since,
                )
            return
        if shortfall.cause is ShortfallCause.STARTING:
            return
        warned = self._warned.get(name)
        is_new_low = warned is None or shortfall.running < warned[1]
        is_due = warned is None or decision.at - warned[0] >= REPEAT_AFTER_S
        if logged is None:
            if is_new_low or is_due:
                self._warn_of_shortfall(decision, shortfall)
        elif shortfall.running == logged.running:
            return
        elif is_new_low or (is_due and shortfall.running < logged.running):
            self._warn_of_shortfall(decision, shortfall)
        elif decision.at - self._change_logged_at.get(name, -math.inf) >= CHANGE_INTERVAL_S:
            self._change_logged_at[name] = decision.at
            self._write_shortfall(
                logging.INFO,
                "allocations.changed",
                decision,
                shortfall,
                f"; before, {logged.running} ran",
            )

    def _warn_of_shortfall(self, decision: Decision, shortfall: Shortfall) -> None:
        self._warned[decision.deployment_id] = decision.at, shortfall.running
        self._write_shortfall(logging.WARNING, "allocations.missing", decision, shortfall)

    def _write_shortfall(
        self,
        level: int,
        event: str,
        decision: Decision,
        shortfall: Shortfall,
        earlier: str = "",
    ) -> None:
        name = decision.deployment_id
        self._shortfalls[name] = shortfall
        self._log.log(
            level,
            event,
            message=f"{shortfall_text(decision)}{earlier}",
            deployment=name,
            running=shortfall.running,
            requested=shortfall.requested,
            lost=shortfall.lost,
            cause=str(shortfall.cause),
            reported=reported_text(decision.reported),
        )

    def _log_external_changes(self, plan: Plan) -> None:
        for change in plan.external_changes:
            self._log.warning(
                "deployment.changed",
                message=external_change_text(change),
                deployment=change.deployment_id,
                before=str(change.before),
                after=str(change.after),
                times=change.times,
                second_writer=change.second_writer,
            )

    def _log_unmanaged(self, plan: Plan) -> None:
        changed = [
            (name, why) for name, why in plan.unmanaged.items() if self._unmanaged.get(name) != why
        ]
        for deployment_id, reason in self._sample(changed, "deployment.unmanaged", logging.INFO):
            self._log.info(
                "deployment.unmanaged",
                message=f"{deployment_id} is {unmanaged_text(reason)}",
                deployment=deployment_id,
                reason=str(reason),
            )
        self._unmanaged = dict(plan.unmanaged)

    def _log_unreadable(self, unreadable: Mapping[str, str]) -> None:
        new = [each for each in unreadable.items() if each[0] not in self._unreadable]
        for deployment_id, problem in self._sample(new, "deployment.unreadable"):
            self._log.warning(
                "deployment.unreadable",
                message=f"{deployment_id}: the statistics are invalid: {problem}",
                deployment=deployment_id,
                problem=problem,
            )
        self._unreadable = dict(unreadable)

    def _log_unreadable_figures(self, figures: Mapping[str, str]) -> None:
        new = [each for each in figures.items() if each[0] not in self._unreadable_figures]
        for deployment_id, problem in self._sample(new, "deployment.unreadable_figures"):
            self._log.warning(
                "deployment.unreadable_figures",
                message=f"{deployment_id}: figures that cannot be read are unknown: {problem}",
                deployment=deployment_id,
                problem=problem,
            )
        self._unreadable_figures = dict(figures)

    def _log_left_out(self, observation: Observation) -> None:
        if observation.left_out and not self._left_out:
            observed = len(observation.deployments) + len(observation.unreadable)
            self._log.warning(
                "deployments.left_out",
                message=f"cluster: {observation.left_out} deployments are not observed, and so "
                f"not scaled, because {observed} others are, and more cannot be",
                left_out=observation.left_out,
            )
        self._left_out = observation.left_out

    def _sample(self, found: Sequence[T], event: str, level: int = logging.WARNING) -> Sequence[T]:
        """The first of them; the number of the others is logged."""
        if (others := len(found) - MAX_LINES) > 0:
            self._log.log(
                level,
                "deployments.more",
                message=f"cluster: {event} applies to {others} further deployments; "
                "`autoscaler explain` lists them",
                of=event,
                deployments=others,
            )
        return found[:MAX_LINES]

    def _log_vanished(self, observation: Observation, plan: Plan) -> None:
        # The cluster does not report a stopped deployment, but the plan decides on it.
        decided = {decision.deployment_id for decision in plan.decisions}
        known = decided | observation.deployments.keys() | observation.unreadable.keys()
        gone = sorted(self._known - known)
        for deployment_id in gone:
            self._decisions.forget(deployment_id)
            self._shortfalls.pop(deployment_id, None)
            self._warned.pop(deployment_id, None)
            self._change_logged_at.pop(deployment_id, None)
            self._external.discard(deployment_id)
        for deployment_id in self._sample(gone, "deployment.vanished", logging.INFO):
            self._log.info(
                "deployment.vanished",
                message=f"{deployment_id} is no longer reported by the cluster",
                deployment=deployment_id,
            )
        self._known = frozenset(known)


def _level(kind: OutcomeKind) -> int:
    if kind is OutcomeKind.FORBIDDEN:
        return logging.ERROR
    # A deployment that starts is expected to refuse; the update follows when it has started.
    expected = kind in (OutcomeKind.ACCEPTED, OutcomeKind.NOT_STARTED)
    return logging.INFO if kind in NOT_SENT or expected else logging.WARNING
