"""`autoscaler import prometheus`: from the HTTP API of Prometheus."""

import math
import re
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from autoscaler.importing.counts import CountedLoad, CountKind, Values, by_deployment
from autoscaler.importing.http_client import ImportFailed, StoreAccess, StoreClient
from autoscaler.importing.output import Imported, Output
from autoscaler.importing.own_metrics import OwnMetrics
from autoscaler.importing.period import Period, Progress
from autoscaler.importing.range_queries import RangeQueries, Refused
from autoscaler.importing.readings import (
    ALL_METRICS,
    HARDWARE_METRICS,
    NODE_INFO,
    OBSERVATION_AGE,
    OBSERVED_AT,
    Reader,
    Readings,
    add,
    reader_of,
)
from autoscaler.text import printable

_FIRST_POINTS = 30
"""Points of the first part of the period, which shows how many series there are."""

_VALUES_OF_A_PART = 1_000_000
"""Values of one part of the period: about 100 MB of memory."""

_MAX_POINTS = 10_000

_OTHER_METRIC = (
    "arrivals are those of the metric that was named, which may count a request more often or less "
    "often than Elasticsearch does"
)


class Counted(Struct, frozen=True, kw_only=True):
    """Queries for load that is not of this program's metrics."""

    arrivals: str
    kind: CountKind = CountKind.RATE
    service_time: str = ""
    allocations: str = ""
    label: str = "deployment"


class PrometheusImport(Struct, frozen=True, kw_only=True):
    access: StoreAccess
    period: Period
    step_s: float = 60.0
    matchers: tuple[str, ...] = ()  # such as cluster="prod"
    deployments: tuple[str, ...] = ()  # empty: all
    cluster: str = ""  # the label; empty: there is one cluster only
    counted: Counted | None = None  # None: this program's metrics
    path: Path


async def import_prometheus(
    options: PrometheusImport, warn: Callable[[str], None], progress: Progress
) -> Imported:
    """
    Raises:
        UserError: the source cannot be read, has no such load, or the file cannot be written.
    """
    async with StoreClient(options.access) as client:
        queries = RangeQueries(client, options.step_s, warn)
        with Output(options.path, "prometheus") as output:
            if options.counted is None:
                further = await _own_metrics(options, queries, output, progress)
            else:
                further = await _counted(options, options.counted, queries, output, progress)
            further += [f"the source says: {warning}" for warning in queries.warnings]
            return output.write(further)


class _Parts:
    """Parts of the period with about as many values each."""

    def __init__(self, options: PrometheusImport) -> None:
        self._step_s = options.step_s
        self._next = math.ceil(options.period.since / options.step_s) * options.step_s
        self._until = options.period.until
        self._points = _FIRST_POINTS

    def following(self) -> tuple[float, float] | None:
        """The first and the last instant of the next part."""
        if self._next > self._until:
            return None
        points = min(self._points, math.floor((self._until - self._next) / self._step_s) + 1)
        first = self._next
        self._next = first + points * self._step_s
        return first, first + (points - 1) * self._step_s

    def had(self, values: int) -> None:
        """Choose the size of the next part by the number of values of the last one."""
        wanted = self._points * _VALUES_OF_A_PART / max(1, values)
        self._points = round(max(10, min(_MAX_POINTS, wanted, 20 * self._points)))


async def _own_metrics(
    options: PrometheusImport, queries: RangeQueries, output: Output, progress: Progress
) -> list[str]:
    made = OwnMetrics(options.step_s)
    parts = _Parts(options)
    exact, found = True, False
    while (part := parts.following()) is not None:
        readings, values, is_exact = await _read(options, queries, *part)
        exact, found = exact and is_exact, found or bool(values)
        output.add(made.lines(readings, part[1]))
        options.period.report(progress, part[1])
        parts.had(values)
    output.add(made.rest())
    if not found:
        raise ImportFailed(
            f"{options.access.url} has no metrics of this program in that time; check --from and "
            "--matcher, or name the requests of another metric with --arrivals"
        )
    further = []
    if not exact:
        further.append(
            "the instants of observations are unknown, so an interval may begin and end up to "
            "one step earlier"
        )
    if made.estimated:
        further.append(
            f"{len(made.estimated):,} deployments have no metrics by node: their service times are "
            "estimates of the daemon, and cache hits are unknown"
        )
    return further


async def _read(
    options: PrometheusImport, queries: RangeQueries, first: float, last: float
) -> tuple[dict[Reader, Readings], int, bool]:
    """The readings of a part, the number of values, and whether the instants of all observations
    are known."""
    readings: dict[Reader, Readings] = {}
    values = 0
    common = options.matchers
    if options.cluster:
        common = (*common, f"cluster={_quoted(options.cluster)}")
    age = _selector(OBSERVATION_AGE, common)
    try:
        observed = await queries.run(f"timestamp({age}) - {age}", first, last)
    except Refused:
        observed = []  # not every store has this function
    for series in observed:
        found = readings.setdefault(reader_of(series.labels), Readings())
        add(found, OBSERVED_AT, series.labels, series.points)
    for metric in ALL_METRICS:
        matchers = common
        if options.deployments and metric not in HARDWARE_METRICS and metric != NODE_INFO:
            matchers = (*matchers, _one_of(options.deployments))
        for series in await queries.run(_selector(metric, matchers), first, last):
            values += len(series.points)
            found = readings.setdefault(reader_of(series.labels), Readings())
            add(found, metric, series.labels, series.points)
    exact = True
    for found in readings.values():
        if not found.observed_at:
            exact = False
            instants = (
                instant
                for fields in found.values.values()
                for points in fields.values()
                for instant in points
            )
            found.observed_at = {instant: instant for instant in instants}
    return readings, values, exact


async def _counted(
    options: PrometheusImport,
    counted: Counted,
    queries: RangeQueries,
    output: Output,
    progress: Progress,
) -> list[str]:
    load = CountedLoad(counted.kind, options.step_s)
    parts = _Parts(options)
    deployment = options.deployments[0] if len(options.deployments) == 1 else ""
    found = False

    async def values_of(query: str, first: float, last: float) -> tuple[Values, int]:
        if not query:
            return {}, 0
        series = await queries.run(query, first, last)
        return (
            by_deployment(series, counted.label, query, deployment),
            sum(len(each.points) for each in series),
        )

    while (part := parts.following()) is not None:
        arrivals, values = await values_of(counted.arrivals, *part)
        service_times, _ = await values_of(counted.service_time, *part)
        allocations, _ = await values_of(counted.allocations, *part)
        found = found or bool(values)
        if options.deployments:
            arrivals = {id_: each for id_, each in arrivals.items() if id_ in options.deployments}
        output.add(load.intervals(arrivals, service_times, allocations))
        options.period.report(progress, part[1])
        parts.had(values)
    if not found:
        raise ImportFailed(
            f"{options.access.url} has no values of {printable(counted.arrivals)} in that time; "
            "check the query and --from"
        )
    return [_OTHER_METRIC, *load.doubts()]


def _selector(metric: str, matchers: tuple[str, ...]) -> str:
    return f"{metric}{{{','.join(matchers)}}}" if matchers else metric


def _one_of(deployments: tuple[str, ...]) -> str:
    """A matcher for these ids."""
    return f"deployment=~{_quoted('|'.join(re.escape(id_) for id_ in deployments))}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
