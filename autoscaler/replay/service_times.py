"""The service times of a record: their mean over time, and how they vary.

The statistics contain the sum of the service times of an interval and the number of requests, thus
the mean of each interval. From how these means vary follows how single service times vary.
"""

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.replay.record import DeploymentRecord, Floats

DEFAULT_SCV = 0.5
"""SCV where the record does not show it: that with which the daemon begins."""

BLOCK_S = 600.0
"""Seconds for which one mean service time counts. 600 s, as in the estimate of the daemon."""

MIN_PAIRS = 30
"""Intervals from which on the SCV is measured."""

MAX_SCV = 10.0

MAX_CENSORED_FRACTION = 0.02
"""Failed requests, as a fraction of all that ended, up to which an interval times requests like any
others. Of requests that have almost timed out in a queue, only the short ones are completed and
timed, the others are counted as failed."""

STATED = 1e-6
"""Relative difference of mean service times below which all are one. Means in milliseconds of
hundreds of requests differ by more."""


class MeasuredServiceTimes(Struct, frozen=True, kw_only=True, eq=False):
    """Of requests that are no cache hits."""

    mean_s: float
    scv: float
    scv_measured: bool
    by_interval_s: Floats  # the mean service time of each interval


def service_times_of(record: DeploymentRecord) -> MeasuredServiceTimes | None:
    """The service times; None: no request was timed."""
    completed, busy_s = record.completed, record.busy_s
    timed = record.known & (completed > 0.0) & (busy_s > 0.0)
    if not timed.any():
        return None
    ended = np.where(timed, completed, 0.0) + np.nan_to_num(record.failed)
    whole = timed & (np.nan_to_num(record.failed) <= MAX_CENSORED_FRACTION * ended)
    if np.count_nonzero(whole) > MIN_PAIRS:
        timed = whole
    mean_s = float(busy_s[timed].sum() / completed[timed].sum())
    scv, measured = _scv(completed[timed], busy_s[timed], mean_s)
    return MeasuredServiceTimes(
        mean_s=mean_s,
        scv=scv,
        scv_measured=measured,
        by_interval_s=_means_over_time(record, timed, mean_s, scv),
    )


def _scv(completed: Floats, busy_s: Floats, mean_s: float) -> tuple[float, bool]:
    """From the differences of neighbours, which a slow change of the mean does not affect.

    Intervals with many requests count more: of a burst, the quick requests complete in one interval
    and the slow ones in the next, which is no variation of the service times.
    """
    if len(completed) <= MIN_PAIRS:
        return DEFAULT_SCV, False
    means, errors = busy_s / completed, 1.0 / completed
    if np.allclose(means, mean_s, rtol=STATED):  # it was stated for all, and not measured
        return DEFAULT_SCV, False
    weights = 1.0 / (errors[1:] + errors[:-1])
    squares = np.diff(means) ** 2 * weights
    scv = float((weights * squares).sum() / weights.sum()) / mean_s**2
    return min(max(scv, 0.0), MAX_SCV), True


def _means_over_time(
    record: DeploymentRecord, timed: NDArray[np.bool_], mean_s: float, scv: float
) -> Floats:
    """Means of blocks, as far as they differ by more than chance explains."""
    block = ((record.edges[:-1] - record.since) / BLOCK_S).astype(np.int64)
    count = int(block[-1]) + 1
    requests = np.bincount(block[timed], record.completed[timed], count)
    busy_s = np.bincount(block[timed], record.busy_s[timed], count)
    used = requests > 0.0
    means = np.full(count, mean_s)
    means[used] = busy_s[used] / requests[used]
    by_chance = mean_s**2 * scv / np.maximum(requests, 1.0)
    weights = requests / requests.sum()
    excess = float((weights * ((means - mean_s) ** 2 - by_chance)).sum())
    if excess <= 0.0 or math.isclose(excess, 0.0):
        return np.full(len(block), mean_s)
    believed = excess / (excess + by_chance)
    by_interval_s: Floats = (mean_s + believed * (means - mean_s))[block]
    return by_interval_s
