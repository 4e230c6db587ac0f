"""The contract of an Observer, for every implementation."""

import pytest

from autoscaler.core.values import STARTED
from autoscaler.ports import FailureKind, ObservationFailed
from tests.contracts.clusters import ALLOCATIONS


async def observe(cluster):
    return await cluster.run(cluster.ports.observe())


async def test_every_deployment_is_observed_under_its_id(cluster):
    observation = await observe(cluster)
    assert {name: s.allocations for name, s in observation.deployments.items()} == ALLOCATIONS
    for name, stats in observation.deployments.items():
        assert stats.deployment_id == name
        assert stats.state == STARTED
        assert stats.running_allocations == stats.target_allocations == stats.allocations
        assert sum(n.allocations or 0 for n in stats.nodes) == stats.allocations
    assert not observation.unreadable


async def test_it_is_dated_by_the_clock(cluster):
    before = cluster.clock.now()
    observation = await observe(cluster)
    assert before <= observation.at <= cluster.clock.now()


async def test_observing_changes_nothing(cluster):
    first, second = await observe(cluster), await observe(cluster)
    assert first.deployments == second.deployments
    assert second.at >= first.at


async def test_what_is_gone_is_not_observed(cluster):
    cluster.delete("a")
    assert list((await observe(cluster)).deployments) == ["b"]


@pytest.mark.parametrize(
    "kind", sorted(set(FailureKind) - {FailureKind.TIMEOUT, FailureKind.DEFECT})
)
async def test_there_is_an_observation_or_a_failure_kind(cluster, kind):
    cluster.fail(kind)
    with pytest.raises(ObservationFailed) as caught:
        await observe(cluster)
    assert caught.value.kind is kind
    assert str(caught.value)
