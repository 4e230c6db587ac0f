"""Deployments of inference endpoints: updated through the endpoint if possible, never stopped."""

from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from autoscaler.connection import Basic
from autoscaler.core.decision import Mode, OutcomeKind
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from autoscaler.simulation.emulator.emulation import InferenceEndpoint
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    Account,
    Adaptive,
    ScenarioDeployment,
    ScenarioEndpoint,
    SecuritySettings,
)
from tests.end_to_end.test_modes import BOUNDS, ENABLED, TAKES_OVER, adaptive_of, body
from tests.end_to_end.world import scenario, world_of
from tests.observations import policy, polled_every, rule

DEPLOYMENT = "/_ml/trained_models/a/deployment/_update"
ENDPOINT = "/_inference/text_embedding/a/_update"
STOP = "/_ml/trained_models/a/deployment/_stop"

WITHOUT_UPDATE = ("8.12", "8.16")
ALLOCATIONS_ONLY = ("8.19", "9.1")
BOTH_MODES = ("9.3",)
WITH_ENDPOINTS = (*WITHOUT_UPDATE, *ALLOCATIONS_ONLY, *BOTH_MODES)

AFTER_S = 120.0
STOPPING = rule(zero=ScaleToZero(AFTER_S, ZeroMethod.STOP))

ROLES = {
    "both": ["manage_ml", "monitor", "manage_inference"],
    "monitor": ["manage_ml", "monitor", "monitor_inference"],
    "neither": ["manage_ml"],
}


@asynccontextmanager
async def owned(version, *rules, role="both", rate_per_s=50.0, adaptive=None, **given):
    """One deployment, `a`, created by the endpoint `a`, and a daemon with these privileges."""
    deployed = ScenarioDeployment(
        model_id="a",
        adaptive_allocations=adaptive,
        load=Steady(rate_per_s=rate_per_s) if rate_per_s else None,
    )
    account = Account(username="scaler", password="secret", roles=[role])
    simulated = scenario(
        deployed,
        version=version,
        endpoints=[ScenarioEndpoint(inference_id="a")],
        security=SecuritySettings(accounts=[account], roles=ROLES),
    )
    auth = Basic("scaler", "secret")
    async with world_of(simulated, policy(*rules), auth=auth, **given) as world:
        yield world


def through_endpoint(**service_settings):
    return {"service_settings": service_settings}


def bounds(low, high):
    return {
        "enabled": True,
        "min_number_of_allocations": low,
        "max_number_of_allocations": high,
    }


def sent(world):
    return [(each.path, each.body) for each in world.sent]


# Allocations


@pytest.mark.parametrize("version", WITHOUT_UPDATE)
async def test_before_8_17_allocations_are_set_directly(version):
    async with owned(version, rule()) as world:
        await world.cycles(12)
        assert world.requested("a") == 4
        assert sent(world)[-1] == (DEPLOYMENT, body(allocations=4))
        assert len(world.updates) == 1


@pytest.mark.parametrize("version", [*ALLOCATIONS_ONLY, *BOTH_MODES])
async def test_from_8_17_allocations_are_set_through_the_endpoint(version):
    async with owned(version, rule()) as world:
        await world.cycles(12)
        assert world.requested("a") == 4
        assert sent(world) == [(ENDPOINT, through_endpoint(num_allocations=4))]


# Bounds, and take-over


@pytest.mark.parametrize("version", ["8.16", *ALLOCATIONS_ONLY])
async def test_before_9_2_bounds_are_set_directly(version):
    async with owned(version, BOUNDS) as world:
        await world.cycles(12)
        assert adaptive_of(world) == (4, 8)
        assert sent(world)[-1] == (DEPLOYMENT, body(adaptive=True, low=4, high=8))
        assert len(world.sent) <= 2


@pytest.mark.parametrize("version", [*BOTH_MODES, "serverless"])
async def test_from_9_2_bounds_are_set_through_the_endpoint(version):
    async with owned(version, BOUNDS) as world:
        await world.cycles(12)
        assert adaptive_of(world) == (4, 8)
        assert {path for path, _ in sent(world)} == {ENDPOINT}
        assert sent(world)[-1][1] == through_endpoint(adaptive_allocations=bounds(4, 8))


@pytest.mark.parametrize("version", ["8.16", *ALLOCATIONS_ONLY, *BOTH_MODES])
async def test_take_over_disables_adaptive_allocations_and_sets_allocations(version):
    async with owned(version, TAKES_OVER, adaptive=ENABLED) as world:
        await world.cycles(12)
        assert (world.requested("a"), adaptive_of(world)) == (4, None)
        assert len(world.sent) <= 2
        if version in BOTH_MODES:
            off = through_endpoint(adaptive_allocations={"enabled": False})
            four = through_endpoint(num_allocations=4)
            assert sent(world) == [(ENDPOINT, off), (ENDPOINT, four)]


async def test_a_take_over_that_fails_half_way_is_completed_in_the_next_cycle():
    async with owned("9.3", TAKES_OVER, adaptive=ENABLED) as world:
        callbacks = world.faults.callbacks

        def lose_the_next():
            world.fail(ENDPOINT, status=503, calls=None)

        callbacks[ENDPOINT] = lambda: callbacks.update({ENDPOINT: lose_the_next})
        await world.run_until(lambda cycle: cycle.kind("a") is OutcomeKind.UNKNOWN)
        assert adaptive_of(world) is None
        world.faults.clear()
        await world.cycles(8)
        assert (world.requested("a"), adaptive_of(world)) == (4, None)


@pytest.mark.parametrize("version", ["8.16", *ALLOCATIONS_ONLY, *BOTH_MODES])
@pytest.mark.parametrize("on_exit", [OnExit.ADAPTIVE, OnExit.FLOOR])
async def test_it_is_released(version, on_exit):
    governed = rule(on_exit=on_exit, safe_allocations=6, max_allocations=8)
    async with owned(version, governed) as world:
        await world.cycles(6)
        (result,) = await world.release()
        assert result.kind is OutcomeKind.ACCEPTED
        if on_exit is OnExit.ADAPTIVE:
            assert adaptive_of(world) == (1, 8)
        else:
            assert (world.requested("a"), adaptive_of(world)) == (6, None)


# Without the privilege


@pytest.mark.parametrize("role", ["monitor", "neither"])
@pytest.mark.parametrize("version", BOTH_MODES)
async def test_without_the_privilege_it_is_held_and_the_privilege_is_named(version, role):
    async with owned(version, role=role, rate_per_s=20.0, poll_s=60.0) as world:
        world.loop.ruleset = polled_every(policy(rule(), longest_interval_s=360.0), 60.0)
        cycles = await world.run_for(3500.0)
        (refused,) = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.ENDPOINT_OWNED]
        assert "needs the cluster privilege manage_inference; grant it to scaler" in refused.detail
        assert len(world.sent) == 1
        assert world.requested("a") == 1


@pytest.mark.parametrize("version", ALLOCATIONS_ONLY)
async def test_without_the_privilege_no_update_is_half_done(version):
    async with owned(version, role="monitor", rate_per_s=20.0) as world:
        cycles = await world.cycles(12)
        (refused,) = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.ENDPOINT_OWNED]
        assert "manage_inference" in refused.detail
        assert sent(world) == [(ENDPOINT, through_endpoint(num_allocations=2))]
        assert world.requested("a") == 1


@pytest.mark.parametrize("version", [*WITHOUT_UPDATE, *ALLOCATIONS_ONLY])
async def test_if_endpoints_cannot_be_listed_the_deployment_is_updated_directly(version):
    async with owned(version, role="neither") as world:
        await world.cycles(12)
        assert sent(world) == [(DEPLOYMENT, body(allocations=4))]


# Never stopped


@pytest.mark.parametrize("version", [*WITH_ENDPOINTS, "serverless"])
async def test_it_is_never_stopped_and_the_reason_is_reported(version):
    mode = Mode.BOUNDS if version == "serverless" else Mode.DIRECT
    async with owned(version, replace(STOPPING, mode=mode), rate_per_s=0.0) as world:
        cycles = await world.run_for(AFTER_S + 100.0)
        assert "inference endpoint a" in cycles[-1].text("a")
        assert STOP not in [path for path, _ in sent(world)]


@pytest.mark.parametrize("version", WITH_ENDPOINTS)
async def test_nor_if_its_owner_is_unknown(version, tmp_path):
    path = tmp_path / "stopped.json"
    async with owned(version, STOPPING, role="neither", rate_per_s=0.0, state_dir=path) as world:
        cycles = await world.run_for(AFTER_S + 300.0)
        assert "scaler lacks the cluster privilege monitor_inference" in cycles[-1].text("a")
        assert not world.sent


@pytest.mark.parametrize("version", WITH_ENDPOINTS)
async def test_nor_if_an_endpoint_has_just_become_its_owner(version, tmp_path):
    path = tmp_path / "stopped.json"
    governed = policy(replace(STOPPING, zero=ScaleToZero(150.0, ZeroMethod.STOP)))
    simulated = scenario(ScenarioDeployment(model_id="a"), version=version)
    async with world_of(simulated, governed, state_dir=path) as world:
        await world.run_for(130.0)  # the owners were read ten seconds before
        world.emulation.add_endpoint(InferenceEndpoint(inference_id="a", model_id="a"))
        cycle = await world.run_until(lambda cycle: cycle.decision("a").changes)
        assert cycle.kind("a") is OutcomeKind.ENDPOINT_OWNED
        assert "inference endpoint" in cycle.outcome("a").detail
        assert "a" in world.cluster.deployments
        assert STOP not in [path for path, _ in sent(world)]


@pytest.mark.parametrize("version", ["8.16", *ALLOCATIONS_ONLY, *BOTH_MODES, "9.4"])
async def test_adaptive_allocations_scale_it_to_zero_where_that_is_safe(version):
    governed = replace(BOUNDS, zero=ScaleToZero(AFTER_S, ZeroMethod.ADAPTIVE))
    async with owned(version, governed, rate_per_s=0.0) as world:
        cycles = await world.run_for(AFTER_S + 60.0)
        if version == "9.4":
            assert adaptive_of(world) == (0, 8)
        else:
            assert adaptive_of(world) == (1, 8)
            assert "146806" in cycles[-1].text("a")


async def test_a_deployment_that_an_endpoint_only_uses_is_updated_directly():
    deployed = ScenarioDeployment(
        model_id="a",
        load=Steady(rate_per_s=50.0),
        adaptive_allocations=Adaptive(enabled=True, max_number_of_allocations=2),
    )
    attached = [ScenarioEndpoint(inference_id="mine", deployment_id="a")]
    async with world_of(
        scenario(deployed, version="9.3", endpoints=attached), policy(TAKES_OVER)
    ) as world:
        await world.cycles(6)
        assert sent(world) == [(DEPLOYMENT, body(allocations=4, adaptive=False))]
