"""Numbers of requests, from any metric -> intervals.

Where there are no statistics of deployments, a count of the requests of each minute is enough for a
load. A value that is absent is unknown, not 0.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from autoscaler.core.values import DataIssue
from autoscaler.importing.http_client import ImportFailed
from autoscaler.importing.range_queries import RangeSeries
from autoscaler.text import printable
from autoscaler.wire.intervals import LoadInterval


class CountKind(StrEnum):
    """What the values of a query are."""

    RATE = "rate"  # requests per second, of the step before each instant
    COUNT = "count"  # requests, in the step before each instant
    COUNTER = "counter"  # all requests since the start of what counts


MAX_COUNT = 2.0**53
"""Requests of an interval; whole numbers are exact until then."""

MIN_RISES = 20
"""Rises of a series from which on it may be a counter. 20: no load rises in each of so many steps
by whole numbers."""

MAX_FALLS = 0.05
"""Falls of a counter per rise: at restarts of what counts."""

MAX_SERVICE_TIME_S, MAX_ALLOCATIONS = 3_600.0, 100_000.0

Values = Mapping[str, Mapping[float, float]]
"""By deployment, then by instant."""


def by_deployment(
    found: Iterable[RangeSeries], label: str, query: str, deployment: str = ""
) -> Values:
    """The values of each deployment, which is the label of each series.

    Args:
        deployment: whose they are if a series has no such label.

    Raises:
        ImportFailed: it is not known whose they are, or there are several series of one deployment.
    """
    values: dict[str, dict[float, float]] = {}
    for series in found:
        id_ = series.labels.get(label, "") or deployment
        if not id_:
            raise ImportFailed(
                f"the series of {printable(query)} have no label {label}; name another with "
                "--label, or with --deployment the one deployment that they are about"
            )
        kept = values.setdefault(id_, {})
        for at, value in series.points:
            if at in kept:
                raise ImportFailed(
                    f"{printable(query)} has several series for {printable(id_)}; aggregate them, "
                    f"as in sum by ({label}) (...)"
                )
            kept[at] = value
    return values


class _Course:
    """How the values of one deployment go on, one after the other."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._rises = self._falls = 0
        self._whole = True

    def add(self, value: float) -> None:
        if self._last is not None:
            self._rises += value > self._last
            self._falls += value < self._last
        self._whole = self._whole and value.is_integer()
        self._last = value

    @property
    def is_like_a_counter(self) -> bool:
        often = self._rises >= MIN_RISES and self._falls <= MAX_FALLS * self._rises
        return self._whole and often


class CountedLoad:
    """Makes intervals, one part of the period after the other."""

    def __init__(self, kind: CountKind, step_s: float) -> None:
        self._kind = kind
        self._step_s = step_s
        is_counter = kind is CountKind.COUNTER
        self._issue = str(DataIssue.COUNTER_DECREASED if is_counter else DataIssue.IMPLAUSIBLE)
        self._total: dict[str, tuple[float, float]] = {}  # the last instant and value of a counter
        self._remainder: dict[str, float] = {}
        self._courses: dict[str, _Course] = {}

    def doubts(self) -> Iterator[str]:
        """Why the values may not be what they are said to be."""
        if self._kind is CountKind.COUNTER:
            return
        rising = [id_ for id_, course in self._courses.items() if course.is_like_a_counter]
        if rising:
            which = "the deployment" if len(self._courses) == 1 else f"{len(rising):,} deployments"
            yield (
                f"the values of --arrivals for {which} only rise, as all requests so far do: if "
                f"they are that, import them with --arrivals-are counter, not {self._kind}"
            )

    def intervals(
        self, arrivals: Values, service_times: Values, allocations: Values
    ) -> Iterator[LoadInterval]:
        """The intervals of a part of the period, by their instants.

        Args:
            service_times: mean seconds of a request, where they are known.
            allocations: running allocations, where they are known.
        """
        entries = sorted(
            (at, id_, value) for id_, values in arrivals.items() for at, value in values.items()
        )
        for at, id_, value in entries:
            self._courses.setdefault(id_, _Course()).add(value)
            interval_s, count = self._count(id_, at, value)
            if interval_s <= 0.0:
                continue
            service_time_s = _within(service_times.get(id_, {}).get(at), MAX_SERVICE_TIME_S)
            running = _within(allocations.get(id_, {}).get(at), MAX_ALLOCATIONS)
            count = _within(count, MAX_COUNT)
            whole = None if count is None else self._whole(id_, count)
            yield LoadInterval(
                deployment=id_,
                at=at,
                interval_s=interval_s,
                arrivals=whole,
                busy_s=None if whole is None or service_time_s is None else whole * service_time_s,
                requested=None if running is None else round(running),
                running=None if running is None else round(running),
                issues=() if count is not None else (self._issue,),
            )

    def _count(self, id_: str, at: float, value: float) -> tuple[float, float | None]:
        """The interval, 0 if there is none, and the requests; None if a counter fell. What no
        metric of requests has, such as a negative rate, is returned as it is."""
        match self._kind:
            case CountKind.RATE:
                return self._step_s, value * self._step_s
            case CountKind.COUNT:
                return self._step_s, value
            case CountKind.COUNTER:
                before = self._total.get(id_)
                self._total[id_] = (at, value)
                if before is None:
                    return 0.0, None
                return at - before[0], value - before[1] if value >= before[1] else None

    def _whole(self, id_: str, count: float) -> int:
        """The count as a whole number. Remainders are carried over, so that the sum stays."""
        exact = count + self._remainder.get(id_, 0.0)
        whole = max(0, round(exact))
        self._remainder[id_] = exact - whole
        return whole


def _within(value: float | None, highest: float) -> float | None:
    """The value; None if it is unknown, or none of what is measured can have it."""
    return value if value is not None and 0.0 <= value <= highest else None
