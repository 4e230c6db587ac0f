"""What is learnt about the requests themselves: how long they take, and how unevenly they come."""

import math

from autoscaler.core.values import Value

TIME_CONSTANT_S = 600.0
"""How long a service time counts. It changes slowly, but for a change of the number."""

RESIZE_DISCOUNT = 0.3
"""What earlier service times count for once another number of allocations shares the processors."""

LEARNING_RATE = 0.02
"""How much one look teaches about variability."""

MAX_OBSERVED_RATIO = 25.0
"""Of one look: what is further off is not variability but a change."""


class ServiceTimeEstimate(Value, frozen=True):
    """How long requests take that no cache answers."""

    requests: float = 0.0  # timed, fading
    busy_s: float = 0.0  # allocation-seconds of those
    scv: float = 0.5  # squared coefficient of variation

    @property
    def mean_s(self) -> float:
        """Of at least one request."""
        return self.busy_s / self.requests


def updated_service_time(
    known: ServiceTimeEstimate, requests: int, busy_s: float, interval_s: float
) -> ServiceTimeEstimate:
    """What is known once so many requests more were timed, in an interval.

    The mean of N service times varies by one Nth of what a single one does.
    """
    kept = math.exp(-interval_s / TIME_CONSTANT_S)
    scv = known.scv
    if requests and known.requests >= 1.0:
        off = busy_s / requests / known.mean_s - 1.0
        scv += LEARNING_RATE * (min(MAX_OBSERVED_RATIO, requests * off * off) - scv)
    return ServiceTimeEstimate(kept * known.requests + requests, kept * known.busy_s + busy_s, scv)


def discounted(known: ServiceTimeEstimate) -> ServiceTimeEstimate:
    """What still holds once another number of allocations shares the processors."""
    return ServiceTimeEstimate(
        RESIZE_DISCOUNT * known.requests, RESIZE_DISCOUNT * known.busy_s, known.scv
    )


def dispersion_after(known: float, before: int, now: int) -> float:
    """The variance of counts over their mean, after another of equal intervals.

    Of two independent counts the squared difference, over their sum, is that on average, whatever
    slow change there is besides. Two empty intervals say nothing, so what was known fades.
    """
    total = before + now
    difference = (now - before) * (now - before) / total if total else 1.0
    return known + LEARNING_RATE * (min(MAX_OBSERVED_RATIO, difference) - known)
