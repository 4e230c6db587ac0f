"""Memory that processes use, which the planner ignores and the daemon respects."""

import pytest

from autoscaler.core.decision import Mode
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    Adaptive,
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
)
from tests.end_to_end.world import world_of
from tests.observations import policy, rule

pytestmark = pytest.mark.untraced

ELSER = ".elser_model_2_linux-x86_64"


def elser(statistics, *, allocations=2, rate_per_s=150.0, can_grow=False, adaptive=None):
    """A node with 6.5 GiB for machine learning and 16 processors.

    A process of ELSER uses 0.5 GiB, and 1.4 GiB for each allocation: four of them fit. The load
    keeps nine busy.
    """
    return ClusterScenario(
        version="9.5",
        can_grow=can_grow,
        ml_memory_fraction=6.5 / 8.0,
        memory_statistics=statistics,
        nodes=[ScenarioNode(name="ml-1", processors=16, memory="8gb")],
        models=[
            ScenarioModel(
                model_id=ELSER,
                size="418mb",
                service_time_s=0.06,
                process_memory="512mb",
                allocation_memory="1.4gb",
            )
        ],
        deployments=[
            ScenarioDeployment(
                model_id=ELSER,
                deployment_id="my-elser",
                number_of_allocations=None if adaptive else allocations,
                adaptive_allocations=adaptive,
                load=Steady(rate_per_s=rate_per_s),
            )
        ],
    )


RULES = policy(rule(max_allocations=16, policy=SloPolicy()))


def killed(world):
    return [each.deployment_id for each in world.cluster.resident_memory.out_of_memory]


async def test_without_the_figures_the_host_runs_out_of_memory():
    """No version before them shows anything; the planner reserves 2 GiB for any number."""
    async with world_of(elser("none"), RULES) as world:
        await world.cycles(30)
        assert max(world.updates_of("my-elser")) > 4
        assert "my-elser" in killed(world)


@pytest.mark.parametrize("statistics", ["process", "model"])
@pytest.mark.parametrize("can_grow", [False, True])
async def test_it_is_held_where_no_more_fit(statistics, can_grow):
    async with world_of(elser(statistics, can_grow=can_grow), RULES) as world:
        cycles = await world.cycles(60)
        assert killed(world) == []
        assert world.requested("my-elser") == 4
        text = cycles[-1].text("my-elser")
        assert "my-elser stays at 4: " in text
        assert "no more than 4 fit: my-elser uses 1.5 GiB for each allocation" in text
        assert "node ml-1 has 6.5 GiB for machine learning, 6.1 GiB in use" in text


async def test_adaptive_allocations_may_not_go_further_either():
    adaptive = Adaptive(enabled=True, min_number_of_allocations=1, max_number_of_allocations=3)
    rules = policy(rule(max_allocations=16, mode=Mode.BOUNDS, policy=SloPolicy()))
    async with world_of(elser("process", adaptive=adaptive), rules) as world:
        await world.cycles(60)
        assert killed(world) == []
        assert world.requested("my-elser") == 4
        assert world.deployment("my-elser").adaptive.max_number_of_allocations == 4


async def test_when_the_memory_of_the_nodes_is_not_readable_the_machine_is_the_limit():
    async with world_of(elser("process"), RULES) as world:
        world.fail("/_ml/memory/*", calls=None, status=500)
        cycles = await world.cycles(60)
        assert killed(world) == []
        assert "has at most 6.8 GiB for machine learning" in cycles[-1].text("my-elser")


async def test_a_decrease_is_not_held():
    async with world_of(elser("process", allocations=4, rate_per_s=10.0), RULES) as world:
        await world.run_for(3600.0)
        assert world.requested("my-elser") < 4
        assert killed(world) == []
