"""Does a daemon that runs for a week grow or slow down? `python -m benchmarks.soak`

The control loop with all recorders and the store, in virtual time: days of cycles take minutes. The
cluster is made up: loads go up and down with the time of day, updates take effect at once, and
every hour some deployments are deleted and others created.
"""

import argparse
import asyncio
import gc
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TextIO

import structlog
from msgspec.structs import replace

from autoscaler import __version__
from autoscaler.adapters.admin_http import DecisionRecorder, Health
from autoscaler.adapters.logs import LogRecorder
from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.adapters.recording import CycleRecorder, RecordingLimits
from autoscaler.adapters.state import SqliteStore
from autoscaler.cluster_controller import ruleset_of
from autoscaler.composite_recorder import CompositeRecorder
from autoscaler.config import load as load_config
from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import Change, SetAllocations
from autoscaler.core.values import Cluster, DeploymentStats, NodeCapacity, NodeStats, Observation
from autoscaler.errors import UserError
from benchmarks.frontier import publish
from benchmarks.markdown import table, wrapped

DEPLOYMENTS, DAYS, NODES = 200, 7, 3
START_S = 1_760_000_000.0
HOUR_S, DAY_S = 3_600.0, 86_400.0
LEAVING = 0.01
"""The fraction of the deployments that another one replaces every hour."""

SERVICE_TIME_S = 0.04
GOAL = 0.05

_HEADINGS = [
    "day",
    "cycles",
    "resident MB",
    "ms per cycle",
    "store MB",
    "recording MB",
    "log MB",
]


class SoakClock:
    """Time that passes only by `pass_by`."""

    def __init__(self) -> None:
        self._now = START_S

    def now(self) -> float:
        return self._now

    def pass_by(self, seconds: float) -> None:
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        self.pass_by(seconds)


class SoakCluster:
    """An Observer and an Actuator."""

    def __init__(self, clock: SoakClock, deployments: int, seed: int) -> None:
        self._clock, self._random = clock, random.Random(seed)
        self._created = 0
        self._read_at, self._replaced_at = clock.now(), clock.now()
        self._count = deployments
        self.running = dict(self._new() for _ in range(deployments))
        self._cluster = Cluster(
            nodes=tuple(
                NodeCapacity(
                    node_id=f"n{number}", name=f"ml-{number}", version="9.1.0", processors=1e4
                )
                for number in range(NODES)
            )
        )

    async def observe(self) -> Observation:
        now = self._clock.now()
        if now - self._replaced_at >= HOUR_S:
            self._replaced_at = now
            self._replace_some()
        elapsed_s, self._read_at = now - self._read_at, now
        day = 1.0 + 0.8 * math.sin(2.0 * math.pi * now / DAY_S)
        for name, (stats, load) in self.running.items():
            self.running[name] = self._served(stats, load * day * elapsed_s, now), load
        deployments = {name: stats for name, (stats, _) in self.running.items()}
        return Observation(at=now, deployments=deployments, cluster=self._cluster)

    async def carry_out(self, deployment_id: str, change: Change, **_: float) -> None:
        assert isinstance(change, SetAllocations), change
        stats, load = self.running[deployment_id]
        each, more = divmod(change.allocations, NODES)
        self.running[deployment_id] = (
            replace(
                stats,
                allocations=change.allocations,
                running_allocations=change.allocations,
                target_allocations=change.allocations,
                nodes=tuple(
                    replace(node, allocations=each + (number < more))
                    for number, node in enumerate(stats.nodes)
                ),
            ),
            load,
        )

    def _replace_some(self) -> None:
        for name in self._random.sample(sorted(self.running), max(1, round(LEAVING * self._count))):
            del self.running[name]
        while len(self.running) < self._count:
            name, deployed = self._new()
            self.running[name] = deployed

    def _new(self) -> tuple[str, tuple[DeploymentStats, float]]:
        """A deployment that has just been created, and its mean load in erlangs."""
        self._created += 1
        name, at = f"soak-{self._created:06d}", self._clock.now()
        nodes = tuple(
            NodeStats(
                node_id=f"n{number}",
                routing_state="started",
                server_started_at=at,
                server_last_access_at=at,
                allocations=1,
                threads_per_allocation=1,
                mean_inference_s=SERVICE_TIME_S,
                busy_s=0.0,
            )
            for number in range(NODES)
        )
        stats = DeploymentStats(
            deployment_id=name,
            model_id=name,
            state="started",
            allocations=NODES,
            running_allocations=NODES,
            target_allocations=NODES,
            threads_per_allocation=1,
            queue_capacity=1024,
            server_created_at=at,
            nodes=nodes,
        )
        return name, (stats, 10.0 ** self._random.uniform(-2.0, 1.0))

    def _served(self, stats: DeploymentStats, busy_s: float, now: float) -> DeploymentStats:
        """After requests that keep the deployment busy for about this long."""
        expected = busy_s / SERVICE_TIME_S / NODES
        nodes = []
        for node in stats.nodes:
            count = max(0, round(self._random.gauss(expected, math.sqrt(expected))))
            if count == 0:
                nodes.append(node)
                continue
            completed = node.completed + count
            nodes.append(
                replace(
                    node,
                    completed=completed,
                    busy_s=completed * SERVICE_TIME_S,
                    server_last_access_at=now,
                )
            )
        return replace(stats, nodes=tuple(nodes))


class Soak(NamedTuple):
    """The parts of a daemon, and its cluster."""

    clock: SoakClock
    cluster: SoakCluster
    loop: ControlLoop
    recorders: tuple[object, ...]
    store: SqliteStore
    recording: CycleRecorder

    async def run(self, seconds: float) -> int:
        """Run cycles for so long. Returns their number."""
        end, cycles = self.clock.now() + seconds, 0
        while self.clock.now() < end:
            began = self.clock.now()
            interval_s = await self.loop.run_cycle()
            self.clock.pass_by(began + interval_s - self.clock.now())
            cycles += 1
        return cycles


@asynccontextmanager
async def soaking(
    deployments: int, folder: Path, log: TextIO, *, interval_s: int = 10, seed: int = 1
) -> AsyncIterator[Soak]:
    """The daemon, without HTTP, with its state in this folder."""
    environ = {
        "AUTOSCALER_ELASTICSEARCH__HOSTS": '["http://localhost:9200"]',
        "AUTOSCALER_RULES": '[{"name": "all", "min_allocations": 1, "max_allocations": 64}]',
        "AUTOSCALER_POLL_INTERVAL": f"{interval_s}s",
        "AUTOSCALER_MIN_POLL_INTERVAL": f"{interval_s}s",
    }
    ruleset, clock = ruleset_of(load_config(None, environ)), SoakClock()
    logger = structlog.wrap_logger(
        structlog.WriteLogger(log),
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
    recording = CycleRecorder(
        folder,
        RecordingLimits(max_age_s=14.0 * DAY_S, max_bytes=10**8),  # as by default
        clock,
        logger,
        poll_interval_s=lambda: float(interval_s),
        in_thread=False,
    )
    recorders = (
        LogRecorder(logger),
        PrometheusRecorder(clock),
        DecisionRecorder(clock, __version__),
        Health(clock, ruleset.polling.interval_s, 10.0),
        recording,
    )
    cluster = SoakCluster(clock, deployments, seed)
    store = SqliteStore(folder, clock, logger, in_thread=False)
    loop = ControlLoop(
        clock=clock,
        observer=cluster,
        actuator=cluster,
        recorder=CompositeRecorder(*recorders),
        ruleset=ruleset,
        state_store=store,
    )
    loop.state = await store.open([rule.policy for rule in ruleset.rules])
    try:
        async with recording:
            yield Soak(clock, cluster, loop, recorders, store, recording)
    finally:
        await store.close()


class Day(NamedTuple):
    """What one day has shown."""

    cycles: int
    resident_mb: float  # at its end
    cycle_ms: float  # processor time of a cycle, its cluster's included
    store_mb: float
    recording_mb: float
    log_mb: float  # so far


async def _days(deployments: int, days: int) -> list[Day]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        log_path = Path(folder) / "log"
        with log_path.open("w") as log:
            async with soaking(deployments, Path(folder) / "state", log) as soak:
                for _ in range(days):
                    began = time.process_time()
                    cycles = await soak.run(DAY_S)
                    took_s = time.process_time() - began
                    gc.collect()
                    found.append(
                        Day(
                            cycles=cycles,
                            resident_mb=_resident_mb(),
                            cycle_ms=1000.0 * took_s / cycles,
                            store_mb=soak.store.status.size_bytes / 1e6,
                            recording_mb=soak.recording.size_bytes / 1e6,
                            log_mb=log_path.stat().st_size / 1e6,
                        )
                    )
                    print(found[-1], file=sys.stderr, flush=True)
    return found


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def section(deployments: int = DEPLOYMENTS, days: int = DAYS) -> str:
    """The days in a table, and how the last differs from the first."""
    found = asyncio.run(_days(deployments, days))
    first, last = found[0], found[-1]
    memory, cycle = last.resident_mb / first.resident_mb - 1.0, last.cycle_ms / first.cycle_ms - 1.0
    lines = [
        [
            str(number),
            f"{day.cycles:,}",
            f"{day.resident_mb:.1f}",
            f"{day.cycle_ms:.1f}",
            f"{day.store_mb:.1f}",
            f"{day.recording_mb:.1f}",
            f"{day.log_mb:.1f}",
        ]
        for number, day in enumerate(found, 1)
    ]
    return "\n\n".join(
        [
            wrapped(
                f"{deployments} deployments on {NODES} nodes for {days} simulated days. Every hour "
                f"{max(1, round(LEAVING * deployments))} of them are deleted and as many created."
            ),
            table(_HEADINGS, lines),
            wrapped(
                f"From the first day to the last, resident memory changed by {memory:+.1%} and the "
                f"processor time of a cycle by {cycle:+.1%}; the goal is at most {GOAL:.0%} for "
                "either."
            ),
        ]
    )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--document", type=Path, help="replace the section of this file as well")
    parser.add_argument("--deployments", type=int, default=DEPLOYMENTS)
    parser.add_argument("--days", type=int, default=DAYS)
    chosen = parser.parse_args(arguments)
    try:
        publish(partial(section, chosen.deployments, chosen.days), "soak", chosen.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
