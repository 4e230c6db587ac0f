"""`record`, against an emulated cluster, and `export`, of what it has recorded."""

import asyncio

import pytest
import structlog
from click.testing import CliRunner
from msgspec.structs import fields

from autoscaler.adapters.recording import (
    FILE_NAME,
    CycleRecorder,
    RecordingLimits,
    recorded_cycles,
)
from autoscaler.cli import main
from autoscaler.config import load
from autoscaler.core.values import Cluster, NodeCapacity
from autoscaler.daemon import Daemon
from autoscaler.interval_files import read_intervals
from autoscaler.recording_export import Hashes, record_only
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.scenario import (
    Account,
    ClusterScenario,
    ScenarioDeployment,
    SecuritySettings,
)
from autoscaler.wire.intervals import (
    Hardware,
    HardwareNode,
    IntervalsHeader,
    LoadInterval,
    NodeInterval,
)
from tests.adapters.test_recording import record
from tests.fakes import FakeClock
from tests.test_daemon import SCENARIO
from tests.virtual_clock import VirtualClock

NODES = Cluster(nodes=(NodeCapacity(node_id="n1", name="secret-host", version="9.1.0"),))


@pytest.fixture
async def recorded(tmp_path):
    """A recording of six cycles, from 1,000 s on."""
    recorder = CycleRecorder(
        tmp_path / "state",
        RecordingLimits(1e9, 10**9),
        FakeClock(1_000.0),
        structlog.get_logger(),
        poll_interval_s=lambda: 10.0,
        in_thread=False,
    )
    async with recorder:
        for place in range(6):
            record(recorder, 1_000.0 + 10.0 * place, cluster=NODES)
    return tmp_path / "state" / FILE_NAME


def exported(*arguments, code=0):
    ran = CliRunner().invoke(main, ["export", *map(str, arguments)])
    assert ran.exit_code == code, ran.output
    return ran.output


PERIOD = ("--from", "1970-01-01", "--to", "1970-01-02")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
async def test_an_export_has_the_recorded_load(recorded, tmp_path, suffix):
    target = tmp_path / f"load{suffix}"
    output = exported(target, "--recording", recorded, *PERIOD)
    assert output == f"export, cycles: 6 of 6\n5 intervals of 1 deployment are in {target}\n"
    header, hardware, *intervals = read_intervals(target)
    assert isinstance(header, IntervalsHeader)
    assert (header.source, header.hashed) == ("recording", False)
    assert isinstance(hardware, Hardware)
    assert [(line.at, line.deployment, line.arrivals) for line in intervals] == [
        (1_010.0 + 10.0 * place, "elser", 10) for place in range(5)
    ]


async def test_it_has_the_requested_time(recorded, tmp_path):
    target = tmp_path / "load.jsonl"
    period = ("--from", "1970-01-01T00:17:00", "--to", "1970-01-01T00:17:20")
    exported(target, "--recording", recorded, *period)
    found = [line for line in read_intervals(target) if isinstance(line, LoadInterval)]
    assert [line.at for line in found] == [1_030.0, 1_040.0]


async def test_a_hashed_export_has_no_id(recorded, tmp_path):
    target = tmp_path / "load.jsonl"
    exported(target, "--recording", recorded, "--hash-ids", *PERIOD)
    text = target.read_text()
    for secret in ("elser", '"n1"', "secret-host"):
        assert secret not in text
    header, hardware, first, *_ = read_intervals(target)
    assert header.hashed
    assert first.nodes[0].node == hardware.nodes[0].id
    assert first.model.startswith("model-")
    assert first.arrivals == 10


def test_every_text_of_an_export_is_hashed_or_names_nothing():
    """A new one needs a decision."""
    texts = {
        (kind.__name__, field.name)
        for kind in (LoadInterval, NodeInterval, Hardware, HardwareNode)
        for field in fields(kind)
        if "str" in str(field.type)
    }
    hashed = {
        ("LoadInterval", "deployment"),
        ("LoadInterval", "model"),
        ("NodeInterval", "node"),
        ("HardwareNode", "id"),
    }
    assert texts - hashed == {
        ("LoadInterval", "issues"),
        ("LoadInterval", "outcome"),
        ("Hardware", "version"),
    }
    line = LoadInterval(
        deployment="secret-1",
        model="secret-2",
        at=1.0,
        interval_s=1.0,
        nodes=(NodeInterval(node="secret-3"),),
    )
    assert "secret" not in str(Hashes().line(line))
    assert "secret" not in str(
        Hashes().line(Hardware(at=1.0, nodes=(HardwareNode(id="secret-4"),)))
    )


async def test_equal_keys_make_equal_hashes_and_random_ones_do_not(recorded, tmp_path):
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n")
    names = []
    for option in (("--hash-ids",), ("--hash-ids",), *2 * [("--hash-key-file", key)]):
        target = tmp_path / "load.jsonl"
        exported(target, "--recording", recorded, *option, *PERIOD)
        *_, last = read_intervals(target)
        names.append(last.deployment)
    assert len(set(names)) == 3
    assert names[2] == names[3]


async def test_a_key_that_can_be_guessed_is_refused(recorded, tmp_path):
    key = tmp_path / "key"
    key.write_text("short")
    output = exported(
        tmp_path / "load.jsonl", "--recording", recorded, "--hash-key-file", key, code=78
    )
    assert "it has 5 bytes; write at least 16 random ones to it" in output


async def test_the_configuration_names_the_recording(recorded, tmp_path, monkeypatch):
    monkeypatch.delenv("AUTOSCALER_STATE")
    config = tmp_path / "config.toml"
    config.write_text("state_dir = 'state'\n[elasticsearch]\nhosts = ['http://es:9200']\n")
    target = tmp_path / "load.jsonl"
    assert exported(target, "--config", config, *PERIOD).splitlines()[1].startswith("5 intervals")


async def test_without_a_recording_the_remedy_is_named(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("state = 'none'\n[elasticsearch]\nhosts = ['http://es:9200']\n")
    target = tmp_path / "load.jsonl"
    output = exported(target, "--config", config, code=1)
    assert "there is no recording; set directory in [recording]" in output
    output = exported(target, "--recording", tmp_path / "none.db", code=1)
    assert "does not exist, so there is no recording" in output
    assert not target.exists()


SECURED = ClusterScenario(
    nodes=SCENARIO.nodes,
    models=SCENARIO.models,
    deployments=[
        *SCENARIO.deployments,
        ScenarioDeployment(model_id="e5", deployment_id="unmanaged", number_of_allocations=1),
    ],
    security=SecuritySettings(
        accounts=[Account(username="watcher", password="secret", roles=["watching"])],
        roles={"watching": ["monitor_ml"]},
    ),
)
"""A cluster whose user may read the statistics only, with a load that needs more allocations."""

CONFIG = """
state_dir = "state"
[elasticsearch]
hosts = ["{url}"]
username = "watcher"
password = "secret"
[server]
port = 0
[[rules]]
name = "all"
deployments = "e5"
max_allocations = 8
on_exit = "floor"
safe_allocations = 5
"""


async def test_record_changes_nothing_and_needs_monitor_ml_only(tmp_path):
    clock = VirtualClock()
    path = tmp_path / "config.toml"
    async with running_emulator(SECURED, clock=clock) as emulator:
        path.write_text(CONFIG.format(url=emulator.url))
        daemon = Daemon(lambda: record_only(load(path, {})), clock=clock)
        task = asyncio.ensure_future(daemon.run())
        await daemon.started.wait()
        await clock.advance(120.0)
        daemon.stop()
        await task
        assert emulator.cluster.deployments["e5"].requested == 1
    assert {entry.name for entry in (tmp_path / "state").iterdir()} <= {
        FILE_NAME,
        *(f"{FILE_NAME}{suffix}" for suffix in ("-wal", "-shm", ".lock")),
    }
    cycles = list(recorded_cycles(tmp_path / "state" / FILE_NAME, 0.0, 1e12))
    assert len(cycles) > 5
    last = cycles[-1]
    assert last.deployments.keys() == {"e5", "unmanaged"}
    assert last.decisions["e5"].desired > 1
    assert last.decisions["e5"].outcome in {"dry_run", "observe_only"}
    assert "unmanaged" not in last.decisions


def test_record_does_not_begin_while_another_process_records(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(url="http://127.0.0.1:9"))
    environ = {"AUTOSCALER_STATE": "sqlite"}

    async def recording():
        recorder = CycleRecorder(
            tmp_path / "state",
            RecordingLimits(1e9, 10**9),
            FakeClock(1_000.0),
            structlog.get_logger(),
            poll_interval_s=lambda: 10.0,
            in_thread=False,
        )
        async with recorder:
            return CliRunner().invoke(main, ["record", "--config", str(path)], env=environ)

    ran = asyncio.run(recording())
    assert ran.exit_code == 1
    assert "another process writes" in ran.output
