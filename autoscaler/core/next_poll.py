"""When the next poll is due, and why: it is early while a deployment is at risk."""

from autoscaler.core.values import FastStrEnum, Value


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
