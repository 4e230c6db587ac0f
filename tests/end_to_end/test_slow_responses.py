"""Stories of statistics that arrive late, over HTTP."""

import pytest

from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.values import DataIssue
from autoscaler.simulation.loads import Steady
from tests.end_to_end.world import STATS, Deployed, scenario, with_policy, world_of
from tests.observations import policy

POLICIES = {
    "utilisation": UtilisationPolicy(target=0.67, load_window_s=60.0),
    "slo": SloPolicy(),
}
both = pytest.mark.parametrize("name", list(POLICIES))


def busy():
    """Two allocations' worth of requests for a deployment of four."""
    load = Steady(rate_per_s=40.0)
    return scenario(Deployed(model_id="a", number_of_allocations=4, load=load))


@both
@pytest.mark.parametrize("fault", ["delay_s", "response_delay_s"])
async def test_a_late_response_changes_nothing(name, fault):
    governed = with_policy(policy(), POLICIES[name])
    async with world_of(busy(), governed, request_timeout_s=30.0) as world:
        await world.cycles(120)
        for late_s in (9.0, 2.0, 15.0):
            before = len(world.updates)
            world.fail(STATS, **{fault: late_s})
            seen = [await world.cycle() for _ in range(4)]
            assert seen[0].decision("a").sample.issues == (DataIssue.SLOW_RESPONSE,)
            assert "the cluster was too slow to respond" in seen[0].text("a")
            assert seen[1].decision("a").sample.issues == ()
            assert len(world.updates) == before, (late_s, world.updates)
            await world.cycles(6)


async def test_the_observation_keeps_both_instants():
    async with world_of(busy(), request_timeout_s=30.0) as world:
        world.fail(STATS, response_delay_s=4.0)
        observation = (await world.cycle()).observation
        assert observation.at - observation.requested_at == 4.0


async def test_a_failed_attempt_before_does_not_count():
    async with world_of(busy(), request_timeout_s=30.0) as world:
        await world.cycles(3)
        world.fail(STATS, delay_s=4.0, status=503)
        cycle = await world.cycle()
        assert cycle.observation.span_s == 0.0
        assert cycle.decision("a").sample.issues == ()


@both
async def test_a_cluster_that_is_always_slow_is_scaled_both_ways(name):
    governed = with_policy(policy(), POLICIES[name])
    async with world_of(busy(), governed, request_timeout_s=30.0) as world:
        world.fail(STATS, calls=None, response_delay_s=4.0)
        await world.run_for(900.0)
        settled = world.requested("a")
        await world.request(
            "POST", "/_emulator/deployments/a/load", {"kind": "steady", "rate_per_s": 120.0}
        )
        await world.run_for(300.0)
        higher = world.requested("a")
        assert higher > settled
        await world.request(
            "POST", "/_emulator/deployments/a/load", {"kind": "steady", "rate_per_s": 20.0}
        )
        # The jump has used up the budget, so allocations are given up reluctantly for a while.
        await world.run_for(2_700.0)
        assert world.requested("a") < settled
