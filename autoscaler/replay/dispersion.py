"""The dispersion of arrivals within seconds, from the differences between neighbouring counts.

Most neighbours have the same rate, so that their counts differ because requests come together. A
large difference is a change of the rate, and counts as the largest one that chance explains.
"""

import numpy as np

from autoscaler.replay.record import DeploymentRecord, Floats

BLOCK_S = 600.0
"""Seconds for which one dispersion counts. 600 s: bursts come and go within an hour."""

MAX_INTERVAL_S = 20.0
"""The longest intervals, in seconds, of which the dispersion is measured. Counts of minutes differ
because the rate changes, more than because requests come together."""

MIN_MEAN_COUNT = 4.0
"""Requests that a count has on average, at least; intervals are summed up to `MAX_SUMMED` for it.
Smaller counts are too coarse."""

MAX_SUMMED = 6

MIN_PAIRS = 20
"""Pairs of counts in a block from which on it has a dispersion of its own."""

MIN_DISPERSION, MAX_DISPERSION = 0.2, 30.0

_CHI_SQUARE_MEDIAN = 0.4549
"""The median of the square of a standard normal variable,"""

_CHI_SQUARE_P99 = 6.635
"""its 99th percentile,"""

_CUT_MEAN = 0.9816
"""and its mean if it is cut off there."""

_ERROR = 1.7
"""The standard error of the logarithm of such a mean, times the root of the number of pairs."""


def dispersion_of(record: DeploymentRecord) -> Floats:
    """The dispersion of each interval, by blocks; 1 where the record does not show it."""
    block = ((record.edges[:-1] - record.since) / BLOCK_S).astype(np.int64)
    known = record.known & (record.lengths_s <= MAX_INTERVAL_S)
    count = int(block[-1]) + 1
    means, pairs = np.ones(count), np.zeros(count)
    for each in range(count):
        ratios = _ratios(record.arrivals, record.lengths_s, known & (block == each))
        pairs[each] = len(ratios)
        if len(ratios) >= MIN_PAIRS:
            cut = _CHI_SQUARE_P99 / _CHI_SQUARE_MEDIAN * float(np.median(ratios))
            means[each] = float(np.minimum(ratios, cut).mean()) / _CUT_MEAN
    used = (pairs >= MIN_PAIRS) & (means > 0.0)
    if not used.any():
        return np.ones(len(block))
    logs, errors = np.log(means[used]), _ERROR**2 / pairs[used]
    usual = float(np.average(logs, weights=pairs[used]))
    # As far as the blocks differ by more than chance explains.
    excess = max(0.0, float(((logs - usual) ** 2 - errors).mean()))
    found = np.full(count, usual)
    found[used] = usual + excess / (excess + errors) * (logs - usual)
    by_interval: Floats = np.clip(np.exp(found), MIN_DISPERSION, MAX_DISPERSION)[block]
    return by_interval


def _ratios(counts: Floats, lengths_s: Floats, chosen: np.ndarray) -> Floats:
    """Squares of the differences between neighbours, over their variances if they were Poisson."""
    counts, lengths_s = counts[chosen], lengths_s[chosen]
    mean = float(counts.mean()) if len(counts) else 0.0
    if mean <= 0.0:
        return np.empty(0)
    summed = int(np.ceil(MIN_MEAN_COUNT / mean))
    if summed > MAX_SUMMED:
        return np.empty(0)
    whole = len(counts) // summed * summed
    counts = counts[:whole].reshape(-1, summed).sum(axis=1)
    lengths_s = lengths_s[:whole].reshape(-1, summed).sum(axis=1)
    variance = counts / lengths_s**2
    both = variance[1:] + variance[:-1]
    used = both > 0.0
    ratios: Floats = np.diff(counts / lengths_s)[used] ** 2 / both[used]
    return ratios
