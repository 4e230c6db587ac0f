"""Damaged responses crash nothing, show no secret, and lead to no update outside the bounds."""

import json

import pytest

from benchmarks import payload
from tests.fuzzing.bodies import Damage
from tests.fuzzing.statistics import BODIES_OF_A_SEED, ODD, SECRET, check, outputs_of


@pytest.mark.parametrize("seed", range(20))
async def test_damaged_statistics(seed):
    await check(seed)


async def test_the_damage_reaches_the_decisions_and_the_outputs():
    """Otherwise, the tests above would pass whatever happens to such statistics."""
    outputs = [await outputs_of(seed) for seed in range(3)]
    assert any("ApiKey ***" in output for output, _ in outputs)
    assert any("cannot be read" in output for output, _ in outputs)
    assert any(cluster.updates for _, cluster in outputs)


def test_the_same_seed_does_the_same_damage():
    document = json.loads(payload.stats(2, 2, 1))

    def bodies(seed):
        damage = Damage(str(seed), ODD)
        return [damage.body(document) for _ in range(BODIES_OF_A_SEED)]

    assert bodies(1) == bodies(1) != bodies(2)
    assert SECRET.rstrip("=").encode() in b"".join(each for n in range(9) for each in bodies(n))
