"""What a daemon keeps of deployments that come and go for more than a day."""

import gc
import io
from types import FunctionType, ModuleType

import msgspec
import pytest

from benchmarks.soak import DAY_S, HOUR_S, soaking

DEPLOYMENTS = 4
AFTER_S = DAY_S + HOUR_S
"""Seconds after which nothing of a deployment is kept. A day, and one update more."""


def reachable(*roots):
    """Every object that is kept by these."""
    found, waiting = {}, list(roots)
    while waiting:
        each = waiting.pop()
        if id(each) in found or isinstance(each, type | ModuleType | FunctionType):
            continue
        found[id(each)] = each
        if isinstance(each, msgspec.Struct):  # which may be hidden from the garbage collector
            waiting += [getattr(each, name) for name in each.__struct_fields__]
        else:
            waiting += gc.get_referents(each)
        if isinstance(each, dict):  # of which only the values are referents if all keys are text
            waiting += each
    return list(found.values())


@pytest.mark.untraced
async def test_nothing_is_kept_of_deployments_that_went_a_day_ago(tmp_path):
    log = io.StringIO()
    async with soaking(DEPLOYMENTS, tmp_path, log, interval_s=60) as soak:
        sizes, gone = [], {}
        for hour in range(52):
            before = set(soak.cluster.running)
            await soak.run(HOUR_S)
            gone |= dict.fromkeys(before - set(soak.cluster.running), soak.clock.now())
            if hour in (27, 51):
                kept = reachable(soak.loop.state, soak.loop._last, *soak.recorders)
                sizes.append(len(kept))
        names = {each for each in kept if isinstance(each, str)}
    forgotten = {name for name, at in gone.items() if soak.clock.now() - at > AFTER_S}
    assert len(forgotten) > 20
    assert set(soak.cluster.running) <= names
    assert forgotten & names == set()
    assert sizes[1] < 1.05 * sizes[0]
