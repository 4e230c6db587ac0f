"""When the policy needs the next poll: early while the deployment is at risk.

A poll shows what has arrived, so a load that jumps is served the earlier the more often is polled.
But each poll costs the cluster time. So polls are frequent where the next seconds matter: while a
queue stands, after a load jump and after a decrease, and around the instants at which the load is
expected to change.
"""

from autoscaler.core.next_poll import PollCause, PollRequest
from autoscaler.core.policies import Situation
from autoscaler.core.slo.arrivals import RESPONSE_S, Arrivals
from autoscaler.core.slo.memory import Alert, SloMemory
from autoscaler.core.slo.recurrence import next_change_s

ALERT_S = 10.0
"""Seconds for which polls are frequent after a load jump or a decrease."""

POLL_SERVICE_TIMES = 5.0
"""Mean service times between two polls at least, unless the load recurs. 5: in less time, the
requests of long services show nothing but chance."""

QUEUE_AT_RISK = 0.75
"""Fraction of a backlog from which on a queue counts as one that stands."""


def alert_after(
    situation: Situation, memory: SloMemory, arrivals: Arrivals, allocations: int
) -> Alert | None:
    """The alert after a recommendation; None if nothing has begun that has to be watched.

    Args:
        memory: before this poll.
        allocations: that are recommended.
    """
    if arrivals.exceeds(memory.estimate.rate_per_s):
        return Alert(PollCause.JUMP, situation.at + ALERT_S)
    if allocations < situation.current and not arrivals.recurs:
        return Alert(PollCause.DECREASE, situation.at + ALERT_S)
    before = memory.estimate.alert
    return before if before is not None and situation.at < before.until else None


def next_poll(situation: Situation, memory: SloMemory) -> PollRequest | None:
    """The next poll that the deployment needs; None: the routine one is early enough.

    Args:
        memory: after this poll.
    """
    estimate, service = memory.estimate, memory.estimate.service_time
    soon_s = situation.min_poll_interval_s
    if service.requests > 0.0:
        soon_s = max(soon_s, min(POLL_SERVICE_TIMES * service.mean_s, situation.poll_interval_s))
    queued = situation.sample.in_flight - situation.running
    if queued > QUEUE_AT_RISK * estimate.max_wait * situation.running:
        return PollRequest(soon_s, PollCause.QUEUE)
    alert = estimate.alert
    if alert is not None and situation.at < alert.until:
        return PollRequest(soon_s, alert.cause)
    horizon_s = situation.poll_interval_s + RESPONSE_S
    due_s = next_change_s(memory.recurrence, situation.at, horizon_s, RESPONSE_S)
    if due_s is None or due_s >= situation.poll_interval_s:
        return None
    return PollRequest(max(situation.min_poll_interval_s, due_s), PollCause.RECURRENCE)
