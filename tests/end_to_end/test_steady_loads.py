"""At a steady load the allocations stay as they are, wherever the cluster places them."""

import pytest

from autoscaler.core.slo.policy import SloPolicy
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ScenarioDeployment, ScenarioNode
from tests.end_to_end.world import scenario, with_policy, world_of
from tests.observations import policy, rule

MINUTE_S = 60.0


@pytest.mark.parametrize("zones", [1, 2, 3])
async def test_nodes_in_zones_keep_their_allocations(zones):
    """Elasticsearch keeps a node that is the only one of its zone. A decrease that was expected to
    give it up, and leaves two queues instead of one, is not repeated."""
    nodes = [ScenarioNode(name=f"ml-{n}", zone=f"zone-{n % zones}") for n in range(zones + 1)]
    simulated = scenario(
        ScenarioDeployment(model_id="a", number_of_allocations=8), nodes=nodes, version="9.3"
    )
    governed = policy(rule(max_allocations=14, stabilisation_window_s=0.0))
    async with world_of(simulated, with_policy(governed, SloPolicy())) as world:
        world.emulation.start_load("a", Steady(rate_per_s=24.0, seed=1))
        await world.run_for(10 * MINUTE_S)
        before = len(world.updates)
        await world.run_for(60 * MINUTE_S)
        assert len(world.updates) - before <= 2, world.updates
