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

GOAL_PER_S, GOAL_SIMPY, GOAL_FORTNIGHT_S = 1e6, 20.0, 10.0
DAY_S = 86_400.0
REPEATS = 3


def report() -> None:
    (_, three_nodes, *_) = standard()
    scene = replace(three_nodes, retry_share=0.0)
    _plant(scene)
    _simpy(scene)
    _fortnight(scene)


def demand_of(count: int, duration_s: float, mean_s: float, swing: float = 0.8) -> Workload:
    """About so many requests in a daily cycle: a sine of that swing about its mean."""
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


def _plant(scene: BacktestScenario) -> None:
    demand = demand_of(2_000_000, DAY_S, scene.service_time_s)
    seconds = _median(lambda: _fixed(scene, demand))
    rate = len(demand.at) / seconds
    print(f"requests alone, {len(demand.at):,} on three nodes, a look every ten seconds")
    print(f"  {rate / 1e6:.1f} million a second (goal: at least {GOAL_PER_S / 1e6:g})")


def _fixed(scene: BacktestScenario, demand: Workload, allocations: int = 9) -> Plant:
    plant = Plant(scene, demand, allocations=allocations)
    start, end = plant.span
    for number in range(1, int((end - start) / 10.0)):
        plant.advance(start + 10.0 * number)
    plant.finish()
    return plant


def _simpy(scene: BacktestScenario) -> None:
    demand = demand_of(60_000, 800.0, scene.service_time_s, swing=0.0)
    plant = _fixed(scene, demand)
    ours_s = _median(lambda: _fixed(scene, demand))
    waits_s: list[float] = []
    theirs_s = _median(lambda: waits_s.__setitem__(slice(None), _by_simpy(scene, demand)))
    ours, theirs = float(np.nanmean(plant.fleet.waits_s)), float(np.nanmean(waits_s))
    error = 2.576 * float(np.nanstd(waits_s)) * math.sqrt(2.0 / len(waits_s))
    print(f"the same plant in SimPy, {len(demand.at):,} requests for nine allocations on two nodes")
    print(f"  {theirs_s:.2f} s and {ours_s:.4f} s: {theirs_s / ours_s:.0f} x", end=" ")
    print(f"(goal: at least {GOAL_SIMPY:g})")
    print(f"  mean wait {1e3 * theirs:.3f} ms and {1e3 * ours:.3f} ms", end=" ")
    print(f"(99 % sampling error {1e3 * error:.3f} ms)")


def _by_simpy(scene: BacktestScenario, demand: Workload) -> list[float]:
    """What each request waits; nan: it gave up, or was refused."""
    split = [7, 2]  # nine allocations, filled node by node
    environment = simpy.Environment(initial_time=demand.start)
    nodes = [simpy.Resource(environment, capacity=workers) for workers in split]
    bounds = np.cumsum(split)
    chosen = np.searchsorted(bounds, demand.routing * bounds[-1], side="right").tolist()
    work_s = demand.work_s.tolist()
    waits_s = [math.nan] * len(work_s)

    def request(number: int) -> Generator[Any, Any, None]:
        node = nodes[chosen[number]]
        if len(node.queue) >= scene.queue_capacity:
            return
        arrived = environment.now
        with node.request() as turn:
            outcome = yield turn | environment.timeout(scene.timeout_s)
            if turn not in outcome:
                return
            waits_s[number] = environment.now - arrived
            yield environment.timeout(work_s[number])

    def callers() -> Generator[Any, Any, None]:
        for number, at in enumerate(demand.at.tolist()):
            yield environment.timeout(max(0.0, at - environment.now))
            environment.process(request(number))

    environment.process(callers())
    environment.run()
    return waits_s


def _fortnight(scene: BacktestScenario) -> None:
    demand = demand_of(5_000_000, 14.0 * DAY_S, scene.service_time_s)
    policy = UtilisationPolicy(target=0.7, load_window_s=60.0)

    def run() -> None:
        drive(
            Plant(scene, demand, allocations=3),
            PlanDriver(as_configured(policy, scene), scene.poll_interval_s),
        )

    seconds = _median(run)
    print(f"14 days with {len(demand.at):,} requests, the daemon's plan every ten seconds")
    print(f"  {seconds:.1f} s (goal: at most {GOAL_FORTNIGHT_S:g} s)")


def _median(work: Callable[[], object]) -> float:
    """Seconds; the first time, when code is compiled or read from its cache, does not count."""
    work()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return median(seconds)
