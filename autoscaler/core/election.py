"""Which of several instances may change the cluster: a lease, as one of them sees it.

All instances read and write one lease. Its holder leads for `ttl_s` seconds from the moment before
it sent its last successful write. Another instance takes the lease over only after it has observed
the same lease, unchanged, for that long by its own clock. No two clocks are compared: each instance
measures durations only, from its own instants. A write replaces the lease that was read, and fails
if that has changed meanwhile.

Absent, unreadable and unanswered are unknown. An absent lease may have been deleted while its
holder leads, so that an instance that creates it leads one duration later. The same applies to a
lease that it replaced without being able to read it, and to one that bears its name after a write
without a response.
"""

import math

from msgspec.structs import replace

from autoscaler.core.values import Value

RELEASED = ""
"""The holder of a lease that its last holder has released. Any instance may take it at once."""

MAX_TTL_S = 3600.0
"""Maximum seconds of a lease. 1 h: longer than any configuration permits, so that a lease that was
edited by hand does not exclude all instances for ever."""

MAX_CLOCK_DRIFT = 0.01
"""The fraction by which the clocks of two hosts differ in speed at most, as far as this program is
concerned. 0.01: twenty times the 500 ppm by which NTP adjusts a clock."""

ATTEMPTS_PER_TTL = 5
"""Attempts to read or to renew the lease within its duration. 5, so that three may fail."""


class Lease(Value, frozen=True, kw_only=True):
    """The content of a lease. The instants are the holder's, in Unix seconds, for operators only.

    Every write has another `renewed_at`, so that no write leaves the lease as it was.
    """

    holder: str
    ttl_s: float
    transitions: int = 0  # how often another holder has taken it
    acquired_at: float = 0.0
    renewed_at: float = 0.0


class StoredLease(Value, frozen=True, kw_only=True):
    """A lease as the store has it. Every write results in another version."""

    version: str
    lease: Lease | None  # None: it cannot be read


class LeaseWrite(Value, frozen=True, kw_only=True):
    """A write to be sent."""

    lease: Lease
    replaces: StoredLease | None  # None: there must be none


class Candidacy(Value, frozen=True, kw_only=True):
    """What one instance knows of the lease, and until when it leads. All instants are its own.

    Args:
        name: differs from that of every other instance, former ones included.
        ttl_s: the duration of its leases.
        known: the lease as last observed; None: it was absent.
        observed_at: when `known` was first observed; None: nothing has been observed yet.
        is_current: whether `known` may be what the store has now; it is not after a failure.
        leads_from: it does not lead before, although it holds the lease.
        leads_until: the end of its lease; -inf: it does not hold it.
        since: when it took the lease that it has held without a gap since.
    """

    name: str
    ttl_s: float
    known: StoredLease | None = None
    observed_at: float | None = None
    is_current: bool = False
    leads_from: float = -math.inf
    leads_until: float = -math.inf
    since: float = -math.inf

    def leads(self, now: float, *, for_s: float = 0.0) -> bool:
        """Whether it leads now, and in all of the next `for_s` seconds."""
        return self.leads_from <= now and now + for_s < self.leads_until

    @property
    def leading_since(self) -> float:
        """The beginning of its term, if it leads."""
        return max(self.since, self.leads_from)

    @property
    def holder(self) -> str | None:
        """The holder of the lease as last observed; None: unknown. `RELEASED`: there is none."""
        return None if self.known is None or self.known.lease is None else self.known.lease.holder

    def may_renew(self, now: float) -> bool:
        """Whether the lease can be renewed without another read."""
        return self.is_current and self.leads(now)

    def next_write(self, now: float) -> LeaseWrite | None:
        """The write that takes or renews the lease, as read just now or written last; None: it is
        another instance's."""
        if not self.leads(now) and now < self._takeover_at():
            return None
        known = None if self.known is None else self.known.lease
        renewal = known is not None and known.holder == self.name
        transitions = 0 if known is None else known.transitions + (not renewal)
        lease = Lease(
            holder=self.name,
            ttl_s=self.ttl_s,
            transitions=transitions,
            acquired_at=known.acquired_at if known is not None and renewal else now,
            renewed_at=now,
        )
        return LeaseWrite(lease=lease, replaces=self.known)

    def resigned(self) -> "Candidacy":
        """It leads no longer, whatever it holds."""
        return replace(self, leads_until=-math.inf)

    def release(self, now: float) -> LeaseWrite | None:
        """The write that lets the next instance lead at once; None: the lease, as read just now, is
        not its own, or has not begun, because its former holder may still lead."""
        if self.known is None or self.known.lease is None or self.holder != self.name:
            return None
        if now < self.leads_from:
            return None
        lease = replace(self.known.lease, holder=RELEASED, renewed_at=now)
        return LeaseWrite(lease=lease, replaces=self.known)

    def after_read(self, found: StoredLease | None, at: float) -> "Candidacy":
        """The lease has been read; the response arrived at `at`.

        The time for which a lease has been unchanged counts from the arrival, because it may have
        been written just before that.
        """
        unchanged = self.observed_at is not None and found == self.known
        after = replace(
            self,
            known=found,
            observed_at=self.observed_at if unchanged else at,
            is_current=True,
        )
        if after.holder == self.name:
            if unchanged or self.leads(at):
                return after
            return replace(after, leads_from=at + self.ttl_s)
        return after if found is None else after.resigned()

    def after_write(self, written: StoredLease, sent_at: float, at: float) -> "Candidacy":
        """It holds the lease from `sent_at`, the moment before the request was sent.

        Args:
            at: when the response arrived.
        """
        leads, leads_from = self.leads(at), self.leads_from
        if not leads and self.holder != self.name:
            leads_from = at + self.ttl_s if self.holder is None else -math.inf
        return replace(
            self,
            known=written,
            observed_at=at,
            is_current=True,
            leads_from=leads_from,
            leads_until=sent_at + self.ttl_s * (1.0 - MAX_CLOCK_DRIFT),
            since=self.since if leads else at,
        )

    def after_failure(self) -> "Candidacy":
        """The lease has changed, or there was no response: a write may have been applied or not."""
        return replace(self, is_current=False)

    def wait_s(self, now: float, jitter: float) -> float:
        """Seconds until the next attempt.

        Args:
            jitter: from 0 to 1, so that instances that started together do not stay together.
        """
        interval_s = self.ttl_s / ATTEMPTS_PER_TTL * (1.0 - 0.2 * jitter)
        if not self.is_current:
            return 0.25 * interval_s if self.leads(now) else interval_s
        if self.leads(now):
            return interval_s
        next_s = (self.leads_from if self.holder == self.name else self._takeover_at()) - now
        return min(interval_s, max(next_s, 0.1 * interval_s))

    def _takeover_at(self) -> float:
        """When the lease may be taken, if it does not change until then."""
        lease = None if self.known is None else self.known.lease
        if lease is None or lease.holder in (self.name, RELEASED):
            return -math.inf
        ttl_s = min(lease.ttl_s, MAX_TTL_S) if self.ttl_s < lease.ttl_s else self.ttl_s
        return (self.observed_at or 0.0) + ttl_s
