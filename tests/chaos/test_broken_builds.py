"""Each invariant catches a build that is broken on purpose, within a hundred seeds."""

import asyncio
import math
import time

import pytest
from msgspec.structs import replace

from autoscaler import control_loop, state_loop
from autoscaler.adapters.elasticsearch.changes import ChangeExecutor
from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import SetAllocations
from autoscaler.core.flow import (
    assessment,
    constraints,
    feedback,
    measurement,
    planning,
    rollout_blocks,
)
from autoscaler.core.gradual_rollout import restarted
from autoscaler.core.instructions import Instructions
from autoscaler.core.rollout_status import RolloutVerdict
from autoscaler.core.values import DataIssue, Reason, Step
from autoscaler.ports import UpdateFailed
from tests.chaos.broken import no_update_storm
from tests.chaos.laboratory import run
from tests.chaos.shrinking import kind_of

pytestmark = [pytest.mark.deep, pytest.mark.untraced]

SEEDS = 100
CYCLES = 300
BLIND = frozenset({DataIssue.INCOMPLETE, DataIssue.NOT_REPORTED, DataIssue.COUNTER_DECREASED})


def without(monkeypatch, constraint):
    kept = tuple(each for each in constraints._BEFORE_GRANT if each is not constraint)
    monkeypatch.setattr(constraints, "_BEFORE_GRANT", kept)


def no_defect(monkeypatch):
    """A node without counts is a division by zero."""
    planned = planning.plan_in_parts

    def plan_in_parts(state, observation, *others):
        for stats in observation.deployments.values():
            1 // len(stats.nodes)
        return planned(state, observation, *others)

    monkeypatch.setattr("autoscaler.core.flow.cycle.plan_in_parts", plan_in_parts)


def consistent(monkeypatch):
    """A decision lacks all reasons except the first."""
    concluded = planning.conclude

    def conclude(*given):
        decision = concluded(*given)
        return replace(decision, steps=decision.steps[:1])

    monkeypatch.setattr(planning, "conclude", conclude)


def bounds(monkeypatch):
    """The bounds of the rules are not applied, and not checked before sending."""
    without(monkeypatch, constraints.apply_bounds)
    monkeypatch.setattr(assessment, "within_limits", lambda change, *_: change)


def paused(monkeypatch):
    """Pauses are confirmed, and hold nothing."""
    monkeypatch.setattr(Instructions, "pauses_of", lambda *_: ())


def room(monkeypatch):
    """Each deployment is granted all that is free."""
    monkeypatch.setattr(planning, "arbitrate", lambda *_: {})


def ignore_requested(monkeypatch):
    """What is requested and does not run yet has no room."""
    arbitrate = planning.arbitrate
    monkeypatch.setattr(planning, "arbitrate", lambda claims, _, free: arbitrate(claims, (), free))


def no_blind_decrease(monkeypatch):
    """What is not reported is not needed."""
    concluded = planning.conclude

    def conclude(*given):
        decision = concluded(*given)
        if decision.current < 2 or not BLIND.intersection(decision.sample.issues):
            return decision
        fewer = decision.current - 1
        step = Step(Reason.RECOMMENDATION, decision.desired, fewer)
        return replace(decision, steps=(*decision.steps, step), change=SetAllocations(fewer))

    monkeypatch.setattr(planning, "conclude", conclude)


def one_call(monkeypatch):
    """The statistics are read twice at once."""
    observed = ElasticsearchCluster.observe

    async def observe(self):
        return (await asyncio.gather(observed(self), observed(self)))[0]

    monkeypatch.setattr(ElasticsearchCluster, "observe", observe)


def fresh(monkeypatch):
    """A change is sent however long ago it was decided."""

    async def act(self, cycle, outcomes, *_):
        await self._record_updates(cycle)
        for decision in cycle.updates:
            outcomes[decision.deployment_id] = await self._send(decision, math.inf)

    monkeypatch.setattr(ControlLoop, "_act", act)


def back_off(monkeypatch):
    """Refused changes are sent again at once."""
    after_outcome = feedback.after_outcome
    monkeypatch.setattr(
        feedback,
        "after_outcome",
        lambda before, outcome: replace(after_outcome(None, outcome), until=outcome.at),
    )


def processor_time(monkeypatch):
    """A plan takes a second."""
    begun = control_loop.begin_cycle_in_parts

    def begin_cycle_in_parts(*given):
        until = time.process_time() + 1.0
        while time.process_time() < until:
            pass
        return begun(*given)

    monkeypatch.setattr(control_loop, "begin_cycle_in_parts", begin_cycle_in_parts)


def satisfied_or_reported(monkeypatch):
    """A refusal is taken for success."""
    carry_out = ChangeExecutor.carry_out

    async def careless(self, deployment_id, change):
        try:
            await carry_out(self, deployment_id, change)
        except UpdateFailed:
            return

    monkeypatch.setattr(ChangeExecutor, "carry_out", careless)


def stopped_remembered(monkeypatch):
    """Stopped deployments are forgotten."""
    ended = control_loop.end_cycle

    def end_cycle(*given):
        outcomes, state = ended(*given)
        return outcomes, replace(state, stopped={})

    monkeypatch.setattr(control_loop, "end_cycle", end_cycle)


def memory_bounded(monkeypatch):
    """No sample is forgotten, and each is kept several times."""
    monkeypatch.setattr(
        measurement, "within", lambda window_s, samples, latest: (*samples, *[latest] * 8)
    )


def waits(monkeypatch):
    """A gradual rollout begins also without a saved state."""
    begun = rollout_blocks.begun
    monkeypatch.setattr(rollout_blocks, "begun", lambda *given, waits: begun(*given, waits=False))


def begin_unsaved(monkeypatch):
    """A gradual rollout does not wait while nothing can be saved."""
    monkeypatch.setattr(state_loop, "of_first_start", lambda rollouts, *, saved: rollouts)


def returns(monkeypatch):
    """In the hours that are not the rule's, its policy decides within the bounds of before."""
    kept = tuple(
        each for each in constraints._AS_BEFORE if each is not constraints.return_to_before
    )
    monkeypatch.setattr(constraints, "_AS_BEFORE", kept)


def before_kept(monkeypatch):
    """What ran before is what runs now."""
    monkeypatch.setattr(rollout_blocks, "_follows", lambda *_: True)


def stays_reverted(monkeypatch):
    """A reverted rollout begins again."""
    in_block = rollout_blocks.in_block

    def begins_again(rollout, hours, block, at):
        if rollout.verdict is RolloutVerdict.REVERTED:
            rollout = restarted(rollout, at)
        return in_block(rollout, hours, block, at)

    monkeypatch.setattr(rollout_blocks, "in_block", begins_again)


def recovered(monkeypatch):
    """After a failure, the statistics are not read again."""
    monkeypatch.setattr(ControlLoop, "_interval_after", lambda *_: 1e6)


BUILDS = (
    no_defect,
    consistent,
    bounds,
    paused,
    room,
    no_blind_decrease,
    one_call,
    fresh,
    back_off,
    no_update_storm,
    processor_time,
    satisfied_or_reported,
    stopped_remembered,
    memory_bounded,
    waits,
    returns,
    before_kept,
    stays_reverted,
    recovered,
)


def assert_caught(invariant):
    for seed in range(SEEDS):
        if invariant in map(kind_of, run(seed, cycles=CYCLES).violations):
            return
    raise AssertionError(f"no violation of {invariant} in {SEEDS} seeds")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("broken", BUILDS, ids=lambda broken: broken.__name__)
def test_a_broken_build_is_caught(broken, monkeypatch):
    broken(monkeypatch)
    assert_caught(broken.__name__)


@pytest.mark.timeout(600)
def test_a_build_that_ignores_what_is_requested_is_caught(monkeypatch):
    """It is seen in mode bounds. What is requested as a number has been placed by the next poll,
    so that its threads are taken by then."""
    ignore_requested(monkeypatch)
    assert_caught("room")


@pytest.mark.timeout(600)
def test_a_build_that_begins_rollouts_while_nothing_can_be_saved_is_caught(monkeypatch):
    begin_unsaved(monkeypatch)
    assert_caught("waits")
