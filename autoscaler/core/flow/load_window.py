"""The samples of the load window: as few as the estimates need."""

from autoscaler.core.values import Sample

PARTS = 12
"""Parts of the load window. Samples of less than a part are merged until they fill one, so that
frequent polls take no more memory. 12: at the default, 5 s of 60 s, so that polls every 5 s or less
often are not merged, and the window is never shorter than it should be by more than a twelfth."""


def within(window_s: float, samples: tuple[Sample, ...], latest: Sample) -> tuple[Sample, ...]:
    """The samples of the window that ends with the latest one, which stays as it is: whether the
    load jumps is seen from it alone.

    >>> seconds = [Sample(at=at, interval_s=1.0, completed=2) for at in range(1, 91)]
    >>> window = ()
    >>> for each in seconds:
    ...     window = within(60.0, window, each)
    >>> len(window), sum(each.interval_s for each in window), sum(each.completed for each in window)
    (13, 60.0, 120)
    >>> window[-1] is seconds[-1]
    True
    """
    oldest = latest.at - window_s
    while samples and samples[0].at - samples[0].interval_s < oldest:
        samples = samples[1:]
    if len(samples) > 1 and _fit_into(window_s / PARTS, samples[-2], samples[-1]):
        samples = (*samples[:-2], _merged(samples[-2], samples[-1]))
    return (*samples, latest)


def _fit_into(part_s: float, earlier: Sample, later: Sample) -> bool:
    """Whether both are in one part, and mean the same as one sample. What an overload shows of the
    service time is judged sample by sample."""
    return (
        earlier.interval_s + later.interval_s <= part_s
        and later.at - earlier.at <= part_s
        and not earlier.overloaded
        and not later.overloaded
    )


def _merged(earlier: Sample, later: Sample) -> Sample:
    """The sample of both intervals. Neither has issues."""
    return Sample(
        at=later.at,
        interval_s=earlier.interval_s + later.interval_s,
        uncertainty_s=earlier.uncertainty_s + later.uncertainty_s,
        completed=earlier.completed + later.completed,
        cache_hits=earlier.cache_hits + later.cache_hits,
        failed=earlier.failed + later.failed,
        timeouts=earlier.timeouts + later.timeouts,
        queue_growth=earlier.queue_growth + later.queue_growth,
        busy_s=earlier.busy_s + later.busy_s,
        timed=earlier.timed + later.timed,
        timed_busy_s=earlier.timed_busy_s + later.timed_busy_s,
        in_flight=later.in_flight,
        unacknowledged=later.unacknowledged,
    )
