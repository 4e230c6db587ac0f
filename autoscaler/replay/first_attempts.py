"""The arrivals of a record without those of callers who tried again after a failure."""

import numpy as np
from numpy.typing import NDArray

from autoscaler.replay.record import DeploymentRecord

AROUND = 7
"""Intervals whose failures and arrivals give the fraction that fails in the middle one."""


def first_attempts(record: DeploymentRecord, retry_share: float) -> NDArray[np.int64]:
    """The arrivals without those that were tried again.

    Each request that failed at its first attempt has a second one with the probability
    `retry_share`, and as many of the second ones fail as of all attempts around them. A time-out is
    counted when a worker finds the request, so that its caller may have tried again in an earlier
    interval.
    """
    arrivals, failed = record.arrivals, np.nan_to_num(record.failed)
    around = np.ones(min(AROUND, len(arrivals)))
    rate = np.convolve(failed, around, "same") / np.maximum(
        np.convolve(arrivals, around, "same"), 1.0
    )
    expected = retry_share * failed / (1.0 + retry_share * np.minimum(rate, 1.0))
    # Where all attempts fail, this is the fraction of the second ones.
    at_most = arrivals * retry_share / (1.0 + retry_share)
    again = np.zeros(len(arrivals))
    due = 0.0
    for place in range(len(arrivals) - 1, -1, -1):
        due += float(expected[place])
        again[place] = min(due, float(at_most[place]))
        due -= again[place]
    # Rounded such that the totals are kept.
    return np.diff(np.floor(np.cumsum(arrivals - again) + 0.5), prepend=0.0).astype(np.int64)
