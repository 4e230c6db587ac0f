"""How much has to be known before allocations are given up."""

from autoscaler.core.policies import Situation
from autoscaler.core.slo.arrivals import Arrivals
from autoscaler.core.slo.memory import SloMemory

EVIDENCE_S = 9.5
"""Seconds of arrivals that a decrease is based on, however often is polled: a window, or nearly, as
poll intervals vary a little. A load that ends as it did before needs no other evidence."""


def with_evidence(
    situation: Situation, seen: SloMemory, arrivals: Arrivals, allocations: int
) -> tuple[int, bool]:
    """The recommended allocations, without a decrease for which there is too little evidence; and
    whether it is postponed.

    The queue model begins with an empty queue. Fewer allocations than requests in flight would be
    a queue at once.
    """
    current, surprise = situation.current, arrivals.surprise
    if allocations >= current:
        return allocations, False
    observed_s = max(seen.time_s, 0.0 if surprise is None else surprise.time_s)
    if observed_s < EVIDENCE_S and not arrivals.recurs:
        return current, True
    return max(allocations, min(current, situation.sample.in_flight)), False
