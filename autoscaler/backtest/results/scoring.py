"""Scores of one run: SLO violations, queue waits, and the cost in allocations."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.results.rows import Timeline
from autoscaler.backtest.world.kernel import COMPLETED, LOST, REJECTED, TIMED_OUT
from autoscaler.backtest.world.plant import AllocationSpan
from autoscaler.backtest.world.workload import Workload

MINUTE_S = 60.0
GRID_S = 10.0
"""Seconds between the instants at which the backlog is determined."""

REVERSAL_WITHIN_S = 300.0

Requests = TypeVar("Requests", float, NDArray[np.float64])

_ROUNDING = 1e-9


class RequestSlo(Struct, frozen=True):
    """The SLO: at least the fraction `target` of the requests waits at most `max_queue_wait_s`."""

    max_queue_wait_s: float
    target: float

    def allowed(self, requests: Requests) -> Requests:
        """The error budget in requests; 1 of 10 at a target of 0.9, although 1 - 0.9 < 0.1."""
        return (1.0 - self.target) * requests + _ROUNDING


class RequestScore(Struct, frozen=True, kw_only=True):
    """Outcomes and queue waits of all requests."""

    requests: int
    violations: int
    rejected: int
    timed_out: int
    violation_minutes: int
    wait_p50_s: float | None
    wait_p95_s: float | None
    wait_p99_s: float | None
    max_backlog_s: float


class AllocationCost(Struct, frozen=True, kw_only=True):
    """Allocation-hours and changes."""

    allocation_hours: float
    running_allocation_hours: float
    changes: int
    reversals: int


def violations(
    waits_s: NDArray[np.float64], outcomes: NDArray[np.int8], slo: RequestSlo
) -> NDArray[np.bool_]:
    """Which requests waited too long, were rejected or timed out."""
    # nan: the request was never served.
    violated: NDArray[np.bool_] = (outcomes != COMPLETED) | ~(waits_s <= slo.max_queue_wait_s)
    return violated


def request_score(
    workload: Workload,
    waits_s: NDArray[np.float64],
    outcomes: NDArray[np.int8],
    slo: RequestSlo,
    spans: Sequence[AllocationSpan],
) -> RequestScore:
    """The score of the requests of a workload."""
    violated = violations(waits_s, outcomes, slo)
    p50, p95, p99 = _percentiles(waits_s, (0.5, 0.95, 0.99))
    return RequestScore(
        requests=len(outcomes),
        violations=int(np.count_nonzero(violated)),
        rejected=int(np.count_nonzero((outcomes == REJECTED) | (outcomes == LOST))),
        timed_out=int(np.count_nonzero(outcomes == TIMED_OUT)),
        violation_minutes=_violation_minutes(workload, violated, slo),
        wait_p50_s=p50,
        wait_p95_s=p95,
        wait_p99_s=p99,
        max_backlog_s=_max_backlog_s(workload, waits_s, spans),
    )


def cost(spans: Sequence[AllocationSpan], start: float, end: float) -> AllocationCost:
    """The allocations between `start` and `end`."""
    both = np.array([start, end])
    requested, running = (float(allocation_s(spans, both, which)[0]) for which in (1, 2))
    changes = [
        (after.at, after.requested - before.requested)
        for before, after in pairwise(spans)
        if start <= after.at < end and after.requested != before.requested
    ]
    reversals = sum(
        change * last < 0 and at - last_at <= REVERSAL_WITHIN_S
        for (last_at, last), (at, change) in pairwise(changes)
    )
    return AllocationCost(
        allocation_hours=requested / 3600.0,
        running_allocation_hours=running / 3600.0,
        changes=len(changes),
        reversals=reversals,
    )


def timeline(
    workload: Workload,
    waits_s: NDArray[np.float64],
    outcomes: NDArray[np.int8],
    slo: RequestSlo,
    spans: Sequence[AllocationSpan],
    step_s: float,
) -> Timeline:
    """A run over time, in steps of `step_s`, the last of which may be shorter."""
    steps = max(1, int(np.ceil(workload.duration_s / step_s)))
    elapsed_s = np.minimum(step_s * np.arange(steps + 1), workload.duration_s)
    instants = workload.start + elapsed_s
    edges = np.searchsorted(workload.at, instants)
    work_s, violated = (
        np.diff(np.concatenate([[0.0], np.cumsum(each)])[edges])
        for each in (workload.work_s, violations(waits_s, outcomes, slo))
    )
    requested, running = (allocation_s(spans, instants, which) for which in (1, 2))
    lengths_s = np.diff(elapsed_s)
    return Timeline(
        step_s=step_s,
        offered_load=(work_s / lengths_s).round(3).tolist(),
        requested=(requested / lengths_s).round(3).tolist(),
        running=(running / lengths_s).round(3).tolist(),
        wait_p99_s=[_percentiles(waits_s[a:b], (0.99,))[0] for a, b in pairwise(edges)],
        violations=violated.astype(np.int64).tolist(),
    )


def _bins(elapsed_s: NDArray[np.float64], width_s: float, count: int) -> NDArray[np.int64]:
    return np.minimum((elapsed_s / width_s).astype(np.int64), count - 1)


def _percentiles(
    waits_s: NDArray[np.float64], fractions: Sequence[float]
) -> tuple[float | None, ...]:
    """Queue waits at these fractions; None if never served, or without requests."""
    if not len(waits_s):
        return (None,) * len(fractions)
    ranks = [max(0, int(np.ceil(fraction * len(waits_s))) - 1) for fraction in fractions]
    # nan sorts last, as the longest wait.
    ordered = np.partition(waits_s, ranks)
    return tuple(
        None if np.isnan(ordered[rank]) else round(float(ordered[rank]), 6) for rank in ranks
    )


def _violation_minutes(workload: Workload, violated: NDArray[np.bool_], slo: RequestSlo) -> int:
    minutes = max(1, int(np.ceil(workload.duration_s / MINUTE_S)))
    edges = np.searchsorted(workload.at, workload.start + MINUTE_S * np.arange(minutes + 1))
    failed = np.diff(np.concatenate([[0], np.cumsum(violated)])[edges])
    return int(np.count_nonzero(failed > slo.allowed(np.diff(edges))))


def _max_backlog_s(
    workload: Workload, waits_s: NDArray[np.float64], spans: Sequence[AllocationSpan]
) -> float:
    """The longest time with more queued requests than running allocations.

    Requests that were never served do not count here; they count as violations.
    """
    waited = waits_s > 0.0  # the others did not queue
    arrived_s = workload.at[waited] - workload.start
    count = int(workload.duration_s / GRID_S) + 1
    queued = np.bincount(_bins(arrived_s, GRID_S, count), minlength=count)
    taken = np.bincount(_bins(arrived_s + waits_s[waited], GRID_S, count), minlength=count)
    backlog = np.cumsum(queued) - np.cumsum(taken)
    ends = workload.start + GRID_S * (1 + np.arange(count))
    changed = np.array([span.at for span in spans])
    running = np.array([span.running for span in spans])
    allocations = running[np.maximum(0, np.searchsorted(changed, ends, side="right") - 1)]
    # The lengths of the stretches with a backlog, between the places where it begins and ends.
    behind = np.concatenate([[0], (backlog > allocations).astype(np.int8), [0]])
    turns = np.flatnonzero(np.diff(behind))
    return GRID_S * float((turns[1::2] - turns[::2]).max(initial=0))


def allocation_s(
    spans: Sequence[AllocationSpan], instants: NDArray[np.float64], which: int
) -> NDArray[np.float64]:
    """Allocation-seconds between neighbouring instants: requested (1) or running (2).

    The first span also counts before it begins.
    """
    since = np.array([span.at for span in spans])
    level = np.array([span[which] for span in spans], dtype=np.float64)
    before = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(since))])
    place = np.maximum(0, np.searchsorted(since, instants, side="right") - 1)
    area = before[place] + level[place] * (instants - since[place])
    between: NDArray[np.float64] = np.diff(area)
    return between
