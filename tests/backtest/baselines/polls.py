"""Situations for baselines, and a deployment that applies their recommendations."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.baselines.baseline import AnyBaseline
from autoscaler.core.policies import Situation
from autoscaler.core.values import LoadEstimate, Sample

NO_ESTIMATE = LoadEstimate(
    arrival_rate_per_s=math.nan,
    throughput_per_s=math.nan,
    service_time_s=None,
    cache_hit_fraction=0.0,
    in_flight=0,
    window_s=0.0,
)


class Recorded(Struct, frozen=True, kw_only=True):
    """A load history."""

    arrivals: NDArray[np.int64]
    step_s: float = 60.0
    service_time_s: float = 1.0


def recorded(loads, service_time_s: float = 0.01) -> Recorded:
    """A history of these loads in erlangs, one for each minute."""
    arrivals = np.rint(np.asarray(loads) * 60.0 / service_time_s).astype(np.int64)
    return Recorded(arrivals=arrivals, service_time_s=service_time_s)


def poll(
    at: float,
    *,
    current: int,
    interval_s: float,
    busy: float = 0.0,
    running: int | None = None,
    in_flight: tuple[int, ...] = (0,),
) -> Situation:
    """A poll of a deployment with this mean of busy allocations."""
    sample = Sample(at=at, interval_s=interval_s, busy_s=busy * interval_s, in_flight=in_flight[-1])
    return Situation(
        at=at,
        current=current,
        running=current if running is None else running,
        sample=sample,
        load=NO_ESTIMATE,
        in_flight=in_flight,
    )


class Obedient:
    """A deployment without delay: recommendations take effect at once, within limits.

    Its load is a function of time, in erlangs; load beyond the allocations is lost.
    """

    def __init__(
        self,
        baseline: AnyBaseline,
        allocations: int,
        *,
        load: Callable[[float], float] = lambda _: 0.0,
        in_flight: Callable[[float], int] = lambda _: 0,
        poll_interval_s: float | None = None,
        minimum: int = 1,
        memory: Any = None,
    ) -> None:
        self.baseline, self.allocations, self.minimum = baseline, allocations, minimum
        self.load, self.in_flight = load, in_flight
        self.poll_interval_s = (
            baseline.poll_interval_s if poll_interval_s is None else poll_interval_s
        )
        self.sampling_s = min(baseline.sampling_s, self.poll_interval_s)
        self.memory = baseline.begin() if memory is None else memory
        self.polls = 0
        self.at = 0.0

    def watch(self, until_s: float, *, begin_s: float = 0.0) -> dict[float, int]:
        """Poll once per interval until that instant; the changes by instant."""
        changes: dict[float, int] = {}
        while True:
            # Not a sum of intervals, because 0.1 has no exact binary fraction.
            at = begin_s + self.polls * self.poll_interval_s
            if at > until_s:
                return changes
            self.polls += 1
            before = self.allocations
            self._once(at)
            if self.allocations != before:
                changes[at] = self.allocations

    def _once(self, at: float) -> None:
        samples = round(self.poll_interval_s / self.sampling_s)
        in_flight = tuple(
            self.in_flight(at - self.sampling_s * back) for back in range(samples - 1, -1, -1)
        )
        situation = poll(
            at,
            current=self.allocations,
            interval_s=self.poll_interval_s,
            busy=min(self.load(at), float(self.allocations)),
            in_flight=in_flight,
        )
        step, self.memory = self.baseline.recommend(situation, self.memory)
        assert step.before == self.allocations
        self.at, self.allocations = at, max(self.minimum, step.after)
