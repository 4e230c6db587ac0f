"""The cycle: observe, plan, act, record. Knows the core and the ports, and no adapter."""

import asyncio
from dataclasses import dataclass, field

from autoscaler.core.feedback import learn
from autoscaler.core.planning import Policy, plan
from autoscaler.core.state import State
from autoscaler.core.values import Decision, Fate, Outcome, Plan, Schedule
from autoscaler.ports import (
    Actuator,
    Calendar,
    Clock,
    CycleTimes,
    ObservationFailed,
    Observer,
    Recorder,
    Trouble,
    UpdateFailed,
)

OBSERVING_SHARE = 0.1
"""The most of its time the cluster should spend on answering us; collecting the statistics asks
every machine-learning node (elastic/elasticsearch#97137)."""

MOST_STRETCH = 3.0
"""How much longer than asked for a slow cluster may make the period."""

REFUSED_STRETCH = 6.0
"""Periods to wait after credentials were refused: people mend that, and each try is audited."""


@dataclass(kw_only=True)
class ControlLoop:
    """Runs cycles one after the other, never two at once. Without a calendar, no schedule opens."""

    clock: Clock
    observer: Observer
    actuator: Actuator
    recorder: Recorder
    policy: Policy
    poll_s: float
    calendar: Calendar | None = None
    state: State = field(default_factory=State)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Run cycles, a period apart from start to start, until asked to stop."""
        while not self._stopping.is_set():
            started_at = self.clock.now()
            period_s = await self._guarded_cycle()
            await self._pause(started_at + period_s - self.clock.now())

    def stop(self) -> None:
        """Ask for no further cycle and no further update; an update under way is finished."""
        self._stopping.set()

    async def run_cycle(self) -> float:
        """One cycle.

        Returns:
            The seconds that should lie between this cycle's start and the next one's.
        """
        started_at = self.clock.now()
        try:
            observation = await self.observer.observe()
        except ObservationFailed as failure:
            self.recorder.skipped(failure, self.clock.now())
            refused = failure.trouble in {Trouble.UNAUTHENTICATED, Trouble.FORBIDDEN}
            return self.poll_s * (REFUSED_STRETCH if refused else 1.0)
        observed_at = self.clock.now()
        planned, self.state = plan(
            self.state, observation, self.policy, self._open_schedules(observation.at)
        )
        planned_at = self.clock.now()
        outcomes = await self._act(planned)
        self.state = learn(self.state, outcomes)
        times = CycleTimes(
            observe_s=observed_at - started_at,
            plan_s=planned_at - observed_at,
            act_s=self.clock.now() - planned_at,
        )
        self.recorder.planned(observation, planned, outcomes, times)
        wanted_s = max(self.poll_s, times.observe_s / OBSERVING_SHARE)
        return min(wanted_s, self.poll_s * MOST_STRETCH)

    async def _guarded_cycle(self) -> float:
        try:
            return await self.run_cycle()
        # The one place that catches everything: a defect met in one cycle must not end the
        # daemon, whose next cycle starts from a fresh observation.
        except Exception as defect:
            failure = ObservationFailed(Trouble.DEFECT, f"the cycle failed: {defect!r}")
            failure.__cause__ = defect
            self.recorder.skipped(failure, self.clock.now())
            return self.poll_s

    def _open_schedules(self, at: float) -> frozenset[Schedule]:
        schedules = {schedule for rule in self.policy.rules for schedule in rule.schedules}
        if self.calendar is None or not schedules:
            return frozenset()
        return self.calendar.open_at(at, schedules)

    async def _act(self, planned: Plan) -> tuple[Outcome, ...]:
        """Send what changes, one update after the other: the master re-plans at each.

        After an answer that concerns every deployment, or when a period is used up, the rest is
        left for the next cycle, which decides afresh.
        """
        outcomes: dict[str, Outcome] = {}
        deadline = self.clock.now() + self.poll_s
        withheld = ""
        for decision in _in_order_of_sending(planned):
            name = decision.deployment_id
            if self._stopping.is_set():
                withheld = "the autoscaler is stopping"
            elif not withheld and self.clock.now() > deadline:
                withheld = "the updates of this cycle took a whole period"
            if decision.dry_run:
                outcomes[name] = Outcome(decision=decision, fate=Fate.DRY_RUN, at=self.clock.now())
            elif withheld:
                outcomes[name] = Outcome(
                    decision=decision, fate=Fate.WITHHELD, at=self.clock.now(), detail=withheld
                )
            else:
                outcome = outcomes[name] = await self._send(decision)
                if outcome.fate in {Fate.FORBIDDEN, Fate.UNKNOWN}:
                    withheld = outcome.detail
        return tuple(
            [
                outcomes.get(decision.deployment_id)
                or Outcome(decision=decision, fate=Fate.UNCHANGED, at=planned.at)
                for decision in planned.decisions
            ]
        )

    async def _send(self, decision: Decision) -> Outcome:
        fate, detail = Fate.ACCEPTED, ""
        try:
            await self.actuator.set_allocations(decision.deployment_id, decision.desired)
        except UpdateFailed as failure:
            fate, detail = failure.fate, str(failure)
        return Outcome(decision=decision, fate=fate, at=self.clock.now(), detail=detail)

    async def _pause(self, seconds: float) -> None:
        waits = [
            asyncio.ensure_future(self.clock.sleep(seconds)),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _in_order_of_sending(planned: Plan) -> list[Decision]:
    """Decreases first, since they make room; then increases, the most pressing first."""
    changes = [decision for decision in planned.decisions if decision.changes]
    return sorted(
        changes,
        key=lambda decision: (
            decision.desired > decision.current,
            -decision.desired / max(decision.current, 1),
        ),
    )
