"""Loads that need no recording: made-up traces, each of one shape that scalers find hard.

A generator gives a rate over time, partly at random, and counts are drawn from it: by Poisson's law
where nothing else is said. Absolute rates mean nothing, since a scenario scales them. They are
higher than most scenarios make them, so that scaling thins, which adds no noise.
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
"""Of the one example of each shape that is used as if it were a recording."""

DAY_H = 24.0

_WORKING_DAY = (
    *(0.20, 0.12, 0.08, 0.05, 0.05, 0.06, 0.10, 0.22, 0.48, 0.78, 0.95, 1.00),
    *(0.75, 0.72, 0.88, 0.96, 0.90, 0.75, 0.60, 0.50, 0.45, 0.42, 0.36, 0.28),
)
"""Hour by hour from midnight: a peak before noon and one after, and a quiet night."""


class Generator(Struct, frozen=True, kw_only=True):
    """A shape."""

    name: str
    description: str  # one line, for people
    rates: Callable[[Hours, np.random.Generator], Rates]  # requests a second, at those hours
    days: float = 1.0
    bin_s: float = 10.0
    dispersion: float = 1.0  # variance to mean of a bin's count, given its rate; 1 is Poisson


def generate(name: str, seed: int = SEED) -> Trace:
    """An example of a shape, the same for the same name and seed.

    Raises:
        KeyError: there is no such generator.
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
    """Sunday to Monday. The second Monday is the busiest day, so that it has a week as its past."""
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
    heights[len(np.unique(stretch)) // 2] = 60.0  # one burst for certain
    return heights[stretch]


def _batch_arrivals(hours: Hours, rng: np.random.Generator) -> Rates:
    """Jobs of minutes, each of which sends its requests by the dozen, all in one second."""
    stretch = _stretch(hours, rng, 0.2)
    at_work = rng.random(len(hours)) < 0.25
    batches_per_s = np.where(at_work, rng.uniform(0.15, 0.6, len(hours)), 0.0)
    batch = rng.random(len(hours)) < batches_per_s[stretch]
    return 4.0 * _daily(hours) + 48.0 * batch


def _random_walk(hours: Hours, rng: np.random.Generator) -> Rates:
    return 20.0 * _noise(hours, rng, 0.6, over_h=2.0)


def _daily(hours: Hours) -> Rates:
    """A working day, of which the busiest hour is 1."""
    return np.interp(hours % DAY_H, np.arange(DAY_H + 1.0), (*_WORKING_DAY, _WORKING_DAY[0]))


def _noise(hours: Hours, rng: np.random.Generator, cv: float, over_h: float) -> Rates:
    """A factor about 1 that wanders: log-normal, and forgotten after about `over_h`."""
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
    """Which stretch each hour belongs to. Their lengths are between a third and 5/3 of the mean."""
    most = math.ceil(3.0 * hours[-1] / mean_h) + 1
    ends = np.cumsum(mean_h * rng.uniform(1.0 / 3.0, 5.0 / 3.0, most))
    return np.searchsorted(ends, hours, side="right")


GENERATORS: Mapping[str, Generator] = MappingProxyType(
    {
        generator.name: generator
        for generator in (
            Generator(
                name="stationary",
                description="the same rate all day; whatever a scaler changes, it does for nothing",
                rates=_stationary,
            ),
            Generator(
                name="diurnal",
                description="one working day, with two peaks and a quiet night",
                rates=_diurnal,
            ),
            Generator(
                name="weekly",
                description="nine days of a working week and its quiet weekends, Sunday to Monday",
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
                description="ten times the usual within two minutes, and hours until it is over",
                rates=_flash_crowd,
            ),
            Generator(
                name="square-wave",
                description="a quarter of an hour ten times as busy as the next, by turns",
                rates=_square_wave,
            ),
            Generator(
                name="steps",
                description="levels that last an hour or two, and jumps between them",
                rates=_steps,
            ),
            Generator(
                name="idle-with-bursts",
                description="mostly nothing at all, then bursts that last up to an hour or so",
                rates=_idle_with_bursts,
            ),
            Generator(
                name="batch-arrivals",
                description="bulk ingests: jobs of minutes that send requests by the dozen",
                rates=_batch_arrivals,
                bin_s=1.0,
            ),
            Generator(
                name="random-walk",
                description="a rate that wanders over hours, with bursts on top",
                rates=_random_walk,
                dispersion=4.0,
            ),
        )
    }
)
"""By name."""
