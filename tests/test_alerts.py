"""The alerts: their metrics exist, each of them is tested and has a section of the runbook, and
those on the SLO are as their definition says."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from autoscaler.adapters.prometheus import DaemonMetrics, PrometheusRecorder
from tests.fakes import FakeClock

ROOT = Path(__file__).parents[1]
DIRECTORIES = pytest.mark.parametrize("directory", ["prometheus", "slo"])
ALERT = re.compile(r"- alert: (\w+)")
NEEDS_PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)


def text_of(directory: str, name: str) -> str:
    return (ROOT / "deploy" / directory / name).read_text()


def promtool(*arguments: str, directory: str) -> None:
    """Runs it; it must succeed."""
    ran = subprocess.run(
        ["promtool", *arguments],
        cwd=ROOT / "deploy" / directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@NEEDS_PROMTOOL
@DIRECTORIES
def test_they_are_valid(directory):
    promtool("check", "rules", "rules.yml", directory=directory)


@NEEDS_PROMTOOL
@DIRECTORIES
def test_they_fire_as_their_tests_expect(directory):
    promtool("test", "rules", "rules_test.yml", directory=directory)


@DIRECTORIES
def test_every_alert_is_tested(directory):
    alerts = ALERT.findall(text_of(directory, "rules.yml"))
    tested = text_of(directory, "rules_test.yml")
    assert alerts
    assert [alert for alert in alerts if f"alertname: {alert}\n" not in tested] == []


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        *(("prometheus", name) for name in ("rules.yml", "rules_test.yml")),
        *(("slo", name) for name in ("rules.yml", "rules_test.yml", "sloth.yml", "openslo.yml")),
    ],
)
def test_their_metrics_exist(directory, name):
    collectors = (PrometheusRecorder(FakeClock()), DaemonMetrics(FakeClock(), "1"))
    known = {
        family.name + ("_total" if family.type == "counter" else "")
        for collector in collectors
        for family in collector.describe()
    }
    named = set(re.findall(r"\b(?:autoscaler|elasticsearch)_[a-z_]+", text_of(directory, name)))
    assert named
    assert named <= known


@DIRECTORIES
def test_every_alert_has_a_section_of_the_runbook(directory):
    """Anchors are the headings in lower case, as all common renderers of Markdown make them."""
    _, *alerts = re.split(r"(?=- alert: )", text_of(directory, "rules.yml"))
    named = {ALERT.match(alert)[1]: re.search(r"runbook_url: (\S+)", alert) for alert in alerts}
    assert {name: found and found[1] for name, found in named.items()} == {
        name: f"docs/runbook.md#{name.lower()}" for name in named
    }
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert set(named) <= set(headings)


def test_every_section_of_the_runbook_has_an_alert():
    alerts = [
        alert
        for directory in ("prometheus", "slo")
        for alert in ALERT.findall(text_of(directory, "rules.yml"))
    ]
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(alerts)


def test_the_files_of_the_slo_are_those_of_its_definition():
    """Otherwise run deploy/slo/generate.py."""
    generated = runpy.run_path(str(ROOT / "deploy/slo/generate.py"))["files"]()
    assert {name: text_of("slo", name) for name in generated} == generated


def test_the_two_specifications_say_the_same():
    sloth, openslo = text_of("slo", "sloth.yml"), text_of("slo", "openslo.yml")
    percent = float(re.search(r"objective: (\S+)", sloth)[1])
    assert float(re.search(r"target: (\S+)", openslo)[1]) == percent / 100.0
    for kind, metric in (("error", "late_requests"), ("total", "requests")):
        query = re.search(rf"{kind}_query: .*rate\((\w+)\[", sloth)
        assert query[1] == f"autoscaler_slo_{metric}_total"
        assert f"({query[1]})" in openslo
