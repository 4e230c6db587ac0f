"""The elector reports the beginning and the end of a term when they come."""

import asyncio
import random

from autoscaler.core.election import Candidacy
from autoscaler.elector import Elector
from tests.elections import MemoryLeaseStore
from tests.virtual_loop import LoopClock, run_in_virtual_time

TTL_S = 15.0


class SlowStore(MemoryLeaseStore):
    """A store whose requests take two seconds."""

    async def read(self):
        await asyncio.sleep(2.0)
        return await super().read()

    async def write(self, lease, replaces):
        await asyncio.sleep(2.0)
        return await super().write(lease, replaces)


def test_a_term_that_begins_later_is_reported_when_it_begins():
    """Not after the next renewal: whoever asks meanwhile leads, and what follows from it, such as
    reading the state of the former leader, has to have begun."""

    async def play():
        clock, reported = LoopClock(), []
        elector = Elector(
            SlowStore(),
            clock,
            Candidacy(name="one", ttl_s=TTL_S),
            random.Random(1),
            on_change=lambda: reported.append((elector.leads(), clock.now())),
        )
        running = asyncio.ensure_future(elector.run())
        while not elector.leads():
            await asyncio.sleep(0.01)
        began_at = clock.now()
        await asyncio.sleep(0.01)
        running.cancel()
        leads, at = reported[-1]
        assert leads
        assert abs(at - began_at) <= 0.01

    run_in_virtual_time(play(), sockets=False)
