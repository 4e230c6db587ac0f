"""Turn samples into an estimate of the load."""

import math
from collections.abc import Sequence

from autoscaler.core.values import ROUNDING_LOSS_S, LoadEstimate, Sample

JUMP_SIGMA = 3.0
"""Standard deviations of a Poisson count above which the latest interval is a load jump. 3, so that
random variation is one about once in 700 intervals."""


def estimate(samples: Sequence[Sample], service_time_s: float | None) -> LoadEstimate:
    """The load over the given samples.

    The rate is the mean of the window, unless the latest interval alone had more arrivals than that
    rate explains: a load jump counts at once, and not only when it has filled the window.

    Args:
        samples: at least one, oldest first, within the load window and without issues.
        service_time_s: the last measured one, for a window in which no request was timed.

    >>> from autoscaler.core.values import Sample
    >>> quiet = Sample(at=10.0, interval_s=10.0, completed=100, timed=100, timed_busy_s=3.95)
    >>> burst = Sample(at=20.0, interval_s=10.0, completed=200, queue_growth=800)
    >>> load = estimate([quiet, burst], None)
    >>> load.arrival_rate_per_s, load.service_time_s
    (100.0, 0.04)
    """
    known_s = service_time_s
    window_s = timed_busy_s = least_s = 0.0
    completed = hits = timed = arrivals = 0
    most_s: float | None = None
    for sample in samples:
        done = sample.completed
        completed += done
        arrivals += done + sample.failed + sample.queue_growth
        hits += sample.cache_hits
        window_s += sample.interval_s
        if sample.contradicts(known_s):
            if sample.timed_busy_s >= least_s * sample.timed:
                least_s, most_s = sample.timed_busy_s / sample.timed, _most_s(sample)
        elif sample.timed:
            timed += sample.timed
            timed_busy_s += sample.timed_busy_s
            least_s, most_s = 0.0, None  # a measurement replaces what an overload showed before
    if timed > 0:
        service_time_s = timed_busy_s / timed + ROUNDING_LOSS_S
    if least_s > (service_time_s or 0.0):
        service_time_s = least_s
    else:
        most_s = None
    if service_time_s is None and completed > hits:
        # In an overload this is too low, but nothing is scaled down meanwhile.
        service_time_s = sum([s.busy_s for s in samples]) / (completed - hits) + ROUNDING_LOSS_S
    latest = samples[-1]
    rate = arrivals / window_s if arrivals > 0 else 0.0
    expected, latest_arrivals = rate * latest.interval_s, latest.arrivals
    if latest_arrivals > expected and latest_arrivals > expected + JUMP_SIGMA * math.sqrt(
        max(expected, 1.0)
    ):
        rate = latest_arrivals / latest.interval_s
    return LoadEstimate(
        arrival_rate_per_s=rate,
        throughput_per_s=completed / window_s,
        service_time_s=service_time_s,
        cache_hit_fraction=hits / completed if completed else 0.0,
        in_flight=latest.in_flight,
        window_s=window_s,
        service_time_at_most_s=most_s,
    )


def _most_s(sample: Sample) -> float:
    """The most that the service time can be: that of an overload in which no request was computed
    for a caller that had given up."""
    computed = sample.completed - sample.cache_hits
    return sample.timed_busy_s / computed if computed > 0 else math.inf
