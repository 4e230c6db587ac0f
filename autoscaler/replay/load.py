"""Requests like those of a record: as many in each interval, drawn within it.

The record has counts. Where requests arrive within an interval, and how long each takes, is drawn,
several times, so that the differences between the draws show what the record leaves open.
"""

import math
from statistics import NormalDist

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.world.workload import Workload
from autoscaler.replay.first_attempts import first_attempts
from autoscaler.replay.record import DeploymentRecord, Floats
from autoscaler.replay.service_times import MeasuredServiceTimes

DISPERSION_ERROR = 0.15
"""Standard deviation of the logarithm of the dispersion, about the one that is measured. It is
measured in seconds, and queues also depend on it in less."""

_ARRIVALS, _WORK, _ROUTING, _RETRY = range(4)
_STREAM = 18

_score = NormalDist().inv_cdf


class LoadModel(Struct, frozen=True, kw_only=True, eq=False):
    """Everything that a draw depends on."""

    record: DeploymentRecord
    service_times: MeasuredServiceTimes
    dispersion: Floats  # of each interval


def drawn(
    model: LoadModel,
    seed: int,
    draw: int,
    *,
    dispersion_quantile: float = 0.5,
    retry_share: float = 0.0,
) -> Workload:
    """The requests of one draw. The same arguments give the same requests.

    Args:
        dispersion_quantile: at which of the values that it may have the dispersion is.
        retry_share: the fraction of the failed requests that were tried again. What arrived as
            such a second attempt is no request of this load: the simulation makes its own.
    """
    record = model.record
    counts = first_attempts(record, retry_share)
    dispersion = model.dispersion * math.exp(DISPERSION_ERROR * _score(dispersion_quantile))
    at = _instants(record, counts, dispersion, _rng(seed, draw, _ARRIVALS))
    places = np.repeat(np.arange(len(counts)), counts)
    means_s = model.service_times.by_interval_s[places]
    variance = math.log1p(model.service_times.scv)
    normal = _rng(seed, draw, _WORK).standard_normal(len(at))
    return Workload(
        trace=record.deployment,
        start=record.since,
        duration_s=record.until - record.since,
        at=np.minimum(at, np.nextafter(record.until, record.since)),
        work_s=means_s * np.exp(math.sqrt(variance) * normal - variance / 2.0),
        routing=_rng(seed, draw, _ROUTING).random(len(at)),
        retry_draw=_rng(seed, draw, _RETRY).random(len(at)),
        history=None,
    )


def _instants(
    record: DeploymentRecord,
    counts: NDArray[np.int64],
    dispersion: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Arrivals with gamma-distributed gaps, scaled so that each interval has its count."""
    gaps_in = counts + 1
    shapes = np.repeat(1.0 / dispersion, gaps_in)
    gaps = rng.standard_gamma(shapes)
    last = np.cumsum(gaps_in) - 1
    so_far = np.cumsum(gaps)
    before = np.concatenate([[0.0], so_far[last[:-1]]])
    totals = np.maximum(so_far[last] - before, 1e-300)
    place = np.repeat(np.arange(len(counts)), gaps_in)
    fraction = np.clip((so_far - before[place]) / totals[place], 0.0, 1.0)
    is_arrival = np.ones(len(gaps), dtype=bool)
    is_arrival[last] = False
    instants: Floats = (record.edges[:-1][place] + fraction * record.lengths_s[place])[is_arrival]
    return instants


def _rng(seed: int, draw: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([_STREAM, seed, draw, purpose])
