"""The same changes on clusters of all versions."""

import pytest

from autoscaler.adapters.elasticsearch.server_version import server_version
from autoscaler.core.decision import OutcomeKind, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.values import AdaptiveAllocations
from autoscaler.ports import UpdateFailed
from tests.contracts.clusters import over_http

WITHOUT_ADAPTIVE = ("8.6", "8.10", "8.15")
# Without an update of endpoints; with an update of num_allocations only; with an update of both.
WITH_ADAPTIVE = ("8.16", "8.17", "8.19", "9.1", "9.2", "9.3")


async def carry_out(cluster, name, change):
    await cluster.run(cluster.ports.carry_out(name, change))


async def seen(cluster, name):
    return (await cluster.run(cluster.ports.observe())).deployments.get(name)


@pytest.mark.parametrize("owned", [False, True], ids=["free", "owned"])
@pytest.mark.parametrize("version", WITH_ADAPTIVE)
async def test_both_control_modes(version, owned):
    async with over_http(version) as cluster:
        if owned:
            cluster.own("b")
        await seen(cluster, "b")
        await carry_out(cluster, "b", SetAllocations(3))
        assert cluster.allocations_of("b") == 3
        for minimum, maximum in ((2, 5), (0, 6)):
            await carry_out(cluster, "b", SetBounds(minimum, maximum))
            bounds = AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)
            assert (await seen(cluster, "b")).adaptive == bounds
        with pytest.raises(UpdateFailed) as caught:
            await carry_out(cluster, "b", SetAllocations(4))
        assert caught.value.kind is OutcomeKind.ADAPTIVE_ENABLED
        await carry_out(cluster, "b", SetAllocations(4, take_over=True))
        assert cluster.allocations_of("b") == 4
        assert not (await seen(cluster, "b")).adaptive.enabled


@pytest.mark.parametrize("version", WITHOUT_ADAPTIVE)
async def test_bounds_need_adaptive_allocations(version):
    async with over_http(version) as cluster:
        with pytest.raises(UpdateFailed, match=r"8\.16 or later") as caught:
            await carry_out(cluster, "b", SetBounds(1, 4))
        assert caught.value.kind is OutcomeKind.UNSUPPORTED
        await carry_out(cluster, "b", SetAllocations(4))
        assert cluster.allocations_of("b") == 4


@pytest.mark.parametrize("version", WITHOUT_ADAPTIVE + WITH_ADAPTIVE)
async def test_stopped_and_started_again(version):
    async with over_http(version) as cluster:
        before = await seen(cluster, "b")
        await carry_out(cluster, "b", Stop())
        assert await seen(cluster, "b") is None
        start = Start(
            model_id="b",
            allocations=before.allocations,
            threads_per_allocation=before.threads_per_allocation,
            queue_capacity=before.queue_capacity,
            cache_bytes=before.cache_bytes,
            priority=before.priority,
            adaptive=before.adaptive,
        )
        at = cluster.clock.now()
        for _ in range(2):
            await carry_out(cluster, "b", start)
        assert cluster.clock.now() <= at + 5.0
        await cluster.pass_by(60.0)
        after = await seen(cluster, "b")
        assert (after.state, after.allocations, after.queue_capacity, after.cache_bytes) == (
            before.state,
            before.allocations,
            before.queue_capacity,
            before.cache_bytes,
        )


async def test_serverless_accepts_bounds_only():
    async with over_http("serverless") as cluster:
        await carry_out(cluster, "b", SetBounds(2, 6))
        bounds = AdaptiveAllocations(enabled=True, minimum=2, maximum=6)
        assert (await seen(cluster, "b")).adaptive == bounds
        with pytest.raises(UpdateFailed) as caught:
            await carry_out(cluster, "b", SetAllocations(4))
        assert caught.value.kind is OutcomeKind.ADAPTIVE_ENABLED


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (("8.15.0", "8.15.3"), True),
        (("8.15.0", "8.16.1"), False),
        (("8.15.0", "8.18.0"), False),
        (("8.17.0", "8.19.0"), False),
        (("8.18.0", "9.1.0"), True),
        ((), False),
    ],
)
def test_a_list_of_endpoints_is_complete_if_it_is_on_every_node(versions, expected):
    """During a rolling upgrade, any of the nodes may respond."""
    assert server_version(None, *versions).lists_every_endpoint is expected
