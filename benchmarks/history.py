"""A day of this program's metrics, for a real Prometheus. `python -m benchmarks.history`

The daemon's control loop scales an emulated cluster in virtual time, and what it would export at
each scrape is written as OpenMetrics with timestamps, which `promtool tsdb create-blocks-from
openmetrics` makes into blocks. The day ends at the last full minute. Beside it, the requests that
the cluster has counted are printed, so that an import can be compared with them.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from prometheus_client import Metric
from prometheus_client.utils import floatToGoString

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.cluster_controller import ruleset_of, transport_to
from autoscaler.config import load as load_config
from autoscaler.control_loop import ControlLoop
from autoscaler.simulation.cluster import SimulatedCluster
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.scenario import ClusterScenario, read_scenario, scenario_of

SCRAPE_S, POLL_S = 60.0, 30.0
WARM_UP_S = 125.0
"""Seconds before the first scrape, in which the models are loaded. Not a multiple of the time
between two polls, so that scrapes lie between polls, as they do where nothing aligns them."""

DAY_S = 86_400.0

SCENARIO = {
    "name": "history",
    "nodes": [{"name": f"ml-{number}", "processors": 8, "memory": "32gb"} for number in (1, 2, 3)],
    "models": [
        {"model_id": "elser", "size": "262mb", "service_time_s": 0.12, "load_s": 20.0},
        {"model_id": "e5", "size": "120mb", "service_time_s": 0.03, "load_s": 15.0},
    ],
    "deployments": [
        {
            "model_id": "elser",
            "deployment_id": "elser-search",
            "number_of_allocations": 1,
            "load": {"kind": "diurnal", "mean_per_s": 12.0, "peak_per_s": 22.0, "period_s": DAY_S},
        },
        {
            "model_id": "e5",
            "deployment_id": "e5-ingest",
            "number_of_allocations": 1,
            "load": {
                "kind": "spike",
                "base_per_s": 3.0,
                "peak_per_s": 60.0,
                "after_s": DAY_S / 3.0,
                "for_s": 7_200.0,
            },
        },
    ],
}
"""A search with the time of day, and an ingest job of two hours."""


class HistoryClock:
    """Time that passes only by `pass_to`."""

    def __init__(self, at: float) -> None:
        self._now = at

    def now(self) -> float:
        return self._now

    def pass_to(self, at: float) -> None:
        self._now = max(self._now, at)

    async def sleep(self, seconds: float) -> None:
        self.pass_to(self._now + seconds)


class Counted(NamedTuple):
    """What the emulated cluster has counted of one deployment."""

    arrivals: int
    completed: int
    failed: int

    def since(self, earlier: "Counted") -> "Counted":
        return Counted(
            self.arrivals - earlier.arrivals,
            self.completed - earlier.completed,
            self.failed - earlier.failed,
        )


def _counted(cluster: SimulatedCluster) -> dict[str, Counted]:
    return {
        id_: Counted(
            deployment.ledger.requests,
            deployment.ledger.completed,
            deployment.ledger.rejected + deployment.ledger.timed_out + deployment.ledger.failed,
        )
        for id_, deployment in cluster.deployments.items()
    }


Scrape = Callable[[PrometheusRecorder, float], None]
"""Called with what exports the metrics, at each instant."""


async def run_history(
    scenario: ClusterScenario,
    scrape: Scrape,
    *,
    begin: float,
    end: float,
    scrape_s: float = SCRAPE_S,
    poll_s: float = POLL_S,
) -> dict[str, Counted]:
    """Scale the cluster, and scrape it from `begin` to `end`.

    Returns:
        What the cluster has counted between the observations that the first and the last scrape
        have read.
    """
    clock = HistoryClock(begin - WARM_UP_S)
    async with running_emulator(scenario, clock=clock) as emulator:
        environ = {
            "AUTOSCALER_ELASTICSEARCH__HOSTS": json.dumps([emulator.url]),
            "AUTOSCALER_RULES": '[{"name": "all", "min_allocations": 1, "max_allocations": 16}]',
            "AUTOSCALER_POLL_INTERVAL": f"{poll_s:g}s",
            "AUTOSCALER_MIN_POLL_INTERVAL": f"{poll_s:g}s",
        }
        config = load_config(None, environ)
        recorder = PrometheusRecorder(clock)
        async with transport_to(config, clock) as transport:
            cluster = ElasticsearchCluster(ElasticsearchApi(transport), clock)
            loop = ControlLoop(
                clock=clock,
                observer=cluster,
                actuator=cluster,
                recorder=recorder,
                ruleset=ruleset_of(config),
            )
            first = observed = _counted(emulator.cluster)
            due, at = clock.now(), begin
            while at <= end:
                while due <= at:
                    clock.pass_to(due)
                    await loop.run_cycle()
                    observed = _counted(emulator.cluster)
                    due += poll_s
                clock.pass_to(at)
                if at == begin:
                    first = observed
                scrape(recorder, at)
                at += scrape_s
            await cluster.close()
            return {id_: observed[id_].since(first[id_]) for id_ in observed}


async def write_history(
    scenario: ClusterScenario, file: TextIO, *, begin: float, end: float
) -> dict[str, Counted]:
    """Write what Prometheus would have read, and return what was counted meanwhile."""

    def scrape(recorder: PrometheusRecorder, at: float) -> None:
        file.writelines(_exposed(recorder.collect(), at))

    counted = await run_history(scenario, scrape, begin=begin, end=end)
    file.write("# EOF\n")
    return counted


def _exposed(metrics: Iterable[Metric], at: float) -> Iterator[str]:
    """The samples of one scrape, each with its instant."""
    for metric in metrics:
        for sample in metric.samples:
            labels = {**sample.labels, "instance": "127.0.0.1:9464", "job": "autoscaler"}
            text = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
            yield f"{sample.name}{{{text}}} {floatToGoString(sample.value)} {at:.3f}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("file", type=Path, help="the file to write")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--scenario", type=Path, help="another cluster, as for `emulate`")
    chosen = parser.parse_args(arguments)
    scenario = scenario_of(SCENARIO) if chosen.scenario is None else read_scenario(chosen.scenario)
    end = time.time() // SCRAPE_S * SCRAPE_S
    with chosen.file.open("w") as file:
        counted = asyncio.run(
            write_history(scenario, file, begin=end - chosen.hours * 3_600.0, end=end)
        )
    for id_, totals in counted.items():
        print(
            f"{id_}: {totals.arrivals:,} arrivals, {totals.completed:,} completed, "
            f"{totals.failed:,} failed"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
