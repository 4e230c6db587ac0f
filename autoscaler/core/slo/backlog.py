"""A backlog: queued requests that are late unless allocations are added, and what drains it.

Only requests whose callers still wait are worth serving. While they are served, all requests that
arrive are late, so a backlog should not stand for long. But the faster it is drained, the more
allocations run on after it, and one that needs a further node waits for that node first. Where
callers wait for hours, the cheapest time to drain it is between the two.
"""

import math

from autoscaler.core.policies import Situation
from autoscaler.core.slo.memory import Backlog, SloMemory
from autoscaler.core.values import Value

BACKLOG_WAITS = 1.0
"""A queue is a backlog if serving it takes longer than this many times the max queue wait. 1: from
there on, its last requests are late."""

SURPLUS_POLLS = 2.0
"""Poll intervals for which the allocations outlast the backlog that they were added for. 2: until
the poll that shows it, and until the decrease has taken effect."""

TIMEOUT_FRACTION = 0.1
"""Fraction of the caller timeout within which a backlog is drained at the latest. A tenth, because
its requests have waited already, service times vary, and callers that wait send nothing more."""


class BacklogModel(Value, frozen=True, kw_only=True):
    """What the allocations that drain a backlog depend on."""

    load: float  # expected, in erlangs
    rate_per_s: float  # expected arrivals
    service_time_s: float  # mean
    max_queue_wait_s: float
    allocations: int  # those that would cost least without a backlog
    violation_weight: float  # allocations that one erlang of late requests counts for
    drain_s: float  # time in which a backlog is served, unless callers wait much longer
    caller_timeout_s: float  # callers give up after this queue wait

    def backlog(self, situation: Situation, seen: SloMemory) -> Backlog | None:
        """The backlog at this poll; None if there is none.

        Args:
            seen: with the last backlog, and all samples up to this poll.
        """
        at, interval_s = situation.at, situation.sample.interval_s
        known = seen.estimate.backlog
        if situation.carried_out and at <= seen.estimate.expected_until:
            known = None  # a dry run has left it
        queued = self._queued_within_timeout(situation, known, seen.requests)
        # Allocations that were added for the backlog serve it sooner, but only if they stay.
        serving = max(1, min(situation.running, self.allocations))
        limit_s = BACKLOG_WAITS * self.max_queue_wait_s * serving
        if queued * self.service_time_s <= limit_s:
            return None
        if known is not None and 2 * situation.sample.queue_growth > queued:
            known = None  # it has doubled since the previous poll: a new backlog
        since = at if known is None else known.since
        left_s = max(interval_s, since + self.drain_s - at)
        work_s = queued * self.service_time_s
        cheapest_s = self.cheapest_drain_s(work_s, interval_s)
        if cheapest_s <= left_s:
            return Backlog(since, queued, self._needed(work_s, left_s))
        allocations = self._needed(work_s, cheapest_s)
        if known is not None:
            allocations = max(allocations, known.allocations)  # the fewer are left, the fewer
        return Backlog(since, queued, allocations)

    def cheapest_drain_s(self, work_s: float, interval_s: float) -> float:
        """The time in which it costs least to drain a backlog, in seconds; at most
        `TIMEOUT_FRACTION` of the caller timeout.

        Draining W allocation-seconds in T seconds takes `load` + W / T allocations. They cost, for
        the T seconds and for the surplus U afterwards, as much as those that are above the
        cheapest count; and meanwhile all arrivals are late:

            (load + W / T - allocations) (T + U) + weight load T

        which is least at T = √(W U / (weight load - (allocations - load))). Where no late request
        is worth the allocations, the longest time costs least.

        Args:
            work_s: allocation-seconds of the backlog.
            interval_s: from poll to poll.
        """
        longest_s = TIMEOUT_FRACTION * self.caller_timeout_s
        per_s = self.violation_weight * self.load - (self.allocations - self.load)
        if per_s <= 0.0:
            return longest_s
        return min(longest_s, math.sqrt(work_s * SURPLUS_POLLS * interval_s / per_s))

    def _needed(self, work_s: float, within_s: float) -> int:
        return math.ceil(self.load + work_s / within_s - 1e-9)

    def _queued_within_timeout(
        self, situation: Situation, known: Backlog | None, arrived: int
    ) -> int:
        """Queued requests whose callers have not given up yet.

        Args:
            arrived: requests since the last recomputation.
        """
        queued = max(0, situation.sample.in_flight - situation.running)
        within = self.rate_per_s * self.caller_timeout_s
        if known is not None and situation.at - known.since < self.caller_timeout_s:
            within = max(within, float(known.queued + arrived))  # none is older than the backlog
        return int(min(queued, max(1.0, within)))


def is_due(situation: Situation, memory: SloMemory, drain_s: float) -> bool:
    """Whether the queue is longer than at the previous poll, or a backlog has been served or should
    have been by now."""
    backlog, in_flight = memory.estimate.backlog, situation.sample.in_flight
    if backlog is not None:
        late_s = situation.at - backlog.since - drain_s
        if late_s <= situation.sample.interval_s or in_flight <= situation.running:
            return True
    return in_flight > max(situation.running, memory.queue.in_flight)
