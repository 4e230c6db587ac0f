"""Adaptive allocations on a simulated cluster: input, conditions and decisions."""

from itertools import takewhile

import pytest
from msgspec.structs import replace

from autoscaler.simulation.adaptive_allocations_service import (
    NodeSample,
    interval_between,
    sample_of,
)
from autoscaler.simulation.cluster import AdaptivePatch, AdaptiveSettings
from tests.simulation.worlds import after, cluster, load, model, node


def adaptive(world, minimum=None, maximum=None):
    settings = AdaptiveSettings(
        enabled=True, min_number_of_allocations=minimum, max_number_of_allocations=maximum
    )
    return world.start_deployment("acme", adaptive=settings)


def test_increases_are_counted_and_decreases_are_not():
    before = {"a": NodeSample(100, 3, 0, 5000), "b": NodeSample(10, 9, 0, 500)}
    now = {"a": NodeSample(140, 7, 2, 7000), "b": NodeSample(20, 1, 0, 1500)}
    interval = interval_between(before, now, 10.0)
    assert (interval.success, interval.in_flight, interval.failed) == (50, 4, 2)
    assert interval.inference_time_s == pytest.approx(0.06)


def test_a_new_node_is_not_counted():
    assert interval_between({}, {"a": NodeSample(100)}, 10.0) is None
    new = {"a": NodeSample(1, inference_ms=50), "b": NodeSample(9, inference_ms=9)}
    both = interval_between({"a": NodeSample()}, new, 10.0)
    assert (both.success, both.inference_time_s) == (1, 0.05)


def test_one_idle_node_leaves_the_inference_time_undefined():
    before = {"a": NodeSample(), "b": NodeSample()}
    now = {"a": NodeSample(10, inference_ms=500), "b": NodeSample()}
    interval = interval_between(before, now, 10.0)
    assert (interval.success, interval.inference_time_s) == (10, None)


def test_a_node_that_loads_counts_with_zeros():
    """So the first requests of a new process count, and while it loads no time is measured."""
    assert sample_of(None) == NodeSample()
    world = cluster(node("a", processors=8), models=(model(load_s=25.0),))
    deployment = adaptive(world, 1, 8)
    world.drive("acme", load(world, 30.0))
    # Ready after 25 s; the scaler sees the first results at 30 s, against zeros at 20 s.
    after(world, 29.0)
    assert deployment.requested == 1
    after(world, 2.0)
    assert deployment.requested > 1


def test_a_refused_increase_delays_decreases_too():
    """11 allocations do not fit into 8. Five minutes after the last attempt, at 30 s, it is 1."""
    world = cluster(node("a", processors=8), version="8.16")
    deployment = world.start_deployment("acme", number_of_allocations=5)
    after(world, 5.0)
    world.update_deployment("acme", adaptive=AdaptivePatch(enabled=True))
    end = world.now + 100.0
    world.drive("acme", takewhile(lambda arrival: arrival.at < end, load(world, 100.0)))
    after(world, 320.0)
    assert deployment.requested == 5
    after(world, 10.0)
    assert deployment.requested == 1


def test_it_does_nothing_while_the_deployment_starts():
    world = cluster(node("a"), models=(model(load_s=40.0),), version="8.16")
    deployment = adaptive(world, 1, 4)
    after(world, 50.0)
    world.remove_node("a")
    world.add_node(node("b"))
    deployment.adaptive = AdaptiveSettings(enabled=True, min_number_of_allocations=3)
    after(world, 35.0)
    assert (deployment.state, deployment.requested) == ("starting", 1)
    after(world, 20.0)
    assert (deployment.state, deployment.requested) == ("started", 3)


def test_it_follows_the_load_upwards_within_its_bounds():
    """3 erlangs at 0.85 to 0.9 are 4; the backlog of the start, counted twice, may make it 5."""
    world = cluster(node("a", processors=8))
    deployment = adaptive(world, 1, 6)
    world.drive("acme", load(world, 30.0))
    after(world, 120.0)
    assert deployment.requested in (4, 5)
    world.drive("acme", load(world, 60.0, seed=2))
    after(world, 120.0)
    assert deployment.requested == 6


@pytest.mark.parametrize("cool_down_s", [60.0, 300.0])
def test_it_does_not_scale_down_soon_after_scaling_up(cool_down_s):
    world = cluster(node("a", processors=8))
    world.settings = replace(world.settings, scale_up_cool_down_s=cool_down_s)
    deployment = adaptive(world, 1, 8)
    end = world.now + 100.0
    world.drive("acme", takewhile(lambda arrival: arrival.at < end, load(world, 50.0)))
    seen = [after(world, 10.0).deployments["acme"].requested for _ in range(60)]
    assert deployment.requested == 1
    assert max(seen) >= 6
    last_up = max(i for i in range(1, 60) if seen[i] > seen[i - 1])
    first_down = next(i for i in range(1, 60) if seen[i] < seen[i - 1])
    assert cool_down_s / 10.0 <= first_down - last_up < cool_down_s / 10.0 + 25


@pytest.mark.parametrize(("version", "waits"), [("8.16", False), ("9.0", True)])
def test_newer_versions_wait_for_young_nodes_before_scaling_down(version, waits):
    world = cluster(version=version)
    deployment = adaptive(world, 1, 8)
    after(world, 5.0)
    world.update_deployment("acme", number_of_allocations=3, internal=True)
    after(world, 60.0)
    assert deployment.requested == (3 if waits else 1)
    after(world, 300.0)
    assert deployment.requested == 1


def test_an_idle_deployment_is_scaled_to_zero_and_up_by_a_request():
    world = cluster(version="8.16")
    deployment = adaptive(world, 0, 4)
    after(world, 900.0)
    assert deployment.requested == 1
    after(world, 60.0)
    assert (deployment.requested, deployment.routes) == (0, {})
    (request,) = world.infer("acme")
    after(world, 5.0)
    assert (deployment.requested, request.state) == (1, "completed")
    after(world, 800.0)
    assert deployment.requested == 1  # after the scale-up, it is not idle at once


def test_it_stays_above_zero_with_a_minimum_and_in_old_versions():
    for world, minimum in ((cluster(version="8.16"), 1), (cluster(version="8.15"), 0)):
        deployment = adaptive(world, minimum, 4)
        after(world, 2000.0)
        assert deployment.requested == 1


def test_without_capacity_it_takes_no_smaller_step():
    """10 erlangs need 12 allocations; there is room for 8, and it stays at 5."""
    world = cluster(node("a", processors=8))
    deployment = world.start_deployment("acme", number_of_allocations=5)
    after(world, 5.0)
    world.update_deployment("acme", adaptive=AdaptivePatch(enabled=True))
    world.drive("acme", load(world, 100.0))
    after(world, 120.0)
    assert deployment.requested == 5


def test_when_disabled_it_stops_and_when_enabled_it_starts_again():
    world = cluster(node("a", processors=8))
    deployment = adaptive(world, 1, 8)
    world.drive("acme", load(world, 30.0))
    after(world, 60.0)
    world.update_deployment("acme", number_of_allocations=8, adaptive=AdaptivePatch(enabled=False))
    after(world, 600.0)
    assert deployment.requested == 8
    world.update_deployment("acme", adaptive=AdaptivePatch(enabled=True))
    after(world, 60.0)
    assert deployment.requested == 4
