"""How a policy meets the plant: what it looks at, how often, and how its number gets there.

Ours is driven as the daemon drives it, through `plan` and `learn`, on the statistics of a cluster.
The others look at what they would have in their own homes: metrics of the deployment as a whole,
at their own pace, and no planner of ours between them and the number but the bounds.
"""

import math
from typing import Any, Protocol

from autoscaler.config.document import ScalingTable
from autoscaler.config.policies import stabilisation_window_s
from autoscaler.core.feedback import learn
from autoscaler.core.planning import LONGEST_INTERVAL_PERIODS, Policy, plan
from autoscaler.core.policies import AnyPolicy, Situation
from autoscaler.core.selection import Rule
from autoscaler.core.state import State
from autoscaler.core.values import (
    Change,
    Fate,
    LoadEstimate,
    Mode,
    Outcome,
    Plan,
    Reason,
    Sample,
    SetBounds,
    SetNumber,
)
from autoscaler.laboratory.fleet import Totals
from autoscaler.laboratory.peers.peer import AnyPeer
from autoscaler.laboratory.peers.static import Static
from autoscaler.laboratory.plant import Plant
from autoscaler.laboratory.scenario import Scenario
from autoscaler.mistakes import Mistake
from autoscaler.simulation.errors import ApiError
from autoscaler.simulation.native_scaling import TICK_S


class Driver(Protocol):
    """Looks at a plant once a period, and sets its number."""

    @property
    def period_s(self) -> float:
        """Seconds from look to look."""

    @property
    def opening(self) -> int | None:
        """Allocations to begin with; None: those that everybody begins with."""

    refused: int
    """Updates that the cluster refused so far."""

    def advance(self, plant: Plant, to: float) -> None:
        """Let the plant run until the next look, watching what this one watches meanwhile."""

    def look(self, plant: Plant) -> None:
        """Observe, decide, act."""


class Planned:
    """The daemon's own cycle, without the waiting."""

    def __init__(self, policy: Policy, period_s: float) -> None:
        self.period_s = period_s
        self.opening = None
        self.refused = 0
        self.updates = 0  # that were sent
        self.plans: list[Plan] | None = None  # kept if somebody sets a list
        self._policy = policy
        self._state = State()

    def advance(self, plant: Plant, to: float) -> None:
        plant.advance(to)

    def look(self, plant: Plant) -> None:
        planned, self._state = plan(self._state, plant.observation(), self._policy)
        if self.plans is not None:
            self.plans.append(planned)
        for decision in planned.decisions:
            first = decision.steps[0]
            if first.reason is Reason.POLICY_FAILED:
                # The daemon holds the number. That is nothing to measure a policy by.
                raise Mistake(f"the policy failed: {first.because['error']}")
            if decision.change is not None:
                fate = _carried_out(plant, decision.change)
                self.updates += 1
                self.refused += fate is not Fate.ACCEPTED
                outcome = Outcome(decision=decision, fate=fate, at=plant.now)
                self._state = learn(self._state, [outcome])


class Native:
    """The cluster's own scaler."""

    period_s = TICK_S
    opening = None
    refused = 0  # by itself; it does not tell

    def __init__(self, minimum: int, maximum: int) -> None:
        self._bounds = (minimum, maximum)
        self._enabled = False

    def advance(self, plant: Plant, to: float) -> None:
        plant.advance(to)

    def look(self, plant: Plant) -> None:
        if not self._enabled:
            plant.enable_native_scaling(*self._bounds)
            self._enabled = True
        plant.run_native_scaler()


class Direct:
    """A policy of another home: it decides, the bounds limit, the cluster is told."""

    def __init__(self, policy: AnyPeer, memory: Any, minimum: int, maximum: int) -> None:
        self.period_s = policy.period_s
        self.opening = policy.allocations if isinstance(policy, Static) else None
        self.refused = 0
        self._policy = policy
        self._memory = memory
        self._steps = max(1, round(policy.period_s / policy.sampling_s))
        self._minimum = minimum
        self._maximum = maximum
        self._in_flight: list[int] = []
        self._before: Totals | None = None
        self._at = 0.0

    def advance(self, plant: Plant, to: float) -> None:
        if self._steps == 1:
            plant.advance(to)
            self._in_flight = []
        else:
            self._in_flight = plant.advance_sampled(to, self._steps)

    def look(self, plant: Plant) -> None:
        totals, now, before = plant.totals(), plant.now, self._before
        self._before = totals
        interval_s, self._at = now - self._at, now
        if before is None:
            return
        requested = plant.requested
        situation = Situation(
            at=now,
            current=requested,
            live=plant.running,
            sample=_sample(before, totals, now, interval_s),
            load=_NOTHING_ESTIMATED,
            in_flight=tuple(self._in_flight) or (totals.pending,),
        )
        step, self._memory = self._policy.recommend(situation, self._memory)
        number = min(max(step.after, self._minimum), self._maximum)
        if number != requested:
            fate = _carried_out(plant, SetNumber(number))
            self.refused += fate is not Fate.ACCEPTED


def drive(plant: Plant, driver: Driver) -> None:
    """Let the driver look at the plant from the start of the demand to its end."""
    start, end = plant.span
    driver.look(plant)
    for number in range(1, math.ceil((end - start) / driver.period_s)):
        driver.advance(plant, start + number * driver.period_s)
        driver.look(plant)
    plant.finish()


def as_configured(policy: AnyPolicy, scenario: Scenario, mode: Mode = Mode.DIRECT) -> Policy:
    """The policy under a rule that leaves everything but bounds and lever as it is shipped."""
    shipped = ScalingTable()
    rule = Rule(
        name="backtest",
        deployments=("*",),
        models=("*",),
        exclude=False,
        hidden=False,
        low_priority=False,
        dry_run=False,
        minimum=scenario.minimum,
        maximum=scenario.maximum,
        policy=policy,
        stabilisation_window_s=stabilisation_window_s(policy.name),
        growth_factor=shipped.growth_factor,
        shrink_factor=shipped.shrink_factor,
        mode=mode,
    )
    return Policy(rules=(rule,), longest_interval_s=LONGEST_INTERVAL_PERIODS * scenario.poll_s)


_NOTHING_ESTIMATED = LoadEstimate(
    arrival_rate_per_s=math.nan,
    throughput_per_s=math.nan,
    service_time_s=None,
    cache_hit_fraction=0.0,
    pending=0,
    window_s=0.0,
)
"""They make their own estimates, from samples."""


def _sample(before: Totals, after: Totals, at: float, interval_s: float) -> Sample:
    return Sample(
        at=at,
        interval_s=interval_s,
        completed=after.completed - before.completed,
        failed=after.failed - before.failed,
        queue_growth=(after.tries - before.tries)
        - (after.completed - before.completed)
        - (after.failed - before.failed),
        busy_s=after.busy_s - before.busy_s,
        pending=after.pending,
    )


def _carried_out(plant: Plant, change: Change) -> Fate:
    try:
        if isinstance(change, SetBounds):
            plant.enable_native_scaling(change.minimum, change.maximum)
        else:
            assert isinstance(change, SetNumber), "no rule of a back-test lets anybody sleep"
            plant.set_allocations(change.allocations)
    except ApiError as refusal:
        return Fate.NO_CAPACITY if refusal.status == 429 else Fate.NOT_STARTED
    return Fate.ACCEPTED
