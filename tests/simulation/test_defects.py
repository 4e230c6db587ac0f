"""What some versions do wrong, and what a client of them has to live with."""

import pytest

from autoscaler.simulation.cluster import AdaptiveSettings
from autoscaler.simulation.errors import SimulatedApiError
from tests.simulation.worlds import after, cluster

TO_ZERO = AdaptiveSettings(enabled=True, min_number_of_allocations=0)


def asleep(version: str, **names):
    """A cluster with one deployment of `acme`, at zero."""
    world = cluster(version=version)
    deployment = world.start_deployment("acme", adaptive=TO_ZERO, **names)
    after(world, 5.0)
    world.update_deployment(deployment.deployment_id, number_of_allocations=0, internal=True)
    return after(world, 5.0), deployment


@pytest.mark.parametrize(
    ("version", "kept"),
    [("8.16", True), ("9.0", True), ("9.1", False), ("9.2.4", False), ("9.3", True)],
)
def test_starting_a_deployment_deletes_those_at_zero(version, kept):
    world, _ = asleep(version)
    world.start_deployment("other")
    assert ("acme" in world.deployments) is kept
    assert "other" in world.deployments


def test_what_is_not_at_zero_survives_that():
    world = cluster(version="9.1")
    world.start_deployment("acme", adaptive=TO_ZERO)
    world.start_deployment("other")
    assert set(world.deployments) == {"acme", "other"}


def test_neither_does_a_start_that_is_refused_delete_anything():
    world, _ = asleep("9.1")
    with pytest.raises(SimulatedApiError, match="not enough resources"):
        world.start_deployment("other", number_of_allocations=99)
    assert set(world.deployments) == {"acme"}


@pytest.mark.parametrize("version", ["8.16", "8.19", "9.1", "9.3"])
def test_who_asks_by_the_model_wakes_a_deployment_of_another_name_but_is_refused(version):
    world, deployment = asleep(version, deployment_id="acme-two")
    with pytest.raises(SimulatedApiError, match="model assignment has been removed") as refusal:
        world.infer("acme")
    assert refusal.value.status == 409
    assert deployment.requested == 1
    with pytest.raises(SimulatedApiError, match="has been removed"):
        world.infer("acme")  # while it loads
    after(world, 10.0)
    (request,) = world.infer("acme")
    after(world, 2.0)
    assert request.state == "completed"


def test_who_asks_by_its_own_name_waits_until_it_is_awake():
    world, deployment = asleep("9.3", deployment_id="acme-two")
    (request,) = world.infer("acme-two")
    after(world, 9.0)
    assert (deployment.requested, request.state) == (1, "completed")
