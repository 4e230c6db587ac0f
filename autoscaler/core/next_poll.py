"""When the next poll is due, and why: it is early while a deployment is at risk."""

from autoscaler.core.values import FastStrEnum, Value

MAX_OBSERVE_FRACTION = 0.1
"""Maximum fraction of the time in which the cluster is busy with a poll. 0.1, because collecting
the statistics involves every machine-learning node (elastic/elasticsearch#97137)."""

MAX_WORK_FRACTION = 0.5
"""Maximum fraction of the time in which the loop plans and records. 0.5, because the loop responds
to nothing else meanwhile, and because some cycles take twice as long as others."""

MAX_INTERVAL_FACTOR = 3.0
"""Poll intervals to which the time between two cycles is stretched at most for a slow cluster, or
for slow cycles. 3, so that a load jump is still observed within a minute."""

MIN_AGE_S = 30.0
"""Least seconds after which statistics are too old for a change. 30 s, because reading the nodes,
planning and other changes take several seconds at any poll interval."""


class PollCause(FastStrEnum):
    """Why the next poll is due when it is."""

    ROUTINE = "routine"  # nothing is at risk
    QUEUE = "queue"  # requests wait
    JUMP = "jump"  # the load has just jumped
    DECREASE = "decrease"  # allocations have just been given up
    RECURRENCE = "recurrence"  # the load is about to change, as it did before at this time
    SLOW_CLUSTER = "slow_cluster"  # the statistics took long, so that the poll is later
    SLOW_CYCLE = "slow_cycle"  # planning took long, so that the poll is later


CAUSES_OF_POLICIES = frozenset(PollCause) - {
    PollCause.ROUTINE,
    PollCause.SLOW_CLUSTER,
    PollCause.SLOW_CYCLE,
}
"""Why a policy may need a poll. The others are not about a deployment."""


class Polling(Value, frozen=True, kw_only=True):
    """How often a cluster may be polled."""

    interval_s: float = 10.0  # while nothing is at risk
    min_interval_s: float = 10.0  # at least between two polls


class PollRequest(Value, frozen=True):
    """The next poll that a deployment needs."""

    within_s: float  # seconds from this poll
    cause: PollCause


class NextPoll(Value, frozen=True, kw_only=True):
    """The next poll of a cluster."""

    within_s: float  # seconds from this one
    cause: PollCause = PollCause.ROUTINE
    deployment_id: str | None = None  # that needs it first; None: the routine
    stretched_s: float = 0.0  # seconds by which it is later than the routine poll


def earliest(requests: dict[str, PollRequest], polling: Polling) -> NextPoll:
    """The poll that is needed first, as far as may be; the routine one if none is needed before it.

    Args:
        requests: by deployment id.
    """
    # A time that is no number is not before the routine poll.
    early = {name: each for name, each in requests.items() if each.within_s < polling.interval_s}
    if not early:
        return NextPoll(within_s=polling.interval_s)
    name = min(early, key=lambda each: (early[each].within_s, each))
    within_s = max(polling.min_interval_s, early[name].within_s)
    return NextPoll(within_s=within_s, cause=early[name].cause, deployment_id=name)


def stretched(wanted: NextPoll, busy_s: float, work_s: float, interval_s: float) -> NextPoll:
    """The wanted poll, or a later one, so that neither the cluster nor the loop is busy all the
    time.

    Args:
        busy_s: seconds for which the cluster was busy with the last poll.
        work_s: seconds for which the loop then planned and recorded.
        interval_s: the poll interval.
    """
    at_least_s = {
        PollCause.SLOW_CLUSTER: busy_s / MAX_OBSERVE_FRACTION,
        PollCause.SLOW_CYCLE: work_s / MAX_WORK_FRACTION,
    }
    cause = max(at_least_s, key=lambda each: at_least_s[each])
    within_s = stretched_s(wanted.within_s, at_least_s[cause], interval_s)
    if within_s == wanted.within_s:
        return wanted
    later_s = max(0.0, within_s - interval_s)
    return NextPoll(within_s=within_s, cause=cause, stretched_s=later_s)


def stretched_s(wanted_s: float, at_least_s: float, interval_s: float) -> float:
    """The seconds that are wanted, or at least so many, as far as a poll may be delayed."""
    return min(max(wanted_s, at_least_s), interval_s * MAX_INTERVAL_FACTOR)


def max_age_s(interval_s: float, timeout_s: float) -> float:
    """Seconds after the request for the statistics within which a change is sent.

    Two time-outs and the longest interval between two polls: no cycle takes as long, unless the
    process is suspended meanwhile.

    Args:
        interval_s: the poll interval.
        timeout_s: of a request.
    """
    return max(MIN_AGE_S, 2.0 * timeout_s + MAX_INTERVAL_FACTOR * interval_s)
