"""Loads of a deployment, described as data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from autoscaler.simulation import workload
from autoscaler.simulation.trace_files import read_trace
from autoscaler.simulation.workload import Arrival

Rate = Annotated[float, Meta(ge=0.0, le=1e5)]
Seconds = Annotated[float, Meta(gt=0.0)]


class _Load(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    timeout_s: Seconds = 10.0  # after which a caller stops waiting
    seed: int = 1


class Steady(_Load, frozen=True, kw_only=True, tag="steady"):
    rate_per_s: Rate


class Diurnal(_Load, frozen=True, kw_only=True, tag="diurnal"):
    """A sine between `2 mean - peak` and `peak`, beginning at its mean, upwards."""

    mean_per_s: Rate
    peak_per_s: Rate
    period_s: Seconds = 86_400.0


class Ramp(_Load, frozen=True, kw_only=True, tag="ramp"):
    """From one rate to another, which then stays."""

    from_per_s: Rate
    to_per_s: Rate
    over_s: Seconds


class Spike(_Load, frozen=True, kw_only=True, tag="spike"):
    """A base rate, except in one interval that begins after `after_s`."""

    base_per_s: Rate
    peak_per_s: Rate
    after_s: Annotated[float, Meta(ge=0.0)]
    for_s: Seconds


class OnOff(_Load, frozen=True, kw_only=True, tag="on_off"):
    """A rate and no requests in turns."""

    rate_per_s: Rate
    on_s: Seconds
    off_s: Seconds


class Recorded(_Load, frozen=True, kw_only=True, tag="trace"):
    """A recorded load from a file, which ends with it."""

    file: str
    factor: Annotated[float, Meta(gt=0.0)] = 1.0  # multiplies the rate
    from_s: Annotated[float, Meta(ge=0.0)] = 0.0  # of the recording
    to_s: Seconds | None = None  # None: to its end


Load = Steady | Diurnal | Ramp | Spike | OnOff | Recorded


def arrivals_of(load: Load, start: float) -> Iterator[Arrival]:
    """The requests of a load that begins at the instant `start`.

    Raises:
        ValueError: the values contradict each other, or there is no such trace.
    """
    rng = np.random.default_rng(load.seed)
    match load:
        case Steady():
            return workload.steady(load.rate_per_s, start=start, rng=rng)
        case Diurnal():
            return workload.diurnal(
                load.mean_per_s, load.peak_per_s, period_s=load.period_s, start=start, rng=rng
            )
        case Ramp():
            return workload.ramp(load.from_per_s, load.to_per_s, load.over_s, start=start, rng=rng)
        case Spike():
            return workload.spike(
                load.base_per_s,
                load.peak_per_s,
                after_s=load.after_s,
                for_s=load.for_s,
                start=start,
                rng=rng,
            )
        case OnOff():
            return workload.on_off(
                load.rate_per_s, on_s=load.on_s, off_s=load.off_s, start=start, rng=rng
            )
        case Recorded():
            trace = read_trace(Path(load.file))
            window = trace.between(load.from_s, load.to_s or trace.duration_s)
            return workload.from_trace(window, start=start, rng=rng, factor=load.factor)


class Stoppable(Iterator[Arrival]):
    """Arrivals that can be ended early."""

    def __init__(self, arrivals: Iterator[Arrival]) -> None:
        self._arrivals = arrivals
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def __next__(self) -> Arrival:
        if self._stopped:
            raise StopIteration
        return next(self._arrivals)
