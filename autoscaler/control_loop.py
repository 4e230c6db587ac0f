"""The cycle: observe, plan, act, record. Depends on the core and the ports, and on no adapter."""

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from autoscaler.core.decision import Change, Decision, Outcome, OutcomeKind, Plan, Stop
from autoscaler.core.flow.blindness import LastKnown, blind_decisions, without_responses
from autoscaler.core.flow.cycle import Cycle, begin_cycle, begin_cycle_in_parts, end_cycle
from autoscaler.core.flow.feedback import stopped_deployment, without_settings
from autoscaler.core.flow.instructed import why_paused
from autoscaler.core.flow.planning import Ruleset
from autoscaler.core.flow.release import releases, without_expectations
from autoscaler.core.next_poll import (
    MAX_INTERVAL_FACTOR,
    MAX_OBSERVE_FRACTION,
    NextPoll,
    max_age_s,
    stretched,
    stretched_s,
)
from autoscaler.core.selection import OnExit
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.core.values import Observation
from autoscaler.in_parts import in_parts
from autoscaler.ports import (
    Actuator,
    Calendar,
    Clock,
    CycleTimes,
    FailureKind,
    Leadership,
    ObservationFailed,
    Observer,
    Recorder,
    RecorderInParts,
    StateNotSaved,
    StateStore,
    UpdateFailed,
)

MAX_FAILURE_INTERVAL_S = 60.0
"""Seconds between two cycles up to which the interval is doubled while the statistics fail, unless
poll_interval is longer. 60 s: longer than a cluster computes statistics in public reports (30 s,
elastic/kibana#180988), and short enough that an operator sees the recovery."""

DENIED_INTERVAL_FACTOR = 6.0
"""Poll intervals to wait after a 401 or 403. 6, because each attempt is audited."""


class ReleaseResult(NamedTuple):
    """The result of releasing one deployment."""

    deployment_id: str
    to: OnExit
    kind: OutcomeKind
    detail: str


@dataclass(kw_only=True)
class ControlLoop:
    """Runs cycles one after the other, never two at once.

    Without a calendar no schedule opens, and without a state store no deployment is stopped.
    Without `leadership` it is the only instance; with it, an instance that does not lead observes
    and plans, and changes nothing.
    """

    clock: Clock
    observer: Observer
    actuator: Actuator
    recorder: Recorder
    ruleset: Ruleset
    calendar: Calendar | None = None
    state_store: StateStore | None = None
    leadership: Leadership | None = None
    state: State = field(default_factory=State)
    request_timeout_s: float = 10.0
    _last: tuple[Observation, Plan] | None = None
    _known: LastKnown = field(default_factory=LastKnown)
    _recorded: dict[str, StoppedDeployment] = field(default_factory=dict)  # before their stops
    _unanswered: State | None = None  # while updates are sent: as if all responses were lost
    _failure_interval_s: float = 0.0  # after the last failure; 0: none since an observation
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _failed: bool = False  # whether the last observation has
    _record_s: float = 0.0  # that recording the last cycle took
    _retry: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def poll_interval_s(self) -> float:
        """Seconds between two cycles while no deployment is at risk."""
        return self.ruleset.polling.interval_s

    async def run(self) -> None:
        """Run cycles until `stop` is called."""
        while not self._stopping.is_set():
            started_at = self.clock.now()
            self._retry.clear()
            interval_s = await self._guarded_cycle()
            await self._pause(started_at + interval_s - self.clock.now())

    def stop(self) -> None:
        """Start no further cycle and send no further update; an update under way is finished."""
        self._stopping.set()

    def retry(self) -> None:
        """Begin the next cycle now if the last observation failed; there are new credentials."""
        if self._failed:
            self._retry.set()

    def lead(self) -> None:
        """Begin the next cycle now; this instance leads from now on."""
        self._retry.set()

    def why_not_leading(self, since: float) -> str:
        """Why this instance may not send a change that an observation at `since` has led to; empty:
        it may.

        The observation has to belong to the present term: an earlier one may not show the last
        update of the former leader.
        """
        if self.leadership is None:
            return ""
        leading_since = self.leadership.leading_since
        if leading_since is None:
            leader = self.leadership.leader
            return f"{leader} leads" if leader else "this instance does not lead"
        if leading_since == math.inf:
            return "this instance leads, and is still reading the saved state"
        return "" if leading_since <= since else "this instance leads only since this cycle began"

    def resume(self, deployment_id: str) -> bool:
        """Resume a deployment in the next cycle. Returns whether it is stopped."""
        if deployment_id not in self.state.stopped:
            return False
        requested = self.state.resume_requested | {deployment_id}
        self.state = replace(self.state, resume_requested=requested)
        return True

    async def save_resume_requests(self) -> bool:
        """Save them, and the gradual rollouts, for the next process. Returns when its end would not
        lose them, or when they cannot be saved, and whether they are."""
        if (store := self.state_store) is None:
            return False
        requested = {name: getattr(self.state, name) for name in ("resume_requested", "rollouts")}
        await store.save_before_updates(replace(self._unanswered or self.state, **requested), ())
        return store.is_open and not store.problem

    async def run_cycle(self) -> float:
        """One cycle.

        Returns:
            The seconds that should lie between this cycle's start and the next one's.
        """
        started_at = self.clock.now()
        try:
            observation = await self.observer.observe()
        except ObservationFailed as failure:
            interval_s = self._interval_after(failure, self.clock.now() - started_at)
            if interval_s > self.poll_interval_s:
                failure.next_after_s = interval_s
            self._failed = True
            failure.outcomes = await self._act_blind()
            self.recorder.skipped(failure, self.clock.now())
            return interval_s
        self._failure_interval_s, self._failed = 0.0, False
        observed_at, stopped = self.clock.now(), self.state.stopped
        cycle = await self._begin(observation)
        self.state = cycle.state
        self._last = observation, cycle.plan
        self._known = self._known.observed(observation, cycle.plan)
        planned_at = self.clock.now()
        sent: dict[str, Outcome] = {}
        try:
            await self._act(cycle, sent, started_at, observation.requested_at or observation.at)
        finally:  # also after a defect: what was sent until then has taken effect
            # `self.state` and not `cycle.state`: resume requests may have arrived meanwhile.
            outcomes, self.state = end_cycle(cycle.plan, sent, self.state)
            self._unanswered = None
            self._known = self._known.changed(sent.values())
        if self.why_not_leading(started_at):
            # The leader's updates are no external changes.
            self.state = without_settings(self.state)
            cycle = replace(cycle, plan=replace(cycle.plan, rollout_events=()))
        elif self.state_store is not None:
            self.state_store.checkpoint(self.state)
            if self.state.stopped != stopped:
                with suppress(StateNotSaved):  # an entry too many in the store does no harm
                    await self._save_stopped(self.state.stopped)
        observe_s, plan_s = observed_at - started_at, planned_at - observed_at
        times = CycleTimes(observe_s=observe_s, plan_s=plan_s, act_s=self.clock.now() - planned_at)
        busy_s, work_s = observation.at - started_at, plan_s + self._record_s
        wanted = cycle.plan.next_poll or NextPoll(within_s=self.poll_interval_s)
        next_poll = stretched(wanted, busy_s, work_s, self.poll_interval_s)
        plan, recorded_from = replace(cycle.plan, next_poll=next_poll), self.clock.now()
        if isinstance(self.recorder, RecorderInParts):
            await in_parts(self.recorder.planned_in_parts(observation, plan, outcomes, times))
        else:
            self.recorder.planned(observation, plan, outcomes, times)
        self._record_s = self.clock.now() - recorded_from
        return next_poll.within_s

    async def _begin(self, observation: Observation) -> Cycle:
        """Plan while other tasks run; again, at once, if they change the state or the rules."""
        state, ruleset = self.state, self.ruleset
        open_at = None if self.calendar is None else self.calendar.open_at
        offset_s = None if self.calendar is None else self.calendar.utc_offset_s
        given = open_at, self._known.blind_s(observation.at), offset_s
        cycle = await in_parts(begin_cycle_in_parts(state, observation, ruleset, *given))
        if self.state is state and self.ruleset is ruleset:
            return cycle
        return begin_cycle(self.state, observation, self.ruleset, *given)

    async def _act_blind(self) -> tuple[Outcome, ...]:
        """Increase to `blind_allocations` what has not been measured for long, although the
        statistics cannot be read."""
        known = self._known.observation
        if known is None or all(rule.blind_allocations is None for rule in self.ruleset.rules):
            return ()
        begun = await self._begin(without_responses(known, self.clock.now()))
        cycle = replace(begun, plan=blind_decisions(begun.plan))
        sent: dict[str, Outcome] = {}
        try:
            now = self.clock.now()  # no statistics have led to it
            await self._act(cycle, sent, known.requested_at or known.at, now)
        finally:
            outcomes, self.state = end_cycle(cycle.plan, sent, self.state)
            self._unanswered = None
            self._known = self._known.changed(sent.values())
        return outcomes

    def _interval_after(self, failure: ObservationFailed, elapsed_s: float) -> float:
        """The interval after a failure. It grows from one failure to the next, of any kind."""
        limit_s = max(MAX_FAILURE_INTERVAL_S, self.poll_interval_s)
        match failure.kind:
            case FailureKind.UNAUTHENTICATED | FailureKind.FORBIDDEN:
                first_s = DENIED_INTERVAL_FACTOR * self.poll_interval_s
                limit_s = max(limit_s, first_s)
            case FailureKind.TIMEOUT | FailureKind.OVERLOADED:
                # The cluster may still be busy with this request, for an unknown time.
                first_s = MAX_INTERVAL_FACTOR * self.poll_interval_s
            case _:
                # As many requests per second as if each had been a poll.
                requests = min(max(1.0, failure.requests), MAX_INTERVAL_FACTOR)
                first_s = requests * self.poll_interval_s
        grown_s = max(first_s, 2.0 * self._failure_interval_s, failure.retry_after_s)
        self._failure_interval_s = min(grown_s, limit_s)
        interval_s = self.poll_interval_s
        slow_s = stretched_s(interval_s, elapsed_s / MAX_OBSERVE_FRACTION, interval_s)
        return max(slow_s, self._failure_interval_s)

    async def _guarded_cycle(self) -> float:
        try:
            return await self.run_cycle()
        # One of two places that catch everything: a defect in one cycle must not end the daemon,
        # whose next cycle starts from a new observation.
        except Exception as defect:
            failure = ObservationFailed(FailureKind.DEFECT, f"the cycle failed: {defect!r}")
            failure.__cause__ = defect
            self.recorder.skipped(failure, self.clock.now())
            return self.poll_interval_s

    async def _act(
        self, cycle: Cycle, outcomes: dict[str, Outcome], started_at: float, seen_at: float
    ) -> None:
        """Send the updates one after the other, because the master plans again for each one.

        After a response that concerns every deployment, when a poll interval has passed, or while
        another instance leads, the rest is left to the next cycle, which decides from new
        statistics.

        Args:
            outcomes: of the updates, by deployment id. Each is added as soon as it is known.
            seen_at: from which instant on the decisions become outdated.
        """
        until = seen_at + max_age_s(self.poll_interval_s, self.request_timeout_s)
        deadline = self.clock.now() + self.poll_interval_s
        withheld = ""
        self._recorded = {}
        if not self.why_not_leading(started_at):
            await self._record_updates(cycle)
        for decision in cycle.updates:
            if self._stopping.is_set():
                withheld = "the autoscaler is stopping"
            elif not withheld and (reason := self.why_not_leading(started_at)):
                withheld = reason
            elif not withheld and self.clock.now() > deadline:
                withheld = "the updates of this cycle took a whole poll interval"
            if withheld or (paused := self._paused_meanwhile(decision)):
                outcome = self._outcome(decision, OutcomeKind.WITHHELD, withheld or paused)
            else:
                outcome = await self._send(decision, until)
                if outcome.kind in {OutcomeKind.FORBIDDEN, OutcomeKind.UNKNOWN}:
                    withheld = outcome.detail
            outcomes[decision.deployment_id] = outcome

    def _paused_meanwhile(self, decision: Decision) -> str:
        """Why an update is withheld that an operator has paused since the plan; empty: none has."""
        now, known = self.clock.now(), self._known.observation
        pauses = self.state.instructions.pauses_of(decision.deployment_id, now)
        stats = None if known is None else known.deployments.get(decision.deployment_id)
        return why_paused(decision.change, stats, pauses, now)

    def _outcome(self, decision: Decision, kind: OutcomeKind, detail: str) -> Outcome:
        return Outcome(decision=decision, kind=kind, at=self.clock.now(), detail=detail)

    async def _send(self, decision: Decision, until: float) -> Outcome:
        change = decision.change
        assert change is not None, "only changes are sent"
        try:
            if isinstance(change, Stop):
                await self._record_stop(decision.deployment_id)
        except StateNotSaved as failure:
            return self._outcome(decision, OutcomeKind.WITHHELD, str(failure))
        kind, detail, wait_s = await self._carry_out(decision.deployment_id, change, until)
        return replace(self._outcome(decision, kind, detail), retry_after_s=wait_s)

    async def _carry_out(
        self, deployment_id: str, change: Change, until: float = math.inf
    ) -> tuple[OutcomeKind, str, float]:
        """Send a change. The kind of its outcome, the message of a refusal, and its wait."""
        try:
            await self.actuator.carry_out(deployment_id, change, until=until)
        except UpdateFailed as failure:
            return failure.kind, str(failure), failure.retry_after_s
        return OutcomeKind.ACCEPTED, "", 0.0

    async def _record_updates(self, cycle: Cycle) -> None:
        """Save the state as it is if all responses are lost, so that a process that begins after
        them does not take the updates for those of another client."""
        if self.state_store is None or not cycle.updates:
            return
        lost = {
            decision.deployment_id: self._outcome(decision, OutcomeKind.UNKNOWN, "")
            for decision in cycle.updates
        }
        _, self._unanswered = end_cycle(cycle.plan, lost, self.state)
        await self.state_store.save_before_updates(self._unanswered, lost.keys())

    async def _record_stop(self, deployment_id: str) -> None:
        """Record a deployment before it is stopped, so that it is resumed in any case."""
        deployment = stopped_deployment(self.state.deployments[deployment_id], self.clock.now())
        # `self.state` contains the stops of this cycle only when the cycle ends.
        recorded = self._recorded | {deployment_id: deployment}
        await self._save_stopped({**self.state.stopped, **recorded})
        self._recorded = recorded

    async def _save_stopped(self, stopped: Mapping[str, StoppedDeployment]) -> None:
        if self.state_store is None:
            raise StateNotSaved(
                'state = "none" is set, and a deployment is only stopped if that can be recorded'
            )
        await self.state_store.save_stopped(stopped)

    async def release_all(self) -> list[ReleaseResult]:
        """Release every managed deployment as its rule says, and resume stopped ones, unless the
        rule keeps them unchanged. To be called when no cycle runs any more. An instance that does
        not lead releases nothing."""
        started_at = self.clock.now()
        if self._last is None or self.why_not_leading(started_at):
            return []
        observation, planned = self._last
        with suppress(ObservationFailed):  # the last one does not show its cycle's changes
            observation = await self.observer.observe()
        changes = list(releases(self.ruleset.rules, observation, planned, self.state))
        released = {deployment_id for deployment_id, _, _ in changes}
        self.state = without_expectations(self.state, released)
        if self.state_store is not None:
            await self.state_store.save_before_updates(self.state, released)
        results = []
        for deployment_id, rule, change in changes:
            if self.why_not_leading(started_at):
                break
            kind, detail, _ = await self._carry_out(deployment_id, change)
            results.append(ReleaseResult(deployment_id, rule.on_exit, kind, detail))
            if kind is OutcomeKind.ACCEPTED and deployment_id in self.state.stopped:
                await self._remove_stopped(deployment_id)
        return results

    async def _remove_stopped(self, deployment_id: str) -> None:
        """Forget that the daemon stopped a deployment: if it is stopped from now on, an operator
        did."""
        stopped = {n: each for n, each in self.state.stopped.items() if n != deployment_id}
        self.state = replace(self.state, stopped=stopped)
        with suppress(StateNotSaved):  # the next daemon observes that it runs
            await self._save_stopped(stopped)

    async def _pause(self, seconds: float) -> None:
        wait_for = (self.clock.sleep(seconds), self._stopping.wait(), self._retry.wait())
        waits = [asyncio.ensure_future(each) for each in wait_for]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
