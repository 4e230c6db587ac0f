"""The slowest plan over random and absurd statistics: `python -m benchmarks.planning 100000`.

Each deployment is observed for a few polls with figures from 0 to 2**53: requests, rejections,
queues, service times, allocations, threads, nodes and processors. A plan that takes long is made
again with empty caches, and the quickest of three counts, so that other processes do not.
"""

import gc
import random
import sys
import time
from collections.abc import Iterator

from autoscaler.cluster_controller import ruleset_of
from autoscaler.config import load
from autoscaler.core.flow.planning import Ruleset, plan
from autoscaler.core.slo.cost_model import forget_tables
from autoscaler.core.state import State
from autoscaler.core.values import (
    Cluster,
    DeploymentStats,
    NodeCapacity,
    NodeStats,
    Observation,
)

GOAL_MS = 5.0
POLLS = 5
AGAIN_MS = 2.0
"""Milliseconds from which a plan is made again."""

COUNTS = (0, 1, 2, 7, 16, 64, 100, 1_000, 10_000, 100_000, 10**6, 10**9, 2**31 - 1, 2**53)
SERVICE_TIMES_S = (1e-9, 1e-3, 0.05, 1.0, 100.0, 1e6)
START = 1_760_000_000.0


def report(observations: int = 2_000) -> None:
    rng = random.Random(1)
    rules = {
        (name, most): _ruleset(name, most) for name in ("slo", "utilisation") for most in _MOST
    }
    seconds: list[float] = []
    gc.disable()
    while len(seconds) < observations:
        ruleset, state = rules[rng.choice(_NAMES), rng.choice(_MOST)], State()
        for observation in _observations(rng):
            began = time.thread_time()
            _, following = plan(state, observation, ruleset)
            took_s = time.thread_time() - began
            if took_s > AGAIN_MS / 1000.0:
                took_s = min(_seconds(state, observation, ruleset) for _ in range(3))
            seconds.append(took_s)
            state = following
    gc.enable()
    seconds.sort()
    worst, median = 1000.0 * seconds[-1], 1000.0 * seconds[len(seconds) // 2]
    print(f"one plan for one deployment, {len(seconds):,} random and absurd observations")
    print(f"  median {median:.2f} ms, slowest {worst:.1f} ms (goal: at most {GOAL_MS:g} ms)")
    for allowed in (0.01, 0.001):
        print(f"  {1000.0 * seconds[int(len(seconds) * (1.0 - allowed))]:.1f} ms in", end=" ")
        print(f"{allowed:.1%} of them or more")


_NAMES = ("slo", "slo", "slo", "utilisation")
_MOST = (1, 24, 64, 1_000, 10**6)


def _ruleset(policy: str, most: int) -> Ruleset:
    rules = f'[{{"name": "all", "min_allocations": 1, "max_allocations": {most}}}]'
    environ = {
        "AUTOSCALER_ELASTICSEARCH__HOSTS": '["http://localhost:9200"]',
        "AUTOSCALER_DEFAULTS__POLICY": policy,
        "AUTOSCALER_RULES": rules,
    }
    return ruleset_of(load(None, environ))


def _seconds(state: State, observation: Observation, ruleset: Ruleset) -> float:
    forget_tables()
    began = time.thread_time()
    plan(state, observation, ruleset)
    return time.thread_time() - began


def _count(rng: random.Random) -> int:
    return rng.choice(COUNTS) if rng.random() < 0.5 else int(10.0 ** rng.uniform(0.0, 6.0))


def _observations(rng: random.Random) -> Iterator[Observation]:
    """A few polls of one deployment."""
    places = rng.choice((1, 1, 2, 3, 3, 10, 50, 300))
    threads = rng.choice((1, 1, 1, 2, 8, 32, 10**6))
    allocations = [
        min(_count(rng), 10**9) if rng.random() < 0.3 else rng.randint(1, 32) for _ in range(places)
    ]
    running = sum(allocations)
    requested = rng.choice((running, _count(rng)))
    service_time_s, rate = rng.choice(SERVICE_TIMES_S), _count(rng)
    cluster = _cluster(rng, places)
    completed, rejected, busy_s = [0] * places, [0] * places, [0.0] * places
    for poll in range(1, POLLS + 1):
        at = START + 10.0 * poll
        if rng.random() < 0.3:
            rate = _count(rng)
        nodes = []
        for place in range(places):
            done = rate // places
            completed[place] += done
            most_s = 60.0 * allocations[place] if rng.random() < 0.9 else 1e12
            busy_s[place] += min(service_time_s * done, most_s)
            rejected[place] += _count(rng) if rng.random() < 0.2 else 0
            nodes.append(
                NodeStats(
                    f"n{place}",
                    "started",
                    server_started_at=START - 1_000.0,
                    server_last_access_at=at,
                    allocations=allocations[place],
                    threads_per_allocation=threads,
                    completed=completed[place],
                    rejections=rejected[place],
                    busy_s=busy_s[place],
                    pending=_count(rng) if rng.random() < 0.3 else 0,
                )
            )
        stats = DeploymentStats(
            "e5",
            "e5",
            "started",
            allocations=requested,
            running_allocations=running,
            target_allocations=requested,
            threads_per_allocation=threads,
            queue_capacity=2**31 - 1,
            server_created_at=START,
            required_memory_bytes=10**9,
            nodes=tuple(nodes),
        )
        yield Observation(at=at, deployments={"e5": stats}, cluster=cluster)


def _cluster(rng: random.Random, places: int) -> Cluster | None:
    processors = rng.choice((None, 2.0, 16.0, 64.0, 1e6))
    if processors is None:
        return None
    return Cluster(
        nodes=tuple(
            NodeCapacity(
                node_id=f"n{place}",
                name=f"n{place}",
                processors=processors,
                ml_memory_bytes=2**40,
                free_ml_memory_bytes=rng.choice((None, 0, 2**40)),
            )
            for place in range(places + rng.randint(0, 5))
        ),
        growable=rng.choice((None, False, True)),
    )


if __name__ == "__main__":
    report(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
