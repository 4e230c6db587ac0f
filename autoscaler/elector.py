"""Keeps the lease of one instance: reads it, takes it, renews it and releases it.

`core.election` decides; this module sends the requests, and measures when.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from autoscaler.core.election import ATTEMPTS_PER_TTL, Candidacy, LeaseWrite
from autoscaler.ports import Clock, LeaseConflict, LeaseDenied, LeaseStore, LeaseUnavailable

Result = TypeVar("Result")

RELEASE_TIMEOUT_S = 2.0
"""Seconds that the release of the lease may take when the daemon ends. 2 s: without it, the next
instance waits for the end of the lease."""


class Elector:
    """The Leadership of one instance, by a lease.

    Args:
        candidacy: its name and the duration of its lease.
        jitter: spreads the attempts of several instances.
        on_change: is called when it begins to lead, when it no longer does, when another instance
            leads, and when the lease becomes unavailable or available. Must not raise.
    """

    def __init__(
        self,
        store: LeaseStore,
        clock: Clock,
        candidacy: Candidacy,
        jitter: random.Random,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._candidacy = candidacy
        self._jitter = jitter
        self._on_change = on_change
        self._reported: object = None
        self._is_denied = False  # at the last attempt
        self.failure = ""  # why the lease could not be read or written at the last attempt

    @property
    def name(self) -> str:
        """The name of this instance in the lease."""
        return self._candidacy.name

    @property
    def leading_since(self) -> float | None:
        return self._candidacy.leading_since if self.leads() else None

    @property
    def leader(self) -> str:
        if self.leads():
            return self._candidacy.name
        holder = self._candidacy.holder or ""
        return "" if holder == self._candidacy.name else holder

    @property
    def transitions(self) -> int | None:
        """How often another instance has taken the lease; None: unknown."""
        known = self._candidacy.known
        return None if known is None or known.lease is None else known.lease.transitions

    def leads(self, *, for_s: float = 0.0) -> bool:
        return self._candidacy.leads(self._clock.now(), for_s=for_s)

    async def run(self) -> None:
        """Take the lease when that is possible, and renew it, until cancelled."""
        while True:
            await self._attempt()
            self._report()
            await self._wait(self._wait_s())

    async def release(self) -> None:
        """Lead no longer, and let the next instance lead at once. For use after `run` has ended,
        when no change is under way."""
        self._candidacy = self._candidacy.resigned()
        self._report()
        with suppress(LeaseConflict, LeaseUnavailable):  # otherwise it ends by itself
            await self._within(RELEASE_TIMEOUT_S, self._release())

    async def _release(self) -> None:
        found = await self._store.read()
        self._candidacy = self._candidacy.after_read(found, self._clock.now()).resigned()
        write = self._candidacy.release(self._clock.now())
        if write is not None:
            await self._store.write(write.lease, write.replaces)

    def _wait_s(self) -> float:
        wait_s = self._candidacy.wait_s(self._clock.now(), self._jitter.random())
        if self._is_denied and not self.leads():
            return max(wait_s, self._candidacy.ttl_s)  # each attempt is audited
        return wait_s

    async def _wait(self, seconds: float) -> None:
        """Wait, and report the beginning and the end of the term when they come."""
        end_at = self._clock.now() + seconds
        changes = (self._candidacy.leads_from, self._candidacy.leads_until)
        for at in sorted(min(each, end_at) for each in (*changes, end_at)):
            await self._clock.sleep(at - self._clock.now())
            self._report()

    async def _attempt(self) -> None:
        """One attempt to take or to renew the lease. Without a response, it ends."""
        limit_s = self._candidacy.ttl_s / ATTEMPTS_PER_TTL
        self._is_denied = False
        try:
            if not self._candidacy.may_renew(self._clock.now()):
                found = await self._within(limit_s, self._store.read())
                self._candidacy = self._candidacy.after_read(found, self._clock.now())
            write = self._candidacy.next_write(self._clock.now())
            if write is not None:
                await self._write(write, limit_s)
        except LeaseConflict:
            self._candidacy = self._candidacy.after_failure()
            self.failure = ""
        except LeaseUnavailable as error:
            self._candidacy = self._candidacy.after_failure()
            self.failure = str(error)
            self._is_denied = isinstance(error, LeaseDenied)
        else:
            self.failure = ""

    async def _write(self, write: LeaseWrite, limit_s: float) -> None:
        # Until its response, it is unknown whether the write is applied.
        before, self._candidacy = self._candidacy, self._candidacy.after_failure()
        sent_at = self._clock.now()
        written = await self._within(limit_s, self._store.write(write.lease, write.replaces))
        self._candidacy = before.after_write(written, sent_at, self._clock.now())

    async def _within(self, limit_s: float, request: Awaitable[Result]) -> Result:
        """The response of the store within `limit_s`, by the clock that leases are measured with.

        Raises:
            LeaseUnavailable: there is none.
        """
        task = asyncio.ensure_future(request)
        timer = asyncio.ensure_future(self._clock.sleep(limit_s))
        try:
            await asyncio.wait([task, timer], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise LeaseUnavailable(f"no response within {limit_s:.3g} s")
            return task.result()
        finally:
            for each in (task, timer):
                each.cancel()
            await asyncio.gather(task, timer, return_exceptions=True)

    def _report(self) -> None:
        found = (self.leads(), self.leader, bool(self.failure))
        if found != self._reported:
            self._reported = found
            self._on_change()
