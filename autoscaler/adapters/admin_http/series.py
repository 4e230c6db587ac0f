"""The last hours of every deployment, for charts: in memory, and bounded."""

import math
import threading
from array import array
from typing import NamedTuple

from msgspec import Struct

from autoscaler.core.decision import Decision, Outcome, Plan
from autoscaler.core.slo_status import SloStatus
from autoscaler.core.state import FORGET_AFTER_S
from autoscaler.core.values import Observation
from autoscaler.ports import CycleTimes, ObservationFailed

MAX_POINTS = 2_160
"""Points of one deployment. Six hours at the default poll interval of 10 s: a night shift."""

MAX_BYTES = 4 * 2**20
"""Bytes that the points of all deployments may take. 4 MiB: 1,000 deployments have 12 min,
and the daemon stays within its memory."""

MAX_GONE = 100
"""Deployments that are not managed any more whose points are kept. 100, as many as are listed."""

_TRIM = 1.125
"""How many times its points a deployment may have before the oldest are discarded, so that they are
not moved in every cycle."""

NAMES = (
    "arrival_rate_per_s",
    "offered_load",
    "load_stddev",
    "forecast_load",
    "backlog_requests",
    "queue_wait_s",
    "running",
    "requested",
    "recommended",
    "in_flight",
)
"""The figures of a point, in their order."""

POINT_BYTES = 8 + 4 * len(NAMES)
"""Bytes of a point: its time, and its figures in single precision."""

_UNKNOWN = math.nan

_NO_SLO = (_UNKNOWN,) * 4

_GAP = (_UNKNOWN,) * len(NAMES)


class Series(Struct, frozen=True, kw_only=True):
    """The figures of one deployment over time. None: unknown, or without a bound."""

    at: list[float]
    values: dict[str, list[float | None]]  # as many of each as there are instants


class Points(NamedTuple):
    """The figures of one deployment, compact."""

    at: "array[float]"
    figures: "array[float]"  # those of all points, one point after another

    def copy(self) -> "Points":
        return Points(self.at[:], self.figures[:])


class SeriesRecorder:
    """A Recorder that keeps the last points of every deployment.

    Those of a deployment that is no longer managed are kept for a while.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._points: dict[str, Points] = {}
        self._failing = False
        self._lock = threading.Lock()  # pages are rendered in a thread

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._failing = False
        with self._lock:
            self._add(plan, outcomes)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        """The first of several failures is a point whose figures are all unknown: a gap."""
        if not self._failing:
            with self._lock:
                for points in self._points.values():
                    points.at.append(at)
                    points.figures.extend(_GAP)
        self._failing = True

    def points(self, deployment_id: str) -> Points:
        """What is known of a deployment now; no points of an unknown one."""
        with self._lock:
            known = self._points.get(deployment_id)
            return Points(array("d"), array("f")) if known is None else known.copy()

    def _add(self, plan: Plan, outcomes: tuple[Outcome, ...]) -> None:
        known = self._points
        if len(known) > len(outcomes):
            self._forget(plan.at, {outcome.decision.deployment_id for outcome in outcomes})
        count = max(1, len(known), len(outcomes))
        most = min(MAX_POINTS, int(self._max_bytes / (_TRIM * POINT_BYTES * count)))
        for outcome in outcomes:
            decision = outcome.decision
            points = known.get(decision.deployment_id)
            if points is None:
                points = known[decision.deployment_id] = Points(array("d"), array("f"))
            points.at.append(decision.at)
            points.figures.extend(_figures(decision))
            if (excess := len(points.at) - most) > most * (_TRIM - 1.0):
                del points.at[:excess], points.figures[: excess * len(NAMES)]

    def _forget(self, at: float, managed: set[str]) -> None:
        """Discard those that have not been managed for long, and all but the latest ones."""
        gone = sorted(
            (name for name in self._points if name not in managed),
            key=lambda name: self._points[name].at[-1],
        )
        for position, name in enumerate(reversed(gone)):
            if position >= MAX_GONE or at - self._points[name].at[-1] > FORGET_AFTER_S:
                del self._points[name]


def last_points(points: Points, count: int) -> Points:
    """The last points."""
    first = max(0, len(points.at) - count)
    return Points(points.at[first:], points.figures[first * len(NAMES) :])


def series_of(points: Points, since: float = -math.inf) -> Series:
    """The points after an instant."""
    at, figures, width = points.at.tolist(), points.figures.tolist(), len(NAMES)
    first = next((i for i, each in enumerate(at) if each > since), len(at))
    return Series(
        at=at[first:],
        values={
            name: [_known(each) for each in figures[first * width + i :: width]]
            for i, name in enumerate(NAMES)
        },
    )


def _figures(decision: Decision) -> tuple[float, ...]:
    """The figures of a point, in the order of `NAMES`."""
    load, slo = decision.load, decision.slo
    return (
        _UNKNOWN if load is None else load.arrival_rate_per_s,
        _number(None if load is None else load.offered_load),
        *(_slo_figures(slo) if slo is not None else _NO_SLO),
        _number(decision.running),
        _number(decision.requested),
        decision.recommended,
        decision.sample.in_flight,
    )


def _slo_figures(slo: SloStatus) -> tuple[float, ...]:
    """What the SLO adds to a point."""
    expected = slo.now or slo.after_loading
    return (
        _number(slo.load_stddev),
        _number(None if slo.forecast is None else slo.forecast.load),
        _number(slo.backlog_requests),
        _number(None if expected is None else expected.queue_wait_s),
    )


def _number(value: float | None) -> float:
    return _UNKNOWN if value is None else value


def _known(figure: float) -> float | None:
    """The figure with as many digits as it has, or None."""
    return float(f"{figure:.5g}") if math.isfinite(figure) else None
