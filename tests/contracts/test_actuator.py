"""What an Actuator promises, whoever acts."""

import pytest

from autoscaler.core.values import Fate
from autoscaler.ports import UpdateFailed

NEVER_RAISED = {Fate.UNCHANGED, Fate.DRY_RUN, Fate.WITHHELD, Fate.ACCEPTED, Fate.GONE}


async def ask(cluster, name, allocations):
    return await cluster.run(cluster.ports.set_allocations(name, allocations))


@pytest.mark.parametrize("allocations", [1, 2, 5])
async def test_what_is_accepted_is_the_target(cluster, allocations):
    assert await ask(cluster, "a", allocations) is None
    assert cluster.number_of("a") == allocations
    assert cluster.number_of("b") == 2
    observation = await cluster.run(cluster.ports.observe())
    assert observation.deployments["a"].allocations == allocations
    assert observation.deployments["a"].target_allocations == allocations


async def test_asking_again_is_harmless(cluster):
    for _ in range(3):
        await ask(cluster, "b", 4)
    assert cluster.number_of("b") == 4


async def test_what_is_gone_cannot_be_changed(cluster):
    cluster.delete("a")
    with pytest.raises(UpdateFailed) as caught:
        await ask(cluster, "a", 2)
    assert caught.value.fate is Fate.GONE
    await ask(cluster, "b", 3)


@pytest.mark.parametrize("fate", sorted(set(Fate) - NEVER_RAISED))
async def test_a_refusal_says_what_became_of_it_and_changes_nothing(cluster, fate):
    cluster.refuse("a", fate)
    with pytest.raises(UpdateFailed) as caught:
        await ask(cluster, "a", 2)
    assert caught.value.fate is fate
    assert str(caught.value)
    assert cluster.number_of("a") == 1
    await ask(cluster, "b", 3)
    assert cluster.number_of("b") == 3
