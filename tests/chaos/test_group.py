"""A group of processes: the invariants hold, and a process that stands still does nothing."""

import asyncio
import random

import pytest

from tests.chaos.group import run_group
from tests.chaos.group_schedule import group_schedule_of, group_settings_of
from tests.chaos.members import after_power_failure
from tests.chaos.processes import Host, Process, run_processes

pytestmark = pytest.mark.untraced

CYCLES = 60


@pytest.mark.parametrize("seed", range(8))
def test_the_invariants_hold(seed):
    assert run_group(seed, cycles=CYCLES).violations == ()


def test_a_seed_is_one_history():
    first, second = (run_group(5, cycles=60) for _ in range(2))
    assert first.digest == second.digest
    assert len({daemon for _, daemon, *_ in first.digest}) > 2


def test_a_fault_concerns_processes_of_the_group():
    for seed in range(20):
        settings = group_settings_of(seed)
        for scheduled in group_schedule_of(seed, settings, 1000.0):
            assert scheduled.processes
            assert max(scheduled.processes) < settings.count
            assert scheduled.at + scheduled.lasts_s <= 700.0


class Ticks:
    """A process that notes the time once a second, and the end of its work."""

    def __init__(self):
        self.process = Process("one", Host(), 1.0)
        self.at, self.ended = [], False
        self.task = self.process.spawn(self._run())

    async def _run(self):
        try:
            while True:
                await self.process.clock.sleep(1.0)
                self.at.append(asyncio.get_running_loop().time())
        finally:
            self.ended = True


def test_a_suspended_process_does_nothing_until_it_is_woken():
    async def main():
        ticks = Ticks()
        await asyncio.sleep(2.5)
        ticks.process.suspend()
        await asyncio.sleep(10.0)
        assert ticks.at == [1.0, 2.0]
        ticks.process.wake()
        await asyncio.sleep(1.1)
        assert ticks.at == [1.0, 2.0, 12.5, 13.5]

    run_processes(main())


def test_a_killed_process_does_not_even_clean_up():
    async def main():
        ticks = Ticks()
        await asyncio.sleep(2.5)
        ticks.process.kill()
        await asyncio.sleep(10.0)
        assert ticks.at == [1.0, 2.0]
        assert not ticks.ended
        await ticks.process.bury()
        assert ticks.task.done()

    run_processes(main())


def test_the_tasks_of_a_process_belong_to_it():
    async def main():
        async def parent():
            children.append(asyncio.ensure_future(child()))
            await asyncio.Event().wait()

        async def child():
            await asyncio.sleep(5.0)
            done.append(True)

        done, children = [], []
        process = Process("one", Host(), 1.0)
        process.spawn(parent())
        await asyncio.sleep(1.0)
        process.suspend()
        await asyncio.sleep(10.0)
        assert done == []
        process.wake()
        await asyncio.sleep(0.1)
        assert done == [True]
        await process.bury()

    run_processes(main())


def test_a_process_reads_the_wall_clock_when_it_starts():
    async def main():
        host = Host()
        before = Process("before", host, 1.0)
        host.offset_s = 3600.0
        after = Process("after", host, 1.0)
        await asyncio.sleep(10.0)
        assert after.clock.now() - before.clock.now() == 3600.0

    run_processes(main())


def test_a_power_failure_leaves_what_was_written_past_the_caches():
    rng = random.Random(1)
    log = "autoscaler.sqlite-wal"
    durable = {"autoscaler.sqlite": b"pages", log: b"synced"}
    written = {**durable, log: b"synced, and not synced"}
    found = [after_power_failure(written, durable, rng)[log] for _ in range(50)]
    assert all(each.startswith(b"synced") for each in found)
    assert len(set(found)) > 5


def test_a_power_failure_leaves_no_mixture_of_two_checkpoints():
    rng = random.Random(1)
    log = "autoscaler.sqlite-wal"
    durable = {"autoscaler.sqlite": b"pages", log: b"synced"}
    written = {"autoscaler.sqlite": b"other pages", log: b"begun again"}
    for _ in range(50):
        assert after_power_failure(written, durable, rng) in (written, durable)
