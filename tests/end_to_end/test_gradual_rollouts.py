"""Rules that act in some hours: what an emulated cluster receives, hour by hour."""

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import Mode
from autoscaler.core.rollout_hours import RolloutHours
from autoscaler.core.rollout_status import RolloutVerdict
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import Adaptive, ScenarioDeployment
from tests.end_to_end.world import scenario, world_of
from tests.observations import policy, rule

pytestmark = pytest.mark.deep  # they last for hours of virtual time

HOUR_S = 3600.0
BEFORE = 6
HOURS = RolloutHours(hours=tuple(range(24)), timezone="UTC", share=0.5, settings="one")


def gradual(tmp_path, deployed=None, *, poll_s=30.0, **given):
    """A daemon with a gradual rollout, and a deployment with half an erlang."""
    deployed = deployed or ScenarioDeployment(model_id="e5", number_of_allocations=BEFORE)
    load = Steady(rate_per_s=10.0)
    keys = {"policy": SloPolicy(), "rollout": HOURS, "stabilisation_window_s": 0.0, **given}
    simulated = scenario(replace(deployed, load=load))
    return world_of(simulated, policy(rule(**keys)), poll_s=poll_s, state_dir=tmp_path)


def rollout(world):
    return world.loop.state.rollouts["e5"]


async def until(world, *, active):
    await world.run_until(lambda _: rollout(world).active is active, within_s=4 * HOUR_S)


async def test_the_rule_acts_in_an_active_hour_and_the_former_number_returns_in_the_next(tmp_path):
    async with gradual(tmp_path) as world:
        await world.run_for(300.0)
        assert world.sent == []
        await until(world, active=True)
        await world.run_for(1200.0)
        assert world.requested("e5") < BEFORE
        await until(world, active=False)
        await world.run_for(60.0)
        assert world.requested("e5") == BEFORE


@pytest.mark.parametrize("mode", list(Mode))
async def test_adaptive_allocations_return_with_their_bounds(tmp_path, mode):
    adaptive = Adaptive(enabled=True, min_number_of_allocations=2, max_number_of_allocations=7)
    deployed = ScenarioDeployment(model_id="e5", adaptive_allocations=adaptive)
    take_over = mode is Mode.DIRECT
    async with gradual(tmp_path, deployed, mode=mode, take_over=take_over) as world:
        found = world.deployment("e5").adaptive
        await until(world, active=True)
        await world.run_for(1200.0)
        assert world.deployment("e5").adaptive != found
        await until(world, active=False)
        await world.run_for(60.0)
        assert world.deployment("e5").adaptive == found


async def test_a_restart_keeps_the_hours_and_a_revert(tmp_path):
    async with gradual(tmp_path, poll_s=10.0, max_allocations=1) as world:
        world.emulation.start_load("e5", Steady(rate_per_s=60.0))
        await world.run_for(120.0)
        seed, first = rollout(world).seed, rollout(world).first_block
        world.kill()
        await until(world, active=True)
        assert (rollout(world).seed, rollout(world).first_block) == (seed, first)
        world.kill()
        await world.cycle()
        assert rollout(world).active
        await world.run_until(
            lambda _: rollout(world).verdict is RolloutVerdict.REVERTED, within_s=600.0
        )
        found = rollout(world)
        world.kill()
        await world.run_for(120.0)
        assert world.requested("e5") == BEFORE
        assert (rollout(world).verdict, rollout(world).reverted_at) == (
            RolloutVerdict.REVERTED,
            found.reverted_at,
        )


async def test_a_dry_run_sends_nothing_in_any_hour(tmp_path):
    async with gradual(tmp_path, dry_run=True) as world:
        await until(world, active=True)
        await world.run_for(600.0)
        await until(world, active=False)
        await world.run_for(60.0)
        assert world.sent == []
