"""Random service times of a process."""

import math

import numpy as np

from autoscaler.simulation.specs import ModelSpec

HIT_S = 0.0005
"""Service time of a cache hit, in seconds. Below a millisecond, so it counts as 0 ms."""

_SERIAL_FRACTION = 0.1
"""Fraction of a forward pass that more threads do not speed up (Amdahl). An assumption."""

_BLOCK = 1024


def speed_up(threads: int) -> float:
    """Speed of an allocation with `threads`, relative to an allocation with one thread.

    >>> speed_up(1)
    1.0
    >>> round(speed_up(4), 2)
    3.08
    """
    return 1.0 / (_SERIAL_FRACTION + (1.0 - _SERIAL_FRACTION) / threads)


class ServiceTimes:
    """Random service times of one process, drawn in blocks.

    Log-normal with the mean of the model. All draws have the same distribution, so that the history
    does not depend on how often the simulation pauses.
    """

    def __init__(self, model: ModelSpec, threads: int, rng: np.random.Generator) -> None:
        self._mean_s = model.service_time_s / speed_up(threads)
        self._sigma = math.sqrt(math.log1p(model.service_cv**2))
        self._hits = model.cache_hit_fraction
        self.warm_up_s = model.warm_up_s
        self.warm_up_factor = model.warm_up_factor
        self._rng = rng
        self.drawn: list[float] = []

    def draw(self) -> None:
        """Add a block to `drawn`: seconds for requests of size 1 without contention, in reverse.

        0 means a cache hit.
        """
        factors = self._rng.lognormal(-(self._sigma**2) / 2.0, self._sigma, _BLOCK)
        if self._hits > 0.0:
            factors[self._rng.random(_BLOCK) < self._hits] = 0.0
        self.drawn.extend((factors * self._mean_s).tolist())
