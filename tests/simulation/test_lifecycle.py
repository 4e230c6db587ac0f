"""Processes: loading, draining, crashing, and added and removed nodes."""

import pytest

from autoscaler.simulation.cluster import AdaptiveSettings
from autoscaler.simulation.errors import SimulatedApiError
from tests.simulation.worlds import after, cluster, load, model, node, targets


def states(deployment) -> dict[str, str]:
    return {node_id: route.reported_state for node_id, route in deployment.routes.items()}


def spread(version: str = "9.3", **other):
    """One deployment with 4 allocations on node a and 2 on node b, started."""
    world = cluster(version=version, **other)
    deployment = world.start_deployment("acme", number_of_allocations=6)
    return after(world, 5.0), deployment


def test_a_node_loads_one_model_at_a_time():
    world = cluster(node("a"), models=(model(load_s=5.0), model("other", load_s=5.0)))
    first, second = world.start_deployment("acme"), world.start_deployment("other")
    after(world, 5.0)
    assert (first.state, second.state) == ("started", "starting")
    after(world, 5.0)
    assert second.state == "started"


def test_a_cancelled_load_lets_the_next_one_begin():
    world = cluster(node("a"), models=(model(load_s=50.0), model("other", load_s=5.0)))
    world.start_deployment("acme")
    second = world.start_deployment("other")
    after(world, 10.0)
    world.stop_deployment("acme")
    after(world, 5.0)
    assert second.state == "started"


def test_a_removed_process_finishes_its_queue_in_versions_that_drain():
    world, deployment = spread()
    requests = world.infer("acme", 200)
    world.update_deployment("acme", number_of_allocations=4)
    assert states(deployment) == {"a": "started", "b": "stopping"}
    assert deployment.running == 4
    after(world, 9.0)
    assert states(deployment) == {"a": "started"}
    assert {request.state for request in requests} == {"completed"}


def test_draining_ends_after_three_minutes():
    world, deployment = spread(models=(model(service_time_s=100.0, service_cv=0.0),))
    requests = world.infer("acme", 60, timeout_s=1e6)
    world.update_deployment("acme", number_of_allocations=4)
    after(world, 179.0)
    assert states(deployment)["b"] == "stopping"
    after(world, 2.0)
    assert "b" not in deployment.routes
    lost = [request.error for request in requests if request.state == "failed"]
    assert {error.status for error in lost} == {409, 429}
    assert any("has shutdown" in error.reason for error in lost)


def test_a_removed_process_fails_its_queue_in_older_versions():
    world, deployment = spread("8.18")
    requests = world.infer("acme", 200)
    world.update_deployment("acme", number_of_allocations=4)
    assert states(deployment) == {"a": "started"}
    errors = [request.error for request in requests if request.state == "failed"]
    assert len([error for error in errors if error.status == 429]) > 20
    assert len([error for error in errors if error.status == 409]) == 2  # were being computed
    ledger = deployment.ledger
    assert ledger.rejected + ledger.failed == len(errors)


def test_a_draining_process_can_be_used_again():
    world, deployment = spread()
    epoch = deployment.routes["b"].counters(world.now).start_time
    world.infer("acme", 200)
    world.update_deployment("acme", number_of_allocations=4)
    world.update_deployment("acme", number_of_allocations=5)
    after(world, 1.0)
    assert targets(deployment) == {"a": 4, "b": 1}
    assert deployment.routes["b"].counters(world.now).start_time == epoch


def test_memory_of_a_draining_process_is_not_free_yet():
    world, _ = spread()
    before = world.memory_of("b").native_inference_bytes
    world.infer("acme", 200)
    world.update_deployment("acme", number_of_allocations=4)
    assert world.memory_of("b").native_inference_bytes == before > 0
    after(world, 9.0)
    memory = world.memory_of("b")
    assert (memory.native_inference_bytes, memory.native_code_overhead_bytes) == (0, 0)
    assert memory.ml_max_bytes == int(16 * 2**30 * 0.3)


def test_a_crashed_process_is_restarted_in_place_with_new_counters():
    world, deployment = spread()
    world.infer("acme", 20)
    after(world, 5.0)
    assert deployment.routes["a"].counters(world.now).completed > 0
    requests = world.infer("acme", 40)
    world.crash_process("acme", "a")
    assert states(deployment) == {"a": "stopped", "b": "started"}
    assert {r.error.status for r in requests if r.state == "failed"} == {409}
    after(world, 3.0)
    assert states(deployment) == {"a": "started", "b": "started"}
    counters = deployment.routes["a"].counters(world.now)
    assert (counters.completed, counters.start_time) == (0, pytest.approx(world.now - 0.5))


def test_requests_still_go_to_a_process_that_is_being_restarted_and_fail():
    world, _ = spread()
    world.crash_process("acme", "a")
    failed = [request for request in world.infer("acme", 100) if request.done]
    assert 40 < len(failed) < 95
    assert {request.error.status for request in failed} == {409}


def test_the_fourth_crash_of_a_day_is_the_last():
    world, deployment = spread()
    for _ in range(3):
        world.crash_process("acme", "a")
        after(world, 60.0)
    assert states(deployment)["a"] == "started"
    world.crash_process("acme", "a")
    after(world, 60.0)
    assert states(deployment) == {"a": "failed", "b": "started"}
    assert "crashed too often" in deployment.routes["a"].reason
    assert deployment.running == 2


def test_a_failed_process_that_crashes_again_is_removed():
    world, deployment = spread()
    for _ in range(4):
        world.crash_process("acme", "a")
        after(world, 60.0)
    assert states(deployment)["a"] == "failed"
    world.crash_process("acme", "a")
    assert "a" not in deployment.routes


def test_crashes_older_than_a_day_do_not_count():
    world, deployment = spread()
    for _ in range(8):
        world.crash_process("acme", "a")
        after(world, 8.0 * 3600.0)
    assert states(deployment)["a"] == "started"


def test_a_failed_load_is_reported_and_retried_at_the_next_rebalance():
    world = cluster(node("a"))
    deployment = world.start_deployment("acme")
    world.crash_process("acme", "a")
    assert states(deployment) == {"a": "failed"}
    assert (deployment.state, deployment.reported_state()) == ("starting", "failed")
    assert deployment.reported_reason().startswith("All node routes are failed")
    with pytest.raises(SimulatedApiError, match="is not allocated to any nodes") as refusal:
        world.infer("acme")
    assert refusal.value.status == 409
    world.start_deployment("other")
    assert states(deployment) == {"a": "starting"}
    after(world, 10.0)
    assert (deployment.reported_state(), deployment.reported_reason()) == ("started", None)


def test_the_allocations_of_a_lost_node_are_placed_elsewhere():
    world, deployment = spread()
    requests = world.infer("acme", 100)
    world.remove_node("a")
    assert targets(deployment) == {"b": 4}
    assert "insufficient allocated processors" in deployment.reason
    assert {r.error.status for r in requests if r.state == "failed"} == {409}
    assert deployment.requested == 6
    after(world, 1.0)
    assert deployment.allocation_state() == "started"
    world.add_node(node("c"))
    after(world, 5.0)
    assert targets(deployment) == {"b": 4, "c": 2}
    assert (deployment.reason, deployment.allocation_state()) == (None, "fully_allocated")


def test_without_any_node_a_deployment_stays_and_waits():
    world, deployment = spread()
    for node_id in ("a", "b"):
        world.remove_node(node_id)
    assert (deployment.state, deployment.reason) == (
        "starting",
        "No ML nodes exist in the cluster",
    )
    with pytest.raises(SimulatedApiError, match="is not allocated to any nodes") as refusal:
        world.infer("acme")
    assert refusal.value.status == 409
    world.add_node(node("c"))
    assert targets(deployment) == {"c": 4}


def test_a_deployment_starts_again_when_its_only_node_was_lost():
    world = cluster(node("a"))
    deployment = world.start_deployment("acme")
    after(world, 5.0)
    world.remove_node("a")
    assert deployment.state == "starting"
    world.add_node(node("b"))
    after(world, 1.0)
    assert (deployment.state, states(deployment)) == ("starting", {"b": "starting"})
    with pytest.raises(SimulatedApiError, match=r"not in \[started\] state") as refusal:
        world.update_deployment("acme", number_of_allocations=2)
    assert refusal.value.status == 409
    after(world, 5.0)
    assert deployment.state == "started"
    world.update_deployment("acme", number_of_allocations=2)


def test_it_stays_started_while_a_route_is():
    world, deployment = spread()
    world.remove_node("b")
    assert deployment.state == "started"


def test_it_starts_again_when_its_last_process_has_failed():
    world = cluster(node("a"))
    deployment = world.start_deployment("acme")
    after(world, 5.0)
    for _ in range(3):
        world.crash_process("acme", "a")
        assert deployment.state == "started"  # restarted in place: the route does not change
        after(world, 5.0)
    world.crash_process("acme", "a")
    assert (deployment.state, deployment.reported_state()) == ("starting", "failed")


def test_a_decrease_does_not_change_the_state_before_a_route_does():
    """The node that serves has fewer allocations, and is the one that is removed."""
    world = cluster(node("a", processors=2), version="8.18")
    deployment = world.start_deployment("acme", number_of_allocations=2)
    after(world, 5.0)
    world.add_node(node("b", processors=4))
    world.update_deployment("acme", number_of_allocations=6)
    assert states(deployment) == {"a": "started", "b": "starting"}
    world.update_deployment("acme", number_of_allocations=4)
    assert (deployment.state, states(deployment)) == ("started", {"b": "starting"})
    after(world, 5.0)
    assert (deployment.state, states(deployment)) == ("started", {"b": "started"})


def test_zero_allocations_are_started_after_a_rebalance_too():
    world = cluster()
    to_zero = AdaptiveSettings(enabled=True, min_number_of_allocations=0)
    deployment = world.start_deployment("acme", adaptive=to_zero)
    after(world, 5.0)
    world.update_deployment("acme", number_of_allocations=0, internal=True)
    assert deployment.state == "started"
    world.start_deployment("other")
    assert deployment.state == "started"
    (request,) = world.infer("acme")
    assert (deployment.requested, deployment.state) == (1, "starting")
    with pytest.raises(SimulatedApiError, match=r"not in \[started\] state"):
        world.update_deployment("acme", number_of_allocations=3, internal=True)
    after(world, 6.0)
    assert (deployment.state, request.state) == ("started", "completed")


def test_a_node_cannot_be_added_twice_or_removed_if_unknown():
    world = cluster()
    with pytest.raises(ValueError, match="'a'"):
        world.add_node(node("a"))
    with pytest.raises(KeyError):
        world.remove_node("z")


def test_stopping_frees_resources_and_fails_waiting_requests():
    world, deployment = spread()
    requests = world.infer("acme", 100)
    world.stop_deployment("acme")
    assert world.deployments == {}
    assert all(request.done for request in requests)
    assert deployment.ledger.in_flight == 0
    assert world.memory_of("a").native_inference_bytes == 0
    world.start_deployment("acme")


def test_stopping_an_unknown_deployment():
    world = cluster()
    world.stop_deployment("unknown")
    with pytest.raises(SimulatedApiError, match="No known model deployment with id") as refusal:
        world.stop_deployment("unknown", allow_no_match=False)
    assert refusal.value.status == 404


@pytest.mark.parametrize("used", ["pipeline", "endpoint"])
def test_a_deployment_in_use_is_stopped_only_by_force(used):
    world, _ = spread()
    if used == "pipeline":
        world.pipelines["ingest-texts"] = "acme"
    else:
        world.inference_endpoints.add("acme")
    with pytest.raises(SimulatedApiError, match="force") as refusal:
        world.stop_deployment("acme")
    assert refusal.value.status == 409
    world.stop_deployment("acme", force=True)
    assert world.deployments == {}


def test_old_versions_stop_a_deployment_of_an_endpoint_without_force():
    world, _ = spread("8.16")
    world.inference_endpoints.add("acme")
    world.stop_deployment("acme")
    assert world.deployments == {}


def test_low_priority_is_slowed_down_where_threads_outnumber_cores():
    constant = {"service_time_s": 0.1, "service_cv": 0.0}
    world = cluster(node("a", processors=4), models=(model(**constant), model("other", **constant)))
    world.start_deployment("acme", number_of_allocations=4)
    world.start_deployment("other", priority="low")
    after(world, 10.0)
    (normal,) = world.infer("acme")
    (low,) = world.infer("other")
    begun = world.now
    after(world, 1.0)
    assert normal.finished_at - begun == pytest.approx(0.1)
    assert low.finished_at - begun == pytest.approx(0.125)  # five threads on four cores


def test_a_native_process_is_clamped_to_its_hardware():
    world = cluster(node("a", processors=2), version="8.18")
    deployment = world.start_deployment("acme", priority="low")
    after(world, 5.0)
    world.update_deployment("acme", number_of_allocations=5)  # this version lets it
    after(world, 1.0)
    assert (deployment.running, deployment.routes["a"].counters(world.now).allocations) == (5, 2)


def test_a_node_with_fewer_threads_acknowledges_fewer_allocations_for_good():
    world = cluster(node("a", processors=8, hardware_threads=4))
    deployment = world.start_deployment("acme", number_of_allocations=8)
    after(world, 60.0)
    assert (deployment.running, deployment.allocation_state()) == (8, "fully_allocated")
    assert deployment.routes["a"].counters(world.now).allocations == 4
    world.update_deployment("acme", number_of_allocations=3)
    after(world, 1.0)
    assert deployment.routes["a"].counters(world.now).allocations == 3


def test_the_ledger_counts_requested_and_running_allocations():
    world = cluster(models=(model(load_s=10.0),))
    deployment = world.start_deployment("acme", number_of_allocations=2)
    after(world, 100.0)
    ledger = deployment.ledger
    assert ledger.requested_allocation_s == pytest.approx(200.0)
    assert ledger.running_allocation_s == pytest.approx(180.0)
    assert ledger.changes == 0
    world.update_deployment("acme", number_of_allocations=4)
    after(world, 100.0)
    assert ledger.requested_allocation_s == pytest.approx(600.0)
    assert ledger.running_allocation_s == pytest.approx(580.0, abs=1.0)
    assert ledger.changes == 1


def test_a_load_continues_without_its_deployment():
    world, _ = spread()
    world.drive("acme", load(world, 20.0))
    after(world, 10.0)
    world.stop_deployment("acme")
    after(world, 10.0)
    again = world.start_deployment("acme", adaptive=AdaptiveSettings(enabled=False))
    after(world, 12.0)
    assert 150 < again.ledger.requests < 300
