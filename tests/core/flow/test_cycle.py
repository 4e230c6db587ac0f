"""What the daemon and the back-test have in common between an observation and the next state."""

from autoscaler.core.decision import OutcomeKind, SetAllocations, Start
from autoscaler.core.flow.cycle import begin_cycle, end_cycle
from autoscaler.core.flow.feedback import stopped_deployment
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.state import State
from autoscaler.core.values import Schedule
from tests.observations import deployment, node, observation, outcome, policy, rule

STOP_WHEN_IDLE = rule(zero=ScaleToZero(1800.0, ZeroMethod.STOP))


def named(deployment_id, allocations):
    return deployment(node(allocations=allocations), deployment_id=deployment_id)


def test_decreases_are_sent_first_and_then_the_increases_with_the_largest_ratio():
    rules = (
        rule(name="down", deployments=("down",), max_allocations=2),
        rule(name="slight", deployments=("slight",), min_allocations=5),
        rule(name="urgent", deployments=("urgent",), min_allocations=8),
    )
    state = State()
    for at in (1.0, 11.0):
        seen = observation(at, named("slight", 4), named("urgent", 1), named("down", 6))
        cycle = begin_cycle(state, seen, policy(*rules))
        state = cycle.state
    assert [each.deployment_id for each in cycle.updates] == ["down", "urgent", "slight"]


def test_every_decision_has_an_outcome_in_the_order_of_the_plan():
    rules = (
        rule(name="dry", deployments=("dry",), min_allocations=2, dry_run=True),
        rule(name="kept", deployments=("kept",)),
        rule(name="raised", deployments=("a",), min_allocations=2),
    )
    seen = observation(1.0, named("kept", 1), named("dry", 1), named("a", 1))
    cycle = begin_cycle(State(), seen, policy(*rules))
    (update,) = cycle.updates
    assert update.change == SetAllocations(2)
    sent = {"a": outcome(update, OutcomeKind.NO_CAPACITY)}
    outcomes, state = end_cycle(cycle.plan, sent, cycle.state)
    assert [each.kind for each in outcomes] == [
        OutcomeKind.NO_CAPACITY,
        OutcomeKind.DRY_RUN,
        OutcomeKind.UNCHANGED,
    ]
    assert state.deployments["a"].infeasible.allocations == 2


def test_the_calendar_gets_the_schedules_of_the_rules_and_the_time_of_the_observation():
    night = Schedule(
        name="night", cron="0 0 * * *", timezone="UTC", length_s=3600.0, min_allocations=4
    )
    requested = []

    def open_at(at, schedules):
        requested.append((at, set(schedules)))
        return {night}

    governed = policy(rule(schedules=(night,)))
    seen = observation(7.0, named("a", 1))
    (decision,) = begin_cycle(State(), seen, governed, open_at).plan.decisions
    assert (decision.desired, requested) == (4, [(7.0, {night})])
    (decision,) = begin_cycle(State(), seen, governed).plan.decisions
    assert decision.desired == 1


def test_a_resume_request_lasts_until_the_deployment_runs():
    cycle = begin_cycle(State(), observation(0.0, named("a", 1)), policy(STOP_WHEN_IDLE))
    stopped = {"a": stopped_deployment(cycle.state.deployments["a"], 0.0)}
    state = State(stopped=stopped, resume_requested=frozenset(["a"]))
    cycle = begin_cycle(state, observation(10.0), policy(STOP_WHEN_IDLE))
    (update,) = cycle.updates
    assert isinstance(update.change, Start)
    sent = {"a": outcome(update, OutcomeKind.NO_CAPACITY)}
    _, state = end_cycle(cycle.plan, sent, cycle.state)
    assert state.resume_requested == {"a"}
    cycle = begin_cycle(state, observation(20.0, named("a", 1)), policy(STOP_WHEN_IDLE))
    _, state = end_cycle(cycle.plan, {}, cycle.state)
    assert (state.stopped, state.resume_requested) == ({}, frozenset())
