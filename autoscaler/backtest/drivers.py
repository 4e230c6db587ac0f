"""How a policy drives the plant: what it observes, how often, and how its decisions take effect.

The policies of the daemon run in the daemon's own cycle (`core/flow/cycle.py`), on the statistics
of a cluster. A baseline observes what the autoscaler that it reimplements would: metrics of the
whole deployment, at its own poll interval. Only the bounds limit its recommendation.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

from autoscaler.backtest.baselines.baseline import AnyBaseline
from autoscaler.backtest.baselines.static import Static
from autoscaler.backtest.world.fleet import FleetTotals
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.config.document import ScalingTable
from autoscaler.config.polling import polling_of
from autoscaler.config.rules import build_rule
from autoscaler.core.decision import (
    Change,
    Decision,
    Mode,
    Outcome,
    OutcomeKind,
    Plan,
    SetAllocations,
    SetBounds,
    Start,
)
from autoscaler.core.flow.cycle import OpenAt, begin_cycle, end_cycle
from autoscaler.core.flow.planning import MAX_INTERVAL_POLLS, Ruleset
from autoscaler.core.gradual_rollout import GradualRollout
from autoscaler.core.policies import AnyPolicy, Situation
from autoscaler.core.state import State
from autoscaler.core.values import LoadEstimate, Reason, Sample
from autoscaler.errors import UserError
from autoscaler.simulation.adaptive_allocations_service import TICK_S
from autoscaler.simulation.errors import SimulatedApiError


class Driver(Protocol):
    """Polls a plant and sets its allocations."""

    @property
    def poll_interval_s(self) -> float:
        """Seconds from one poll to the next."""

    @property
    def initial_allocations(self) -> int | None:
        """Allocations at the start; None: those of the scenario."""

    refused: int
    """Updates that the cluster refused so far."""

    def advance(self, plant: Plant, to: float) -> None:
        """Let the plant run until the next poll, and take the samples that the policy needs."""

    def poll(self, plant: Plant) -> None:
        """Observe the plant, decide, and act."""


class PlanDriver:
    """The daemon's own cycle, without its I/O."""

    def __init__(
        self, ruleset: Ruleset, poll_interval_s: float, open_at: OpenAt | None = None
    ) -> None:
        self.poll_interval_s = poll_interval_s
        self.initial_allocations = None
        self.refused = 0
        self.updates = 0  # sent so far
        self.polls = 0
        self.plans: list[Plan] | None = None  # kept if this is set to a list
        self._ruleset = ruleset
        self._open_at = open_at
        self._state = State()

    @property
    def rollouts(self) -> Mapping[str, GradualRollout]:
        """The gradual rollouts, by deployment id."""
        return self._state.rollouts

    def advance(self, plant: Plant, to: float) -> None:
        plant.advance(to)

    def poll(self, plant: Plant) -> None:
        cycle = begin_cycle(self._state, plant.observation(), self._ruleset, self._open_at)
        self.polls += 1
        if cycle.plan.next_poll is not None:
            self.poll_interval_s = cycle.plan.next_poll.within_s
        if self.plans is not None:
            self.plans.append(cycle.plan)
        for decision in cycle.plan.decisions:
            first = decision.steps[0]
            if first.reason is Reason.POLICY_FAILED:
                # The daemon would hold the allocations. That would not measure the policy.
                raise UserError(f"the policy failed: {first.inputs['error']}")
        outcomes = {each.deployment_id: self._send(plant, each) for each in cycle.updates}
        _, self._state = end_cycle(cycle.plan, outcomes, cycle.state)

    def _send(self, plant: Plant, decision: Decision) -> Outcome:
        assert decision.change is not None, "only changes are sent"
        kind = _carried_out(plant, decision.change)
        self.updates += 1
        self.refused += kind is not OutcomeKind.ACCEPTED
        return Outcome(decision=decision, kind=kind, at=plant.now)


class AdaptiveDriver:
    """Adaptive allocations alone."""

    poll_interval_s = TICK_S
    initial_allocations = None
    refused = 0  # its refusals are not reported

    def __init__(self, minimum: int, maximum: int) -> None:
        self._bounds = (minimum, maximum)
        self._enabled = False

    def advance(self, plant: Plant, to: float) -> None:
        plant.advance(to)

    def poll(self, plant: Plant) -> None:
        if not self._enabled:
            plant.enable_adaptive_allocations(*self._bounds)
            self._enabled = True
        plant.run_adaptive_scaler()


class BaselineDriver:
    """A baseline: it recommends, the bounds limit, and the plant gets the allocations."""

    def __init__(self, policy: AnyBaseline, memory: Any, minimum: int, maximum: int) -> None:
        self.poll_interval_s = policy.poll_interval_s
        self.initial_allocations = policy.allocations if isinstance(policy, Static) else None
        self.refused = 0
        self._policy = policy
        self._memory = memory
        self._steps = max(1, round(policy.poll_interval_s / policy.sampling_s))
        self._minimum = minimum
        self._maximum = maximum
        self._in_flight: list[int] = []
        self._before: FleetTotals | None = None
        self._at = 0.0

    def advance(self, plant: Plant, to: float) -> None:
        if self._steps == 1:
            plant.advance(to)
            self._in_flight = []
        else:
            self._in_flight = plant.advance_sampled(to, self._steps)

    def poll(self, plant: Plant) -> None:
        totals, now, before = plant.totals(), plant.now, self._before
        self._before = totals
        interval_s, self._at = now - self._at, now
        if before is None:
            return
        requested = plant.requested
        situation = Situation(
            at=now,
            current=requested,
            running=plant.running,
            sample=_sample(before, totals, now, interval_s),
            load=_NOTHING_ESTIMATED,
            in_flight=tuple(self._in_flight) or (totals.in_flight,),
        )
        step, self._memory = self._policy.recommend(situation, self._memory)
        allocations = min(max(step.after, self._minimum), self._maximum)
        if allocations != requested:
            kind = _carried_out(plant, SetAllocations(allocations))
            self.refused += kind is not OutcomeKind.ACCEPTED


ROUNDING_S = 1e-6
"""Seconds that rounding adds to the instants of polls. There is none at the end itself."""


def drive(plant: Plant, driver: Driver) -> None:
    """Let the driver poll the plant from the start of the workload to its end."""
    _, end = plant.span
    driver.poll(plant)
    while (at := plant.now + driver.poll_interval_s) < end - ROUNDING_S:
        driver.advance(plant, at)
        driver.poll(plant)
    plant.finish()


def as_configured(
    policy: AnyPolicy, scenario: BacktestScenario, mode: Mode = Mode.DIRECT
) -> Ruleset:
    """The policy in a rule that sets bounds and control mode, with all other keys at defaults."""
    scaling = ScalingTable(
        min_allocations=scenario.min_allocations,
        max_allocations=scenario.max_allocations,
        mode=mode.value,
    )
    rule = build_rule(scaling, policy, name="backtest")
    return Ruleset(
        rules=(rule,),
        max_interval_s=MAX_INTERVAL_POLLS * scenario.poll_interval_s,
        polling=polling_of(scenario.poll_interval_s),
    )


_NOTHING_ESTIMATED = LoadEstimate(
    arrival_rate_per_s=math.nan,
    throughput_per_s=math.nan,
    service_time_s=None,
    cache_hit_fraction=0.0,
    in_flight=0,
    window_s=0.0,
)
"""The load estimate of a situation for baselines, which estimate loads from the samples."""


def _sample(before: FleetTotals, after: FleetTotals, at: float, interval_s: float) -> Sample:
    return Sample(
        at=at,
        interval_s=interval_s,
        completed=after.completed - before.completed,
        failed=after.failed - before.failed,
        queue_growth=(after.attempts - before.attempts)
        - (after.completed - before.completed)
        - (after.failed - before.failed),
        busy_s=after.busy_s - before.busy_s,
        in_flight=after.in_flight,
    )


def _carried_out(plant: Plant, change: Change) -> OutcomeKind:
    try:
        if isinstance(change, SetBounds):
            plant.enable_adaptive_allocations(change.minimum, change.maximum)
        elif isinstance(change, SetAllocations):
            plant.set_allocations(change.allocations)
        elif isinstance(change, Start):
            plant.start(change.allocations, change.adaptive)
        else:
            plant.stop()
    except SimulatedApiError as refusal:
        return OutcomeKind.NO_CAPACITY if refusal.status == 429 else OutcomeKind.NOT_STARTED
    return OutcomeKind.ACCEPTED
