"""A restart of the daemon changes nothing by itself."""

import pytest

from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import State
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ScenarioDeployment
from tests.end_to_end.world import POLL_S, killed, scenario, with_policy, world_of
from tests.observations import policy, rule

MINUTE_S = 60.0
RATES = {"a": 30.0, "b": 55.0, "c": 100.0}
"""Requests of 50 ms a second: 1.5, 2.75 and 5 erlangs."""


def steady(state_dir, rates=RATES, **deployed):
    """A daemon with the policy slo, and loads that stay as they are."""
    deployments = [
        ScenarioDeployment(model_id=name, number_of_allocations=4, **deployed) for name in rates
    ]
    governed = with_policy(policy(rule(max_allocations=16)), SloPolicy())
    return world_of(scenario(*deployments), governed, state_dir=state_dir)


def begin(world, seed, rates=RATES):
    for number, (name, rate) in enumerate(rates.items()):
        world.emulation.start_load(name, Steady(rate_per_s=rate, seed=10 * seed + number))


def decisions(cycles):
    return [[outcome.decision for outcome in cycle.outcomes] for cycle in cycles]


@pytest.mark.parametrize("before_s", [4 * MINUTE_S, 15 * MINUTE_S])
@pytest.mark.parametrize("seed", range(1))
async def test_without_a_downtime_every_decision_is_that_of_the_undisturbed_twin(
    tmp_path, seed, before_s
):
    found = []
    for disturbed in (False, True):
        async with steady(tmp_path / f"{disturbed}") as world:
            begin(world, seed)
            await world.run_for(before_s)
            after = []
            for _ in range(3):
                if disturbed:
                    world.kill()
                after += await world.run_for(3 * MINUTE_S)
            found.append(decisions(after))
    undisturbed, disturbed = found
    assert disturbed == undisturbed


@pytest.mark.parametrize("seed", range(2))
async def test_a_restart_does_not_end_a_cold_start(tmp_path, seed):
    found = []
    for disturbed in (False, True):
        async with steady(tmp_path / f"{disturbed}") as world:
            world.loop.state = State(cold_start_s=0.0)
            begin(world, seed)
            await world.run_for(MINUTE_S)
            if disturbed:
                world.kill()
            found.append(decisions(await world.run_for(12 * MINUTE_S)))
    undisturbed, disturbed = found
    assert disturbed == undisturbed


@pytest.mark.parametrize("downtime_s", [POLL_S, 45.0, 5 * MINUTE_S])
@pytest.mark.parametrize("seed", range(1))
async def test_after_a_downtime_no_more_updates_than_those_of_the_undisturbed_twin(
    tmp_path, seed, downtime_s
):
    sent = []
    for disturbed in (False, True):
        async with steady(tmp_path / f"{disturbed}") as world:
            begin(world, seed)
            await world.run_for(20 * MINUTE_S)
            if disturbed:
                killed(world.store)
                await world.without_daemon(downtime_s)
                world.kill()
            else:
                await world.run_for(downtime_s)
            before = len(world.updates)
            await world.run_for(10 * MINUTE_S)
            sent.append(world.updates[before:])
    undisturbed, disturbed = sent
    assert len(disturbed) <= len(undisturbed), (undisturbed, disturbed)


class Killed(BaseException):
    """The process ends here; nothing after it happens."""


class KillAt:
    """Ends the daemon at its nth point: before or after a request, or a write of the state."""

    def __init__(self, world, point):
        self.left = point
        self._wrap(world.transport, "send_timed")
        self._wrap(world.store, "save_before_updates")
        self._wrap(world.store, "save_stopped")
        checkpoint = world.store.checkpoint

        def checkpointed(state):
            self._count()
            checkpoint(state)
            self._count()

        world.store.checkpoint = checkpointed

    def _wrap(self, owner, name):
        function = getattr(owner, name)

        async def counted(*arguments):
            self._count()
            result = await function(*arguments)
            self._count()
            return result

        setattr(owner, name, counted)

    def _count(self):
        self.left -= 1
        if self.left == 0:
            raise Killed


async def grown(tmp_path, point):
    """The allocations, the updates and the external changes of a deployment whose load jumps, with
    a daemon that is killed at a point; 0: it is not."""
    async with steady(tmp_path / f"{point}", {"a": 15.0}) as world:
        begin(world, 1, {"a": 15.0})
        await world.run_for(2 * MINUTE_S)
        world.emulation.start_load("a", Steady(rate_per_s=90.0, seed=2))
        send_timed, cycles = world.transport.send_timed, []
        kill = KillAt(world, point)
        until = world.clock.now() + 5 * MINUTE_S
        while world.clock.now() < until:
            try:
                cycles.append(await world.cycle())
            except Killed:
                world.transport.send_timed = send_timed
                world.kill()
        assert kill.left <= 0, "there are fewer points"
        changed = {
            change for cycle in cycles if cycle.plan for change in cycle.plan.external_changes
        }
        return world.requested("a"), len(world.updates), changed


@pytest.mark.parametrize(
    "points",
    [range(first, 41, 10) for first in (1, 8)]
    + [pytest.param(range(first, 41, 10), marks=pytest.mark.deep) for first in (2, 3, 4, 5, 6, 7)],
    ids=lambda points: f"{points.start}",
)
async def test_killed_at_any_point_of_the_cycles_that_send_updates(tmp_path, points):
    """No update is taken for that of another client, and none is sent again and again. The polls
    are at other times than without the kill, so that the allocations may differ by one."""
    undisturbed = await grown(tmp_path, 0)
    for point in points:
        requested, updates, external_changes = await grown(tmp_path, point)
        assert external_changes == set(), point
        assert abs(requested - undisturbed[0]) <= 1, point
        assert updates <= undisturbed[1] + 1, point


@pytest.mark.parametrize("seed", range(2))
async def test_without_the_state_the_present_numbers_are_kept_until_there_is_evidence(
    tmp_path, seed
):
    async with steady(tmp_path / "first", {"a": 30.0}) as world:
        begin(world, seed, {"a": 30.0})
        await world.run_for(15 * MINUTE_S)
        world.state_dir = tmp_path / "second"
        world.kill()
        world.loop.state = State(cold_start_s=0.0)
        before = len(world.updates)
        await world.run_for(9 * MINUTE_S)
        assert world.updates[before:] == []
        world.emulation.start_load("a", Steady(rate_per_s=200.0, seed=99))
        await world.run_for(30.0)
        assert world.updates_of("a")[-1] >= 10
