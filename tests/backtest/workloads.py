"""Scenarios and workloads for tests."""

from typing import Any

import numpy as np
from msgspec.structs import replace

from autoscaler.backtest.world.scenario import BacktestScenario, standard
from autoscaler.backtest.world.workload import START, Workload


def scenario(**given: Any) -> BacktestScenario:
    """A small cluster: one node of four processors, a request takes 100 ms."""
    (short, *_) = standard()
    fields: dict[str, Any] = {
        "nodes": 1,
        "processors": 4,
        "physical_cores": 4,
        "max_allocations": 4,
        "load_s": 20.0,
        "retry_share": 0.0,
    }
    fields |= given
    fields.setdefault("physical_cores", fields["processors"])
    return replace(short, **fields)


def workload(
    at: Any,
    work_s: Any,
    *,
    duration_s: float | None = None,
    seed: int = 1,
    history: Any = None,
    start: float = START,
    routing: Any = None,
    retry_draw: Any = None,
) -> Workload:
    """Requests at these seconds after the start, with these service times. Routing and retries are
    drawn unless they are given."""
    instants = start + np.asarray(at, dtype=np.float64)
    rng = np.random.default_rng([seed, 99])
    draws = [rng.random(len(instants)) for _ in range(2)]
    routing, retry_draw = (
        drawn if values is None else np.asarray(values, dtype=np.float64)
        for values, drawn in zip((routing, retry_draw), draws, strict=True)
    )
    return Workload(
        trace="made",
        start=start,
        duration_s=duration_s or float(instants[-1] - start) + 10.0,
        at=instants,
        work_s=np.broadcast_to(np.asarray(work_s, dtype=np.float64), instants.shape).copy(),
        routing=routing,
        retry_draw=retry_draw,
        history=history,
    )


def poisson(
    rate_per_s: float, count: int, mean_s: float, *, seed: int = 1, cv: float = 1.0
) -> Workload:
    """A Poisson stream with gamma service times (cv 1: exponential; cv 0: constant)."""
    rng = np.random.default_rng([seed, 98])
    at = np.cumsum(rng.exponential(1.0 / rate_per_s, count))
    work_s = np.full(count, mean_s)
    if cv > 0.0:
        work_s = rng.gamma(1.0 / cv**2, mean_s * cv**2, count)
    return workload(at, work_s, seed=seed)
