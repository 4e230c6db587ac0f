"""How much has to be known before allocations are given up."""

from autoscaler.core.next_poll import PollCause
from autoscaler.core.policies import Situation
from autoscaler.core.slo.memory import SloEstimate

RECURRING_TRUSTED = 0.5
"""Weight of the rates that recur from which on a load that ends as it did before needs no other
evidence."""


def with_evidence(
    situation: Situation, before: SloEstimate, recurring_weight: float, allocations: int
) -> tuple[int, bool]:
    """The recommended allocations, without a decrease for which there is too little evidence; and
    whether a decrease is postponed.

    After a load jump, nothing is given up for a window of arrivals, however often is polled. And
    the queue model begins with an empty queue: fewer allocations than requests in flight would be a
    queue at once.

    Args:
        before: the last estimate.
        recurring_weight: of the rates that recur; 0 if none does.
    """
    current, alert = situation.current, before.alert
    if allocations >= current:
        return allocations, False
    jumped = alert is not None and alert.cause is PollCause.JUMP and situation.at < alert.until
    if jumped and recurring_weight < RECURRING_TRUSTED:
        return current, True
    allowed = max(allocations, min(current, situation.sample.in_flight))
    return allowed, allowed > allocations


def is_due(situation: Situation, before: SloEstimate) -> bool:
    """Whether a postponed decrease may be possible now: nothing is watched any more, and fewer
    requests are in flight than the allocations that were recommended."""
    alert, step = before.alert, before.step
    if not before.postponed or step is None or situation.sample.in_flight >= step.after:
        return False
    return alert is None or situation.at >= alert.until
