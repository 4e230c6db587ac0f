"""How well loads are foretold: `python -m benchmarks.forecast [TRACES]`.

Each trace is played as it was recorded, at the scale of the standard scenarios with short requests;
without an argument, the generators that last for more than a day are. The forecaster sees the load
of every ten seconds. After the first day it is asked, about once a minute, for the highest load
within 70 s (a poll and the start of a node) and within 10 min, and what then came is compared.

coverage  share of the cases in which the load stayed below the forecast quantile
width     how far that quantile was above the expected load, over the mean of what came
height    what it was, over the same
MASE      mean error of the expected load over that of yesterday's at that time
to now    the same over that of the present load
trusted   share of the time in which a policy would have used it
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.world.generators import GENERATORS
from autoscaler.backtest.world.scenario import standard
from autoscaler.backtest.world.traces import find_traces
from autoscaler.backtest.world.workload import START
from autoscaler.core.forecast.forecaster import Forecast, Forecaster
from autoscaler.errors import UserError
from autoscaler.simulation.traces import Trace
from autoscaler.simulation.workload import arrival_counts
from benchmarks.markdown import figure, table

DAY_S = 86_400.0
LONGEST_S = 56 * DAY_S
HORIZONS_S = (70.0, 600.0)
ASKED_EVERY = 7  # polls, so that every distance from the full minute is met
SCENARIO = standard()[0]
POLL_S = SCENARIO.poll_interval_s
POLLS_A_DAY = round(DAY_S / POLL_S)

Loads = NDArray[np.float64]


class Case(Struct, frozen=True):
    """What was foretold, and the highest load that came; what came a day before, and was there."""

    forecast: Forecast
    highest: float
    yesterday: float
    present: float


def report(arguments: Sequence[str]) -> None:
    """Print a line for each trace and horizon.

    Raises:
        UserError: there is no such trace, or none that lasts for more than a day.
    """
    named = arguments or [each.name for each in GENERATORS.values() if each.days > 1.0]
    traces = [source.read() for source in find_traces(named)]
    long = [trace for trace in traces if trace.duration_s > DAY_S + max(HORIZONS_S)]
    if not long:
        raise UserError("none of these traces lasts for more than a day: name others")
    headings = ("trace", "horizon", "coverage", "width", "height", "MASE", "to now", "trusted")
    print(table(headings, [line for trace in long for line in _lines(trace)]))


def loads_of(trace: Trace) -> Loads:
    """Erlangs, poll by poll."""
    trace = trace.between(0.0, LONGEST_S)
    scale = SCENARIO.scale
    assert scale.allocations is not None
    factor = trace.factor_for(
        allocations=scale.allocations,
        service_time_s=SCENARIO.service_time_s,
        utilisation=scale.utilisation,
    )
    edges_s = np.arange(0.0, trace.duration_s + POLL_S / 2.0, POLL_S)
    counts = arrival_counts(trace, edges_s, factor, np.random.default_rng(1))
    return np.asarray(counts * (SCENARIO.service_time_s / POLL_S), dtype=np.float64)


def cases_of(loads: Loads) -> dict[float, list[Case]]:
    """About each minute after the first day, for each horizon."""
    forecaster = Forecaster()
    memory = forecaster.begin()
    levels: list[float] = []
    asked: list[tuple[float, int, Forecast]] = []
    for poll, load in enumerate(loads.tolist(), 1):
        at = START + poll * POLL_S
        memory = forecaster.updated(memory, at, load, POLL_S)
        levels.append(memory.level)
        if poll >= POLLS_A_DAY and poll % ASKED_EVERY == 0:
            asked += [(each, poll, forecaster.predict(memory, at, each)) for each in HORIZONS_S]
    highest = {horizon_s: _highest(levels, horizon_s) for horizon_s in HORIZONS_S}
    cases: dict[float, list[Case]] = {horizon_s: [] for horizon_s in HORIZONS_S}
    for horizon_s, poll, forecast in asked:
        come = highest[horizon_s]
        if poll < len(come):
            cases[horizon_s].append(
                Case(forecast, come[poll], come[poll - POLLS_A_DAY], levels[poll - 1])
            )
    return cases


def _highest(levels: Sequence[float], horizon_s: float) -> list[float]:
    """The highest of the levels that follow so many polls, for every number that is followed."""
    windows = np.lib.stride_tricks.sliding_window_view(levels, round(horizon_s / POLL_S))
    highest: list[float] = windows.max(axis=1).tolist()
    return highest


def _lines(trace: Trace) -> Iterator[list[str]]:
    for horizon_s, cases in cases_of(loads_of(trace)).items():
        foretold = np.array([[case.forecast.load, case.forecast.expected] for case in cases])
        came = np.array([[case.highest, case.yesterday, case.present] for case in cases])
        highest, mean = came[:, 0], came[:, 0].mean()
        errors = np.abs(np.column_stack([foretold[:, 1], came[:, 1:]]).T - highest).mean(axis=1)
        yield [
            trace.name,
            f"{horizon_s:.0f} s",
            f"{np.mean(highest <= foretold[:, 0]):.1%}",
            figure(float((foretold[:, 0] - foretold[:, 1]).mean() / mean)),
            figure(float(foretold[:, 0].mean() / mean)),
            figure(float(errors[0] / errors[1])),
            figure(float(errors[0] / errors[2])),
            f"{np.mean([case.forecast.trusted for case in cases]):.0%}",
        ]


def main() -> None:
    try:
        report(sys.argv[1:])
    except UserError as mistake:
        sys.exit(str(mistake))


if __name__ == "__main__":
    main()
