"""What an inference endpoint owns: changed through it where that can be, and never stopped."""

from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from autoscaler.connection import Basic
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from autoscaler.core.values import Mode, OutcomeKind
from autoscaler.simulation.emulator.emulation import InferenceEndpoint
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    Account,
    Adaptive,
    ScenarioDeployment,
    ScenarioEndpoint,
    SecuritySettings,
)
from tests.end_to_end.test_modes import BOUNDS, NATIVE, TAKES_OVER, body, native_of
from tests.end_to_end.world import scenario, world_of
from tests.observations import policy, rule

DEPLOYMENT = "/_ml/trained_models/a/deployment/_update"
ENDPOINT = "/_inference/text_embedding/a/_update"
STOP = "/_ml/trained_models/a/deployment/_stop"

WITHOUT_UPDATE = ("8.12", "8.16")
NUMBER_ONLY = ("8.19", "9.1")
BOTH_LEVERS = ("9.3",)
WITH_ENDPOINTS = (*WITHOUT_UPDATE, *NUMBER_ONLY, *BOTH_LEVERS)

AFTER_S = 120.0
SLEEPY = rule(zero=ScaleToZero(AFTER_S, ZeroMethod.STOP))

ROLES = {
    "both": ["manage_ml", "monitor", "manage_inference"],
    "looks": ["manage_ml", "monitor", "monitor_inference"],
    "neither": ["manage_ml"],
}


@asynccontextmanager
async def owned(version, *rules, role="both", rate_per_s=50.0, native=None, **given):
    """One deployment, `a`, that the endpoint `a` has made, and a daemon with these privileges."""
    deployed = ScenarioDeployment(
        model_id="a",
        adaptive_allocations=native,
        load=Steady(rate_per_s=rate_per_s) if rate_per_s else None,
    )
    account = Account(username="scaler", password="secret", roles=[role])
    wanted = scenario(
        deployed,
        version=version,
        endpoints=[ScenarioEndpoint(inference_id="a")],
        security=SecuritySettings(accounts=[account], roles=ROLES),
    )
    auth = Basic("scaler", "secret")
    async with world_of(wanted, policy(*rules), auth=auth, **given) as world:
        yield world


def through_endpoint(**service_settings):
    return {"service_settings": service_settings}


def bounds(low, high):
    return {
        "enabled": True,
        "min_number_of_allocations": low,
        "max_number_of_allocations": high,
    }


def asked(world):
    return [(each.path, each.body) for each in world.asked]


# The number


@pytest.mark.parametrize("version", WITHOUT_UPDATE)
async def test_before_8_17_the_number_is_set_as_anybody_elses(version):
    async with owned(version, rule()) as world:
        await world.cycles(12)
        assert world.requested("a") == 4
        assert asked(world)[-1] == (DEPLOYMENT, body(number=4))
        assert len(world.updates) == 1


@pytest.mark.parametrize("version", [*NUMBER_ONLY, *BOTH_LEVERS])
async def test_later_the_number_is_set_through_the_endpoint(version):
    async with owned(version, rule()) as world:
        await world.cycles(12)
        assert world.requested("a") == 4
        assert asked(world) == [(ENDPOINT, through_endpoint(num_allocations=4))]


# Bounds, and taking over


@pytest.mark.parametrize("version", ["8.16", *NUMBER_ONLY])
async def test_before_9_2_bounds_are_set_as_anybody_elses(version):
    async with owned(version, BOUNDS) as world:
        await world.cycles(12)
        assert native_of(world) == (4, 8)
        assert asked(world)[-1] == (DEPLOYMENT, body(native=True, low=4, high=8))
        assert len(world.asked) <= 2


@pytest.mark.parametrize("version", [*BOTH_LEVERS, "serverless"])
async def test_later_bounds_are_set_through_the_endpoint(version):
    async with owned(version, BOUNDS) as world:
        await world.cycles(12)
        assert native_of(world) == (4, 8)
        assert {path for path, _ in asked(world)} == {ENDPOINT}
        assert asked(world)[-1][1] == through_endpoint(adaptive_allocations=bounds(4, 8))


@pytest.mark.parametrize("version", ["8.16", *NUMBER_ONLY, *BOTH_LEVERS])
async def test_it_is_taken_over_and_never_left_without_a_scaler_and_a_number(version):
    async with owned(version, TAKES_OVER, native=NATIVE) as world:
        await world.cycles(12)
        assert (world.requested("a"), native_of(world)) == (4, None)
        assert len(world.asked) <= 2
        if version in BOTH_LEVERS:
            off = through_endpoint(adaptive_allocations={"enabled": False})
            number = through_endpoint(num_allocations=4)
            assert asked(world) == [(ENDPOINT, off), (ENDPOINT, number)]


async def test_if_the_second_half_of_taking_over_is_lost_the_next_cycle_does_it():
    async with owned("9.3", TAKES_OVER, native=NATIVE) as world:
        surprises = world.faults.surprises

        def is_lost():
            world.fail(ENDPOINT, status=503, calls=None)

        surprises[ENDPOINT] = lambda: surprises.update({ENDPOINT: is_lost})
        await world.run_until(lambda cycle: cycle.kind("a") is OutcomeKind.UNKNOWN)
        assert native_of(world) is None
        world.faults.clear()
        await world.cycles(8)
        assert (world.requested("a"), native_of(world)) == (4, None)


@pytest.mark.parametrize("version", ["8.16", *NUMBER_ONLY, *BOTH_LEVERS])
@pytest.mark.parametrize("on_exit", [OnExit.ADAPTIVE, OnExit.FLOOR])
async def test_it_is_handed_back(version, on_exit):
    governed = rule(on_exit=on_exit, safe_allocations=6, max_allocations=8)
    async with owned(version, governed) as world:
        await world.cycles(6)
        (handed_back,) = await world.hand_back()
        assert handed_back.kind is OutcomeKind.ACCEPTED
        if on_exit is OnExit.ADAPTIVE:
            assert native_of(world) == (1, 8)
        else:
            assert (world.requested("a"), native_of(world)) == (6, None)


# Without the privilege


@pytest.mark.parametrize("role", ["looks", "neither"])
@pytest.mark.parametrize("version", BOTH_LEVERS)
async def test_without_the_privilege_it_is_left_alone_and_the_privilege_is_named(version, role):
    async with owned(version, role=role, rate_per_s=20.0, poll_s=60.0) as world:
        world.loop.ruleset = replace(policy(rule()), max_interval_s=360.0)
        cycles = await world.run_for(3500.0)
        (refused,) = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.ENDPOINT_OWNED]
        assert "needs the cluster privilege manage_inference; grant it to scaler" in refused.detail
        assert len(world.asked) == 1
        assert world.requested("a") == 1


@pytest.mark.parametrize("version", NUMBER_ONLY)
async def test_where_the_endpoint_may_not_be_changed_nothing_is_half_done(version):
    async with owned(version, role="looks", rate_per_s=20.0) as world:
        cycles = await world.cycles(12)
        (refused,) = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.ENDPOINT_OWNED]
        assert "manage_inference" in refused.detail
        assert asked(world) == [(ENDPOINT, through_endpoint(num_allocations=2))]
        assert world.requested("a") == 1


@pytest.mark.parametrize("version", [*WITHOUT_UPDATE, *NUMBER_ONLY])
async def test_where_endpoints_are_not_even_seen_the_deployment_is_changed_as_it_may_be(version):
    async with owned(version, role="neither") as world:
        await world.cycles(12)
        assert asked(world) == [(DEPLOYMENT, body(number=4))]


# Never stopped


@pytest.mark.parametrize("version", [*WITH_ENDPOINTS, "serverless"])
async def test_it_is_never_stopped_and_it_is_said_why(version):
    mode = Mode.BOUNDS if version == "serverless" else Mode.DIRECT
    async with owned(version, replace(SLEEPY, mode=mode), rate_per_s=0.0) as world:
        cycles = await world.run_for(AFTER_S + 100.0)
        told = "it has to stay: it belongs to the inference endpoint a"
        assert told in cycles[-1].words("a")
        assert STOP not in [path for path, _ in asked(world)]


@pytest.mark.parametrize("version", WITH_ENDPOINTS)
async def test_nor_if_nobody_may_tell_whose_it_is(version, tmp_path):
    path = tmp_path / "asleep.json"
    async with owned(version, SLEEPY, role="neither", rate_per_s=0.0, state_file=path) as world:
        cycles = await world.run_for(AFTER_S + 300.0)
        (refused,) = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.ENDPOINT_OWNED]
        assert "grant monitor_inference to scaler" in refused.detail
        assert STOP not in [path for path, _ in asked(world)]


@pytest.mark.parametrize("version", WITH_ENDPOINTS)
async def test_nor_if_it_has_got_an_owner_the_moment_before(version, tmp_path):
    path = tmp_path / "asleep.json"
    governed = policy(replace(SLEEPY, zero=ScaleToZero(150.0, ZeroMethod.STOP)))
    wanted = scenario(ScenarioDeployment(model_id="a"), version=version)
    async with world_of(wanted, governed, state_file=path) as world:
        await world.run_for(130.0)  # owners have been asked for ten seconds before
        world.emulation.add_endpoint(InferenceEndpoint(inference_id="a", model_id="a"))
        cycle = await world.run_until(lambda cycle: cycle.decision("a").changes)
        assert cycle.kind("a") is OutcomeKind.ENDPOINT_OWNED
        assert "inference endpoint a owns it" in cycle.outcome("a").detail
        assert "a" in world.cluster.deployments
        assert STOP not in [path for path, _ in asked(world)]


@pytest.mark.parametrize("version", ["8.16", *NUMBER_ONLY, *BOTH_LEVERS])
async def test_the_clusters_scaler_may_have_it_come_down_where_that_is_safe(version):
    governed = replace(BOUNDS, zero=ScaleToZero(AFTER_S, ZeroMethod.ADAPTIVE))
    async with owned(version, governed, rate_per_s=0.0) as world:
        cycles = await world.run_for(AFTER_S + 60.0)
        if version == "9.1":
            assert native_of(world) == (1, 8)
            assert "it has to stay" in cycles[-1].words("a")
        else:
            assert native_of(world) == (0, 8)


async def test_one_that_is_only_attached_is_a_deployment_like_any_other():
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
        assert asked(world) == [(DEPLOYMENT, body(number=4, native=False))]
