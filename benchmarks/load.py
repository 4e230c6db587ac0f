"""How many deployments does one daemon hold? `python -m benchmarks.load`

The unmodified daemon runs in a process of its own, on one processor, against a made-up cluster on
another. The figures are the daemon's own metrics and what the cluster has received. Run it on a
machine with two processors that does nothing else.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from autoscaler.core.next_poll import MAX_OBSERVE_FRACTION, MAX_WORK_FRACTION
from autoscaler.errors import UserError
from benchmarks.daemon_process import (
    PINNED,
    body_of,
    compile_modules,
    made_up_cluster,
    processor_s,
    publish_section,
    sizes_mb,
)
from benchmarks.load_cluster import Received
from benchmarks.markdown import table, wrapped

CLUSTER_PORT, METRICS_PORT = 19_201, 19_465
SCRAPE_TIMEOUT_S = 600.0  # 5,000 deployments on 10 nodes have a million samples
LATE_S = 1.0
"""Seconds by which a poll may be later than it should be, on a machine that does other things."""

MIN_ALLOCATIONS, MAX_ALLOCATIONS = 10, 32


class Work(NamedTuple):
    """What the daemon has to do."""

    deployments: int
    nodes: int
    interval_s: int
    duration_s: float


HELD = Work(5_000, 10, 10, 1_200.0)
"""20 min: a daemon without a saved state keeps the present numbers for the first ten."""

TOO_MUCH = Work(10_000, 10, 2, 300.0)
"""The most deployments that the daemon reads, polled far more often than it can. It begins with the
state that the first run has saved."""


class Result(NamedTuple):
    """What a run has shown."""

    work: Work
    received: Received
    samples: Mapping[tuple[str, str], float]  # the daemon's metrics, by name and only label
    processor_s: float
    peak_mb: float  # before it is scraped
    scraped_peak_mb: float
    events: Mapping[str, int]  # log lines
    log_mb: float

    @property
    def longest_gap_s(self) -> float:
        """The longest time between two polls."""
        return max(
            (after - before for before, after in pairwise(self.received.polled_at)), default=0.0
        )

    def count(self, name: str, label: str) -> int:
        return int(self.samples[name, label])

    def mean_s(self, part: str) -> float:
        """The mean duration of a part of a cycle."""
        name = "autoscaler_cycle_duration_seconds"
        return self.samples[f"{name}_sum", part] / self.samples[f"{name}_count", part]

    @property
    def excess(self) -> float:
        """How many times the interval is that the daemon allows itself for such cycles."""
        needed_s = max(
            self.mean_s("observe") / MAX_OBSERVE_FRACTION, self.mean_s("plan") / MAX_WORK_FRACTION
        )
        return needed_s / self.work.interval_s


def section(shortened: float = 1.0) -> str:
    """Both runs, in a table.

    Args:
        shortened: the durations are divided by this.
    """
    with tempfile.TemporaryDirectory() as state_dir:
        held, too_much = [
            measure(work._replace(duration_s=work.duration_s / shortened), state_dir)
            for work in (HELD, TOO_MUCH)
        ]
    missed = held.longest_gap_s > HELD.interval_s + LATE_S or held.count(
        "autoscaler_cycles_total", "skipped"
    )
    return "\n\n".join(
        [
            wrapped(
                "The daemon on one processor, in a process of its own, against a made-up cluster "
                "whose loads are Poisson streams, of which one in a hundred changes every minute. "
                "First it must poll every ten seconds, and keeps the present numbers for ten "
                "minutes, because it begins without a saved state; then it has more to do than it "
                "can."
            ),
            table(["", "held", "too much"], _lines(held, too_much)),
            wrapped(
                ("A cycle was missed." if missed else "No cycle was missed.")
                + f" The second run asked for {too_much.excess:.1f} times as many polls as the "
                "limits of the work of the cluster and of the daemon allow."
            ),
        ]
    )


def _lines(*runs: Result) -> list[list[str]]:
    rows: dict[str, list[str]] = {}
    for run in runs:
        for name, text in _figures(run).items():
            rows.setdefault(name, []).append(text)
    return [[name, *texts] for name, texts in rows.items()]


def _figures(run: Result) -> dict[str, str]:
    work, requested = run.work, run.received.requested
    outside = sum(not MIN_ALLOCATIONS <= each <= MAX_ALLOCATIONS for each in requested)
    stretched = {
        cause: run.count("autoscaler_polls_total", cause)
        for cause in ("slow_cluster", "slow_cycle")
    }
    return {
        "deployments": f"{work.deployments:,}",
        "nodes of each": f"{work.nodes}",
        "poll interval": f"{work.interval_s} s",
        "duration": f"{work.duration_s:.0f} s",
        "cycles completed": f"{run.count('autoscaler_cycles_total', 'completed'):,}",
        "cycles skipped": f"{run.count('autoscaler_cycles_total', 'skipped'):,}",
        "longest time between two polls": f"{run.longest_gap_s:.1f} s",
        **{f"polls with the cause `{cause}`": f"{count:,}" for cause, count in stretched.items()},
        "`poll.stretched` in the log": f"{run.events.get('poll.stretched', 0):,}",
        **{
            f"mean time to {part}": f"{run.mean_s(part):.2f} s"
            for part in ("observe", "plan", "act")
        },
        "updates": f"{len(requested):,}",
        "updates outside the bounds of the rule": f"{outside:,}",
        "processor time per cycle": f"{run.processor_s / len(run.received.polled_at):.2f} s",
        "resident at most, before a scrape": f"{run.peak_mb:.0f} MB",
        "resident at most, after one": f"{run.scraped_peak_mb:.0f} MB",
        "log": f"{run.log_mb:.1f} MB",
    }


def measure(work: Work, state_dir: str) -> Result:
    """Run the daemon against the cluster.

    Raises:
        UserError: one of the two does not start, or ends early.
    """
    environ = os.environ | {
        "AUTOSCALER_ELASTICSEARCH__HOSTS": f'["http://127.0.0.1:{CLUSTER_PORT}"]',
        "AUTOSCALER_SERVER__PORT": str(METRICS_PORT),
        "AUTOSCALER_STATE_DIR": state_dir,
        "AUTOSCALER_POLL_INTERVAL": f"{work.interval_s}s",
        "AUTOSCALER_RULES": json.dumps(
            [
                {
                    "name": "all",
                    "min_allocations": MIN_ALLOCATIONS,
                    "max_allocations": MAX_ALLOCATIONS,
                }
            ]
        ),
    }
    compile_modules()
    cluster = made_up_cluster(work.deployments, work.nodes, CLUSTER_PORT)
    with cluster, tempfile.TemporaryFile() as log:
        daemon = subprocess.Popen(
            [*PINNED, sys.executable, "-m", "autoscaler", "run"],
            env=environ,
            stderr=log,
        )
        try:
            time.sleep(work.duration_s)
            if (status := daemon.poll()) is not None:
                log.seek(0)
                raise UserError(f"the daemon ended with {status}: {log.read()[-2000:].decode()}")
            received = msgspec.json.decode(_get(CLUSTER_PORT, "/received"), type=Received)
            worked_s, peak_mb = processor_s(daemon.pid), sizes_mb(daemon.pid)["VmHWM"]
            exposition = _get(METRICS_PORT, "/metrics").decode()
            scraped_peak_mb = sizes_mb(daemon.pid)["VmHWM"]
        finally:
            daemon.kill()
            daemon.wait()
        size = log.seek(0, os.SEEK_END)
        log.seek(0)
        events = Counter(json.loads(line)["event"] for line in log)
    return Result(
        work=work,
        received=received,
        samples=_samples(exposition),
        processor_s=worked_s,
        peak_mb=peak_mb,
        scraped_peak_mb=scraped_peak_mb,
        events=events,
        log_mb=size / 1e6,
    )


def _get(port: int, path: str) -> bytes:
    return body_of(f"http://127.0.0.1:{port}{path}", SCRAPE_TIMEOUT_S)


def _samples(exposition: str) -> dict[tuple[str, str], float]:
    """The samples about the cycles, by their name and label."""
    names = ("autoscaler_cycles", "autoscaler_cycle_duration", "autoscaler_polls")
    lines = [line for line in exposition.splitlines() if line.startswith(names)]
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families("\n".join([*lines, ""]))
        for sample in family.samples
    }


def main(arguments: list[str]) -> None:
    publish_section(section, "load", __doc__, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
