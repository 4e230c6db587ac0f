"""What the policies report holds for the running and for the recommended allocations."""

import pytest
from msgspec.structs import replace

from autoscaler.core.explanation import explain
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.units import percent_text
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ScenarioDeployment, ScenarioNode
from tests.end_to_end.world import both_policies, scenario, with_policy, world_of
from tests.observations import policy, rule

pytestmark = pytest.mark.untraced

SLO = SloPolicy()
UTILISATION = UtilisationPolicy(target=0.7, load_window_s=60.0)


# A node is lost: 2 nodes of 16 processors, 24 allocations, and a load of 20 erlangs


def two_large_nodes():
    nodes = [ScenarioNode(name=f"ml-{i}", processors=16) for i in (1, 2)]
    deployed = ScenarioDeployment(
        model_id="elser", number_of_allocations=24, load=Steady(rate_per_s=400.0)
    )
    return scenario(deployed, nodes=nodes)


def at_most_24(built_in):
    return with_policy(policy(rule(min_allocations=1, max_allocations=24)), built_in)


def lose_a_node(world):
    world.cluster.remove_node(max(world.cluster.nodes))


@both_policies
async def test_a_lost_node_is_in_the_first_decision_that_can_be_measured(built_in):
    """After one poll without a recommendation, because the counters of the node are lost."""
    async with world_of(two_large_nodes(), at_most_24(built_in)) as world:
        await world.cycles(30)
        assert "running" not in (await world.cycle()).decision("elser").steps[0].inputs
        lose_a_node(world)
        found = await world.run_until(
            lambda cycle: "running" in cycle.decision("elser").steps[0].inputs, within_s=40.0
        )
        text = found.text("elser")
        running = world.deployment("elser").running
        assert running < 24
        assert f"{running} of 24 running" in text
        assert "late now" in text or "utilisation now" in text


async def test_late_requests_now_are_not_those_with_all_allocations():
    async with world_of(two_large_nodes(), at_most_24(SLO)) as world:
        await world.cycles(30)
        lose_a_node(world)
        decision = (await world.cycles(12))[-1].decision("elser")
        step = decision.steps[0]
        late = {each.allocations: each.violation_fraction for each in step.candidates}
        running = world.deployment("elser").running
        assert late[running] > 0.5
        assert late[24] < 0.01
        assert step.inputs["violation_fraction_now"] > 0.5
        assert step.inputs["queue_wait_now_s"] > 1.0
        text = explain(decision)
        assert f"{percent_text(step.inputs['violation_fraction_now'])} late now" in text
        assert "once all run" not in text, "no node can load the others"
        assert "drain" not in text
        world.cluster.add_node(replace_node(world))
        texts = [cycle.text("elser") for cycle in await world.cycles(3)]
        assert any("late once all run" in text for text in texts)


@both_policies
async def test_nothing_is_predicted_for_allocations_that_no_node_loads(built_in):
    async with world_of(two_large_nodes(), at_most_24(built_in)) as world:
        await world.cycles(30)
        lose_a_node(world)
        found = (await world.cycles(12))[-1]
        missing = 24 - world.deployment("elser").running
        assert f"no node loads the other {missing}" in found.text("elser")


@both_policies
async def test_they_are_while_another_node_loads_the_model(built_in):
    async with world_of(two_large_nodes(), at_most_24(built_in)) as world:
        await world.cycles(30)
        lose_a_node(world)
        await world.cycles(12)
        world.cluster.add_node(replace_node(world))
        texts = [cycle.text("elser") for cycle in await world.cycles(6)]
        assert "no node loads" not in texts[-1]


def replace_node(world):
    (left,) = world.cluster.nodes.values()
    return replace(left, node_id="another", name="another")


# A dry run


def scarce():
    """Four erlangs on three allocations."""
    deployed = ScenarioDeployment(
        model_id="elser", number_of_allocations=3, load=Steady(rate_per_s=80.0)
    )
    return scenario(deployed)


def observing(*, dry_run):
    return with_policy(policy(rule(max_allocations=12, dry_run=dry_run)), SLO)


async def test_the_budget_of_a_dry_run_ignores_the_running_allocations():
    async with world_of(scarce(), observing(dry_run=True)) as world:
        during = [cycle.decision("elser") for cycle in await world.run_for(1800.0)]
        settled = [each for each in during if each.at > during[0].at + 120.0]
        weights = [each.steps[0].inputs["violation_weight"] for each in settled]
        assert max(weights) < 40.0
        assert len({each.recommended for each in settled}) == 1
        last = settled[-1].steps[0].inputs
        assert last["slo_attainment"] < 0.5, "of the running allocations"
        assert last["expected_slo_attainment"] > 0.98, "of the recommended allocations"


async def test_going_live_begins_without_what_the_dry_run_saw():
    async with world_of(scarce(), observing(dry_run=True)) as world:
        advice = (await world.run_for(1800.0))[-1].decision("elser")
        world.loop.ruleset = observing(dry_run=False)
        live = [cycle.decision("elser") for cycle in await world.run_for(900.0)]
        drained = [each for each in live if each.at > live[0].at + 60.0]
        assert {each.recommended for each in drained} <= {
            advice.recommended - 1,
            advice.recommended,
        }
        assert max(each.steps[0].inputs["violation_weight"] for each in drained) < 40.0
        assert "expected_slo_attainment" not in drained[-1].steps[0].inputs
