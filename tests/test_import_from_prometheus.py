"""Load that real Prometheus has kept is imported as the emulated cluster has counted it."""

import asyncio
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from autoscaler.cli import main
from autoscaler.interval_files import read_intervals
from autoscaler.simulation.scenario import scenario_of
from autoscaler.wire.intervals import LoadInterval
from benchmarks.history import SCENARIO, write_history
from tests.monitoring import LOOPBACK, free_port

pytestmark = [
    pytest.mark.deep,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("promtool") is None,
        reason="prometheus is not installed",
    ),
]

HOURS = 3.0


@contextmanager
def prometheus(history, folder):
    """The address of Prometheus with this history."""
    blocks, config = folder / "blocks", folder / "prometheus.yml"
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "-q", history, blocks], check=True
    )
    config.write_text("{}")
    url = f"http://{LOOPBACK}:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={blocks}",
        f"--web.listen-address={url.removeprefix('http://')}",
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not responds(url):
                assert process.poll() is None
            yield url
        finally:
            process.kill()


def responds(url):
    try:
        with urllib.request.urlopen(f"{url}/-/ready"):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Three hours that end now, and what the cluster counted in them."""
    path = tmp_path_factory.mktemp("history") / "history.om"
    end = time.time() // 60.0 * 60.0
    with path.open("w") as file:
        counted = asyncio.run(
            write_history(scenario_of(SCENARIO), file, begin=end - HOURS * 3_600.0, end=end)
        )
    return path, end, counted


def imported(url, path, *arguments):
    command = ["import", "prometheus", url, "--from", "4h", *arguments, "--to-file", str(path)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return [line for line in read_intervals(path) if isinstance(line, LoadInterval)]


def sums(lines):
    found = {}
    for line in lines:
        arrivals, completed, failed = found.get(line.deployment, (0, 0, 0))
        found[line.deployment] = (
            arrivals + line.arrivals,
            completed + line.completed,
            failed + line.failed,
        )
    return found


def test_the_requests_are_those_that_the_cluster_has_counted(history, tmp_path):
    """To the count: counters are differenced, and nothing is extrapolated."""
    written, _, counted = history
    with prometheus(written, tmp_path) as url:
        lines = imported(url, tmp_path / "load.jsonl.zst")
        coarse = imported(url, tmp_path / "coarse.jsonl", "--step", "5m")
        one = imported(url, tmp_path / "one.jsonl", "--deployment", "e5-ingest")
        query = "sum by (deployment) (rate(elasticsearch_ml_deployment_inferences_total[2m]))"
        rates = imported(url, tmp_path / "rates.jsonl", "--arrivals", query)
    assert sums(lines) == counted
    assert {(round(line.interval_s), line.issues) for line in lines} == {(60, ())}
    assert all(line.nodes and line.busy_s is not None for line in lines)
    assert {line.deployment for line in one} == {"e5-ingest"}
    assert sums(one)["e5-ingest"] == counted["e5-ingest"]
    # Five minutes begin and end at other instants, and miss some requests at either end.
    for id_, (arrivals, _, _) in sums(coarse).items():
        assert arrivals == pytest.approx(counted[id_].arrivals, rel=0.06)
    # Rates are extrapolated by Prometheus, and the first minutes have none.
    for id_, totals in counted.items():
        found = sum(line.arrivals for line in rates if line.deployment == id_)
        assert found == pytest.approx(totals.completed, rel=0.05)


def test_scrapes_that_are_missing_and_a_daemon_at_another_address_lose_no_request(
    history, tmp_path
):
    """Half an hour without scrapes; then an hour from another instance; two of them for a while."""
    written, end, counted = history
    damaged = tmp_path / "damaged.om"
    with written.open() as source, damaged.open("w") as target:
        for line in source:
            at = end if line.startswith("#") else float(line.rpartition(" ")[2])
            ago = (end - at) / 60.0
            other = line.replace("127.0.0.1:9464", "10.0.0.7:9464")
            if 130.0 < ago < 160.0:
                continue
            if ago > 60.0 or line.startswith("#"):
                target.write(line)
            elif ago > 50.0:
                target.write(line + other)
            else:
                target.write(other)
    with prometheus(damaged, tmp_path) as url:
        lines = imported(url, tmp_path / "load.jsonl")
    assert sums(lines) == counted
    assert {line.issues for line in lines} == {(), ("observation_gap",)}
    gaps = [line.interval_s for line in lines if line.issues]
    assert all(1_500.0 < gap < 1_900.0 for gap in gaps)
    assert len(gaps) == len(counted)
