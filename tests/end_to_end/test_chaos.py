"""Random faults, several at once: the invariants hold, and the daemon recovers afterwards."""

import random
from contextlib import suppress

import pytest

from autoscaler.core.decision import Mode, OutcomeKind
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.simulation.emulator.faults import Reset
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ScenarioDeployment, ScenarioModel, ScenarioNode
from autoscaler.simulation.specs import NodeSpec
from tests.end_to_end.world import STATS, both_policies, scenario, with_policy, world_of
from tests.observations import policy, rule

pytestmark = pytest.mark.untraced

MOST = 6
EFFECTS = (
    {"status": 503, "body": "<html>"},
    {"status": 500, "error_type": "null_pointer_exception", "body": "oops"},
    {"status": 429, "error_type": "es_rejected_execution_exception", "body": "busy"},
    {"status": 401, "error_type": "security_exception", "body": "no"},
    {"reset": Reset.BEFORE},
    {"reset": Reset.AFTER},
    {"truncate_to": 50},
    {"delay_s": 4.0},
)


LOADS = {"a": 50.0, "b": 20.0}
SUITABLE = {"utilisation": {"a": [4], "b": [2]}, "slo": {"a": [4, 5], "b": [2, 3]}}
"""The allocations for these loads, in requests per second of 50 ms, by policy."""


class Chaos:
    """Applies one random fault after the other to a world."""

    def __init__(self, world, seed, kinds):
        self._world, self._rng = world, random.Random(seed)
        self._nodes = dict(world.cluster.nodes)
        self._kinds = kinds

    def strike(self):
        for fault in self._rng.sample((*self._kinds, _nothing), 2):
            with suppress(SimulatedApiError):  # a fault may be refused by the cluster
                fault(self)

    def end(self):
        world = self._world
        world.faults.clear()
        world.cluster.upgrade_mode = world.emulation.licence_expired = False
        for node_id, node in self._nodes.items():
            if node_id not in world.cluster.nodes:
                world.cluster.add_node(node)
        # Failed loads are tried again when the cluster assigns its models again.
        world.cluster.add_node(NodeSpec(node_id="ml-4", name="ml-4", processors=5))
        for name in LOADS:
            if name not in world.cluster.deployments:
                world.cluster.start_deployment(name, number_of_allocations=1)
        for name, rate in LOADS.items():
            world.cluster.update_deployment(name, adaptive=None, internal=True)
            world.emulation.start_load(name, Steady(rate_per_s=rate, seed=1))

    def _fail_statistics(self):
        self._world.fail(STATS, calls=self._rng.randint(1, 4), **self._rng.choice(EFFECTS))

    def _fail_updates(self):
        self._world.fail("*/_update", calls=self._rng.randint(1, 3), **self._rng.choice(EFFECTS))

    def _swallow(self):
        node_id = self._rng.choice(sorted(self._world.cluster.nodes))
        self._world.faults.swallow(node_id, self._rng.randint(1, 4))

    def _crash(self):
        name, deployment = self._rng.choice(sorted(self._world.cluster.deployments.items()))
        if deployment.routes:
            self._world.cluster.crash_process(name, self._rng.choice(sorted(deployment.routes)))

    def _leave_or_join(self):
        node_id = self._rng.choice(sorted(self._nodes))
        if node_id not in self._world.cluster.nodes:
            self._world.cluster.add_node(self._nodes[node_id])
        elif len(self._world.cluster.nodes) > 1:
            self._world.cluster.remove_node(node_id)

    def _restart_deployment(self):
        self._world.delete("b")
        self._world.cluster.start_deployment(
            "b", number_of_allocations=self._rng.randint(1, MOST + 2)
        )

    def _toggle_adaptive(self):
        self._world.set_adaptive("a", enabled=self._rng.random() < 0.5, max_number_of_allocations=4)

    def _maintenance(self):
        self._world.cluster.upgrade_mode = self._rng.random() < 0.5

    def _licence(self):
        self._world.emulation.licence_expired = self._rng.random() < 0.3

    def _kill(self):
        self._world.kill()

    def _stop_load(self):
        self._world.emulation.stop_load(self._rng.choice(sorted(LOADS)))

    def _resume(self):
        for name in list(self._world.loop.state.stopped):
            self._world.loop.resume(name)

    FAULTS = (
        _fail_statistics,
        _fail_updates,
        _swallow,
        _crash,
        _leave_or_join,
        _restart_deployment,
        _toggle_adaptive,
        _maintenance,
        _licence,
    )
    ALL_FAULTS = (*FAULTS, _kill, _stop_load, _resume)


def _nothing(_chaos):
    pass


def chaotic(seed):
    deployed = [
        ScenarioDeployment(
            model_id=name, number_of_allocations=2, load=Steady(rate_per_s=rate, seed=seed)
        )
        for name, rate in LOADS.items()
    ]
    return scenario(
        *deployed,
        models=[ScenarioModel(model_id=name, service_time_s=0.05, load_s=8.0) for name in LOADS],
        nodes=[ScenarioNode(name=f"ml-{i}", processors=5) for i in (1, 2, 3)],
        seed=seed + 1,
    )


def is_within_bounds(body):
    adaptive = body.get("adaptive_allocations", {})
    sent = [
        body.get("number_of_allocations", 1),
        adaptive.get("min_number_of_allocations", 1),
        adaptive.get("max_number_of_allocations", MOST),
    ]
    return all(1 <= allocations <= MOST for allocations in sent)


@both_policies
@pytest.mark.parametrize("seed", range(5))
async def test_chaos(seed, built_in):
    rules = policy(rule(max_allocations=MOST, stabilisation_window_s=30.0))
    governed = with_policy(rules, built_in)
    async with world_of(chaotic(seed), governed) as world:
        chaos = Chaos(world, seed, Chaos.FAULTS)
        for _ in range(60):
            chaos.strike()
            await world.cycle()
        # The recorder has checked every plan; the updates were within bounds.
        assert all(1 <= update.allocations <= MOST for update in world.updates)
        chaos.end()
        await world.run_for(1200.0)
        (last,) = await world.cycles(1)
        assert set(last.kinds) == {OutcomeKind.UNCHANGED}
        for name, suitable in SUITABLE[built_in.name].items():
            assert world.requested(name) in suitable


@both_policies
@pytest.mark.parametrize("seed", [5])
@pytest.mark.parametrize(
    "options",
    [
        {"take_over": True},
        {"mode": Mode.BOUNDS},
        {"take_over": True, "zero": ScaleToZero(60.0, ZeroMethod.STOP)},
        {"mode": Mode.BOUNDS, "zero": ScaleToZero(60.0, ZeroMethod.STOP)},
    ],
    ids=["take_over", "bounds", "stop", "bounds and stop"],
)
async def test_chaos_with_changes_of_control_mode_and_stops(options, seed, built_in, tmp_path):
    rules = policy(rule(max_allocations=MOST, stabilisation_window_s=30.0, **options))
    governed = with_policy(rules, built_in)
    async with world_of(chaotic(seed), governed, state_dir=tmp_path) as world:
        chaos = Chaos(world, seed, Chaos.ALL_FAULTS)
        for _ in range(60):
            chaos.strike()
            await world.cycle()
        assert all(is_within_bounds(body) for body in world.bodies)
        chaos.end()
        world.kill()  # the next daemon has no control mode in effect
        await world.run_for(1200.0)
        (last,) = await world.cycles(1)
        assert set(last.kinds) == {OutcomeKind.UNCHANGED}
        for name, suitable in SUITABLE[built_in.name].items():
            assert last.decision(name).desired in suitable
            assert min(suitable) <= world.requested(name) <= MOST
