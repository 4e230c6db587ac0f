"""A deployment that starts again: updates would be refused, and the daemon sends none."""

import pytest

from autoscaler.core.decision import OutcomeKind
from autoscaler.core.values import DataIssue
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import Adaptive, ScenarioDeployment, ScenarioModel
from autoscaler.simulation.specs import NodeSpec
from tests.end_to_end.test_zero import ADAPTIVE_ZERO
from tests.end_to_end.world import scenario, world_of
from tests.observations import policy, rule

SLOW = ScenarioModel(model_id="a", load_s=120.0)
TO_ZERO = Adaptive(enabled=True, min_number_of_allocations=0, max_number_of_allocations=8)
LOAD = Steady(rate_per_s=80.0)


def held_while_starting(cycles):
    for cycle in cycles:
        assert cycle.kind("a") is OutcomeKind.UNCHANGED
        assert DataIssue.NOT_STARTED in cycle.decision("a").sample.issues
        assert "the deployment is not started" in cycle.text("a")


@pytest.mark.parametrize("version", ["8.12", "8.19", "9.5"])
async def test_after_the_loss_of_its_only_nodes_it_is_held_until_one_serves(version):
    deployed = ScenarioDeployment(model_id="a", load=LOAD)
    simulated = scenario(deployed, models=[SLOW], version=version)
    async with world_of(simulated, policy(rule(max_allocations=8))) as world:
        await world.run_for(200.0)
        requested, sent = world.requested("a"), len(world.sent)
        for node_id in list(world.cluster.nodes):
            world.cluster.remove_node(node_id)
        held_while_starting(await world.cycles(3))
        world.cluster.add_node(NodeSpec(node_id="new", name="new", processors=8))
        held_while_starting(await world.cycles(12))
        cycles = await world.cycles(10)
        assert not cycles[-1].decision("a").sample.issues
        assert world.requested("a") == requested
        assert len(world.sent) == sent
        status, _ = await world.request(
            "POST", "/_ml/trained_models/a/deployment/_update", {"number_of_allocations": 2}
        )
        assert status == 200


async def test_while_it_wakes_from_zero_it_is_held_and_then_scaled():
    deployed = ScenarioDeployment(model_id="a", adaptive_allocations=TO_ZERO)
    simulated = scenario(deployed, models=[SLOW], version="9.4")
    async with world_of(simulated, policy(ADAPTIVE_ZERO)) as world:
        world.cluster.update_deployment("a", number_of_allocations=0, internal=True)
        await world.cycles(4)
        world.emulation.start_load("a", LOAD)
        await world.cycle()
        assert world.deployment("a").state == "starting"
        held_while_starting(await world.cycles(11))
        assert not world.sent
        cycles = await world.cycles(12)
        assert {cycle.kind("a") for cycle in cycles} == {
            OutcomeKind.ACCEPTED,
            OutcomeKind.UNCHANGED,
        }
        assert world.requested("a") >= 4
