"""At a steady load, nothing overshoots when a deployment, a node or the cluster returns."""

import math

import pytest

from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ScenarioDeployment
from tests.end_to_end.world import both_policies, scenario, with_policy, world_of
from tests.observations import policy, rule

SERVICE_S, DRAIN_S = 0.05, 30.0
SOON_S = 300.0


def governed(built_in, **given):
    only = rule(max_allocations=14, stabilisation_window_s=0.0, **given)
    return with_policy(policy(only), built_in)


def steady(load, seed):
    return Steady(rate_per_s=load / SERVICE_S, seed=seed)


async def woken(world, load, seed):
    await world.run_for(180.0)
    assert not world.cluster.deployments
    world.loop.resume("a")
    world.emulation.start_load("a", steady(load, seed))


async def node_returned(world, load, seed):
    world.emulation.start_load("a", steady(load, seed))
    await world.run_for(600.0)
    node = next(iter(world.cluster.nodes.values()))
    world.cluster.remove_node(node.node_id)
    await world.run_for(60.0)
    world.cluster.add_node(node)


def cluster_returned(outage_s):
    async def returned(world, load, seed):
        world.emulation.start_load("a", steady(load, seed))
        await world.run_for(600.0)
        nodes = list(world.cluster.nodes.values())
        for node in nodes:
            world.cluster.remove_node(node.node_id)
        await world.run_for(outage_s)
        for node in nodes:
            world.cluster.add_node(node)

    return returned


RETURNS = {
    "wake": woken,
    "node": node_returned,
    **{f"cluster-{minutes}m": cluster_returned(60.0 * minutes) for minutes in (1, 5, 30)},
}


@both_policies
@pytest.mark.parametrize("kind", RETURNS)
@pytest.mark.parametrize(("load", "seed"), [(1.5, 1), (3.0, 2), (5.0, 3)])
async def test_no_number_exceeds_what_drains_the_queue(built_in, kind, load, seed, tmp_path):
    zero = {"zero": ScaleToZero(120.0, ZeroMethod.STOP)} if kind == "wake" else {}
    simulated = scenario(ScenarioDeployment(model_id="a"), version="9.3")
    stopped = tmp_path / "stopped.json"
    async with world_of(simulated, governed(built_in, **zero), state_dir=stopped) as world:
        await RETURNS[kind](world, load, seed)
        cycles = await world.run_for(SOON_S + 120.0)
        decisions = [cycle.decision("a") for cycle in cycles if cycle.outcomes]
        settled = max(decision.desired for decision in decisions[-12:])
        queued = max(decision.sample.in_flight for decision in decisions)
        drains = math.ceil(load / 0.7 + queued * SERVICE_S / DRAIN_S) + 1
        assert max(decision.desired for decision in decisions) <= max(settled, drains) + 1
