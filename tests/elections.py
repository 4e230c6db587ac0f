"""Several instances, one lease and everything that can go wrong between them, from one seed.

The instances run the electors of the daemon, in virtual time. Each has its own clock, which begins
elsewhere and runs a little faster or slower. Requests are delayed, lost before or after they have
been applied, refused, or applied long after their instance has given them up; instances are paused
for longer than a lease, killed, replaced and restarted; the lease is deleted and damaged.
"""

import asyncio
import math
import random
import selectors
from collections.abc import Callable
from contextlib import suppress

from autoscaler.core.election import MAX_CLOCK_DRIFT, Candidacy, Lease, StoredLease
from autoscaler.elector import Elector
from autoscaler.ports import LeaseConflict, LeaseUnavailable

TTL_S = 15.0
CHANGE_S = 3.0  # for which a change may be under way


class MemoryLeaseStore:
    """A LeaseStore in memory, as one server sees it."""

    def __init__(self) -> None:
        self.stored: StoredLease | None = None
        self._versions = 0

    def put(self, lease: Lease | None) -> StoredLease:
        """Store a lease; None: something that cannot be read."""
        self._versions += 1
        self.stored = StoredLease(version=str(self._versions), lease=lease)
        return self.stored

    async def read(self) -> StoredLease | None:
        return self.stored

    async def write(self, lease: Lease, replaces: StoredLease | None) -> StoredLease:
        before = None if self.stored is None else self.stored.version
        if before != (None if replaces is None else replaces.version):
            raise LeaseConflict
        return self.put(lease)


class InstanceClock:
    """The clock of one instance, and its pauses: while it is paused, nothing returns to it."""

    def __init__(self, offset_s: float, speed: float) -> None:
        self._offset_s, self._speed = offset_s, speed
        self._running = asyncio.Event()
        self._running.set()

    def now(self) -> float:
        return self._offset_s + self._speed * asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self._speed)
        await self.unpaused()

    async def unpaused(self) -> None:
        await self._running.wait()

    async def pause(self, seconds: float) -> None:
        self._running.clear()
        await asyncio.sleep(seconds)
        self._running.set()


class DisturbedStore:
    """The way of one instance to the store."""

    def __init__(self, election: "Election", clock: InstanceClock) -> None:
        self._election, self._clock = election, clock

    async def read(self) -> StoredLease | None:
        return await self._exchange(self._election.store.read)

    async def write(self, lease: Lease, replaces: StoredLease | None) -> StoredLease:
        return await self._exchange(lambda: self._election.store.write(lease, replaces))

    async def _exchange(self, request: Callable) -> StoredLease | None:
        """One request. What the server does, it does whether or not the instance still waits."""
        draw = self._election.random
        task = asyncio.ensure_future(self._serve(request, draw))
        self._election.served.add(task)
        task.add_done_callback(self._election.served.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(task)
        finally:
            await self._clock.unpaused()

    async def _serve(self, request: Callable, draw: random.Random) -> StoredLease | None:
        disturbed = draw.random() < self._election.fault_rate
        fault = draw.choice(FAULTS) if disturbed else "none"
        await asyncio.sleep(draw.uniform(0.0, 0.05))
        if fault == "refused":
            raise LeaseUnavailable("500")
        if fault == "slow request":
            await asyncio.sleep(draw.uniform(0.0, 3.0 * TTL_S))
        if fault == "lost request":
            await asyncio.Event().wait()
        found = await request()
        if fault == "slow response":
            await asyncio.sleep(draw.uniform(0.0, TTL_S))
        if fault == "lost response":
            await asyncio.Event().wait()
        if fault == "broken response":
            raise LeaseUnavailable("connection reset")
        await asyncio.sleep(draw.uniform(0.0, 0.05))
        return found


FAULTS = (
    "refused",
    "slow request",
    "lost request",
    "slow response",
    "lost response",
    "broken response",
)


class Instance:
    """One process: its elector, and the changes that it sends while it leads."""

    def __init__(self, election: "Election", name: str) -> None:
        draw = election.random
        drift = draw.uniform(-MAX_CLOCK_DRIFT, MAX_CLOCK_DRIFT) / 2.0
        self.clock = InstanceClock(draw.uniform(0.0, 1e9), 1.0 + drift)
        self.name = name
        self._election = election
        self.elector = Elector(
            DisturbedStore(election, self.clock),
            self.clock,
            Candidacy(name=name, ttl_s=TTL_S),
            random.Random(draw.random()),
            on_change=election.check,
        )
        self._tasks = [
            asyncio.ensure_future(self.elector.run()),
            asyncio.ensure_future(self._change()),
        ]

    async def _change(self) -> None:
        """Send changes, as the control loop does: the time for each is checked before it."""
        while True:
            await self.clock.sleep(self._election.random.uniform(0.1, 2.0))
            if self.elector.leads(for_s=CHANGE_S):
                took_s = self._election.random.uniform(0.0, CHANGE_S)
                self._election.changes.append((self.name, self._election.now(), took_s))
                self._election.check()
                await asyncio.sleep(took_s)

    async def kill(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """As the daemon ends: the change under way is completed, and then the lease released."""
        await self.kill()
        await asyncio.sleep(CHANGE_S)
        await self.elector.release()


class TwoLeaders(AssertionError):
    """Two instances may change the cluster at one time."""


class Election:
    """Instances that compete for one lease.

    Args:
        seed: of everything that happens.
        count: of instances.
    """

    def __init__(self, seed: int, count: int = 3) -> None:
        self.random = random.Random(seed)
        self.store = MemoryLeaseStore()
        self.fault_rate = self.random.choice((0.0, 0.1, 0.3, 0.6))
        self.served: set[asyncio.Task] = set()
        self.changes: list[tuple[str, float, float]] = []
        self.led: set[str] = set()  # the instances that have led
        self.led_after_s = 0.0  # from the death of a leader until another instance leads
        self._names = 0
        self.instances: list[Instance] = []
        for _ in range(count):
            self._start()

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def check(self) -> None:
        """
        Raises:
            TwoLeaders: more than one instance leads, or one sends a change while that of another
                one is under way.
        """
        leaders = [each.name for each in self.instances if each.elector.leads()]
        self.led.update(leaders)
        if len(leaders) > 1:
            raise TwoLeaders(f"{leaders} lead at {self.now():.3f} s")
        if self.changes:
            last, at, _ = self.changes[-1]
            for name, sent_at, took_s in self.changes[-20:-1]:
                if name != last and sent_at + took_s > at:
                    raise TwoLeaders(f"{last} sends a change during one of {name} at {at:.3f} s")

    def leader(self) -> str:
        return next((each.name for each in self.instances if each.elector.leads()), "")

    async def disturb(self, events: int) -> None:
        """Let things happen, and time pass between them."""
        for _ in range(events):
            await asyncio.sleep(self.random.expovariate(1.0 / (0.7 * TTL_S)))
            self.check()
            await self._one_event()
            self.check()

    async def recover(self, seconds: float) -> None:
        """Let `seconds` pass without any fault that begins."""
        self.fault_rate = 0.0
        end = self.now() + seconds
        while self.now() < end:
            await asyncio.sleep(0.25)
            self.check()

    async def _one_event(self) -> None:
        draw = self.random
        some = draw.choice(self.instances)
        match draw.choice(("pause", "pause", "kill", "stop", "faults", "delete", "damage", "edit")):
            case "pause":
                pause_s = draw.choice((0.5, 1.0, 2.0)) * TTL_S * draw.random()
                self.served.add(asyncio.ensure_future(some.clock.pause(pause_s)))
            case "kill":
                await self._replace(some, some.kill)
            case "stop":
                await self._replace(some, some.stop)
            case "faults":
                self.fault_rate = draw.choice((0.0, 0.1, 0.3, 0.6, 1.0))
            case "delete":
                self.store.stored = None
            case "damage":
                self.store.put(None)
            case "edit":
                odd = draw.choice((-math.inf, -1.0, 0.0, 0.1, 2.0 * TTL_S, math.nan))
                self.store.put(Lease(holder="someone", ttl_s=odd))

    async def replace_leader(self) -> None:
        """Kill the leader, at a random time, and let a follower lead."""
        await self.recover(self.random.uniform(0.0, TTL_S))
        leader = next(each for each in self.instances if each.elector.leads())
        killed_at = self.now()
        await self._replace(leader, leader.kill)
        while not self.leader():
            await asyncio.sleep(0.05)
            assert self.now() < killed_at + 3.0 * TTL_S, "no instance leads"
        self.led_after_s = self.now() - killed_at

    async def _replace(self, instance: Instance, end: Callable) -> None:
        self.instances.remove(instance)
        await end()
        self._start()

    def _start(self) -> None:
        self._names += 1
        self.instances.append(Instance(self, f"instance-{self._names}"))

    async def close(self) -> None:
        for instance in self.instances:
            await instance.kill()
        for task in list(self.served):
            task.cancel()
        await asyncio.gather(*self.served, return_exceptions=True)


class _Loop(asyncio.SelectorEventLoop):
    """A loop without sockets, whose time passes only while there is nothing to do."""

    def __init__(self) -> None:
        self._elapsed_s = 0.0
        super().__init__(_Selector(self._pass))

    def time(self) -> float:
        return self._elapsed_s

    def _pass(self, seconds: float) -> None:
        self._elapsed_s += seconds


class _Selector(selectors.SelectSelector):
    def __init__(self, time_passes: Callable[[float], None]) -> None:
        super().__init__()
        self._time_passes = time_passes

    def select(self, timeout: float | None = None) -> list:
        assert timeout is not None, "everything waits for ever"
        self._time_passes(max(0.0, timeout))
        return []


def run_election(
    seed: int, *, events: int = 25, recover_s: float = 8.0 * TTL_S, kill_leader: bool = False
) -> Election:
    """An election from a seed, to its end.

    Args:
        events: that happen.
        recover_s: seconds without faults after them.
        kill_leader: kill the leader then, and wait for the next one.

    Raises:
        TwoLeaders: at some time, two instances may have changed the cluster.
        AssertionError: no instance leads after everything has recovered.
    """

    async def main() -> Election:
        election = Election(seed)
        try:
            await election.disturb(events)
            await election.recover(recover_s)
            assert election.leader(), "no instance leads"
            if kill_leader:
                await election.replace_leader()
            return election
        finally:
            await election.close()

    with asyncio.Runner(loop_factory=_Loop) as runner, suppress(asyncio.CancelledError):
        return runner.run(main())
    raise AssertionError("cancelled")
