"""The contract of an Actuator, for every implementation."""

import pytest

from autoscaler.core.decision import OutcomeKind, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.values import AdaptiveAllocations
from autoscaler.ports import UpdateFailed

NEVER_RAISED = {
    OutcomeKind.UNCHANGED,
    OutcomeKind.DRY_RUN,
    OutcomeKind.OBSERVE_ONLY,
    OutcomeKind.WITHHELD,
    OutcomeKind.OUTDATED,  # not by a refusal
    OutcomeKind.ACCEPTED,
    OutcomeKind.NO_EFFECT,  # later observations show it, and no response
    OutcomeKind.BLOCKED,
    OutcomeKind.GONE,
}
OF_A_STOP = {OutcomeKind.IN_USE}
CHANGES = {
    "allocations": SetAllocations(2),
    "allocations, with take-over": SetAllocations(2, take_over=True),
    "bounds": SetBounds(2, 5),
    "stop": Stop(),
}


async def carry_out(cluster, name, change):
    return await cluster.run(cluster.ports.carry_out(name, change))


async def refusal_of(cluster, name, change):
    with pytest.raises(UpdateFailed) as caught:
        await carry_out(cluster, name, change)
    assert str(caught.value)
    return caught.value.kind


async def seen(cluster, name):
    return (await cluster.run(cluster.ports.observe())).deployments.get(name)


def start(model_id="a", **given):
    fields = {
        "allocations": 1,
        "threads_per_allocation": 1,
        "queue_capacity": 1024,
        "cache_bytes": 0,
        "priority": "normal",
        "adaptive": None,
    }
    return Start(model_id=model_id, **(fields | given))


@pytest.mark.parametrize("allocations", [1, 2, 5])
async def test_accepted_allocations_are_the_target(cluster, allocations):
    assert await carry_out(cluster, "a", SetAllocations(allocations)) is None
    assert cluster.allocations_of("a") == allocations
    assert cluster.allocations_of("b") == 2
    found = await seen(cluster, "a")
    assert found.allocations == found.target_allocations == allocations


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_repeated_request_is_harmless(cluster, change):
    await carry_out(cluster, "b", change)
    once = await seen(cluster, "b")
    for _ in range(2):
        await carry_out(cluster, "b", change)
    again = await seen(cluster, "b")
    assert (once and (once.allocations, once.adaptive)) == (
        again and (again.allocations, again.adaptive)
    )


@pytest.mark.parametrize("bounds", [(0, 1), (1, 1), (2, 5)], ids=str)
async def test_bounds_enable_adaptive_allocations(cluster, bounds):
    minimum, maximum = bounds
    await carry_out(cluster, "a", SetBounds(minimum, maximum))
    expected = AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)
    assert (await seen(cluster, "a")).adaptive == expected
    assert (await seen(cluster, "b")).adaptive is None


async def test_bounds_can_be_changed(cluster):
    for minimum, maximum in ((1, 3), (2, 8), (0, 2)):
        await carry_out(cluster, "a", SetBounds(minimum, maximum))
        adaptive = (await seen(cluster, "a")).adaptive
        assert (adaptive.minimum, adaptive.maximum) == (minimum, maximum)


async def test_adaptive_allocations_stay_enabled_without_take_over(cluster):
    await carry_out(cluster, "a", SetBounds(1, 4))
    assert await refusal_of(cluster, "a", SetAllocations(3)) is OutcomeKind.ADAPTIVE_ENABLED
    assert (await seen(cluster, "a")).adaptive.enabled
    await carry_out(cluster, "a", SetAllocations(3, take_over=True))
    found = await seen(cluster, "a")
    assert found.allocations == 3
    assert not found.adaptive.enabled
    await carry_out(cluster, "a", SetAllocations(2))
    assert cluster.allocations_of("a") == 2


async def test_a_stopped_deployment_is_not_reported(cluster):
    await carry_out(cluster, "a", Stop())
    assert await seen(cluster, "a") is None
    assert await seen(cluster, "b") is not None


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"allocations": 3, "threads_per_allocation": 2, "queue_capacity": 77},
        {"cache_bytes": 3 * 2**20, "priority": "low"},
        {"adaptive": AdaptiveAllocations(enabled=True, minimum=1, maximum=4)},
        {"adaptive": AdaptiveAllocations(enabled=True, minimum=2, maximum=None)},
        {"adaptive": AdaptiveAllocations(enabled=False, minimum=1, maximum=4)},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["a", "another-id"])
async def test_a_deployment_is_started_as_requested(cluster, given, name):
    request = start(**given)
    await carry_out(cluster, "a", Stop())
    await carry_out(cluster, name, request)
    found = await seen(cluster, name)
    adaptive = request.adaptive
    automatic = adaptive is not None and adaptive.enabled
    assert (found.deployment_id, found.model_id) == (name, "a")
    assert found.allocations == (adaptive.minimum if automatic else request.allocations)
    assert found.threads_per_allocation == request.threads_per_allocation
    assert found.queue_capacity == request.queue_capacity
    assert found.cache_bytes == request.cache_bytes
    assert found.priority == request.priority
    assert found.adaptive == adaptive


async def test_a_start_of_a_running_deployment_changes_nothing(cluster):
    await carry_out(cluster, "b", start("b", allocations=7))
    assert cluster.allocations_of("b") == 2


async def test_a_stopped_deployment_can_be_started_and_changed(cluster):
    await carry_out(cluster, "a", Stop())
    assert await refusal_of(cluster, "a", SetAllocations(2)) is OutcomeKind.GONE
    await carry_out(cluster, "a", start())
    await cluster.pass_by(30.0)
    await carry_out(cluster, "a", SetAllocations(2))
    assert cluster.allocations_of("a") == 2


@pytest.mark.parametrize("change", [SetAllocations(2), SetBounds(1, 2)], ids=str)
async def test_a_deployment_that_is_gone_cannot_be_changed(cluster, change):
    cluster.delete("a")
    assert await refusal_of(cluster, "a", change) is OutcomeKind.GONE
    await carry_out(cluster, "b", SetAllocations(3))


async def test_a_stop_of_a_deployment_that_is_gone_succeeds(cluster):
    cluster.delete("a")
    assert await carry_out(cluster, "a", Stop()) is None


async def test_a_model_that_is_gone_cannot_be_started(cluster):
    assert await refusal_of(cluster, "c", start("no-such-model")) is OutcomeKind.GONE


@pytest.mark.parametrize("kind", sorted(set(OutcomeKind) - NEVER_RAISED))
async def test_a_refusal_has_a_kind_and_changes_nothing(cluster, kind):
    cluster.refuse("a", kind)
    change = Stop() if kind in OF_A_STOP else SetAllocations(2)
    assert await refusal_of(cluster, "a", change) is kind
    assert cluster.allocations_of("a") == 1
    await carry_out(cluster, "b", SetAllocations(3))
    assert cluster.allocations_of("b") == 3


async def test_the_owner_of_a_deployment_is_reported(cluster):
    cluster.own("b")
    assert (await cluster.run(cluster.ports.observe())).owned == {"b": "b"}


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "not noticed"])
async def test_a_deployment_of_an_endpoint_can_be_changed_and_not_stopped(cluster, noticed):
    cluster.own("b")
    if noticed:
        await cluster.run(cluster.ports.observe())
    assert await refusal_of(cluster, "b", Stop()) is OutcomeKind.ENDPOINT_OWNED
    await carry_out(cluster, "b", SetAllocations(4))
    assert cluster.allocations_of("b") == 4
    await carry_out(cluster, "b", SetBounds(1, 6))
    assert (await seen(cluster, "b")).adaptive == AdaptiveAllocations(
        enabled=True, minimum=1, maximum=6
    )
    await carry_out(cluster, "b", SetAllocations(3, take_over=True))
    assert cluster.allocations_of("b") == 3
    assert not (await seen(cluster, "b")).adaptive.enabled
