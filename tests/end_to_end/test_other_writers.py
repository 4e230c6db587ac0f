"""Other writers: an operator, a script, a second daemon; and updates that have no effect."""

import pytest
from msgspec.structs import replace

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import Mode, OutcomeKind, SetAllocations, Setting
from autoscaler.core.explanation import external_change_text, no_effect_text
from autoscaler.core.flow.effect import EFFECT_PATIENCE_S
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.values import Reason
from autoscaler.simulation.emulator.faults import Reset
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import Adaptive, ScenarioDeployment
from tests.end_to_end.world import POLL_S, CheckedRecorder, Cycle, scenario, update_of, world_of
from tests.observations import policy, rule

pytestmark = pytest.mark.untraced

A = ScenarioDeployment(model_id="a", load=Steady(rate_per_s=60.0))
HOLD_S = 600.0


def most(allocations, **given):
    """Rules under which the load of `A` needs `allocations`: the maximum."""
    return policy(rule(min_allocations=allocations, max_allocations=allocations, **given))


def events(cycles):
    return [changed for cycle in cycles for changed in cycle.plan.external_changes]


def failures(cycles):
    return [failed for cycle in cycles for failed in cycle.plan.no_effect]


def second_daemon(world, governed):
    """Another daemon on the same cluster."""
    cluster = ElasticsearchCluster(ElasticsearchApi(world.transport), world.clock)
    return ControlLoop(
        clock=world.clock,
        observer=cluster,
        actuator=cluster,
        recorder=CheckedRecorder(),
        ruleset=governed,
    )


async def side_by_side(world, other, seconds):
    """The cycles of both daemons, half a poll interval apart."""
    cycles = []
    until = world.clock.now() + seconds
    while world.clock.now() < until:
        for loop in (world.loop, other):
            await world.clock.run(loop.run_cycle())
            cycles.append(Cycle(world.now, 0.0, **loop.recorder.last))
            await world.without_daemon(POLL_S / 2)
    return cycles


# An operator


async def test_the_number_that_an_operator_sets_is_respected_for_a_while():
    async with world_of(scenario(A), most(4)) as world:
        await world.cycles(6)
        assert world.requested("a") == 4
        world.cluster.update_deployment("a", number_of_allocations=2)
        held = await world.run_for(HOLD_S)
        (changed,) = events(held)
        assert (changed.before, changed.after, changed.times) == (Setting(4), Setting(2), 1)
        assert external_change_text(changed) == (
            "a: another writer changed it from 4 to 2; respected for 10 min"
        )
        assert {cycle.decision("a").steps[-1].reason for cycle in held} == {Reason.EXTERNAL_CHANGE}
        assert "another writer changed it from 4 to 2" in held[5].text("a")
        assert held[5].decision("a").external_change == changed
        assert world.requested("a") == 2
        await world.cycles(2)
        assert world.requested("a") == 4


async def test_a_number_that_was_only_found_is_respected_too():
    async with world_of(scenario(A), most(1)) as world:
        await world.cycles(6)
        assert world.sent == []
        world.cluster.update_deployment("a", number_of_allocations=3)
        assert len(events(await world.cycles(3))) == 1
        assert world.requested("a") == 3


async def test_a_change_is_overridden_at_once_if_the_hold_is_zero():
    async with world_of(scenario(A), most(4, external_change_hold_s=0.0)) as world:
        await world.cycles(6)
        world.cluster.update_deployment("a", number_of_allocations=2)
        cycle = await world.cycle()
        assert len(events([cycle])) == 1
        assert world.requested("a") == 4


async def test_a_reload_that_shortens_the_hold_takes_effect_at_once():
    async with world_of(scenario(A), most(4)) as world:
        await world.cycles(6)
        world.cluster.update_deployment("a", number_of_allocations=2)
        await world.cycles(3)
        world.loop.ruleset = most(4, external_change_hold_s=0.0)
        assert events(await world.cycles(2)) == []
        assert world.requested("a") == 4


async def test_a_change_that_is_taken_back_is_no_longer_respected():
    async with world_of(scenario(A), most(4)) as world:
        await world.cycles(6)
        world.cluster.update_deployment("a", number_of_allocations=2)
        await world.cycles(2)
        world.cluster.update_deployment("a", number_of_allocations=4)
        cycles = await world.cycles(2)
        assert events(cycles) == []
        assert cycles[-1].decision("a").steps[-1].reason is not Reason.EXTERNAL_CHANGE


async def test_the_bounds_that_an_operator_sets_are_respected():
    deployed = replace(A, adaptive_allocations=Adaptive(enabled=True))
    async with world_of(scenario(deployed, version="9.3"), most(4, mode=Mode.BOUNDS)) as world:
        await world.cycles(8)
        world.set_adaptive("a", min_number_of_allocations=1, max_number_of_allocations=2)
        sent = len(world.sent)
        held = await world.run_for(HOLD_S)
        (changed,) = events(held)
        assert (str(changed.before), str(changed.after)) == ("adaptive 4..4", "adaptive 1..2")
        assert len(world.sent) == sent
        await world.cycles(2)
        assert world.sent[-1].body["adaptive_allocations"]["min_number_of_allocations"] == 4


async def test_adaptive_allocations_that_scale_within_their_bounds_are_no_other_writer():
    deployed = replace(A, adaptive_allocations=Adaptive(enabled=True))
    governed = policy(rule(mode=Mode.BOUNDS, max_allocations=8))
    async with world_of(scenario(deployed, version="9.3"), governed) as world:
        assert events(await world.cycles(60)) == []


async def test_another_control_mode_is_respected_until_it_is_reverted():
    async with world_of(scenario(A, version="9.3"), most(4)) as world:
        await world.cycles(6)
        world.set_adaptive("a", enabled=True)
        (changed,) = events(await world.cycles(100))
        assert changed.changes_mode
        assert external_change_text(changed).endswith("; respected until that is reverted")


async def test_a_deployment_that_was_created_again_is_another_one():
    async with world_of(scenario(A), most(4)) as world:
        await world.cycles(6)
        world.delete("a")
        await world.cycle()
        world.cluster.start_deployment("a", number_of_allocations=2)
        assert events(await world.cycles(6)) == []
        assert world.requested("a") == 4


async def test_a_new_daemon_takes_nothing_for_another_writers_change():
    async with world_of(scenario(A), most(4)) as world:
        await world.cycles(6)
        world.kill(most(3))
        assert events(await world.cycles(6)) == []
        assert world.requested("a") == 3


async def test_another_rule_is_no_other_writer():
    async with world_of(scenario(A), most(4)) as world:
        await world.cycles(6)
        for allocations in (3, 5, 2):
            world.loop.ruleset = most(allocations)
            assert events(await world.cycles(4)) == []
            assert world.requested("a") == allocations


async def test_an_update_whose_response_was_lost_is_no_other_writers():
    async with world_of(scenario(A), most(4)) as world:
        world.fail(update_of("a"), reset=Reset.AFTER)
        cycles = await world.cycles(10)
        assert cycles[0].kind("a") is OutcomeKind.UNKNOWN
        assert events(cycles) == []
        assert world.requested("a") == 4
        assert world.loop.state.deployments["a"].back_off is None, "it was applied"


async def test_in_a_dry_run_nothing_is_another_writers():
    async with world_of(scenario(A), most(4, dry_run=True)) as world:
        await world.cycles(3)
        world.cluster.update_deployment("a", number_of_allocations=2)
        cycles = await world.cycles(3)
        assert events(cycles) == []
        assert cycles[-1].kind("a") is OutcomeKind.DRY_RUN


async def test_a_stopped_deployment_that_an_operator_starts(tmp_path):
    zero = ScaleToZero(60.0, ZeroMethod.STOP)
    governed = policy(rule(zero=zero, max_allocations=8))
    idle = ScenarioDeployment(model_id="a")
    async with world_of(scenario(idle), governed, state_dir=tmp_path) as world:
        await world.run_until(lambda cycle: "a" in world.loop.state.stopped)
        await world.cycles(2)
        world.cluster.start_deployment("a", number_of_allocations=3)
        (changed,) = events(await world.cycles(3))
        assert external_change_text(changed) == (
            "a: another writer started it with 3; respected for 10 min"
        )
        assert world.requested("a") == 3


# A second writer


async def test_two_daemons_change_the_deployment_every_ten_minutes_and_less_often():
    """Each would set another number every ten seconds: 120 updates in ten minutes."""
    async with world_of(scenario(A), most(4)) as world:
        other = second_daemon(world, most(8))
        cycles = await side_by_side(world, other, 600.0)
        in_ten_minutes = len(world.updates)
        cycles += await side_by_side(world, other, 5400.0)
        in_a_hundred_minutes = len(world.updates)
        assert in_ten_minutes <= 3
        assert in_a_hundred_minutes <= 8
        last = events(cycles)[-1]
        assert last.second_writer
        assert last.hold_s > HOLD_S


async def test_two_daemons_that_override_at_once_slow_down_as_well():
    async with world_of(scenario(A), most(4, external_change_hold_s=0.0)) as world:
        other = second_daemon(world, most(8, external_change_hold_s=0.0))
        await side_by_side(world, other, 600.0)
        assert len(world.updates) <= 24


# Updates without effect


def ignored(world):
    """From now on, updates are accepted, and change nothing."""
    body = '{"assignment": {"task_parameters": {"model_id": "a", "deployment_id": "a"}}}'
    accepted = {"status": 200, "body": body, "content_type": "application/json"}
    world.fail(update_of("a"), calls=None, **accepted)


async def test_an_update_without_effect_is_reported_once_and_repeated_ever_more_rarely():
    async with world_of(scenario(A), most(4)) as world:
        ignored(world)
        cycles = await world.run_for(7200.0)
        assert [update.at for update in world.updates][:4] == [0.0, 90.0, 240.0, 510.0]
        assert len(world.updates) <= 8
        first = failures(cycles)[0]
        assert no_effect_text(first) == (
            "a: the update to 4 was accepted 30 s ago, but it still has 1; sent again in 60 s"
        )
        waiting = next(cycle for cycle in cycles if cycle.at > EFFECT_PATIENCE_S)
        assert waiting.decision("a").reason is not Reason.EXTERNAL_CHANGE
        assert "accepted without effect" in waiting.text("a")
        repeated = [c.decision("a").change for c in cycles if c.decision("a").changes]
        assert set(repeated) == {SetAllocations(4)}
        assert events(cycles) == []

        world.faults.clear()
        await world.run_until(lambda _: world.requested("a") == 4, within_s=3700.0)
        await world.cycles(2)
        assert world.loop.state.deployments["a"].back_off is None


async def test_an_update_that_is_visible_late_is_not_sent_again():
    async with world_of(scenario(A), most(4)) as world:
        ignored(world)
        await world.cycles(3)
        world.faults.clear()
        world.cluster.update_deployment("a", number_of_allocations=4)
        cycles = await world.cycles(6)
        assert len(world.updates) == 1
        assert (events(cycles), failures(cycles)) == ([], [])


async def test_a_stop_without_effect_is_not_sent_in_every_cycle(tmp_path):
    zero = ScaleToZero(60.0, ZeroMethod.STOP)
    idle = ScenarioDeployment(model_id="a")
    governed = policy(rule(zero=zero, max_allocations=8))
    async with world_of(scenario(idle), governed, state_dir=tmp_path) as world:
        path = "/_ml/trained_models/a/deployment/_stop"
        stopped = {"status": 200, "body": '{"stopped": true}', "content_type": "application/json"}
        world.fail(path, calls=None, **stopped)
        cycles = await world.run_for(7200.0)
        assert world.attempts(path) <= 8
        assert "the stop was accepted" in no_effect_text(failures(cycles)[0])
        assert "a" not in world.loop.state.stopped


# A deployment that is starting


async def test_a_deployment_that_refuses_because_it_starts_is_updated_when_it_has_started():
    async with world_of(scenario(A), most(4)) as world:
        refusal = {
            "status": 409,
            "error_type": "status_exception",
            "body": "not in [started] state",
        }
        world.fail(update_of("a"), calls=None, **refusal)
        await world.run_for(600.0)
        assert len(world.updates) <= 9
        world.faults.clear()
        world.restart_cluster()
        await world.run_until(lambda _: world.requested("a") == 4, within_s=60.0)
