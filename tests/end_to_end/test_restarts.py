"""A restart of the daemon changes nothing by itself."""

import pytest

from autoscaler.core.slo.policy import SloPolicy
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ScenarioDeployment
from tests.end_to_end.world import POLL_S, killed, scenario, with_policy, world_of
from tests.observations import policy, rule

MINUTE_S = 60.0
RATES = {"a": 30.0, "b": 55.0, "c": 100.0}
"""Requests of 50 ms a second: 1.5, 2.75 and 5 erlangs."""


def steady(state_dir, rates=RATES, **deployed):
    """A daemon with the policy slo, and loads that stay as they are."""
    deployments = [
        ScenarioDeployment(model_id=name, number_of_allocations=4, **deployed) for name in rates
    ]
    governed = with_policy(policy(rule(max_allocations=16)), SloPolicy())
    return world_of(scenario(*deployments), governed, state_dir=state_dir)


def begin(world, seed, rates=RATES):
    for number, (name, rate) in enumerate(rates.items()):
        world.emulation.start_load(name, Steady(rate_per_s=rate, seed=10 * seed + number))


def decisions(cycles):
    return [[outcome.decision for outcome in cycle.outcomes] for cycle in cycles]


@pytest.mark.parametrize("before_s", [4 * MINUTE_S, 15 * MINUTE_S])
@pytest.mark.parametrize("seed", range(1))
async def test_without_a_downtime_every_decision_is_that_of_the_undisturbed_twin(
    tmp_path, seed, before_s
):
    found = []
    for disturbed in (False, True):
        async with steady(tmp_path / f"{disturbed}") as world:
            begin(world, seed)
            await world.run_for(before_s)
            after = []
            for _ in range(3):
                if disturbed:
                    world.kill()
                after += await world.run_for(3 * MINUTE_S)
            found.append(decisions(after))
    undisturbed, disturbed = found
    assert disturbed == undisturbed


@pytest.mark.parametrize("downtime_s", [POLL_S, 45.0, 5 * MINUTE_S])
@pytest.mark.parametrize("seed", range(1))
async def test_after_a_downtime_no_more_updates_than_those_of_the_undisturbed_twin(
    tmp_path, seed, downtime_s
):
    sent = []
    for disturbed in (False, True):
        async with steady(tmp_path / f"{disturbed}") as world:
            begin(world, seed)
            await world.run_for(20 * MINUTE_S)
            if disturbed:
                killed(world.store)
                await world.without_daemon(downtime_s)
                world.kill()
            else:
                await world.run_for(downtime_s)
            before = len(world.updates)
            await world.run_for(10 * MINUTE_S)
            sent.append(world.updates[before:])
    undisturbed, disturbed = sent
    assert len(disturbed) <= len(undisturbed), (undisturbed, disturbed)
