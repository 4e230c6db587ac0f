"""The load that a scheduler expects at each poll: the true rate, or what usually follows a rate.

A load is the requests that arrive in a slot, over its length, times the mean service time. A slot
lasts from one poll to the next. Loads are on the grid of `load_distribution`, as in the policy
`slo`.
"""

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.workload import Workload
from autoscaler.core.slo.load_distribution import GRID_STEP

MAX_LEVELS = 100
"""Levels of the present load that are distinguished at most. 100, so that each contains at least
one slot in a hundred, and neighbouring levels differ by a few percent."""

MIN_LEVEL_SLOTS = 60
"""Slots that a level contains at least. With few of them, what usually follows a level would be
what follows it this time."""

Loads = tuple[tuple[int, float], ...]
"""Possible loads by their index on the grid, with their probabilities."""


class Outlook(Struct, frozen=True):
    """What is expected at one poll."""

    now: Loads  # mean load until the next poll
    peak: Loads  # highest load of a slot, until a node that is requested at the next poll serves


def known_outlooks(
    workload: Workload, scenario: BacktestScenario, resolution_s: float
) -> tuple[Outlook, ...]:
    """For each poll, the true loads.

    Args:
        resolution_s: seconds of which the mean rate is known; no variation within them is.
    """
    loads = mean_loads(workload, scenario, resolution_s)
    now, peaks = _indices(loads).tolist(), _indices(peak_loads(loads, scenario)).tolist()
    return tuple(
        Outlook(((load, 1.0),), ((peak, 1.0),)) for load, peak in zip(now, peaks, strict=True)
    )


def usual_outlooks(workload: Workload, scenario: BacktestScenario) -> tuple[Outlook | None, ...]:
    """For each poll, the loads that follow the level of the load since the last poll, with their
    frequencies in the whole workload. None at the first poll, before which there is no load."""
    loads = mean_loads(workload, scenario, scenario.poll_interval_s)
    level = _levels(loads)
    now, peaks = _indices(loads), _indices(peak_loads(loads, scenario))
    usual = {
        each: Outlook(*(_frequencies(values[1:][level[:-1] == each]) for values in (now, peaks)))
        for each in np.unique(level[:-1]).tolist()
    }
    return (None, *(usual[each] for each in level[:-1].tolist()))


def mean_loads(
    workload: Workload, scenario: BacktestScenario, resolution_s: float
) -> NDArray[np.float64]:
    """The mean load of each slot in erlangs, from a rate that is constant for `resolution_s`."""
    count = max(1, math.ceil(workload.duration_s / resolution_s))
    edges_s = np.minimum(resolution_s * np.arange(count + 1.0), workload.duration_s)
    arrived = np.searchsorted(workload.at, workload.start + edges_s)
    arrived[-1] = len(workload.at)
    slots = max(1, math.ceil(workload.duration_s / scenario.poll_interval_s))
    polls_s = np.minimum(scenario.poll_interval_s * np.arange(slots + 1.0), workload.duration_s)
    arrivals = np.diff(np.interp(polls_s, edges_s, arrived))
    loads: NDArray[np.float64] = arrivals / np.diff(polls_s) * scenario.service_time_s
    return loads


def peak_loads(loads: NDArray[np.float64], scenario: BacktestScenario) -> NDArray[np.float64]:
    """The highest of the loads from each slot until a node that is requested one slot later has
    loaded the model, and for the slot that begins then."""
    slots = math.ceil(scenario.load_s / scenario.poll_interval_s) + 2
    padded = np.pad(loads, (0, slots - 1))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, slots).max(axis=1))


def _levels(loads: NDArray[np.float64]) -> NDArray[np.int64]:
    """The level of each load. All levels are about equally frequent; equal loads have one level."""
    count = max(1, min(MAX_LEVELS, len(loads) // MIN_LEVEL_SLOTS))
    edges = np.unique(np.quantile(loads, np.arange(1, count) / count))
    return np.searchsorted(edges, loads, side="right").astype(np.int64)


def _indices(loads: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(np.sqrt(loads) / GRID_STEP).astype(np.int64)


def _frequencies(indices: NDArray[np.int64]) -> Loads:
    found, counts = np.unique(indices, return_counts=True)
    return tuple(zip(found.tolist(), (counts / counts.sum()).tolist(), strict=True))
