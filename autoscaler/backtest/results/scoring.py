"""What callers met and what it cost."""

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
"""A backlog is looked for so often."""

REVERSAL_WITHIN_S = 300.0

Requests = TypeVar("Requests", float, NDArray[np.float64])

_ROUNDING = 1e-9


class RequestSlo(Struct, frozen=True):
    """The SLO: at least this share of the requests wait at most so long."""

    wait_s: float
    share: float

    def allowed(self, requests: Requests) -> Requests:
        """How many of so many requests may miss; 1 of 10 at a share of 0.9, whatever 1 - 0.9 is."""
        return (1.0 - self.share) * requests + _ROUNDING


class RequestScore(Struct, frozen=True, kw_only=True):
    """What callers met."""

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
    """What it took."""

    allocation_hours: float
    running_allocation_hours: float
    changes: int
    reversals: int


def violations(
    waits_s: NDArray[np.float64], outcomes: NDArray[np.int8], slo: RequestSlo
) -> NDArray[np.bool_]:
    """Which requests waited too long, were refused or timed out."""
    # A wait that is nan is longer than any: it never ended.
    misses: NDArray[np.bool_] = (outcomes != COMPLETED) | ~(waits_s <= slo.wait_s)
    return misses


def request_score(
    workload: Workload,
    waits_s: NDArray[np.float64],
    outcomes: NDArray[np.int8],
    slo: RequestSlo,
    holdings: Sequence[AllocationSpan],
) -> RequestScore:
    """Add up what the requests of `demand` met."""
    misses = violations(waits_s, outcomes, slo)
    p50, p95, p99 = _percentiles(waits_s, (0.5, 0.95, 0.99))
    return RequestScore(
        requests=len(outcomes),
        violations=int(np.count_nonzero(misses)),
        rejected=int(np.count_nonzero((outcomes == REJECTED) | (outcomes == LOST))),
        timed_out=int(np.count_nonzero(outcomes == TIMED_OUT)),
        violation_minutes=_violation_minutes(workload, misses, slo),
        wait_p50_s=p50,
        wait_p95_s=p95,
        wait_p99_s=p99,
        max_backlog_s=_max_backlog_s(workload, waits_s, holdings),
    )


def cost(holdings: Sequence[AllocationSpan], start: float, end: float) -> AllocationCost:
    """What was held from `start` to `end`."""
    span = np.array([start, end])
    requested, running = (float(_met(holdings, span, which)[0]) for which in (1, 2))
    moves = [
        (after.at, after.requested - before.requested)
        for before, after in pairwise(holdings)
        if start <= after.at < end and after.requested != before.requested
    ]
    reversals = sum(
        move * last < 0 and at - last_at <= REVERSAL_WITHIN_S
        for (last_at, last), (at, move) in pairwise(moves)
    )
    return AllocationCost(
        allocation_hours=requested / 3600.0,
        running_allocation_hours=running / 3600.0,
        changes=len(moves),
        reversals=reversals,
    )


def timeline(
    workload: Workload,
    waits_s: NDArray[np.float64],
    outcomes: NDArray[np.int8],
    slo: RequestSlo,
    holdings: Sequence[AllocationSpan],
    step_s: float,
) -> Timeline:
    """The course of a run in steps of `step_s`, the last of which may be cut short."""
    steps = max(1, int(np.ceil(workload.duration_s / step_s)))
    elapsed_s = np.minimum(step_s * np.arange(steps + 1), workload.duration_s)
    instants = workload.start + elapsed_s
    edges = np.searchsorted(workload.at, instants)
    work_s, misses = (
        np.diff(np.concatenate([[0.0], np.cumsum(each)])[edges])
        for each in (workload.work_s, violations(waits_s, outcomes, slo))
    )
    requested, running = (_met(holdings, instants, which) for which in (1, 2))
    lengths_s = np.diff(elapsed_s)
    return Timeline(
        step_s=step_s,
        offered_load=(work_s / lengths_s).round(3).tolist(),
        requested=(requested / lengths_s).round(3).tolist(),
        running=(running / lengths_s).round(3).tolist(),
        wait_p99_s=[_percentiles(waits_s[a:b], (0.99,))[0] for a, b in pairwise(edges)],
        violations=misses.astype(np.int64).tolist(),
    )


def _bins(elapsed_s: NDArray[np.float64], width_s: float, count: int) -> NDArray[np.int64]:
    return np.minimum((elapsed_s / width_s).astype(np.int64), count - 1)


def _percentiles(
    waits_s: NDArray[np.float64], fractions: Sequence[float]
) -> tuple[float | None, ...]:
    """Waits that so many of the requests did not exceed; None where they never ended, or none."""
    if not len(waits_s):
        return (None,) * len(fractions)
    ranks = [max(0, int(np.ceil(fraction * len(waits_s))) - 1) for fraction in fractions]
    # Sorted, nan comes last, as the longest wait should.
    ordered = np.partition(waits_s, ranks)
    return tuple(
        None if np.isnan(ordered[rank]) else round(float(ordered[rank]), 6) for rank in ranks
    )


def _violation_minutes(workload: Workload, misses: NDArray[np.bool_], slo: RequestSlo) -> int:
    minutes = max(1, int(np.ceil(workload.duration_s / MINUTE_S)))
    edges = np.searchsorted(workload.at, workload.start + MINUTE_S * np.arange(minutes + 1))
    failed = np.diff(np.concatenate([[0], np.cumsum(misses)])[edges])
    return int(np.count_nonzero(failed > slo.allowed(np.diff(edges))))


def _max_backlog_s(
    workload: Workload, waits_s: NDArray[np.float64], holdings: Sequence[AllocationSpan]
) -> float:
    """The longest time during which more requests waited than allocations ran.

    Those who were never served do not count: they show as misses.
    """
    waited = waits_s > 0.0  # the others leave the queue as they come to it
    came_s = workload.at[waited] - workload.start
    count = int(workload.duration_s / GRID_S) + 1
    asked = np.bincount(_bins(came_s, GRID_S, count), minlength=count)
    begun = np.bincount(_bins(came_s + waits_s[waited], GRID_S, count), minlength=count)
    waiting = np.cumsum(asked) - np.cumsum(begun)
    ends = workload.start + GRID_S * (1 + np.arange(count))
    changed = np.array([holding.at for holding in holdings])
    running = np.array([holding.running for holding in holdings])
    held = running[np.maximum(0, np.searchsorted(changed, ends, side="right") - 1)]
    # The lengths of the stretches of True, between the places where it turns.
    behind = np.concatenate([[0], (waiting > held).astype(np.int8), [0]])
    turns = np.flatnonzero(np.diff(behind))
    return GRID_S * float((turns[1::2] - turns[::2]).max(initial=0))


def _met(
    holdings: Sequence[AllocationSpan], instants: NDArray[np.float64], which: int
) -> NDArray[np.float64]:
    """Allocation-seconds between neighbouring instants: requested (1) or running (2).

    Before the first holding it counts as held, too.
    """
    since = np.array([holding.at for holding in holdings])
    level = np.array([holding[which] for holding in holdings], dtype=np.float64)
    before = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(since))])
    place = np.maximum(0, np.searchsorted(since, instants, side="right") - 1)
    held: NDArray[np.float64] = np.diff(before[place] + level[place] * (instants - since[place]))
    return held
