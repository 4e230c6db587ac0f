"""The dispersion of arrivals with which the simulated queues are like the recorded ones.

Neighbouring counts differ because requests come together, and because the rate changes. Only the
first makes queues. The in-flight requests at the polls vary with it, so the dispersion is chosen
from 1 and that of the counts such that they vary as much in the simulation.
"""

from collections.abc import Callable

import numpy as np
from msgspec.structs import replace

from autoscaler.replay.dispersion import MAX_DISPERSION, MIN_DISPERSION
from autoscaler.replay.load import LoadModel
from autoscaler.replay.record import DeploymentRecord, Floats

MATCHING_DRAWS = 4
"""Draws that are simulated for each of the two dispersions."""

MAX_IN_FLIGHT = 3.0
"""In-flight requests for each allocation from which on they are not counted: a long queue shows the
load of minutes, not of seconds."""

MAX_WEIGHT = 2.0
"""How far beyond the dispersion of the counts. Twice: in some minutes of an hour, requests come
closer together than in most."""

InFlight = Callable[[LoadModel, int], Floats]
"""The in-flight requests of what really ran, at the ends of the intervals of a draw."""


def matched(model: LoadModel, simulated: InFlight) -> LoadModel:
    """The model with the dispersion that explains the recorded in-flight requests."""
    record = model.record
    if np.isnan(record.in_flight).all() or bool((model.dispersion == 1.0).all()):
        return model
    poisson = replace(model, dispersion=np.ones_like(model.dispersion))
    low, high = (
        np.mean([_variation(record, model, simulated(each, n)) for n in range(MATCHING_DRAWS)])
        for each in (poisson, model)
    )
    observed = _variation(record, model, record.in_flight)
    weight = 1.0 if high == low else float((observed - low) / (high - low))
    weight = min(max(weight, 0.0), MAX_WEIGHT)
    dispersion = np.clip(1.0 + weight * (model.dispersion - 1.0), MIN_DISPERSION, MAX_DISPERSION)
    return replace(model, dispersion=dispersion)


def _variation(record: DeploymentRecord, model: LoadModel, in_flight: Floats) -> float:
    """Squares of the deviations from the mean that the arrivals suggest, over that mean."""
    allocations = record.requested.astype(np.float64)
    load = record.arrivals * model.service_times.by_interval_s / record.lengths_s
    used = record.known & ~np.isnan(record.in_flight)
    expected = np.minimum(load, allocations)[used]
    off = np.minimum(in_flight, MAX_IN_FLIGHT * allocations)[used] - expected
    return float((off**2).sum() / max(float(expected.sum()), 1e-9))
