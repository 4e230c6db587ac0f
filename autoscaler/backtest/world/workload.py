"""Every request of one run, drawn before the run.

Arrivals, work, routing and retries are drawn from separate random streams, so every policy receives
the same requests, and a scenario with slower requests receives them at the same instants.
"""

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.simulation.traces import Trace, TraceError
from autoscaler.simulation.workload import arrival_counts, arrival_instants, relative_sizes

START = 1_767_225_600.0
"""Unix seconds at which each run begins: 2026-01-01T00:00:00Z, so that days begin at midnight."""

HOUR_S = 3600.0
HISTORY_STEP_S = 60.0
MAX_HISTORY_S = 14 * 86_400.0

MAX_REQUESTS = 50_000_000
"""Requests that one run may have; more would not fit into the memory of an ordinary machine."""

_ARRIVALS, _WORK, _ROUTING, _RETRY_DRAW, _HISTORY = range(5)
"""Random streams. Each is independent of how much the others draw."""


class LoadHistory(Struct, frozen=True, kw_only=True, eq=False):
    """The load before a run, as a daemon would have recorded it."""

    step_s: float
    arrivals: NDArray[np.int64]  # in each step; the last one ends when the run begins
    service_time_s: float  # mean


class Workload(Struct, frozen=True, kw_only=True, eq=False):
    """Every request of a run, in order of arrival; each array has one element per request."""

    trace: str
    start: float  # Unix seconds
    duration_s: float
    at: NDArray[np.float64]  # Unix seconds
    work_s: NDArray[np.float64]  # allocation-seconds on an idle, warm machine
    routing: NDArray[np.float64]  # uniform in [0, 1): selects the node
    retry_draw: NDArray[np.float64]  # uniform in [0, 1): retried if below the retry share
    history: LoadHistory | None  # None: the trace begins with the run
    trace_offset_s: float = 0.0  # from the beginning of the trace to `start`


def workload_of(trace: Trace, scenario: BacktestScenario, seed: int) -> Workload:
    """Draw the requests of a scenario, with arrivals like those of the trace.

    Args:
        seed: not negative. The same trace, scenario and seed give the same workload.

    Raises:
        TraceError: the trace has no such window, or the scaled load is empty or too large.
    """
    factor = scale_factor(trace, scenario)
    window, first = _window(trace, scenario)
    instants = _instants(window, factor, scenario, _rng(seed, _ARRIVALS))
    sizes = relative_sizes(trace) if scenario.sizes else np.ones(len(trace.counts))
    work_s = _work_s(len(instants), scenario, _rng(seed, _WORK))
    work_s *= sizes[first + window.bins_of(instants)]
    end = START + window.duration_s
    return Workload(
        trace=trace.name,
        start=START,
        duration_s=window.duration_s,
        # The sum is rounded; every request must arrive before the end.
        at=np.minimum(START + instants, np.nextafter(end, START)),
        work_s=work_s,
        routing=_rng(seed, _ROUTING).random(len(instants)),
        retry_draw=_rng(seed, _RETRY_DRAW).random(len(instants)),
        history=_history(
            trace, first, factor, scenario.service_time_s * sizes, _rng(seed, _HISTORY)
        ),
        trace_offset_s=first * trace.bin_s,
    )


def ensure_playable(trace: Trace, scenario: BacktestScenario) -> None:
    """Check, without drawing, that there would be requests, and not too many.

    Raises:
        TraceError: as `workload_of`.
    """
    window, _ = _window(trace, scenario)
    _ensure_some(window, scale_factor(trace, scenario), scenario)


def played_span_s(trace: Trace, scenario: BacktestScenario) -> tuple[float, float]:
    """Begin and end of the part that is played, in seconds from the beginning of the trace."""
    window, first = _window(trace, scenario)
    return first * trace.bin_s, first * trace.bin_s + window.duration_s


def _rng(seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose])


def scale_factor(trace: Trace, scenario: BacktestScenario) -> float:
    """The scale factor, which depends on the whole trace, not only on the window."""
    scale = scenario.scale
    if scale.allocations is None:
        return 1.0 if scale.factor is None else scale.factor
    if trace.p99_per_s == 0.0:
        raise TraceError(
            f"trace {trace.name} is idle for 99% of the time, so its 99th percentile cannot be "
            f"scaled to {scale.allocations:g} allocations; use a scenario with a factor"
        )
    return trace.factor_for(
        allocations=scale.allocations,
        service_time_s=scenario.service_time_s,
        utilisation=scale.utilisation,
    )


def _window(trace: Trace, scenario: BacktestScenario) -> tuple[Trace, int]:
    """The part of the trace that is played, and the bins before it."""
    length_s = math.inf if scenario.hours is None else scenario.hours * HOUR_S
    if scenario.start_h is not None:
        begin_s = scenario.start_h * HOUR_S
    else:
        begin_s = hardest_s(trace, length_s) if trace.duration_s > length_s else 0.0
    try:
        return trace.between(begin_s, begin_s + length_s), trace.first_bin_from(begin_s)
    except ValueError as error:
        raise TraceError(f"{error}; use a scenario with another window or start") from error


def hardest_s(trace: Trace, length_s: float) -> float:
    """The start of the window of that length in which the rate varies most.

    This is the window with the largest standard deviation among the windows that begin at a whole
    hour of the trace. The trace must be longer than the window.
    """
    starts_s = np.arange(len(trace.counts)) * trace.bin_s
    hours = np.floor(starts_s / HOUR_S + 1e-9)
    begins = np.concatenate([[True], np.diff(hours) > 0.0])
    candidates_s = hours[begins & (hours * HOUR_S + length_s <= trace.duration_s)] * HOUR_S
    firsts = [trace.first_bin_from(begin_s) for begin_s in candidates_s.tolist()]
    ends = [trace.first_bin_from(begin_s + length_s) for begin_s in candidates_s.tolist()]
    rates = trace.counts - trace.counts.mean()  # centred, which keeps the squares accurate
    sums, squares = (
        np.diff(np.concatenate([[0.0], np.cumsum(power)])[[firsts, ends]], axis=0)[0]
        for power in (rates, rates**2)
    )
    bins = np.subtract(ends, firsts)
    return float(candidates_s[np.argmax(squares / bins - (sums / bins) ** 2)])


def _ensure_some(window: Trace, factor: float, scenario: BacktestScenario) -> None:
    expected = factor * float(window.counts.sum(dtype=np.float64))
    if expected > MAX_REQUESTS:
        raise TraceError(
            f"trace {window.name} would have {expected / 1e6:.0f} million requests in scenario "
            f"{scenario.name}, more than the maximum of {MAX_REQUESTS / 1e6:.0f} million; "
            "use a scenario with a shorter window or a smaller scale"
        )
    if expected == 0.0:
        raise _no_request(window, scenario)


def _no_request(window: Trace, scenario: BacktestScenario) -> TraceError:
    return TraceError(
        f"trace {window.name} has no request in the window of scenario {scenario.name}; "
        "use a scenario with another window or a larger scale"
    )


def _instants(
    window: Trace, factor: float, scenario: BacktestScenario, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Arrivals, in seconds since the beginning of the window."""
    _ensure_some(window, factor, scenario)
    instants = np.concatenate(list(arrival_instants(window, factor, rng)))
    if not len(instants):
        raise _no_request(window, scenario)
    return instants


def _work_s(
    count: int, scenario: BacktestScenario, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Log-normal service times of the scenario's mean and coefficient of variation."""
    sigma = math.sqrt(math.log1p(scenario.service_cv**2))
    return rng.lognormal(math.log(scenario.service_time_s) - sigma**2 / 2.0, sigma, count)


def _history(
    trace: Trace,
    first: int,
    factor: float,
    service_times_s: NDArray[np.float64],
    rng: np.random.Generator,
) -> LoadHistory | None:
    """The load before the window, which begins with the bin `first`."""
    end_s = first * trace.bin_s
    steps = int(min(end_s, MAX_HISTORY_S) / HISTORY_STEP_S)
    if steps == 0:
        return None
    edges_s = end_s - HISTORY_STEP_S * np.arange(steps, -1, -1.0)
    before = slice(trace.first_bin_from(float(edges_s[0])), first)
    counts = trace.counts[before]
    return LoadHistory(
        step_s=HISTORY_STEP_S,
        arrivals=arrival_counts(trace, edges_s, factor, rng),
        service_time_s=float(
            np.average(service_times_s[before], weights=counts if counts.any() else None)
        ),
    )
