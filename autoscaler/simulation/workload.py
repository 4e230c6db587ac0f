"""Arrival processes: the times and sizes of requests.

Every generator yields arrivals lazily, in order of time, from the instant `start` on, and draws
from the given random generator. Unless stated otherwise, arrivals are an endless Poisson process:
the consumer stops reading.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoscaler.simulation.traces import Trace

HIGH, NORMAL = "high", "normal"

_BLOCK = 1024
_BINS_AT_ONCE = 256

INTERPOLATED_FROM_S = 300.0
"""Bin length, in seconds, from which the rate is interpolated linearly between bin centres.
Shorter bins have a constant rate."""

MAX_GAMMA_DISPERSION = 10.0
"""Dispersion up to which gaps are gamma distributed. A bin with a higher dispersion is assumed to
be active for a part of its time only."""

_OFFSETS = np.linspace(0.0, 1.0, 61)
"""Points of a long bin, as fractions, at which the interpolated rate is evaluated."""

_ALMOST_POISSON = 1e-9


class Arrival(NamedTuple):
    at: float  # Unix seconds of virtual time
    size: float = 1.0  # multiplies the service time
    priority: str = NORMAL  # or HIGH


def steady(
    rate_per_s: float, *, start: float, rng: np.random.Generator, priority: str = NORMAL
) -> Iterator[Arrival]:
    """A constant rate."""
    at = start
    while rate_per_s > 0.0:
        instants = at + np.cumsum(rng.exponential(1.0 / rate_per_s, _BLOCK))
        at = float(instants[-1])
        for instant in instants.tolist():
            yield Arrival(instant, 1.0, priority)


def from_rate_function(
    rate_per_s: Callable[[float], float],
    highest_per_s: float,
    *,
    start: float,
    rng: np.random.Generator,
    priority: str = NORMAL,
    for_s: float = math.inf,
) -> Iterator[Arrival]:
    """A rate as a function of the seconds since `start`, never above `highest_per_s`.

    After `for_s` seconds it ends: where the rate stays 0, no arrival would ever be found.

    By thinning: candidates at the highest rate, each kept with the probability rate / highest
    rate (Lewis and Shedler, 1979).

    Raises:
        ValueError: while being consumed, where the rate is negative or above the highest.
    """
    for candidate in steady(highest_per_s, start=start, rng=rng, priority=priority):
        elapsed_s = candidate.at - start
        if elapsed_s > for_s:
            return
        rate = rate_per_s(elapsed_s)
        if not 0.0 <= rate <= highest_per_s * (1.0 + 1e-9):
            raise ValueError(
                f"{elapsed_s:g} s after its start the rate is {rate:g}/s, "
                f"which is not between 0 and {highest_per_s:g}/s"
            )
        if rng.random() * highest_per_s < rate:
            yield candidate


def diurnal(
    mean_per_s: float,
    peak_per_s: float,
    *,
    start: float,
    rng: np.random.Generator,
    period_s: float = 86_400.0,
) -> Iterator[Arrival]:
    """A sine between `2 mean - peak` and `peak`, beginning at its mean, upwards.

    Raises:
        ValueError: the peak is not between the mean and twice the mean.
    """
    if not mean_per_s <= peak_per_s <= 2.0 * mean_per_s:
        raise ValueError(
            f"the peak of a sine about {mean_per_s:g}/s must be between that and twice that, "
            f"not {peak_per_s:g}/s"
        )

    def rate(elapsed_s: float) -> float:
        swing = math.sin(2.0 * math.pi * elapsed_s / period_s)
        return max(0.0, mean_per_s + (peak_per_s - mean_per_s) * swing)

    return from_rate_function(rate, peak_per_s, start=start, rng=rng)


def ramp(
    from_per_s: float, to_per_s: float, over_s: float, *, start: float, rng: np.random.Generator
) -> Iterator[Arrival]:
    """A linear change from one rate to another, which then stays."""

    def rate(elapsed_s: float) -> float:
        return from_per_s + min(1.0, elapsed_s / over_s) * (to_per_s - from_per_s)

    highest_per_s, for_s = max(from_per_s, to_per_s), math.inf if to_per_s else over_s
    return from_rate_function(rate, highest_per_s, start=start, rng=rng, for_s=for_s)


def spike(
    base_per_s: float,
    peak_per_s: float,
    *,
    after_s: float,
    for_s: float,
    start: float,
    rng: np.random.Generator,
) -> Iterator[Arrival]:
    """A base rate, except in one interval that begins `after_s` after the start."""

    def rate(elapsed_s: float) -> float:
        return peak_per_s if after_s <= elapsed_s < after_s + for_s else base_per_s

    highest_per_s, ends_s = max(base_per_s, peak_per_s), math.inf if base_per_s else after_s + for_s
    return from_rate_function(rate, highest_per_s, start=start, rng=rng, for_s=ends_s)


def on_off(
    rate_per_s: float, *, on_s: float, off_s: float, start: float, rng: np.random.Generator
) -> Iterator[Arrival]:
    """A rate and no requests in turns, the rate first."""

    def rate(elapsed_s: float) -> float:
        return rate_per_s if elapsed_s % (on_s + off_s) < on_s else 0.0

    return from_rate_function(rate, rate_per_s, start=start, rng=rng)


def from_trace(
    trace: Trace, *, start: float, rng: np.random.Generator, factor: float = 1.0
) -> Iterator[Arrival]:
    """A recorded load with its rate multiplied by `factor`, from its first bin to its last.

    The size of a request is the mean size of its bin over that of all requests. See
    `arrival_instants` for the rest.
    """
    sizes = relative_sizes(trace)
    for instants in arrival_instants(trace, factor, rng):
        of_bins = sizes[trace.bins_of(instants)]
        for instant, size in zip(instants.tolist(), of_bins.tolist(), strict=True):
            yield Arrival(start + instant, size)


def arrival_instants(
    trace: Trace, factor: float, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """The arrivals of a recorded load, in order: arrays of seconds since its start.

    Short bins keep their counts. A factor below 1 thins them at random; with a factor above 1 they
    are drawn from a Poisson distribution, because repeating each request would make batches. Inside
    a bin, arrivals are uniform. In long bins the rate is interpolated and the arrivals are drawn
    with the `dispersion` of the trace.
    """
    if trace.bin_s < INTERPOLATED_FROM_S:
        return _short_bins(trace, factor, rng)
    return _long_bins(trace, factor, rng)


def arrival_counts(
    trace: Trace, edges_s: NDArray[np.float64], factor: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The requests of a recorded load between each two edges, which increase.

    The distribution is that of `arrival_instants`, but the instants are not drawn, so that weeks
    take no longer than minutes. Bursts shorter than a step begin at random.
    """
    if trace.bin_s < INTERPOLATED_FROM_S:
        ends_s = np.arange(len(trace.counts) + 1) * trace.bin_s
        so_far = np.interp(edges_s, ends_s, np.concatenate([[0], np.cumsum(trace.counts)]))
        return _scaled(np.diff(np.floor(so_far).astype(np.int64)), factor, rng)
    expected, dispersion = _expected_requests(trace, factor), _dispersions(trace, factor)
    bursty = dispersion > MAX_GAMMA_DISPERSION
    active = MAX_GAMMA_DISPERSION / dispersion[bursty, np.newaxis]
    begin = rng.random(active.shape) * (1.0 - active)
    expected[bursty] = expected[bursty, -1:] * np.clip((_OFFSETS - begin) / active, 0.0, 1.0)
    before = np.concatenate([[0.0], np.cumsum(expected[:-1, -1])])
    knots_s = (np.arange(len(expected))[:, np.newaxis] + _OFFSETS) * trace.bin_s
    so_far = np.interp(edges_s, knots_s.ravel(), (before[:, np.newaxis] + expected).ravel())
    middles = trace.bins_of((edges_s[:-1] + edges_s[1:]) / 2.0)
    # Counts of a gamma-distributed rate have the variance (1 + excess) * mean.
    excess = np.where(bursty, 0.0, np.maximum(0.0, dispersion - 1.0))[middles] + _ALMOST_POISSON
    return rng.poisson(rng.gamma(np.diff(so_far) / excess, excess))


def relative_sizes(trace: Trace) -> NDArray[np.float64]:
    """The mean size of each bin over that of all requests; 1 where it is unknown."""
    if trace.mean_size is None:
        return np.ones(len(trace.counts))
    known = np.isfinite(trace.mean_size) & (trace.counts > 0)
    if not known.any():
        return np.ones(len(trace.counts))
    mean = np.average(trace.mean_size[known], weights=trace.counts[known])
    return np.where(known, trace.mean_size / (mean or 1.0), 1.0)


def _short_bins(
    trace: Trace, factor: float, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    for first in range(0, len(trace.counts), _BINS_AT_ONCE):
        counts = _scaled(trace.counts[first : first + _BINS_AT_ONCE], factor, rng)
        bins = np.repeat(np.arange(first, first + len(counts)), counts)
        yield np.sort(bins + rng.random(len(bins))) * trace.bin_s


def _scaled(
    counts: NDArray[np.int64], factor: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    if factor < 1.0:
        return rng.binomial(counts, factor)
    return rng.poisson(factor * counts) if factor > 1.0 else counts


def _long_bins(
    trace: Trace, factor: float, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Arrivals as a renewal process in operational time: one expected request per unit."""
    to_next = 0.0  # expected requests until the next arrival
    dispersions = _dispersions(trace, factor).tolist()
    for index, expected in enumerate(_expected_requests(trace, factor)):
        if dispersions[index] > MAX_GAMMA_DISPERSION:
            active = MAX_GAMMA_DISPERSION / dispersions[index]
            begin = rng.random() * (1.0 - active)
            spots = np.sort(rng.random(int(rng.poisson(expected[-1]))))
            yield (index + begin + active * spots) * trace.bin_s
            continue
        arrivals, to_next = _renewals(float(expected[-1]), dispersions[index], to_next, rng)
        yield np.interp(arrivals, expected, (index + _OFFSETS) * trace.bin_s)


def _expected_requests(trace: Trace, factor: float) -> NDArray[np.float64]:
    """Expected requests in each bin up to each of its offsets; one row per bin."""
    rates = trace.counts * (factor / trace.bin_s)
    padded = np.concatenate([rates[:1], rates, rates[-1:]])
    edges = (padded[:-1] + padded[1:])[:, np.newaxis] / 2.0
    here, doubled = rates[:, np.newaxis], 2.0 * _OFFSETS
    rising = edges[:-1] + (here - edges[:-1]) * doubled
    falling = here + (edges[1:] - here) * (doubled - 1.0)
    rate = np.where(doubled <= 1.0, rising, falling)
    steps = (rate[:, :-1] + rate[:, 1:]) / 2.0 * trace.bin_s * np.diff(_OFFSETS)
    return np.pad(np.cumsum(steps, axis=1), ((0, 0), (1, 0)))


def _dispersions(trace: Trace, factor: float) -> NDArray[np.float64]:
    """The dispersion of each bin. Thinning reduces it; a factor above 1 keeps it."""
    if trace.dispersion is None:
        return np.ones(len(trace.counts))
    recorded = np.where(np.isfinite(trace.dispersion), trace.dispersion, 1.0)
    return np.maximum(0.01, 1.0 + min(1.0, factor) * (recorded - 1.0))


def _renewals(
    until: float, dispersion: float, to_next: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Arrivals with gamma-distributed gaps of mean 1 in (0, until], and the rest of a gap."""
    shape = 1.0 / dispersion
    gaps = [np.array([to_next or rng.gamma(shape, dispersion)])]
    reached = float(gaps[0][0])
    while reached <= until:
        block = rng.gamma(shape, dispersion, max(16, int(until - reached)))
        gaps.append(block)
        reached += float(block.sum())
    arrivals = np.cumsum(np.concatenate(gaps))
    inside = arrivals[arrivals <= until]
    return inside, float(arrivals[len(inside)]) - until
