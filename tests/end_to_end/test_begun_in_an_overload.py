"""A daemon starts while nearly all callers of a deployment give up."""

import pytest

from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ScenarioDeployment, ScenarioNode
from tests.end_to_end.world import both_policies, scenario, with_policy, world_of
from tests.observations import policy, rule

LOAD, SERVICE_S = 18.0, 0.05


@both_policies
@pytest.mark.parametrize("allocations", [1, 4])
@pytest.mark.parametrize("timeout_s", [3.0, 10.0])
async def test_the_load_is_not_taken_for_what_few_allocations_serve(
    built_in, allocations, timeout_s
):
    load = Steady(rate_per_s=LOAD / SERVICE_S, timeout_s=timeout_s)
    deployed = ScenarioDeployment(model_id="a", number_of_allocations=allocations, load=load)
    simulated = scenario(deployed, nodes=[ScenarioNode(name="ml-1", processors=32)])
    governed = with_policy(policy(rule(max_allocations=30)), built_in)
    async with world_of(simulated, governed) as world:
        await world.without_daemon(60.0)
        cycles = await world.run_for(300.0)
        numbers = [cycle.decision("a").desired for cycle in cycles]
        assert max(numbers[:4]) > LOAD, "within half a minute, with the step limit"
        assert max(numbers) <= 28, "no more than twice what the target needs"
        for cycle in cycles[12:]:
            assert cycle.decision("a").load.service_time_s == pytest.approx(SERVICE_S, rel=0.05)
