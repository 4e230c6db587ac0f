"""The contract of a Clock, for every implementation."""

import asyncio

import pytest

from autoscaler.adapters.clock import HostClock
from tests.fakes import FakeClock
from tests.virtual_clock import VirtualClock

CLOCKS = {
    "host": HostClock,
    "fast host": lambda: HostClock(speed=1000.0),
    "fake": lambda: FakeClock(start=1_000.0),
    "virtual": VirtualClock,
}


@pytest.fixture(params=CLOCKS)
def clock(request):
    return CLOCKS[request.param]()


async def wait(clock, awaitable):
    """Await, and let the clock pass for as long as that takes."""
    return await (clock.run(awaitable) if isinstance(clock, VirtualClock) else awaitable)


async def test_time_does_not_go_back(clock):
    instants = []
    for _ in range(50):
        instants.append(clock.now())
        await wait(clock, clock.sleep(0.0))
    assert instants == sorted(instants)


async def test_sleep_lasts_at_least_as_long_as_requested(clock):
    before = clock.now()
    await wait(clock, clock.sleep(0.002))
    assert clock.now() - before >= 0.002 - 1e-6


@pytest.mark.parametrize("seconds", [0.0, -1.0, -1e9])
async def test_a_sleep_of_no_time_returns(clock, seconds):
    before = clock.now()
    async with asyncio.timeout(5.0):
        await wait(clock, clock.sleep(seconds))
    assert 0.0 <= clock.now() - before < 5.0 * 1000.0


async def test_waiting_lets_others_run(clock):
    ran = asyncio.Event()

    async def other():
        ran.set()

    task = asyncio.create_task(other())
    await wait(clock, clock.sleep(0.0))
    await wait(clock, clock.sleep(0.001))
    assert ran.is_set()
    await task


async def test_a_sleep_can_be_cancelled(clock):
    waiting = asyncio.create_task(clock.sleep(0.005 if isinstance(clock, FakeClock) else 3600.0))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.done()
    await wait(clock, clock.sleep(0.001))


async def test_unix_seconds_on_the_host():
    import time

    assert HostClock().now() == pytest.approx(time.time(), abs=1.0)
