"""Defects of some versions that clients have to handle."""

import pytest

from autoscaler.simulation.cluster import AdaptiveSettings
from autoscaler.simulation.errors import SimulatedApiError
from tests.simulation.worlds import after, cluster

TO_ZERO = AdaptiveSettings(enabled=True, min_number_of_allocations=0)


def at_zero(version: str, **names):
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
    world, _ = at_zero(version)
    world.start_deployment("other")
    assert ("acme" in world.deployments) is kept
    assert "other" in world.deployments


@pytest.mark.parametrize(
    ("version", "kept"),
    [("8.16", False), ("8.19.14", False), ("9.3.4", False), ("9.3.5", True), ("9.4", True)],
)
def test_the_shutdown_of_a_node_deletes_those_at_zero(version, kept):
    world, _ = at_zero(version)
    world.remove_node(next(iter(world.nodes)))
    assert ("acme" in world.deployments) is kept


def test_deployments_above_zero_are_kept():
    world = cluster(version="9.1")
    world.start_deployment("acme", adaptive=TO_ZERO)
    world.start_deployment("other")
    assert set(world.deployments) == {"acme", "other"}


def test_a_refused_start_deletes_nothing():
    world, _ = at_zero("9.1")
    with pytest.raises(SimulatedApiError, match="not enough resources"):
        world.start_deployment("other", number_of_allocations=99)
    assert set(world.deployments) == {"acme"}


@pytest.mark.parametrize("version", ["8.16", "8.19", "9.1", "9.3"])
def test_a_request_by_model_id_scales_up_a_deployment_but_is_refused(version):
    world, deployment = at_zero(version, deployment_id="acme-two")
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


def test_a_request_by_deployment_id_waits_for_the_first_allocation():
    world, deployment = at_zero("9.3", deployment_id="acme-two")
    (request,) = world.infer("acme-two")
    after(world, 9.0)
    assert (deployment.requested, request.state) == (1, "completed")
