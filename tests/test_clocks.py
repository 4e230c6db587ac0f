import asyncio
import time

import pytest

from autoscaler.adapters.clock import HostClock
from tests.virtual_clock import VirtualClock


async def test_virtual_time_passes_only_when_advanced():
    clock = VirtualClock(start=100.0)
    ended = []

    async def wait(seconds):
        await clock.sleep(seconds)
        ended.append((seconds, clock.now()))

    tasks = [asyncio.create_task(wait(seconds)) for seconds in (30.0, 10.0, 20.0)]
    await clock.advance(0.0)
    assert ended == []
    await clock.advance(20.0)
    assert ended == [(10.0, 110.0), (20.0, 120.0)]
    await clock.advance(10.0)
    await asyncio.gather(*tasks)
    assert clock.now() == 130.0


async def test_a_task_can_wait_repeatedly_within_one_advance():
    clock, ticks = VirtualClock(start=0.0), []

    async def tick():
        while True:
            await clock.sleep(10.0)
            ticks.append(clock.now())

    task = asyncio.create_task(tick())
    await clock.advance(35.0)
    task.cancel()
    assert ticks == [10.0, 20.0, 30.0]


async def test_run_takes_as_much_time_as_needed_and_no_more():
    clock = VirtualClock(start=0.0)

    async def work():
        await clock.sleep(3.0)
        await clock.sleep(4.0)
        return "done"

    assert await clock.run(work()) == "done"
    assert clock.now() == 7.0


async def test_a_cancelled_task_does_not_move_time():
    clock = VirtualClock(start=0.0)
    task = asyncio.create_task(clock.sleep(5.0))
    await clock.advance(1.0)
    task.cancel()
    await clock.run(clock.sleep(20.0))
    assert clock.now() == 21.0


async def test_the_hosts_clock_may_run_faster():
    clock = HostClock(speed=1e6)
    before = clock.now()
    await clock.sleep(100.0)
    assert clock.now() - before >= 99.0  # event loops return a moment early


def test_a_clock_of_the_host_that_is_set_later_disagrees(monkeypatch):
    clock = HostClock()
    assert clock.agrees()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 30 * 86_400.0)
    assert not clock.agrees()
    assert clock.set_by_s() == pytest.approx(-30 * 86_400.0, abs=30.0)
    assert HostClock().agrees()
