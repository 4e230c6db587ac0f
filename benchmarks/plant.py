"""How fast requests are simulated: alone, with the daemon's policy, and against a SimPy model."""

import math
import time
from collections.abc import Callable, Generator
from statistics import median
from typing import Any

import numpy as np
import simpy
from msgspec.structs import replace

from autoscaler.backtest.drivers import PlanDriver, as_configured, drive
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import BacktestScenario, standard
from autoscaler.backtest.world.workload import START, Workload
from autoscaler.core.policies import UtilisationPolicy
from benchmarks.markdown import table, wrapped

GOAL_PER_S, GOAL_SIMPY, GOAL_FORTNIGHT_S = 1e6, 20.0, 10.0
DAY_S = 86_400.0
REPEATS = 3


def section() -> str:
    """The speeds, with their goals."""
    (_, three_nodes, *_) = standard()
    scenario = replace(three_nodes, retry_share=0.0)
    simpy_line, waits = _simpy(scenario)
    lines = [_plant(scenario), _fortnight(scenario), simpy_line]
    opening = f"The back-test's plant, in one process on one core; medians of {REPEATS}."
    return "\n\n".join([opening, table(["", "", "goal"], lines), wrapped(waits)])


def report() -> None:
    print(section())


def daily_workload(count: int, duration_s: float, mean_s: float, swing: float = 0.8) -> Workload:
    """About `count` requests in a daily cycle: a sine with an amplitude of `swing` of its mean."""
    rng = np.random.default_rng(1)
    candidates = np.sort(rng.random(2 * count) * duration_s)
    level = 0.5 - 0.5 * swing * np.cos(2.0 * math.pi * candidates / DAY_S)
    at = START + candidates[rng.random(2 * count) < level]
    sigma = math.sqrt(math.log1p(0.7**2))
    return Workload(
        trace="daily",
        start=START,
        duration_s=duration_s,
        at=at,
        work_s=mean_s * rng.lognormal(-(sigma**2) / 2.0, sigma, len(at)),
        routing=rng.random(len(at)),
        retry_draw=rng.random(len(at)),
        history=None,
    )


def _plant(scenario: BacktestScenario) -> list[str]:
    workload = daily_workload(2_000_000, DAY_S, scenario.service_time_s)
    seconds = _median(lambda: _fixed(scenario, workload))
    rate = len(workload.at) / seconds
    work = "on three nodes in a day, a poll every ten seconds, without a policy"
    return [
        f"{len(workload.at):,} requests {work}",
        f"{rate / 1e6:.1f} million per second",
        f"at least {GOAL_PER_S / 1e6:g}",
    ]


def _fixed(scenario: BacktestScenario, workload: Workload, allocations: int = 9) -> Plant:
    plant = Plant(scenario, workload, allocations=allocations)
    start, end = plant.span
    for poll in range(1, int((end - start) / 10.0)):
        plant.advance(start + 10.0 * poll)
    plant.finish()
    return plant


def _simpy(scenario: BacktestScenario) -> tuple[list[str], str]:
    """The line of the table, and a sentence about the queue waits."""
    workload = daily_workload(60_000, 800.0, scenario.service_time_s, swing=0.0)
    plant = _fixed(scenario, workload)
    ours_s = _median(lambda: _fixed(scenario, workload))
    waits_s: list[float] = []
    theirs_s = _median(lambda: waits_s.__setitem__(slice(None), _by_simpy(scenario, workload)))
    ours, theirs = float(np.nanmean(plant.fleet.waits_s)), float(np.nanmean(waits_s))
    error = 2.576 * float(np.nanstd(waits_s)) * math.sqrt(2.0 / len(waits_s))
    work = f"{len(workload.at):,} requests for nine allocations on two nodes"
    line = [
        f"the same plant compared with SimPy, {work}",
        f"{theirs_s / ours_s:.0f} times as fast",
        f"at least {GOAL_SIMPY:g}",
    ]
    waits = (
        f"The mean queue wait is {1e3 * ours:.3f} ms, and {1e3 * theirs:.3f} ms in the SimPy "
        f"model, where the sampling error (99%) is {1e3 * error:.3f} ms."
    )
    return line, waits


def _by_simpy(scenario: BacktestScenario, workload: Workload) -> list[float]:
    """The queue wait of each request; nan: it timed out or was rejected."""
    placement = [7, 2]  # nine allocations, filled node by node
    environment = simpy.Environment(initial_time=workload.start)
    nodes = [simpy.Resource(environment, capacity=workers) for workers in placement]
    bounds = np.cumsum(placement)
    chosen = np.searchsorted(bounds, workload.routing * bounds[-1], side="right").tolist()
    work_s = workload.work_s.tolist()
    waits_s = [math.nan] * len(work_s)

    def request(index: int) -> Generator[Any, Any, None]:
        node = nodes[chosen[index]]
        if len(node.queue) >= scenario.queue_capacity:
            return
        arrived = environment.now
        with node.request() as turn:
            outcome = yield turn | environment.timeout(scenario.timeout_s)
            if turn not in outcome:
                return
            waits_s[index] = environment.now - arrived
            yield environment.timeout(work_s[index])

    def callers() -> Generator[Any, Any, None]:
        for index, at in enumerate(workload.at.tolist()):
            yield environment.timeout(max(0.0, at - environment.now))
            environment.process(request(index))

    environment.process(callers())
    environment.run()
    return waits_s


def _fortnight(scenario: BacktestScenario) -> list[str]:
    workload = daily_workload(5_000_000, 14.0 * DAY_S, scenario.service_time_s)
    policy = UtilisationPolicy(target=0.7, load_window_s=60.0)

    def run() -> None:
        drive(
            Plant(scenario, workload, allocations=3),
            PlanDriver(as_configured(policy, scenario), scenario.poll_interval_s),
        )

    seconds = _median(run)
    return [
        f"14 days with {len(workload.at):,} requests, the daemon's `plan` every ten seconds",
        f"{seconds:.1f} s",
        f"at most {GOAL_FORTNIGHT_S:g} s",
    ]


def _median(work: Callable[[], object]) -> float:
    """Median seconds, after one run that compiles the code or reads it from its cache."""
    work()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return median(seconds)
