"""Requests like those of a record: as many in each interval, drawn within it.

The record has counts. Where requests arrive within an interval, and how long each takes, is drawn,
several times, so that the differences between the draws show what the record leaves open.
"""

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.world.workload import Workload
from autoscaler.replay.record import HOUR_S, DeploymentRecord, Floats
from autoscaler.replay.service_times import MeasuredServiceTimes

MIN_MEAN_COUNT = 4.0
"""Mean arrivals of an interval from which on the dispersion is measured. With fewer, counts are too
coarse."""

MIN_PAIRS = 30
"""Pairs of counts in an hour from which on its dispersion is measured."""

MAX_INTERVAL_S = 20.0
"""The longest intervals, in seconds, of which the dispersion is measured. Counts of minutes differ
because the rate changes, more than because requests come together."""

MAX_DISPERSION = 20.0

_CHI_SQUARE_MEDIAN = 0.4549364
"""The median of the square of a standard normal variable."""

_ARRIVALS, _WORK, _ROUTING, _RETRY = range(4)
_STREAM = 18


class LoadModel(Struct, frozen=True, kw_only=True, eq=False):
    """Everything that a draw depends on."""

    record: DeploymentRecord
    service_times: MeasuredServiceTimes
    dispersion: Floats  # of each interval


def load_model(record: DeploymentRecord, service_times: MeasuredServiceTimes) -> LoadModel:
    return LoadModel(record=record, service_times=service_times, dispersion=dispersion_of(record))


def dispersion_of(record: DeploymentRecord) -> Floats:
    """The dispersion within seconds, by hour; 1 where the record does not show it.

    From the differences between neighbouring counts: most of them are of the same rate. Their
    median is not affected by the few between which the rate changed.
    """
    counts, rates = record.arrivals, record.arrivals / record.lengths_s
    lengths_s = record.lengths_s
    both = record.known[1:] & record.known[:-1] & (counts[1:] + counts[:-1] > 0.0)
    both &= lengths_s[1:] <= MAX_INTERVAL_S
    same = both & (np.abs(lengths_s[1:] - lengths_s[:-1]) < 0.2 * lengths_s[1:])
    ratio = np.zeros(len(counts) - 1)
    variance = (counts / lengths_s**2)[1:] + (counts / lengths_s**2)[:-1]
    ratio[same] = (np.diff(rates) ** 2)[same] / variance[same]
    hour = record.hour_of
    found = np.ones(record.hours)
    for each in range(record.hours):
        inside = same & (hour[1:] == each)
        mean = counts[record.known & (hour == each)]
        if inside.sum() >= MIN_PAIRS and len(mean) and mean.mean() >= MIN_MEAN_COUNT:
            found[each] = np.median(ratio[inside]) / _CHI_SQUARE_MEDIAN
    by_interval: Floats = np.clip(found, 1.0, MAX_DISPERSION)[hour]
    return by_interval


def drawn(model: LoadModel, seed: int, draw: int) -> Workload:
    """The requests of one draw. The same model, seed and draw give the same requests."""
    record = model.record
    counts = record.arrivals.astype(np.int64)
    at = _instants(record, counts, model.dispersion, _rng(seed, draw, _ARRIVALS))
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


def hours_between(record: DeploymentRecord) -> float:
    """The length of the record in hours, without gaps."""
    return float(record.lengths_s[record.known].sum()) / HOUR_S


def _rng(seed: int, draw: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([_STREAM, seed, draw, purpose])
