"""From a daemon that records an emulated cluster to the report, and to a scenario."""

import json
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.adapters.recording import CycleRecorder, RecordingLimits
from autoscaler.backtest.world.scenario import read_scenario
from autoscaler.cli import main
from autoscaler.cluster_controller import ruleset_of, transport_to
from autoscaler.config import load
from autoscaler.control_loop import ControlLoop
from autoscaler.replay.results_file import read_results
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.scenario import scenario_of
from benchmarks.history import HistoryClock

BEGIN = 1_762_128_000.0  # 2025-11-03 00:00 UTC
HOURS = 3
POLL_S = 30.0
SERVICE_TIME_S = 0.2
SCENARIO = {
    "nodes": [{"name": "ml-1", "processors": 8, "memory": "16gb"}],
    "models": [
        {"model_id": "e5", "size": "120mb", "service_time_s": SERVICE_TIME_S, "load_s": 15.0}
    ],
    "deployments": [
        {
            "model_id": "e5",
            "deployment_id": "e5-ingest",
            "number_of_allocations": 4,
            "load": {
                "kind": "diurnal",
                "mean_per_s": 3.0,
                "peak_per_s": 5.0,
                "period_s": 3600.0 * HOURS,
            },
        }
    ],
}
CONFIG = """
dry_run = true
poll_interval = "30s"
min_poll_interval = "30s"
state_dir = "state"
[elasticsearch]
hosts = ["{url}"]
[report]
cost_per_allocation_hour = 0.5
currency = "EUR"
[[rules]]
name = "all"
max_allocations = 8
"""


async def record_hours(directory):
    """A daemon in dry run beside four fixed allocations."""
    clock = HistoryClock(BEGIN)
    async with running_emulator(scenario_of(SCENARIO), clock=clock) as emulator:
        config = _configured(directory, emulator.url)
        recorder = CycleRecorder(
            directory / "state",
            RecordingLimits(1e9, 10**9),
            clock,
            structlog.get_logger(),
            poll_interval_s=lambda: POLL_S,
            in_thread=False,
        )
        async with transport_to(config, clock) as transport, recorder:
            cluster = ElasticsearchCluster(ElasticsearchApi(transport), clock)
            loop = ControlLoop(
                clock=clock,
                observer=cluster,
                actuator=cluster,
                recorder=recorder,
                ruleset=ruleset_of(config),
            )
            for cycle in range(round(HOURS * 3600 / POLL_S) + 1):
                clock.pass_to(BEGIN + cycle * POLL_S)
                await loop.run_cycle()
            await cluster.close()


def _configured(directory, url):
    path = directory / "config.toml"
    path.write_text(CONFIG.format(url=url))
    return load(path, {})


@pytest.mark.untraced
@pytest.mark.timeout(600)
async def test_a_recording_becomes_a_report_and_a_scenario(tmp_path, monkeypatch):
    monkeypatch.delenv("AUTOSCALER_STATE", raising=False)
    monkeypatch.chdir(tmp_path)
    await record_hours(tmp_path)
    _read_it()


def _read_it():
    def run(*words):
        ran = CliRunner().invoke(main, [*words, "--config", "config.toml"])
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    text = run("replay", "--policy", "hpa", "--workers", "1", "--json", "r.json")
    (found,) = read_results(Path("r.json")).results.deployments
    assert found.refusals == ()
    assert found.observed.hours.value == pytest.approx(4.0 * HOURS, rel=0.02)
    assert found.policies[0].hours.high < found.observed.hours.value
    assert "fewer allocation-hours" in text
    assert "fewer allocation-hours" in run("report", "r.json", "--markdown", "r.md")
    assert "cost of a month" in Path("report.html").read_text()
    assert json.loads(Path("r.json").read_text())["results"]["source"] == "recording.db"
    run("calibrate", "--to-dir", ".")
    scenario = read_scenario(Path("e5-ingest.toml"))
    assert scenario.service_time_s == pytest.approx(SERVICE_TIME_S, rel=0.05)
    assert scenario.processors == 8
