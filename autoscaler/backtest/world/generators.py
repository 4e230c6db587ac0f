"""Synthetic traces: load shapes that are difficult to scale for, without a recording.

A generator returns a rate over time, partly random, and counts are drawn from it, from a Poisson
distribution unless stated otherwise. Absolute rates are arbitrary, since a scenario scales them;
they are higher than in most scenarios, because scaling down thins the arrivals without adding
noise.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.simulation.traces import Trace

Rates = NDArray[np.float64]
Hours = NDArray[np.float64]

SEED = 1
"""Seed of the example that `TraceSource` uses as if it were a recording."""

DAY_H = 24.0

_WORKING_DAY = (
    *(0.20, 0.12, 0.08, 0.05, 0.05, 0.06, 0.10, 0.22, 0.48, 0.78, 0.95, 1.00),
    *(0.75, 0.72, 0.88, 0.96, 0.90, 0.75, 0.60, 0.50, 0.45, 0.42, 0.36, 0.28),
)
"""Rates of a working day, by hour from midnight: peaks before and after noon, a quiet night."""


class Generator(Struct, frozen=True, kw_only=True):
    """A load shape."""

    name: str
    description: str  # one line, for the list of traces
    rates: Callable[[Hours, np.random.Generator], Rates]  # requests per second at these hours
    days: float = 1.0
    bin_s: float = 10.0
    dispersion: float = 1.0  # of a bin's count, given its rate; 1: Poisson


def generate(name: str, seed: int = SEED) -> Trace:
    """A trace of this shape; the same name and seed give the same trace.

    Raises:
        KeyError: no generator has this name.
    """
    generator = GENERATORS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    bins = round(generator.days * 86_400.0 / generator.bin_s)
    hours = np.linspace(0.0, generator.days * DAY_H, bins, endpoint=False)
    expected: Rates = generator.rates(hours, rng) * generator.bin_s
    if generator.dispersion > 1.0:
        # Poisson counts of a gamma-distributed rate have the variance (1 + excess) * mean.
        excess = generator.dispersion - 1.0
        expected = rng.gamma(expected / excess, excess)
    return Trace(
        name=name,
        bin_s=generator.bin_s,
        counts=rng.poisson(expected),
        metadata={"source": f"generator {name}, seed {seed}", "shape": generator.description},
    )


def _stationary(hours: Hours, _: np.random.Generator) -> Rates:
    return np.full(len(hours), 40.0)


def _diurnal(hours: Hours, rng: np.random.Generator) -> Rates:
    return 50.0 * _daily(hours) * _noise(hours, rng, 0.08, over_h=0.25)


def _weekly(hours: Hours, rng: np.random.Generator) -> Rates:
    """Sunday to Monday. The second Monday is the busiest day, so it has a week of history."""
    day = (hours // DAY_H).astype(np.int64)
    level = np.array([0.35, 0.95, 0.92, 0.9, 0.92, 0.85, 0.4, 0.35, 1.1])[day]
    return 50.0 * level * _daily(hours) * _noise(hours, rng, 0.05, over_h=0.25)


def _growth(hours: Hours, rng: np.random.Generator) -> Rates:
    size: Rates = 5.0 ** (hours / hours[-1] - 1.0)
    return 60.0 * size * _daily(hours) * _noise(hours, rng, 0.05, over_h=0.25)


def _flash_crowd(hours: Hours, rng: np.random.Generator) -> Rates:
    since_h = hours - rng.uniform(8.0, 16.0)
    rising = np.clip(since_h / (2.0 / 60.0), 0.0, 1.0)
    crowd = rising * np.exp(-np.maximum(0.0, since_h) / 0.75)
    return 8.0 * _daily(hours) + 72.0 * crowd


def _square_wave(hours: Hours, _: np.random.Generator) -> Rates:
    return np.where(hours % 0.5 < 0.25, 50.0, 5.0)


def _steps(hours: Hours, rng: np.random.Generator) -> Rates:
    return rng.uniform(5.0, 55.0, len(hours))[_stretch(hours, rng, 1.5)]


def _idle_with_bursts(hours: Hours, rng: np.random.Generator) -> Rates:
    stretch = _stretch(hours, rng, 0.75)
    heights = rng.uniform(20.0, 60.0, len(hours)) * (rng.random(len(hours)) < 0.2)
    heights[len(np.unique(stretch)) // 2] = 60.0  # at least one burst
    return heights[stretch]


def _batch_arrivals(hours: Hours, rng: np.random.Generator) -> Rates:
    """Jobs that last minutes and send batches of requests, each batch within one second."""
    stretch = _stretch(hours, rng, 0.2)
    active = rng.random(len(hours)) < 0.25
    batches_per_s = np.where(active, rng.uniform(0.15, 0.6, len(hours)), 0.0)
    batch = rng.random(len(hours)) < batches_per_s[stretch]
    return 4.0 * _daily(hours) + 48.0 * batch


def _random_walk(hours: Hours, rng: np.random.Generator) -> Rates:
    return 20.0 * _noise(hours, rng, 0.6, over_h=2.0)


def _daily(hours: Hours) -> Rates:
    """A working day, relative to its busiest hour."""
    return np.interp(hours % DAY_H, np.arange(DAY_H + 1.0), (*_WORKING_DAY, _WORKING_DAY[0]))


def _noise(hours: Hours, rng: np.random.Generator, cv: float, over_h: float) -> Rates:
    """A random factor around 1: log-normal, with a correlation time of `over_h`."""
    step_h = 1.0 / 60.0
    minutes = np.arange(0.0, hours[-1] + step_h, step_h)
    sigma = math.sqrt(math.log1p(cv**2))
    kept = math.exp(-step_h / over_h)
    logarithm = sigma * rng.standard_normal()
    walk = []
    for shock in (sigma * math.sqrt(1.0 - kept**2) * rng.standard_normal(len(minutes))).tolist():
        logarithm = kept * logarithm + shock
        walk.append(logarithm)
    noise: Rates = np.exp(np.interp(hours, minutes, walk) - sigma**2 / 2.0)
    return noise


def _stretch(hours: Hours, rng: np.random.Generator, mean_h: float) -> NDArray[np.int64]:
    """The stretch that each hour belongs to, with lengths of 1/3 to 5/3 of the mean."""
    count = math.ceil(3.0 * hours[-1] / mean_h) + 1
    ends = np.cumsum(mean_h * rng.uniform(1.0 / 3.0, 5.0 / 3.0, count))
    return np.searchsorted(ends, hours, side="right")


GENERATORS: Mapping[str, Generator] = MappingProxyType(
    {
        generator.name: generator
        for generator in (
            Generator(
                name="stationary",
                description="a constant rate, for which no change of the allocations is necessary",
                rates=_stationary,
            ),
            Generator(
                name="diurnal",
                description="one working day, with two peaks and a quiet night",
                rates=_diurnal,
            ),
            Generator(
                name="weekly",
                description="nine days, Sunday to Monday, with quiet weekends",
                rates=_weekly,
                days=9.0,
                bin_s=60.0,
            ),
            Generator(
                name="growth",
                description="eight days of a daily cycle that grows fivefold",
                rates=_growth,
                days=8.0,
                bin_s=60.0,
            ),
            Generator(
                name="flash-crowd",
                description="a rise to ten times the rate within two minutes, and hours of decay",
                rates=_flash_crowd,
            ),
            Generator(
                name="square-wave",
                description="alternating quarters of an hour, ten times as busy as each other",
                rates=_square_wave,
            ),
            Generator(
                name="steps",
                description="constant rates for an hour or two, with jumps between them",
                rates=_steps,
            ),
            Generator(
                name="idle-with-bursts",
                description="mostly idle, with bursts that last up to about an hour",
                rates=_idle_with_bursts,
            ),
            Generator(
                name="batch-arrivals",
                description="bulk ingest: jobs that last minutes and send requests in batches",
                rates=_batch_arrivals,
                bin_s=1.0,
            ),
            Generator(
                name="random-walk",
                description="a rate that drifts over hours, with bursts",
                rates=_random_walk,
                dispersion=4.0,
            ),
        )
    }
)
"""Generators by name."""
