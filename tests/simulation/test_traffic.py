"""The routes of requests, queueing at zero allocations, and the responses."""

import math
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.simulation.cluster import AdaptiveSettings
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.workload import Arrival
from tests.simulation.worlds import after, cluster, load, model, node

pytestmark = pytest.mark.untraced

TO_ZERO = AdaptiveSettings(enabled=True, min_number_of_allocations=0)


def refused(world, target="acme", **other) -> SimulatedApiError:
    with pytest.raises(SimulatedApiError) as refusal:
        world.infer(target, **other)
    return refusal.value


def serving(allocations: int = 6, *nodes, **other):
    world = cluster(*nodes, **other)
    deployment = world.start_deployment("acme", number_of_allocations=allocations)
    return after(world, 5.0), deployment


def zero(started_after_s=70.0, **other):
    world = cluster(node("a"), **other)
    deployment = world.start_deployment("acme", adaptive=TO_ZERO)
    after(world, started_after_s)
    world.update_deployment("acme", number_of_allocations=0, internal=True)
    return after(world, 1.0), deployment


def test_requests_are_distributed_by_current_allocations():
    """20 000 requests over nodes with 4 and 2 allocations: 2/3 to the first within 2%."""
    world, deployment = serving()
    world.drive("acme", load(world, 40.0))
    after(world, 500.0)
    first, second = (route.counters(world.now).completed for route in deployment.routes.values())
    assert first / (first + second) == pytest.approx(2 / 3, rel=0.02)


def test_a_split_deployment_waits_like_separate_queues():
    """4 nodes of 2 allocations at rho 0.8, 240 000 requests: four M/M/2 queues, not one M/M/8.

    With log-normal service of unit coefficient of variation P(wait) is close to exponential
    service's; M/M/2 says 0.711, M/M/8 would say 0.449.
    """
    nodes = [node(name, processors=2) for name in "abcd"]
    world, deployment = serving(8, *nodes, models=(model(service_cv=1.0),))
    world.drive("acme", load(world, 64.0), timeout_s=1e6)
    after(world, 240_000 / 64.0)
    waited = deployment.ledger.waited_longer_than(0.0) / deployment.ledger.requests
    assert waited == pytest.approx(0.711, rel=0.03)


def test_each_node_has_a_queue_and_a_full_one_rejects():
    world = cluster()
    deployment = world.start_deployment("acme", number_of_allocations=6, queue_capacity=10)
    after(world, 5.0)
    requests = world.infer("acme", 60)
    rejected = [request for request in requests if request.done]
    assert {request.error.status for request in rejected} == {429}
    accepted = [route.counters(world.now).pending for route in deployment.routes.values()]
    assert accepted == [14, 12]
    assert len(rejected) == 60 - 26


def test_each_document_completes_at_an_announced_instant():
    world, _ = serving()
    requests = world.infer("acme", 3)
    assert [request.state for request in requests] == ["waiting"] * 3
    for _ in range(20):
        if all(request.done for request in requests):
            break
        world.advance(world.next_event_at())
    assert [request.state for request in requests] == ["completed"] * 3
    assert max(request.finished_at for request in requests) == pytest.approx(world.now)


def test_a_request_fails_at_its_deadline():
    world, _ = serving(1, models=(model(service_time_s=5.0, service_cv=0.0),))
    one, two = world.infer("acme", 2, timeout_s=2.0)
    assert world.next_event_at() == pytest.approx(world.now + 2.0)
    begun = world.now
    after(world, 2.0)
    for request in (one, two):
        assert (request.error.status, request.finished_at) == (408, begun + 2.0)
        assert "waiting for inference result" in request.error.reason


def test_an_id_is_that_of_a_deployment_or_else_of_a_model():
    world, _ = serving()
    world.start_deployment("acme", deployment_id="second")
    assert world.infer("acme")[0].state == "waiting"
    world.stop_deployment("acme")
    after(world, 5.0)
    assert world.infer("acme")[0].state == "waiting"  # the model, by its other deployment


@pytest.mark.parametrize(
    ("target", "status", "kind", "fragment"),
    [
        ("unknown", 404, "resource_not_found_exception", "Could not find trained model"),
        ("other", 409, "status_exception", "must be deployed to use"),
        ("acme", 409, "status_exception", "is not allocated to any nodes"),
    ],
)
def test_requests_that_cannot_be_served_are_refused(target, status, kind, fragment):
    world = cluster()
    world.start_deployment("acme")
    error = refused(world, target)
    assert (error.status, error.type) == (status, kind)
    assert fragment in error.reason


def test_a_request_scales_up_from_zero_and_waits():
    world, deployment = zero()
    assert deployment.routes == {}
    (request,) = world.infer("acme")
    assert deployment.requested == 1
    after(world, 2.4)
    assert not request.done
    after(world, 1.0)
    assert request.state == "completed"
    assert deployment.ledger.requests == deployment.ledger.completed == 1
    assert 2.0 < deployment.ledger.wait_percentile(1.0) < 3.0


def test_a_driven_request_scales_up_from_zero():
    world, deployment = zero()
    world.drive("acme", iter([Arrival(world.now + 7.0), Arrival(world.now + 7.5)]))
    after(world, 6.9)
    assert deployment.requested == 0
    after(world, 5.0)
    assert deployment.requested == 1
    assert deployment.ledger.completed == 2


def test_at_most_99_requests_wait_over_all_deployments():
    world, deployment = zero(models=(model(load_s=60.0), model("other", load_s=60.0)))
    world.start_deployment("other", adaptive=TO_ZERO)
    requests = [world.infer("acme", documents=2) for _ in range(90)]
    requests += [world.infer("other") for _ in range(13)]
    rejected = [request for documents in requests for request in documents if request.done]
    assert len(rejected) == 4
    assert {(request.error.status, request.error.type) for request in rejected} == {
        (429, "status_exception")
    }
    assert "Too many pending" in rejected[0].error.reason
    after(world, 11.0)
    errors = [request.error for documents in requests[:99] for request in documents]
    assert {(error.status, error.type) for error in errors} == {
        (408, "model_deployment_timeout_exception")
    }
    assert "Timed out after [10s] waiting for trained model deployment" in errors[0].reason
    assert not world.infer("acme")[0].done
    assert (deployment.ledger.rejected, deployment.ledger.timed_out) == (0, 180)


@pytest.mark.parametrize("minimum", [None, 0])
def test_requests_to_a_starting_deployment_wait_if_its_settings_allow_zero(minimum):
    world = cluster(node("a"))
    settings = AdaptiveSettings(enabled=True, min_number_of_allocations=minimum)
    deployment = world.start_deployment("acme", number_of_allocations=None, adaptive=settings)
    (request,) = world.infer("acme")
    assert (deployment.state, request.state) == ("starting", "waiting")
    after(world, 4.0)
    assert request.state == "completed"


def test_a_request_that_waited_times_out_like_others_once_it_is_in_a_process():
    world, _ = zero(models=(model(load_s=5.0, service_time_s=60.0),))
    (request,) = world.infer("acme")
    after(world, 14.9)
    assert not request.done
    after(world, 0.2)
    assert (request.error.status, request.error.type) == (408, "status_exception")
    assert request.finished_at == pytest.approx(request.arrived + 5.0 + 10.0)


def test_the_time_out_of_a_request_that_waited_begins_again():
    world, deployment = zero(models=(model(load_s=8.0, service_time_s=5.0, service_cv=0.0),))
    documents = world.infer("acme")
    world.drive("acme", iter([Arrival(world.now + 0.5)]))
    after(world, 14.0)
    assert [document.state for document in documents] == ["completed"]
    after(world, 5.0)
    assert (deployment.ledger.completed, deployment.ledger.timed_out) == (2, 0)
    assert deployment.ledger.wait_percentile(1.0) > 12.0, "waits begin at the arrival"
    world, deployment = zero(models=(model(load_s=11.0),))
    (request,) = world.infer("acme")
    after(world, 12.0)
    assert request.error.type == "model_deployment_timeout_exception"


def test_each_request_that_waits_shows_that_the_deployment_is_not_idle():
    """It loads for 2000 s, longer than the 900 s after which an idle one is scaled to zero."""
    world, deployment = zero(2010.0, models=(model(load_s=2000.0),), version="8.16")
    world.drive("acme", iter([Arrival(world.now + 100.0 * i) for i in range(19)]))
    after(world, 2050.0)
    assert deployment.state == "started"
    assert deployment.ledger.completed == 0, "all had timed out"
    after(world, 550.0)
    assert deployment.requested == 1, "the last request was 800 s ago"
    after(world, 200.0)
    assert deployment.requested == 0


def test_a_request_that_wakes_in_vain_is_not_tried_again():
    world, deployment = zero(version="9.4.5")
    world.remove_node("a")
    (request,) = world.infer("acme", timeout_s=60.0)
    after(world, 5.0)
    assert (deployment.requested, request.done) == (0, False)
    world.add_node(node("a"))
    after(world, 5.0)
    assert deployment.requested == 0, "only a request asks for an allocation"
    world.infer("acme")
    after(world, 5.0)
    assert request.state == "completed"


@pytest.mark.parametrize(("version", "more"), [("9.4.5", 50), ("9.4.6", 0)])
def test_requests_that_fail_while_they_wait_are_counted_twice_in_some_versions(version, more):
    world, _ = zero(models=(model(load_s=60.0), model("other", load_s=60.0)), version=version)
    world.start_deployment("other", adaptive=TO_ZERO)
    for _ in range(50):
        world.infer("acme")
    world.stop_deployment("acme")
    waiting = [world.infer("other")[0] for _ in range(160)]
    assert sum(not request.done for request in waiting) == 99 + more


def test_waiting_requests_wait_on_when_every_route_has_failed_in_the_newest_versions():
    world, _ = zero(models=(model(load_s=60.0),), version="9.5.4")
    (request,) = world.infer("acme")
    after(world, 1.0)
    world.crash_process("acme", "a")
    assert not request.done
    assert not world.infer("acme")[0].done
    after(world, 10.0)
    assert (request.error.status, request.error.type) == (
        408,
        "model_deployment_timeout_exception",
    )


def test_waiting_requests_fail_when_every_route_has_failed():
    world, _ = zero(models=(model(load_s=60.0),))
    (request,) = world.infer("acme")
    after(world, 1.0)
    world.crash_process("acme", "a")
    assert (request.error.status, request.finished_at) == (500, world.now)
    assert "all nodes have failed" in request.error.reason
    assert world.infer("acme")[0].error.status == 500


def test_stopping_at_zero_refuses_waiting_requests():
    world, _ = zero()
    (request,) = world.infer("acme")
    world.stop_deployment("acme")
    assert request.error.status == 409
    assert "has been removed" in request.error.reason


def test_only_adaptive_allocations_scale_up_from_zero():
    world, deployment = zero()
    deployment.adaptive = None
    assert refused(world).status == 409


def test_high_priority_overtakes():
    world, _ = serving(1, models=(model(service_cv=0.0),))
    normal = world.infer("acme", 5)
    (high,) = world.infer("acme", priority="high")
    after(world, 5.0)
    order = sorted([*normal, high], key=lambda request: request.finished_at)
    assert order.index(high) == 1


def test_several_loads_with_different_timeouts():
    world, deployment = serving(1, models=(model(service_time_s=1.0, service_cv=0.0),))
    at = world.now
    world.drive("acme", iter([Arrival(at), Arrival(at + 0.2)]), timeout_s=100.0)
    world.drive("acme", iter([Arrival(at + 0.1)]), timeout_s=0.5)
    after(world, 10.0)
    assert (deployment.ledger.completed, deployment.ledger.timed_out) == (2, 1)


def test_an_endless_load_is_consumed_lazily():
    world, deployment = serving()
    begun, taken = world.now, count()
    world.drive("acme", (Arrival(begun + second) for second in taken))
    after(world, 100.0)
    assert deployment.ledger.requests == 101
    assert next(taken) == 102


events = st.lists(
    st.tuples(
        st.sampled_from(["scale", "crash", "infer", "remove", "add", "stop"]),
        st.integers(1, 9),
        st.floats(0.1, 40.0),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(events, st.sampled_from(["8.18", "9.3"]))
def test_no_request_is_lost_and_no_core_used_twice(events, version):
    world = cluster(version=version, models=(model(), model("other", service_time_s=0.3)))
    ledgers = []
    for name in ("acme", "other"):
        ledgers.append(world.start_deployment(name, number_of_allocations=2).ledger)
        world.drive(name, load(world, 15.0), timeout_s=2.0)
    requests = []
    for index, (what, n, pause) in enumerate(events):
        after(world, pause)
        try:
            if what == "scale":
                world.update_deployment("acme", number_of_allocations=n)
            elif what == "crash":
                world.crash_process("acme", "a")
            elif what == "infer":
                requests += world.infer("acme", n)
            elif what == "remove":
                world.remove_node("b")
            elif what == "add":
                world.add_node(node(f"n{index}"))
            else:
                world.stop_deployment("other")
        except (SimulatedApiError, KeyError):
            pass
        used = dict.fromkeys(world.nodes, 0)
        for deployment in world.deployments.values():
            assert sum(deployment.targets.values()) <= deployment.requested
            assert deployment.running >= 0
            for node_id, target in deployment.targets.items():
                used[node_id] += target
        assert all(used[node_id] <= spec.processors for node_id, spec in world.nodes.items())
    after(world, 20.0)
    assert all(request.done for request in requests)
    for ledger in ledgers:
        assert 0 <= ledger.in_flight < 200
    for deployment in world.deployments.values():
        pending = sum(
            counters.pending
            for route in deployment.routes.values()
            if (counters := route.counters(world.now))
        )
        assert pending <= deployment.ledger.in_flight <= pending + deployment.requested


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.0, 300.0), max_size=20))
def test_the_step_of_advances_does_not_change_the_history(pauses):
    def history(pauses_):
        world = cluster(seed=3)
        adaptive = AdaptiveSettings(enabled=True, max_number_of_allocations=8)
        deployment = world.start_deployment("acme", adaptive=adaptive)
        world.drive("acme", load(world, 30.0))
        begun = world.now
        for pause in sorted(pauses_):
            world.advance(begun + pause)
        world.advance(begun + 300.0)
        counters = {id_: route.counters(world.now) for id_, route in deployment.routes.items()}
        return deployment.requested, counters, deployment.ledger.wait_percentile(0.9)

    assert history(pauses) == history([])


def test_the_same_seed_gives_the_same_history_and_another_gives_another():
    def history(seed):
        world, deployment = serving(seed=seed)
        world.drive("acme", load(world, 40.0))
        after(world, 60.0)
        return [route.counters(world.now) for route in deployment.routes.values()]

    assert history(1) == history(1) != history(2)


def test_the_percentile_of_requests_never_served_is_infinite():
    world, deployment = serving(1, models=(model(service_time_s=1.0),))
    world.drive("acme", load(world, 10.0), timeout_s=5.0)
    after(world, 300.0)
    ledger = deployment.ledger
    assert ledger.wait_percentile(0.99) == math.inf
    # The others that timed out were served, but not to the end.
    assert 0.8 * ledger.timed_out < ledger.waited_longer_than(5.0) < ledger.timed_out
