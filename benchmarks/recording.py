"""How large is a recording, what does it cost, and what do kills leave of it?
`python -m benchmarks.recording`

The loads are simulated request by request, in virtual time. The cost is the processor time of all
threads, beside that of decoding, planning and the metrics of the same cycles.
"""

import argparse
import asyncio
import math
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.adapters.recording import FILE_NAME, CycleRecorder, RecordingLimits
from autoscaler.cluster_controller import ruleset_of
from autoscaler.config import load
from autoscaler.core.decision import Outcome, OutcomeKind, Plan
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from autoscaler.core.values import Observation
from autoscaler.errors import UserError
from autoscaler.ports import CycleTimes
from autoscaler.simulation.emulator.building import build_emulation
from autoscaler.simulation.emulator.matching import Page
from autoscaler.simulation.emulator.rendering import stats_document
from autoscaler.simulation.loads import Diurnal
from autoscaler.simulation.scenario import (
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
)
from autoscaler.wire.stats import parse_stats
from benchmarks.cycle import ENVIRON
from benchmarks.frontier import publish
from benchmarks.load_cluster import LoadCluster
from benchmarks.markdown import table, wrapped
from benchmarks.recording_kills import Kills, kill_repeatedly

NODES, POLL_S, DAY_S = 3, 10.0, 86_400.0
START_S = 1_760_000_000.0
DAYS = 14
SIZES = {20: (3_600.0, 100e6), 100: (1_800.0, None)}
"""Simulated seconds, and the goal for `DAYS` in bytes, by the number of deployments."""

LARGE, LARGE_GOAL = 1_000, 4e9
"""Deployments whose recording is extrapolated from the largest simulated one, and the goal."""

COST_CYCLES, COST_GOAL = 60, 0.05
KILLS = 500
MEDIAN_RATE, RATE_SIGMA = 6.0, 1.2
"""Requests per second of a deployment, and the standard deviation of the logarithm: most are quiet,
and a few have a hundred times the load of others."""

LIMITS = RecordingLimits(1e9, 10**12)
TOOK = CycleTimes(observe_s=0.1, plan_s=0.1, act_s=0.0)


class _BenchClock:
    def __init__(self) -> None:
        self.at = START_S

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


def _recorder(directory: Path, clock: _BenchClock) -> CycleRecorder:
    log: Any = structlog.wrap_logger(structlog.ReturnLogger())
    return CycleRecorder(
        directory, LIMITS, clock, log, poll_interval_s=lambda: POLL_S, in_thread=False
    )


def _scenario(deployments: int, dice: random.Random) -> ClusterScenario:
    """Deployments on all nodes, with enough allocations, whose loads change within the hour."""
    models, started = [], []
    for number in range(deployments):
        service_s = dice.choice([0.01, 0.03, 0.08])
        rate = MEDIAN_RATE * math.exp(dice.gauss(0.0, RATE_SIGMA))
        name = f"model-{number:04d}"
        models.append(
            ScenarioModel(
                model_id=name,
                size="50mb",
                service_time_s=service_s,
                cache_hit_fraction=dice.choice([0.0, 0.1, 0.3]),
            )
        )
        needed = max(NODES, math.ceil(1.6 * rate * service_s / NODES) * NODES)
        started.append(
            ScenarioDeployment(
                model_id=name,
                number_of_allocations=needed,
                load=Diurnal(
                    mean_per_s=rate,
                    peak_per_s=1.5 * rate,
                    period_s=1_800.0,
                    seed=dice.randrange(10**6),
                ),
            )
        )
    nodes = [
        ScenarioNode(
            name=f"ml-{number}",
            node_id=f"q1W2e3R4t5Y6u7I8o9P{number:03d}",
            processors=20_000,
            memory="4000gb",
        )
        for number in range(NODES)
    ]
    return ClusterScenario(nodes=nodes, models=models, deployments=started)


def _observed(deployments: int, duration_s: float) -> Iterator[Observation]:
    """What the daemon would observe of a simulated cluster, poll by poll."""
    clock = _BenchClock()
    emulation = build_emulation(_scenario(deployments, random.Random(1)), clock)
    models = tuple(emulation.cluster.models)
    while clock.at < START_S + duration_s:
        clock.at += POLL_S
        emulation.cluster.advance(clock.at)
        page = Page(models=models, count=len(models), tokens=("*",))
        body = msgspec.json.encode(stats_document(emulation.cluster, page))
        yield Observation(
            at=clock.at,
            requested_at=clock.at - 0.1,
            deployments={each.deployment_id: each for each in parse_stats(body).deployments},
        )


def _outcomes(planned: Plan) -> tuple[Outcome, ...]:
    return tuple(
        [
            Outcome(
                decision=decision,
                kind=OutcomeKind.DRY_RUN if decision.changes else OutcomeKind.UNCHANGED,
                at=planned.at,
            )
            for decision in planned.decisions
        ]
    )


async def bytes_of(deployments: int, duration_s: float) -> float:
    """Bytes of a node and a cycle, once blocks are closed."""
    state, ruleset, clock = State(), ruleset_of(load(None, ENVIRON)), _BenchClock()
    node_cycles = 0
    with tempfile.TemporaryDirectory() as directory:
        async with _recorder(Path(directory), clock) as recorder:
            for seen in _observed(deployments, duration_s):
                clock.at = seen.at
                planned, state = plan(state, seen, ruleset)
                recorder.planned(seen, planned, _outcomes(planned), TOOK)
                node_cycles += sum(len(stats.nodes) for stats in seen.deployments.values())
        async with _recorder(Path(directory), clock):
            pass  # closes the block that the first one has left
        with sqlite3.connect(Path(directory) / FILE_NAME) as connection:
            (used,) = connection.execute(
                "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, "
                "pragma_freelist_count, pragma_page_size"
            ).fetchone()
        connection.close()
    return float(used) / node_cycles


async def cost_of() -> tuple[float, float]:
    """Milliseconds of processor time of a cycle over a thousand deployments, and of recording it,
    closed blocks included."""
    clock = _BenchClock()
    cluster = LoadCluster(LARGE, NODES, clock.now, seed=1)
    state, ruleset, metrics = State(), ruleset_of(load(None, ENVIRON)), PrometheusRecorder(clock)
    cycle_s = record_s = 0.0
    with tempfile.TemporaryDirectory() as directory:
        async with _recorder(Path(directory), clock) as recorder:
            for _ in range(COST_CYCLES):
                clock.at += POLL_S
                body = cluster.page(0, LARGE)
                began = time.process_time()
                page = parse_stats(body)
                seen = Observation(
                    at=clock.at, deployments={each.deployment_id: each for each in page.deployments}
                )
                planned, state = plan(state, seen, ruleset)
                outcomes = _outcomes(planned)
                metrics.planned(seen, planned, outcomes, TOOK)
                cycle_s += time.process_time() - began
                began = time.process_time()
                recorder.planned(seen, planned, outcomes, TOOK)
                record_s += time.process_time() - began
    return 1e3 * cycle_s / COST_CYCLES, 1e3 * record_s / COST_CYCLES


def section() -> str:
    """The sizes, the cost and the kills."""
    lines, bytes_each = [], 0.0
    cycles = DAYS * DAY_S / POLL_S
    for deployments, (duration_s, goal) in SIZES.items():
        bytes_each = asyncio.run(bytes_of(deployments, duration_s))
        lines.append(_line(deployments, bytes_each, goal, "simulated"))
    lines.append(_line(LARGE, bytes_each, LARGE_GOAL, f"as {max(SIZES)}"))
    cycle_ms, record_ms = asyncio.run(cost_of())
    with tempfile.TemporaryDirectory() as directory:
        kills = kill_repeatedly(Path(directory), KILLS, seed=1)
    return "\n\n".join(
        [
            wrapped(
                f"Deployments on {NODES} nodes, polled every {POLL_S:.0f} s. Their loads are "
                f"simulated, request by request: a median of {MEDIAN_RATE:.0f} requests per second "
                f"and deployment, and {DAYS} days are {cycles:,.0f} cycles."
            ),
            table(
                [
                    "deployments",
                    "load",
                    "bytes of a node and cycle",
                    "MB of a deployment and day",
                    f"GB of {DAYS} days",
                    "goal, GB",
                ],
                lines,
                left=2,
            ),
            wrapped(
                f"Recording costs {100.0 * record_ms / cycle_ms:.1f}% of the processor time of a "
                f"cycle over {LARGE:,} deployments: {record_ms:.1f} ms in its thread, the "
                f"compression of closed blocks included, beside {cycle_ms:.1f} ms of decoding, "
                f"planning and metrics. The goal is at most {100.0 * COST_GOAL:.0f}%. The control "
                "loop itself hands over two references."
            ),
            _kills_text(kills),
        ]
    )


def _line(deployments: int, bytes_each: float, goal: float | None, source: str) -> list[str]:
    of_a_day = bytes_each * NODES * DAY_S / POLL_S
    return [
        f"{deployments:,}",
        source,
        f"{bytes_each:.1f}",
        f"{of_a_day / 1e6:.2f}",
        f"{deployments * DAYS * of_a_day / 1e9:.3f}",
        "-" if goal is None else f"{goal / 1e9:.1f}",
    ]


def _kills_text(kills: Kills) -> str:
    return wrapped(
        f"Of {kills.count} processes that were killed at random points while they wrote cycles as "
        f"fast as they could, {kills.lost} lost the cycle that they were writing, and none lost "
        "another one. The file could be read after each."
    )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--document", type=Path, help="replace the section of this file as well")
    try:
        publish(section, "recording", parser.parse_args(arguments).document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
