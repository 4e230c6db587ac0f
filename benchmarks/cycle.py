"""One cycle over 1,000 deployments on 3 nodes, against decoding the same bytes with json.loads."""

import json
import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from autoscaler.adapters.admin_http.exposition import exposition
from autoscaler.adapters.clock import HostClock
from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.cluster_controller import ruleset_of
from autoscaler.config import load
from autoscaler.core.decision import Outcome, OutcomeKind
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from autoscaler.core.values import Observation
from autoscaler.ports import CycleTimes
from autoscaler.wire.stats import parse_stats
from benchmarks.markdown import table, wrapped
from benchmarks.payload import stats

Result = TypeVar("Result")

DEPLOYMENTS, NODES, CYCLES = 1_000, 3, 60
GOAL = 2.0
WORK = {
    "json": "the yardstick: `json.loads` of the same bytes, which is not part of a cycle",
    "decode": "bytes to the core's values",
    "plan": f"{DEPLOYMENTS:,} decisions with all their steps",
    "metrics": "recording the cycle",
}
"""The parts that are timed."""

ENVIRON = {
    "AUTOSCALER_ELASTICSEARCH__HOSTS": '["http://localhost:9200"]',
    "AUTOSCALER_RULES": '[{"name": "all", "min_allocations": 1, "max_allocations": 32}]',
}


def section() -> str:
    """The times of the parts, and their ratio to the yardstick."""
    clock = HostClock()
    registry = CollectorRegistry()
    recorder = PrometheusRecorder(clock)
    registry.register(recorder)
    policy = ruleset_of(load(None, ENVIRON))
    state = State()
    seconds: dict[str, list[float]] = {part: [] for part in WORK}

    def timed(part: str, work: Callable[[], Result]) -> Result:
        began = time.perf_counter()
        result = work()
        seconds[part].append(time.perf_counter() - began)
        return result

    for cycle in range(CYCLES):
        body = stats(DEPLOYMENTS, NODES, cycle)
        timed("json", lambda body=body: json.loads(body))
        page = timed("decode", lambda body=body: parse_stats(body))
        seen = Observation(
            at=clock.now() + 10.0 * cycle,
            deployments={d.deployment_id: d for d in page.deployments},
        )
        planned, state = timed("plan", lambda seen=seen, state=state: plan(state, seen, policy))
        outcomes = tuple(
            Outcome(decision=decision, kind=OutcomeKind.UNCHANGED, at=seen.at)
            for decision in planned.decisions
        )
        times = CycleTimes(observe_s=0.1, plan_s=0.1, act_s=0.0)
        timed("metrics", lambda: recorder.planned(seen, planned, outcomes, times))
    took = {part: 1000.0 * median(each) for part, each in seconds.items()}
    ratio = (took["decode"] + took["plan"] + took["metrics"]) / took["json"]
    began = time.perf_counter()
    exposed = b"".join(exposition(registry, generate_latest))
    scrape_ms = 1000.0 * (time.perf_counter() - began)
    lines = [[f"`{part}`", work, f"{took[part]:.1f}"] for part, work in WORK.items()]
    return "\n\n".join(
        [
            wrapped(
                f"{DEPLOYMENTS:,} deployments on {NODES} nodes each, a response of "
                f"{len(body) / 1e6:.2f} MB. Medians of {CYCLES} cycles, in process, without the "
                "network."
            ),
            table(["part", "measured work", "ms"], lines, left=2),
            wrapped(
                f"The ratio of decode, plan and metrics to `json.loads` was {ratio:.2f}; the goal "
                f"is at most {GOAL}. A scrape of these metrics took {scrape_ms:,.0f} ms for "
                f"{len(exposed) / 1e6:.1f} MB. It runs in a thread parallel to the cycle, "
                "in small pieces, without the metrics of each deployment on each node, as by "
                "default with so many deployments."
            ),
        ]
    )


def report() -> None:
    print(section())
