"""What one plan leaves for the next where a number is not reported."""

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import Mode
from autoscaler.core.flow.planning import plan
from autoscaler.core.flow.transition import ADAPTIVE_TIMEOUT_S
from autoscaler.core.shortfall import ShortfallCause
from autoscaler.core.state import Rollout, State
from autoscaler.core.values import AdaptiveAllocations
from tests.observations import deployment, node, observation, policy, rule


def states(*numbers, rules=()):
    """The state of the deployment after each plan.

    Args:
        numbers: the fields of the statistics that differ, by plan.
    """
    state, found = State(), []
    for place, given in enumerate(numbers):
        at = 10.0 * (place + 1)
        stats = deployment(node(completed=int(10 * at), allocations=4), **given)
        _, state = plan(state, observation(at, stats), policy(*rules))
        found.append(state.deployments["elser"])
    return found


def test_allocations_that_are_not_reported_are_those_that_ran_before():
    known, unknown = states({}, {"running_allocations": None})
    assert (known.ran, unknown.ran) == (4, 4)


def test_allocations_that_are_lost_while_nothing_is_reported_are_lost():
    _, unknown, lost = states({}, {"running_allocations": None}, {"running_allocations": 2})
    assert unknown.shortfall is None
    assert lost.shortfall is not None
    assert (lost.shortfall.missing, lost.shortfall.cause) == (2, ShortfallCause.LOST)


@pytest.mark.parametrize(
    ("reported", "is_refused"), [(4, True), (6, False), (None, False)], ids=str
)
def test_a_minimum_is_refused_only_if_fewer_allocations_are_reported(reported, is_refused):
    """Adaptive allocations should have raised them to 6 a minute ago."""
    bounds = AdaptiveAllocations(enabled=True, minimum=6, maximum=9)
    stats = deployment(
        node(completed=100, allocations=4),
        adaptive=bounds,
        allocations=reported,
        target_allocations=None,
    )
    ruleset = policy(rule(mode=Mode.BOUNDS, max_allocations=9))
    _, state = plan(State(), observation(10.0, stats), ruleset)
    raised = Rollout(allocations=6, accepted_at=10.0, nodes=frozenset({"n1"}), at_least=True)
    known = replace(state.deployments["elser"], rollout=raised)
    later = observation(11.0 + ADAPTIVE_TIMEOUT_S, stats)
    _, state = plan(replace(state, deployments={"elser": known}), later, ruleset)
    assert (state.deployments["elser"].infeasible is not None) == is_refused
