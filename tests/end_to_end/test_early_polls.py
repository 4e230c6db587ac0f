"""Polls are early while a deployment is at risk, and cost the cluster no more than is allowed."""

from collections import Counter

import pytest
from msgspec.structs import replace

from autoscaler.config.polling import polling_of
from autoscaler.core.next_poll import NextPoll, PollCause
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ScenarioDeployment
from tests.end_to_end.world import STATS, scenario, with_policy, world_of
from tests.observations import policy, rule

SECONDS = 185.0


def overloaded():
    """A queue stands, whatever is requested."""
    load = Steady(rate_per_s=60.0, seed=1)
    return scenario(ScenarioDeployment(model_id="a", number_of_allocations=1, load=load))


def governed(min_interval_s):
    rules = with_policy(policy(rule(max_allocations=1)), SloPolicy())
    return replace(rules, polling=polling_of(10.0, min_interval_s))


async def paths(min_interval_s):
    """How often which path was read."""
    async with world_of(overloaded(), governed(min_interval_s)) as world:
        await world.run_for(SECONDS)
        return Counter(request.path for _, request in world.transport.sent)


async def test_only_the_statistics_are_read_more_often():
    early, routine = await paths(2.0), await paths(10.0)
    assert early.pop(STATS) >= 4 * routine.pop(STATS)
    assert early == routine
    assert len(early) >= 4, "the version, the nodes, their memory, the limits, the owners"


async def test_early_polls_of_a_slow_cluster_are_later():
    async with world_of(overloaded(), governed(2.0)) as world:
        early = (await world.cycles(5))[-1]
        assert early.plan.next_poll == NextPoll(
            within_s=2.0, cause=PollCause.QUEUE, deployment_id="a"
        )
        world.fail(STATS, calls=None, response_delay_s=0.5)
        slow = (await world.cycles(3))[-1]
        assert slow.plan.next_poll.cause is PollCause.SLOW_CLUSTER
        assert slow.period_s == pytest.approx(5.0)
        world.emulation.faults.clear()
        assert (await world.cycles(3))[-1].period_s == 2.0


async def test_a_quiet_deployment_is_polled_at_the_poll_interval():
    async with world_of(scenario(ScenarioDeployment(model_id="a")), governed(2.0)) as world:
        cycles = await world.run_for(SECONDS)
        assert {cycle.plan.next_poll for cycle in cycles} == {NextPoll(within_s=10.0)}
