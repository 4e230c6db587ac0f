"""Turn samples into the load a deployment is under."""

import math
from collections.abc import Sequence

from autoscaler.core.values import ROUNDING_LOSS_S, LoadEstimate, Sample

JUMP_SIGMA = 3.0
"""Standard deviations of a Poisson count beyond which the latest interval is a new rate."""


def estimate(samples: Sequence[Sample], service_time_s: float | None) -> LoadEstimate:
    """The load over the given samples, of which there is at least one, oldest first.

    Args:
        samples: trusted samples within the load window.
        service_time_s: what was last known, used if nothing was timed in the window.

    The rate is that of the whole window, unless the latest interval alone brought more arrivals
    than that rate explains: a leap is answered at once, not when it has filled the window.

    >>> from autoscaler.core.values import Sample
    >>> quiet = Sample(at=10.0, interval_s=10.0, completed=100, timed=100, timed_busy_s=3.95)
    >>> burst = Sample(at=20.0, interval_s=10.0, completed=200, queue_growth=800)
    >>> load = estimate([quiet, burst], None)
    >>> load.arrival_rate_per_s, load.service_time_s
    (100.0, 0.04)
    """
    window_s = timed_busy_s = 0.0
    completed = hits = timed = arrivals = 0
    for sample in samples:
        window_s += sample.interval_s
        completed += sample.completed
        hits += sample.cache_hits
        timed += sample.timed
        timed_busy_s += sample.timed_busy_s
        arrivals += sample.completed + sample.failed + sample.queue_growth
    if timed > 0:
        service_time_s = timed_busy_s / timed + ROUNDING_LOSS_S
    elif service_time_s is None and completed > hits:
        # Too low in an overload, but better than nothing, and nothing is scaled down meanwhile.
        service_time_s = sum([s.busy_s for s in samples]) / (completed - hits) + ROUNDING_LOSS_S
    latest = samples[-1]
    rate = max(0, arrivals) / window_s
    expected = rate * latest.interval_s
    if latest.arrivals > expected + JUMP_SIGMA * math.sqrt(max(expected, 1.0)):
        rate = latest.arrivals / latest.interval_s
    return LoadEstimate(
        arrival_rate_per_s=rate,
        throughput_per_s=completed / window_s,
        service_time_s=service_time_s,
        cache_hit_fraction=hits / completed if completed else 0.0,
        in_flight=latest.in_flight,
        window_s=window_s,
    )
