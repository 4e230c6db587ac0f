"""`_start`: its checks, their order, and its effects."""

import pytest

from autoscaler.simulation.cluster import AdaptiveSettings, ModelSpec
from autoscaler.simulation.errors import SimulatedApiError
from tests.simulation.worlds import after, cluster, model, node, targets

CONTRADICTORY = AdaptiveSettings(min_number_of_allocations=3, max_number_of_allocations=2)


def refused(action) -> SimulatedApiError:
    with pytest.raises(SimulatedApiError) as refusal:
        action()
    return refusal.value


def test_a_deployment_starts_once_a_node_has_loaded_the_model():
    world = cluster(models=(ModelSpec(model_id="acme", size_bytes=1_000_000_000),))
    deployment = world.start_deployment("acme", number_of_allocations=2)
    assert (deployment.state, deployment.allocation_state()) == ("starting", "starting")
    route = deployment.routes["a"]
    assert (route.state, route.current_allocations, route.target_allocations) == ("starting", 2, 2)
    assert route.counters(world.now) is None
    after(world, 6.9)  # 2 s + 1 GB at 200 MB/s
    assert deployment.state == "starting"
    after(world, 0.2)
    assert (deployment.state, deployment.allocation_state()) == ("started", "fully_allocated")
    assert deployment.routes["a"].counters(world.now).start_time == world.now - 0.1
    assert deployment.max_assigned_allocations == 2


def test_unset_parameters_get_defaults():
    world = cluster()
    parameters = world.start_deployment("acme").parameters
    assert (parameters.deployment_id, parameters.number_of_allocations) == ("acme", 1)
    assert (parameters.queue_capacity, parameters.cache_bytes) == (10_000, 100_000_000)
    old = cluster(version="8.12").start_deployment("acme", cache_bytes=0)
    assert (old.parameters.queue_capacity, old.parameters.cache_bytes) == (1024, 0)


def test_a_start_begins_at_the_adaptive_minimum():
    settings = AdaptiveSettings(enabled=True, min_number_of_allocations=3)
    assert cluster().start_deployment("acme", adaptive=settings).requested == 3
    to_zero = AdaptiveSettings(enabled=True, min_number_of_allocations=0)
    assert cluster().start_deployment("acme", adaptive=to_zero).requested == 1


@pytest.mark.parametrize(
    ("parameters", "fragment"),
    [
        ({"number_of_allocations": 0}, "[number_of_allocations] must be a positive integer"),
        ({"threads_per_allocation": 0}, "[threads_per_allocation] must be a positive integer"),
        ({"queue_capacity": 0}, "[queue_capacity] must be a positive integer"),
        ({"threads_per_allocation": 3}, "power of 2"),
        ({"threads_per_allocation": 64}, "power of 2"),
        ({"queue_capacity": 100_001}, "[queue_capacity] must be less than 100000"),
        ({"priority": "low", "number_of_allocations": 2}, "must be 1 when [priority] is low"),
        ({"priority": "low", "threads_per_allocation": 2}, "must be 1 when [priority] is low"),
        (
            {"number_of_allocations": 1, "adaptive": AdaptiveSettings(enabled=True)},
            "cannot be set if adaptive allocations is enabled",
        ),
        (
            {
                "adaptive": AdaptiveSettings(
                    min_number_of_allocations=3, max_number_of_allocations=2
                )
            },
            "must not be larger than",
        ),
    ],
)
def test_invalid_parameters_are_refused_before_any_lookup(parameters, fragment):
    error = refused(lambda: cluster().start_deployment("unknown", **parameters))
    assert (error.status, error.type) == (400, "action_request_validation_exception")
    assert error.reason.startswith("Validation Failed: 1:")
    assert fragment in error.reason


def test_all_problems_are_reported_together():
    error = refused(
        lambda: cluster().start_deployment("acme", number_of_allocations=0, queue_capacity=0)
    )
    assert "1: [number" in error.reason
    assert "2: [queue" in error.reason


def test_an_unknown_priority_is_another_kind_of_400():
    error = refused(lambda: cluster().start_deployment("acme", priority="urgent"))
    assert (error.status, error.type) == (400, "illegal_argument_exception")


def test_an_unknown_model_is_not_found():
    error = refused(lambda: cluster().start_deployment("unknown"))
    assert (error.status, error.type) == (404, "resource_not_found_exception")
    assert "Could not find trained model [unknown]" in error.reason
    assert error.metadata["resource.id"] == "unknown"


def test_an_id_can_be_used_once():
    world = cluster()
    world.start_deployment("acme", deployment_id="search")
    for taken in ("search", "other"):
        error = refused(lambda id_=taken: world.start_deployment("acme", deployment_id=id_))
        assert (error.status, error.type) == (400, "status_exception")
        assert f"[{taken}]" in error.reason


@pytest.mark.parametrize(
    ("condition", "status", "fragment"),
    [
        ("upgrade_mode", 429, "while upgrade mode is enabled"),
        ("mixed_versions", 403, "upgrade is in progress"),
        ("feature_reset", 409, "being reset"),
    ],
)
def test_conditions_that_rule_out_a_start(condition, status, fragment):
    world = cluster()
    setattr(world, condition, True)
    error = refused(lambda: world.start_deployment("acme"))
    assert (error.status, error.type) == (status, "status_exception")
    assert fragment in error.reason


def test_a_model_with_the_id_of_an_endpoint_cannot_be_used():
    world = cluster()
    world.inference_endpoints.add("mine")
    error = refused(lambda: world.start_deployment("mine"))
    assert (error.status, error.type) == (400, "status_exception")
    assert "inference endpoint" in error.reason
    world.start_deployment("acme", deployment_id="mine")  # the id of the model is compared


def test_a_taken_id_is_refused_before_the_model_is_looked_up():
    world = cluster()
    world.start_deployment("acme", deployment_id="search")
    error = refused(lambda: world.start_deployment("unknown", deployment_id="search"))
    assert (error.status, error.type) == (400, "status_exception")
    assert "an existing deployment with the same id [search]" in error.reason


def test_a_start_begins_with_the_minimum_of_adaptive_settings_even_if_they_are_disabled():
    world = cluster(node("a", processors=8))
    settings = AdaptiveSettings(enabled=False, min_number_of_allocations=3)
    assert world.start_deployment("acme", adaptive=settings).requested == 3


def test_a_model_cannot_have_the_id_of_a_deployment():
    world = cluster()
    world.start_deployment("acme", deployment_id="search")
    error = refused(lambda: world.put_model(model("search")))
    assert (error.status, error.type) == (400, "status_exception")


def test_a_deployed_model_is_deleted_only_by_force():
    world = cluster()
    world.start_deployment("acme")
    error = refused(lambda: world.delete_model("acme"))
    assert error.status == 409
    assert "use force" in error.reason


def test_the_maximum_number_of_deployments():
    world = cluster(node("a", memory_bytes=2**40), models=(model(size_bytes=1000),))
    for index in range(100):
        world.start_deployment("acme", deployment_id=f"d{index}", priority="low")
    error = refused(lambda: world.start_deployment("acme", deployment_id="d100", priority="low"))
    assert (error.status, error.type) == (429, "status_exception")
    assert "[100]" in error.reason


def test_a_start_without_any_capacity_is_refused_with_a_cause():
    world = cluster()
    error = refused(lambda: world.start_deployment("acme", threads_per_allocation=8))
    assert (error.status, error.type) == (429, "status_exception")
    assert "no ML nodes with sufficient capacity were found" in error.reason
    kind, cause = error.caused_by
    assert kind == "illegal_state_exception"
    assert cause.count("insufficient allocated processors") == 2
    assert world.deployments == {}


def test_a_partial_start_needs_growing_hardware():
    error = refused(lambda: cluster().start_deployment("acme", number_of_allocations=9))
    assert (error.status, error.type, error.caused_by) == (429, "status_exception", None)
    assert "not enough resources to provide all requested allocations" in error.reason
    growing = cluster(can_grow=True)
    deployment = growing.start_deployment("acme", number_of_allocations=9)
    assert targets(deployment) == {"a": 4, "b": 4}
    assert "insufficient allocated processors" in deployment.reason
    growing.add_node(node("c"))
    assert targets(deployment) == {"a": 4, "b": 4, "c": 1}
    assert deployment.reason is None


def test_on_growing_hardware_a_start_without_capacity_succeeds():
    world = cluster(node("a", processors=1), can_grow=True)
    deployment = world.start_deployment("acme", threads_per_allocation=4)
    after(world, 60.0)
    assert (deployment.state, deployment.routes) == ("starting", {})
    world.add_node(node("b"))
    after(world, 60.0)
    assert (deployment.state, targets(deployment)) == ("started", {"b": 1})


def test_models_are_put_once_and_deleted_when_unused():
    world = cluster()
    assert refused(lambda: world.put_model(model())).status == 400
    world.start_deployment("acme", deployment_id="search")
    assert refused(lambda: world.delete_model("acme")).status == 409
    assert refused(lambda: world.delete_model("unknown")).status == 404
    world.stop_deployment("search")
    world.delete_model("acme")
    assert "acme" not in world.models
