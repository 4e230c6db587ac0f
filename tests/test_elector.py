"""The elector reports the beginning and the end of a term when they come."""

import asyncio
import random

import pytest

from autoscaler.core.election import Candidacy
from autoscaler.elector import Elector
from autoscaler.ports import LeaseDenied, LeaseUnavailable
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
    """Not after the next renewal: the instance leads already, and what follows from it, such as
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


class RefusingStore(MemoryLeaseStore):
    """A store that refuses each request."""

    def __init__(self, error):
        super().__init__()
        self.error, self.requests = error, 0

    async def read(self):
        self.requests += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "most"), [(LeaseDenied("401"), 41), (LeaseUnavailable("503"), 300)]
)
def test_refused_credentials_are_tried_again_once_in_the_time_of_a_lease(error, most):
    """Each attempt is audited, and may lock the user out. Any other failure may be over sooner."""

    async def play():
        store = RefusingStore(error)
        candidacy = Candidacy(name="one", ttl_s=TTL_S)
        elector = Elector(store, LoopClock(), candidacy, random.Random(1))
        running = asyncio.ensure_future(elector.run())
        await asyncio.sleep(600.0)
        running.cancel()
        assert most * 0.6 < store.requests <= most

    run_in_virtual_time(play(), sockets=False)
