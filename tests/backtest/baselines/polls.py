"""What a peer is shown, and a deployment that does as it is told."""

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
    """A past."""

    arrivals: NDArray[np.int64]
    step_s: float = 60.0
    service_time_s: float = 1.0


def recorded(loads, service_time_s: float = 0.01) -> Recorded:
    """A past of so many erlangs, minute by minute."""
    arrivals = np.rint(np.asarray(loads) * 60.0 / service_time_s).astype(np.int64)
    return Recorded(arrivals=arrivals, service_time_s=service_time_s)


def look(
    at: float,
    *,
    current: int,
    interval_s: float,
    busy: float = 0.0,
    live: int | None = None,
    in_flight: tuple[int, ...] = (0,),
) -> Situation:
    """A look at a deployment of which so many allocations were busy, in the mean."""
    sample = Sample(at=at, interval_s=interval_s, busy_s=busy * interval_s, in_flight=in_flight[-1])
    return Situation(
        at=at,
        current=current,
        running=current if live is None else live,
        sample=sample,
        load=NO_ESTIMATE,
        in_flight=in_flight,
    )


class Obedient:
    """A deployment without delay: what a peer asks for is there at once, within bounds.

    Its load is a function of time, in erlangs; what cannot be worked on is lost.
    """

    def __init__(
        self,
        peer: AnyBaseline,
        allocations: int,
        *,
        load: Callable[[float], float] = lambda _: 0.0,
        in_flight: Callable[[float], int] = lambda _: 0,
        period_s: float | None = None,
        minimum: int = 1,
        memory: Any = None,
    ) -> None:
        self.peer, self.allocations, self.minimum = peer, allocations, minimum
        self.load, self.in_flight = load, in_flight
        self.poll_interval_s = peer.poll_interval_s if period_s is None else period_s
        self.sampling_s = min(peer.sampling_s, self.poll_interval_s)
        self.memory = peer.begin() if memory is None else memory
        self.looks = 0
        self.at = 0.0

    def watch(self, until_s: float, *, begin_s: float = 0.0) -> dict[float, int]:
        """Looks once a period until that instant; returns every change, and when it was made."""
        changes: dict[float, int] = {}
        while True:
            # Not a sum of periods, for a tenth has no exact binary fraction.
            at = begin_s + self.looks * self.poll_interval_s
            if at > until_s:
                return changes
            self.looks += 1
            before = self.allocations
            self._once(at)
            if self.allocations != before:
                changes[at] = self.allocations

    def _once(self, at: float) -> None:
        samples = round(self.poll_interval_s / self.sampling_s)
        seen = tuple(
            self.in_flight(at - self.sampling_s * back) for back in range(samples - 1, -1, -1)
        )
        shown = look(
            at,
            current=self.allocations,
            interval_s=self.poll_interval_s,
            busy=min(self.load(at), float(self.allocations)),
            in_flight=seen,
        )
        step, self.memory = self.peer.recommend(shown, self.memory)
        assert step.before == self.allocations
        self.at, self.allocations = at, max(self.minimum, step.after)
