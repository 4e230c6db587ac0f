"""A backlog: queued requests that are late unless allocations are added, and what drains it."""

import math

from autoscaler.core.policies import Situation
from autoscaler.core.slo.memory import Backlog, SloMemory
from autoscaler.core.values import Value

BACKLOG_WAITS = 1.0
"""A queue is a backlog if serving it takes longer than this many times the max queue wait. 1: from
there on, its last requests are late."""


class BacklogModel(Value, frozen=True, kw_only=True):
    """What the allocations that drain a backlog depend on."""

    load: float  # expected, in erlangs
    rate_per_s: float  # expected arrivals
    service_time_s: float  # mean
    max_queue_wait_s: float
    drain_s: float  # time in which a backlog is served
    caller_timeout_s: float  # callers give up after this queue wait

    def backlog(self, situation: Situation, seen: SloMemory) -> Backlog | None:
        """The backlog at this poll; None if there is none.

        Args:
            seen: with the last backlog, and all samples up to this poll.
        """
        queued = self._queued_within_timeout(situation)
        limit_s = BACKLOG_WAITS * self.max_queue_wait_s * max(1, situation.running)
        if queued * self.service_time_s <= limit_s:
            return None
        before, at, interval_s = seen.estimate, situation.at, situation.sample.interval_s
        known = before.backlog
        if situation.carried_out and at <= before.expected_until:
            known = None  # a dry run has left it
        # A queue that has doubled since the previous poll is a new backlog.
        since = at if known is None or 2 * situation.sample.queue_growth > queued else known.since
        left_s = max(interval_s, since + self.drain_s - at)
        allocations = math.ceil(self.load + queued * self.service_time_s / left_s - 1e-9)
        return Backlog(since, queued, allocations)

    def _queued_within_timeout(self, situation: Situation) -> int:
        """Queued requests whose callers have not given up yet."""
        queued = max(0, situation.sample.in_flight - situation.running)
        return int(min(queued, max(1.0, self.rate_per_s * self.caller_timeout_s)))


def is_due(situation: Situation, memory: SloMemory, drain_s: float) -> bool:
    """Whether the queue is longer than at the previous poll, or a backlog should have been served
    by now."""
    backlog = memory.estimate.backlog
    if backlog is not None:
        late_s = situation.at - backlog.since - drain_s
        if late_s <= situation.sample.interval_s:
            return True
    return situation.sample.in_flight > max(situation.running, memory.in_flight)
