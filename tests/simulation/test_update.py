"""`_update`: the order of its checks, its combinations, and what a 200 changes."""

import pytest
from msgspec.structs import replace

from autoscaler.simulation.cluster import UNSET, AdaptivePatch, AdaptiveSettings
from autoscaler.simulation.errors import SimulatedApiError
from tests.simulation.worlds import after, cluster, targets


def settings(enabled: bool, minimum: int | None = None, maximum: int | None = None):
    return AdaptiveSettings(
        enabled=enabled, min_number_of_allocations=minimum, max_number_of_allocations=maximum
    )


ENABLED = settings(True, 1, 5)
DISABLED = settings(False, None, 5)


def started(stored=None, version="9.3", priority="normal", **other):
    world = cluster(version=version, **other)
    deployment = world.start_deployment("acme", adaptive=stored, priority=priority)
    return after(world, 3.0), deployment


def refused(world, deployment_id="acme", **change) -> SimulatedApiError:
    with pytest.raises(SimulatedApiError) as refusal:
        world.update_deployment(deployment_id, **change)
    return refusal.value


ALLOCATIONS = {"number_of_allocations": 3}


@pytest.mark.parametrize("stored", [None, DISABLED])
@pytest.mark.parametrize(
    ("change", "allocations", "adaptive"),
    [
        (ALLOCATIONS, 3, "stored"),
        ({**ALLOCATIONS, "adaptive": AdaptivePatch(enabled=False)}, 3, {"enabled": False}),
        ({"adaptive": AdaptivePatch(enabled=True)}, 1, {"enabled": True}),
        ({"adaptive": AdaptivePatch(enabled=False)}, 1, {"enabled": False}),
        (
            {"adaptive": AdaptivePatch(min_number_of_allocations=2)},
            1,
            {"min_number_of_allocations": 2},
        ),
        (
            {"adaptive": AdaptivePatch(max_number_of_allocations=None)},
            1,
            {"max_number_of_allocations": None},
        ),
        ({"adaptive": None}, 1, None),
        ({}, 1, "stored"),
    ],
)
def test_without_adaptive_allocations(stored, change, allocations, adaptive):
    world, deployment = started(stored)
    world.update_deployment("acme", **change)
    assert deployment.requested == allocations
    if adaptive == "stored":
        assert deployment.adaptive == stored
    elif adaptive is None:
        assert deployment.adaptive is None
    else:
        fields = ("enabled", "min_number_of_allocations", "max_number_of_allocations")
        for name in fields:
            assert getattr(deployment.adaptive, name) == adaptive.get(
                name, getattr(stored, name, None)
            )


@pytest.mark.parametrize(
    ("change", "allocations", "adaptive"),
    [
        (
            {**ALLOCATIONS, "adaptive": AdaptivePatch(enabled=False)},
            3,
            settings(False, 1, 5),
        ),
        (
            {"adaptive": AdaptivePatch(enabled=True, max_number_of_allocations=7)},
            1,
            AdaptiveSettings(
                enabled=True, min_number_of_allocations=1, max_number_of_allocations=7
            ),
        ),
        (
            {"adaptive": AdaptivePatch(enabled=False)},
            1,
            settings(False, 1, 5),
        ),
        (
            {"adaptive": AdaptivePatch(min_number_of_allocations=2)},
            1,
            AdaptiveSettings(
                enabled=True, min_number_of_allocations=2, max_number_of_allocations=5
            ),
        ),
        (
            {"adaptive": AdaptivePatch(max_number_of_allocations=None)},
            1,
            settings(True, 1),
        ),
        ({"adaptive": None}, 1, None),
        ({**ALLOCATIONS, "adaptive": None}, 3, None),
        ({}, 1, ENABLED),
        ({"adaptive": UNSET}, 1, ENABLED),
    ],
)
def test_with_adaptive_allocations(change, allocations, adaptive):
    world, deployment = started(ENABLED)
    world.update_deployment("acme", **change)
    assert (deployment.requested, deployment.adaptive) == (allocations, adaptive)


def test_allocations_are_refused_while_adaptive_allocations_are_enabled():
    world, deployment = started(ENABLED)
    error = refused(world, **ALLOCATIONS)
    assert (error.status, error.type) == (400, "validation_exception")
    assert "cannot be set if adaptive allocations is enabled" in error.reason
    assert (
        refused(world, number_of_allocations=1).status == 400
    )  # even with the current allocations
    assert deployment.requested == 1


@pytest.mark.parametrize("stored", [None, ENABLED])
def test_allocations_and_enabling_in_one_request_are_refused(stored):
    world, _ = started(stored)
    error = refused(world, **ALLOCATIONS, adaptive=AdaptivePatch(enabled=True))
    assert (error.status, error.type) == (400, "action_request_validation_exception")


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"number_of_allocations": 0}, "[number_of_allocations] must be a positive integer"),
        ({"adaptive": AdaptivePatch(min_number_of_allocations=-2)}, "[min_number_of_allocations]"),
        ({"adaptive": AdaptivePatch(max_number_of_allocations=0)}, "[max_number_of_allocations]"),
        (
            {"adaptive": AdaptivePatch(min_number_of_allocations=3, max_number_of_allocations=2)},
            "must not be larger than",
        ),
    ],
)
def test_invalid_parameters_are_refused_before_the_lookup(change, fragment):
    error = refused(cluster(), "unknown", **change)
    assert (error.status, error.type) == (400, "action_request_validation_exception")
    assert fragment in error.reason


@pytest.mark.parametrize("null", [None, -1])
def test_a_null_clears_a_bound(null):
    """The API writes -1 for an explicit null, and accepts it as one."""
    world, deployment = started(ENABLED)
    world.update_deployment("acme", adaptive=AdaptivePatch(min_number_of_allocations=null))
    assert deployment.adaptive == replace(ENABLED, min_number_of_allocations=None)


def test_bounds_that_contradict_the_stored_ones_are_refused():
    world, deployment = started(ENABLED)
    error = refused(world, adaptive=AdaptivePatch(min_number_of_allocations=6))
    assert (error.status, error.type) == (400, "action_request_validation_exception")
    assert deployment.adaptive == ENABLED


def test_an_unknown_deployment_is_not_found():
    error = refused(cluster(), "unknown", **ALLOCATIONS)
    assert (error.status, error.type) == (404, "resource_not_found_exception")
    assert "No known model deployment with id [unknown]" in error.reason


def test_deployments_of_endpoints_are_refused_by_later_versions():
    world, _ = started()
    world.inference_endpoints.add("acme")
    error = refused(world, **ALLOCATIONS)
    assert (error.status, error.type) == (409, "status_exception")
    assert "created by inference endpoint" in error.reason
    assert "must be updated through the inference API" in error.reason
    old, deployment = started(version="8.19")
    old.inference_endpoints.add("acme")
    old.update_deployment("acme", **ALLOCATIONS)
    assert deployment.requested == 3


def test_the_owner_is_checked_before_the_deployment():
    world = cluster()
    world.inference_endpoints.add("unknown")
    assert refused(world, "unknown", **ALLOCATIONS).status == 409


def test_low_priority_stays_at_one_in_later_versions():
    world, _ = started(priority="low")
    error = refused(world, **ALLOCATIONS)
    assert (error.status, error.type) == (400, "validation_exception")
    assert "must be 1 when [priority] is low" in error.reason
    old, deployment = started(priority="low", version="8.18")
    old.update_deployment("acme", **ALLOCATIONS)
    assert deployment.requested == 3


def test_an_update_needs_a_started_deployment_unless_nothing_changes():
    world = cluster()
    world.start_deployment("acme", adaptive=DISABLED)
    world.update_deployment("acme", number_of_allocations=1)
    world.update_deployment(
        "acme", adaptive=AdaptivePatch(enabled=False, max_number_of_allocations=5)
    )
    world.update_deployment("acme")
    # The raw patch is compared: what it leaves out counts as null.
    for change in (ALLOCATIONS, {"adaptive": AdaptivePatch(enabled=False)}):
        error = refused(world, **change)
        assert (error.status, error.type) == (409, "status_exception")
        assert "not in [started] state" in error.reason


def test_an_excessive_update_is_refused_on_fixed_hardware():
    world, deployment = started()
    error = refused(world, number_of_allocations=9)
    assert (error.status, error.type) == (429, "status_exception")
    assert "not enough resources to provide all requested allocations" in error.reason
    assert (deployment.requested, targets(deployment)) == (1, {"a": 1})
    world.update_deployment("acme", number_of_allocations=8)
    assert targets(deployment) == {"a": 4, "b": 4}


def test_a_refused_update_changes_no_setting():
    world, deployment = started(ENABLED)
    refused(world, number_of_allocations=99, adaptive=AdaptivePatch(enabled=False))
    assert deployment.adaptive == ENABLED


def test_an_excessive_update_is_executed_in_part_on_growing_hardware():
    world, deployment = started(can_grow=True)
    world.update_deployment("acme", number_of_allocations=9)
    assert (deployment.requested, targets(deployment)) == (9, {"a": 4, "b": 4})
    assert "insufficient allocated processors" in deployment.reason
    world.update_deployment("acme", number_of_allocations=8)
    assert (deployment.reason, targets(deployment)) == (None, {"a": 4, "b": 4})


def test_a_decrease_above_the_placed_allocations_changes_only_the_request():
    world, deployment = started(can_grow=True)
    world.update_deployment("acme", number_of_allocations=12)
    world.update_deployment("acme", number_of_allocations=9)
    assert (deployment.requested, targets(deployment)) == (9, {"a": 4, "b": 4})
    assert deployment.reason


def test_only_an_internal_update_removes_the_last_allocation():
    world, deployment = started(ENABLED)
    world.update_deployment("acme", number_of_allocations=0, internal=True)
    after(world, 1.0)
    assert (deployment.routes, deployment.state) == ({}, "started")
    assert deployment.allocation_state() == "fully_allocated"


def test_a_target_is_in_the_state_at_once_and_takes_effect_later():
    world, deployment = started()
    world.update_deployment("acme", number_of_allocations=3)
    route = deployment.routes["a"]
    assert (route.target_allocations, route.current_allocations) == (3, 1)
    assert (deployment.running, deployment.allocation_state()) == (1, "started")
    after(world, 1.0)
    assert (deployment.running, deployment.allocation_state()) == (3, "fully_allocated")
    assert route.counters(world.now).allocations == 3
    world.update_deployment("acme", number_of_allocations=2)
    assert deployment.running == 3
    after(world, 1.0)
    assert (deployment.running, deployment.max_assigned_allocations) == (2, 3)


def test_growth_in_place_waits_while_another_node_loads():
    world, deployment = started()
    world.update_deployment("acme", number_of_allocations=6)
    route = deployment.routes["a"]
    after(world, 2.0)
    assert (route.target_allocations, route.current_allocations) == (4, 1)
    assert deployment.routes["b"].state == "starting"
    after(world, 0.6)
    assert deployment.routes["b"].state == "started"
    assert deployment.running == 3
    after(world, 0.5)
    assert deployment.running == 6


def test_a_decrease_may_remove_a_node_with_its_counters():
    world, deployment = started(version="8.19")
    world.update_deployment("acme", number_of_allocations=6)
    after(world, 5.0)
    assert targets(deployment) == {"a": 4, "b": 2}
    world.update_deployment("acme", number_of_allocations=4)
    assert list(deployment.routes) == ["a"]


def test_another_deployment_short_of_room_grows_when_one_stops():
    world, _ = started(can_grow=True)
    world.start_deployment("other", number_of_allocations=8)
    assert sum(targets(world.deployments["other"]).values()) == 7
    after(world, 10.0)
    world.stop_deployment("acme")
    assert sum(targets(world.deployments["other"]).values()) == 8
    assert world.deployments["other"].reason is None
