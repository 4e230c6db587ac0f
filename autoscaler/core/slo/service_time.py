"""Estimates of service times and of the dispersion of arrivals."""

import math

from autoscaler.core.values import Value

TIME_CONSTANT_S = 600.0
"""Seconds in which the weight of a timed request decays by the factor e. 600 s: service times
change slowly, except when the allocations change."""

RESIZE_DISCOUNT = 0.3
"""Factor on the weight of earlier service times when another number of allocations shares the
processors. 0.3: they remain a starting point, which new ones soon outweigh."""

LEAST_REQUESTS = 1e-100
"""Weight below which that of earlier requests does not fall: any new request outweighs it, and the
mean remains exact. So an idle deployment keeps its last service time."""

LEARNING_RATE = 0.02
"""Weight of one poll in the estimates of SCV and dispersion. 0.02: an average over about fifty
polls."""

MAX_OBSERVED_RATIO = 25.0
"""Cap on the variability that one poll contributes. A larger value is caused by a change of the
load or of the service time."""


MAX_RATIO = 10.0
"""Ratio of the mean service time of a sample to the estimate, in either direction, above which the
sample counts only once another one confirms it. Then the estimate starts again from these."""

CONFIRMED_RATIO = 3.0
"""Ratio up to which a second such sample confirms the first."""

MIN_TRUSTED_REQUESTS = 20.0
"""Timed requests from which on the estimate is compared with samples."""

CONTRADICTION = 0.5
"""Fraction of the busy time of the allocations up to which the estimate must explain it, while
requests wait and some are refused."""


class ServiceTimeEstimate(Value, frozen=True):
    """Service times of requests that are not cache hits."""

    requests: float = 0.0  # timed requests, decayed
    busy_s: float = 0.0  # allocation-seconds of those, decayed
    scv: float = 0.5  # squared coefficient of variation

    @property
    def mean_s(self) -> float:
        """Mean service time. Needs at least one timed request."""
        return self.busy_s / self.requests


def updated_service_time(
    known: ServiceTimeEstimate, requests: int, busy_s: float, interval_s: float
) -> ServiceTimeEstimate:
    """The estimate after `requests` more timed requests in an interval.

    The mean of N service times has one Nth of the variance of a single one.
    """
    earlier, scv = _outweighed(known, math.exp(-interval_s / TIME_CONSTANT_S)), known.scv
    if requests and known.requests >= 1.0:
        deviation = busy_s / requests / known.mean_s - 1.0
        scv += LEARNING_RATE * (min(MAX_OBSERVED_RATIO, requests * deviation * deviation) - scv)
    return ServiceTimeEstimate(earlier.requests + requests, earlier.busy_s + busy_s, scv)


def is_doubtful(known: ServiceTimeEstimate, requests: int, busy_s: float) -> bool:
    """Whether the mean service time of a sample is out of all proportion to the estimate."""
    if not requests or known.requests < MIN_TRUSTED_REQUESTS:
        return False
    return not _is_similar(busy_s / requests, known.mean_s, MAX_RATIO)


def confirms(mean_s: float, doubtful_s: float) -> bool:
    """Whether a doubtful mean service time is confirmed by the one before it."""
    return _is_similar(mean_s, doubtful_s, CONFIRMED_RATIO)


def _is_similar(one: float, other: float, ratio: float) -> bool:
    return one <= ratio * other and other <= ratio * one


def contradicted(
    known: ServiceTimeEstimate, served: int, running: int, interval_s: float
) -> ServiceTimeEstimate:
    """The estimate after an interval in which all allocations were busy, because requests waited at
    both of its ends, and in which some were refused or timed out.

    Their busy time is that of the served requests. An estimate that explains too little of it is
    wrong, for example because only the quickest requests reach their callers. It starts again.

    Args:
        served: requests that were completed or timed out: at most these took the busy time.
    """
    at_least_s = running * interval_s / max(1, served)
    if known.requests > 0.0 and known.mean_s >= CONTRADICTION * at_least_s:
        return known
    return ServiceTimeEstimate(1.0, at_least_s, known.scv)


def discounted(known: ServiceTimeEstimate) -> ServiceTimeEstimate:
    """The estimate after the allocations of the deployment have changed."""
    return _outweighed(known, RESIZE_DISCOUNT)


def _outweighed(known: ServiceTimeEstimate, kept: float) -> ServiceTimeEstimate:
    """The estimate with this fraction of its weight."""
    if kept * known.requests < LEAST_REQUESTS:
        kept = min(1.0, LEAST_REQUESTS / known.requests) if known.requests > 0.0 else 0.0
    return ServiceTimeEstimate(kept * known.requests, kept * known.busy_s, known.scv)


def dispersion_after(known: float, before: int, now: int, longer: float = 1.0) -> float:
    """The dispersion after another arrival count.

    Args:
        longer: the length of the interval, as a multiple of that of the interval before.
    """
    return known + LEARNING_RATE * (observed_dispersion(before, now, longer) - known)


def observed_dispersion(before: int, now: int, longer: float = 1.0) -> float:
    """What two consecutive arrival counts show of the dispersion, at most `MAX_OBSERVED_RATIO`.

    The expected value of (difference)² / sum of two independent counts is their dispersion,
    also if the load changes slowly. Two empty intervals count as 1, so that the estimate
    decays towards a Poisson process.

    Args:
        longer: the length of the interval, as a multiple of that of the interval before.
    """
    total, excess = before + now, now - longer * before
    return min(MAX_OBSERVED_RATIO, excess * excess / (longer * total)) if total else 1.0
