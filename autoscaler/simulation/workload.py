"""Arrival processes: who asks when.

Every generator yields arrivals lazily, in order of time, from the instant `start` on, and draws
from the generator of random numbers it is given. Unless it says otherwise arrivals are a Poisson
process, and without end: `itertools.takewhile`, or the cluster that consumes them, stops.
"""

import math
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoscaler.simulation.traces import Trace

HIGH, NORMAL = "high", "normal"

_BLOCK = 1024

INTERPOLATED_FROM_S = 300.0
"""Bins at least this long are not taken for steps: the rate between their centres is a line."""

LARGEST_GAMMA_DISPERSION = 10.0
"""Above this a bin is taken to be active for a part of its time only."""


class Arrival(NamedTuple):
    at: float  # Unix seconds of virtual time
    size: float = 1.0  # multiplies the service time
    priority: str = NORMAL  # or HIGH


def together(*loads: Iterator[Arrival]) -> Iterator[Arrival]:
    """Several loads as one."""
    return merge(*loads, key=lambda arrival: arrival.at)


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
) -> Iterator[Arrival]:
    """A rate that is a function of the seconds since `start` and never above `highest_per_s`.

    By thinning: candidates at the highest rate, each kept with the probability that its instant
    deserves (Lewis and Shedler, 1979).

    Raises:
        ValueError: while being consumed, where the rate is negative or above the highest.
    """
    for candidate in steady(highest_per_s, start=start, rng=rng, priority=priority):
        elapsed_s = candidate.at - start
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
    """From one rate to another along a line, and then that for ever."""

    def rate(elapsed_s: float) -> float:
        return from_per_s + min(1.0, elapsed_s / over_s) * (to_per_s - from_per_s)

    return from_rate_function(rate, max(from_per_s, to_per_s), start=start, rng=rng)


def spike(
    base_per_s: float,
    peak_per_s: float,
    *,
    after_s: float,
    for_s: float,
    start: float,
    rng: np.random.Generator,
) -> Iterator[Arrival]:
    """A base rate, but for one interval that begins `after_s` after the start."""

    def rate(elapsed_s: float) -> float:
        return peak_per_s if after_s <= elapsed_s < after_s + for_s else base_per_s

    return from_rate_function(rate, max(base_per_s, peak_per_s), start=start, rng=rng)


def on_off(
    rate_per_s: float, *, on_s: float, off_s: float, start: float, rng: np.random.Generator
) -> Iterator[Arrival]:
    """A rate and silence by turns, the rate first."""

    def rate(elapsed_s: float) -> float:
        return rate_per_s if elapsed_s % (on_s + off_s) < on_s else 0.0

    return from_rate_function(rate, rate_per_s, start=start, rng=rng)


def from_trace(
    trace: Trace, *, start: float, rng: np.random.Generator, factor: float = 1.0
) -> Iterator[Arrival]:
    """A recorded load with its rate multiplied by `factor`, from its first bin to its last.

    Short bins keep their counts: thinned at random below a factor of 1, redrawn from Poisson's law
    above, for repeating each request would make batches; inside the bin they come uniformly. In
    long bins the rate is interpolated and the arrivals are drawn, as bursty as the trace's
    `dispersion` says. Sizes are those of the bin over their mean.
    """
    sizes = _relative_sizes(trace)
    if trace.bin_s < INTERPOLATED_FROM_S:
        instants = _short_bins(trace, factor, rng)
    else:
        instants = _long_bins(trace, factor, rng)
    for within_bin, size in zip(instants, sizes, strict=True):
        for instant in within_bin.tolist():
            yield Arrival(start + instant, size)


def _relative_sizes(trace: Trace) -> list[float]:
    """The mean size of each bin over that of all requests; 1 where it is not known."""
    if trace.mean_size is None:
        return [1.0] * len(trace.counts)
    known = np.isfinite(trace.mean_size) & (trace.counts > 0)
    if not known.any():
        return [1.0] * len(trace.counts)
    mean = np.average(trace.mean_size[known], weights=trace.counts[known])
    return [float(size) for size in np.where(known, trace.mean_size / (mean or 1.0), 1.0)]


def _short_bins(
    trace: Trace, factor: float, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    for index, recorded in enumerate(trace.counts.tolist()):
        if factor < 1.0:
            count = int(rng.binomial(recorded, factor))
        else:
            count = int(rng.poisson(factor * recorded)) if factor > 1.0 else recorded
        yield (index + np.sort(rng.random(count))) * trace.bin_s


def _long_bins(
    trace: Trace, factor: float, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Arrivals as a renewal process in the time in which one request is expected per unit."""
    rates = np.asarray(trace.counts, dtype=np.float64) * (factor / trace.bin_s)
    to_next = 0.0  # expected requests until the next arrival
    for index in range(len(rates)):
        times, expected = _expected_requests(rates, index, trace.bin_s)
        dispersion = _dispersion(trace, index, factor)
        if dispersion > LARGEST_GAMMA_DISPERSION:
            active = LARGEST_GAMMA_DISPERSION / dispersion
            begin = rng.random() * (1.0 - active)
            spots = np.sort(rng.random(int(rng.poisson(expected[-1]))))
            yield (index + begin + active * spots) * trace.bin_s
            continue
        arrivals, to_next = _renewals(float(expected[-1]), dispersion, to_next, rng)
        yield np.interp(arrivals, expected, times)


def _expected_requests(
    rates: NDArray[np.float64], index: int, bin_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Instants of a bin, and the requests expected in it up to each."""
    before, here, after = (rates[max(0, min(len(rates) - 1, index + k))] for k in (-1, 0, 1))
    offsets = np.linspace(0.0, 1.0, 61)
    rate = np.interp(offsets, (0.0, 0.5, 1.0), ((before + here) / 2, here, (here + after) / 2))
    steps = [(first + second) / 2.0 for first, second in pairwise(rate.tolist())]
    expected = np.concatenate([[0.0], np.cumsum(steps)]) * bin_s / (len(offsets) - 1)
    return (index + offsets) * bin_s, expected


def _dispersion(trace: Trace, index: int, factor: float) -> float:
    """How bursty a bin is; thinning takes burstiness away, more callers keep it."""
    if trace.dispersion is None or not math.isfinite(trace.dispersion[index]):
        return 1.0
    recorded = float(trace.dispersion[index])
    return max(0.01, 1.0 + min(1.0, factor) * (recorded - 1.0))


def _renewals(
    until: float, dispersion: float, to_next: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Arrivals with gamma-distributed gaps of mean 1 in (0, until], and what is left of a gap."""
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
