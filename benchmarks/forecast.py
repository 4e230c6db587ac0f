"""The accuracy of forecasts: `python -m benchmarks.forecast [TRACES]`.

Each trace is scaled like the standard scenarios with short requests; without arguments, the
generators that last more than a day are used. The forecaster receives the load of every ten
seconds. After the first day it predicts, about once a minute, the highest load within 70 s (a poll
and the start of a node) and within 10 min, which is then compared with the actual one.

coverage  fraction of the forecasts whose quantile was not exceeded
width     distance from the expected load to that quantile, relative to the mean highest load
height    the quantile, relative to the same
MASE      mean error of the expected load, relative to that of the load a day before
to now    the same, relative to that of the present load
trusted   fraction of the forecasts that a policy would have used
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
MAX_LENGTH_S = 56 * DAY_S
HORIZONS_S = (70.0, 600.0)
FORECAST_EVERY = 7  # polls, so that forecasts begin at every distance from the full minute
SCENARIO = standard()[0]
POLL_INTERVAL_S = SCENARIO.poll_interval_s
POLLS_A_DAY = round(DAY_S / POLL_INTERVAL_S)

Loads = NDArray[np.float64]


class Case(Struct, frozen=True):
    """A forecast, the highest load that followed, that of a day before, and the present load."""

    forecast: Forecast
    highest: float
    yesterday: float
    present: float


def report(arguments: Sequence[str]) -> None:
    """Print a line for each trace and horizon.

    Raises:
        UserError: a trace does not exist, or none lasts more than a day.
    """
    named = arguments or [each.name for each in GENERATORS.values() if each.days > 1.0]
    traces = [source.read() for source in find_traces(named)]
    long = [trace for trace in traces if trace.duration_s > DAY_S + max(HORIZONS_S)]
    if not long:
        raise UserError("none of these traces lasts more than a day; name others")
    headings = ("trace", "horizon", "coverage", "width", "height", "MASE", "to now", "trusted")
    print(table(headings, [line for trace in long for line in _lines(trace)]))


def loads_of(trace: Trace) -> Loads:
    """The offered load of each poll interval, in erlangs."""
    trace = trace.between(0.0, MAX_LENGTH_S)
    scale = SCENARIO.scale
    assert scale.allocations is not None
    factor = trace.factor_for(
        allocations=scale.allocations,
        service_time_s=SCENARIO.service_time_s,
        utilisation=scale.utilisation,
    )
    edges_s = np.arange(0.0, trace.duration_s + POLL_INTERVAL_S / 2.0, POLL_INTERVAL_S)
    counts = arrival_counts(trace, edges_s, factor, np.random.default_rng(1))
    return np.asarray(counts * (SCENARIO.service_time_s / POLL_INTERVAL_S), dtype=np.float64)


def cases_of(loads: Loads) -> dict[float, list[Case]]:
    """Forecasts about once a minute after the first day, by horizon."""
    forecaster = Forecaster()
    memory = forecaster.begin()
    levels: list[float] = []
    forecasts: list[tuple[float, int, Forecast]] = []
    for poll, load in enumerate(loads.tolist(), 1):
        at = START + poll * POLL_INTERVAL_S
        memory = forecaster.updated(memory, at, load, POLL_INTERVAL_S)
        levels.append(memory.level)
        if poll >= POLLS_A_DAY and poll % FORECAST_EVERY == 0:
            forecasts += [(each, poll, forecaster.predict(memory, at, each)) for each in HORIZONS_S]
    highest = {horizon_s: _highest(levels, horizon_s) for horizon_s in HORIZONS_S}
    cases: dict[float, list[Case]] = {horizon_s: [] for horizon_s in HORIZONS_S}
    for horizon_s, poll, forecast in forecasts:
        actual = highest[horizon_s]
        if poll < len(actual):
            cases[horizon_s].append(
                Case(forecast, actual[poll], actual[poll - POLLS_A_DAY], levels[poll - 1])
            )
    return cases


def _highest(levels: Sequence[float], horizon_s: float) -> list[float]:
    """The highest level within the horizon after each poll."""
    windows = np.lib.stride_tricks.sliding_window_view(levels, round(horizon_s / POLL_INTERVAL_S))
    highest: list[float] = windows.max(axis=1).tolist()
    return highest


def _lines(trace: Trace) -> Iterator[list[str]]:
    for horizon_s, cases in cases_of(loads_of(trace)).items():
        predicted = np.array([[case.forecast.load, case.forecast.expected] for case in cases])
        actual = np.array([[case.highest, case.yesterday, case.present] for case in cases])
        highest, mean = actual[:, 0], actual[:, 0].mean()
        errors = np.abs(np.column_stack([predicted[:, 1], actual[:, 1:]]).T - highest).mean(axis=1)
        yield [
            trace.name,
            f"{horizon_s:.0f} s",
            f"{np.mean(highest <= predicted[:, 0]):.1%}",
            figure(float((predicted[:, 0] - predicted[:, 1]).mean() / mean)),
            figure(float(predicted[:, 0].mean() / mean)),
            figure(float(errors[0] / errors[1])),
            figure(float(errors[0] / errors[2])),
            f"{np.mean([case.forecast.trusted for case in cases]):.0%}",
        ]


def main() -> None:
    try:
        report(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
