"""The dashboards: they are as their definition says, and each query can be answered."""

import re
import runpy
from collections import Counter

import promql_parser
import pytest

from autoscaler.adapters.prometheus import DaemonMetrics, PrometheusRecorder
from tests.dashboards import DIRECTORY, dashboards, panels, queries
from tests.fakes import FakeClock

EACH = pytest.mark.parametrize("dashboard", dashboards().values(), ids=dashboards())

OF_THE_PROCESS = frozenset(
    {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}
)
"""Metrics that the client library adds."""


def known_metrics():
    collectors = (PrometheusRecorder(FakeClock()), DaemonMetrics(FakeClock(), "1"))
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    return OF_THE_PROCESS | {
        family.name + ending
        for collector in collectors
        for family in collector.describe()
        for ending in endings.get(family.type, ("",))
    }


def test_the_files_are_those_of_their_definition():
    """Otherwise run deploy/grafana/generate.py."""
    generated = runpy.run_path(str(DIRECTORY / "generate.py"))["files"]()
    found = {path.name: path.read_text() for path in DIRECTORY.glob("*.json")}
    assert found == generated


def test_each_has_its_own_uid():
    uids = [dashboard["uid"] for dashboard in dashboards().values()]
    assert len(uids) == 3
    assert len(set(uids)) == len(uids)


@EACH
def test_every_query_is_valid_and_asks_for_metrics_that_exist(dashboard):
    known = known_metrics()
    asked = list(queries(dashboard, deployment="elser"))
    assert asked
    for query in asked:
        promql_parser.parse(query.expr)
        named = set(re.findall(r"\b(?:autoscaler|elasticsearch|process)_[a-z_]+", query.expr))
        assert named, query
        assert named <= known, query


@EACH
def test_every_panel_says_what_it_shows_in_which_unit(dashboard):
    for panel in panels(dashboard):
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@EACH
def test_the_data_source_is_a_variable(dashboard):
    assert dashboard["templating"]["list"][0]["name"] == "datasource"
    for panel in panels(dashboard):
        for each in (panel, *panel["targets"]):
            assert each["datasource"]["uid"] == "${datasource}", panel["title"]


@EACH
def test_panels_have_numbers_of_their_own_and_do_not_overlap(dashboard):
    numbers = Counter(panel["id"] for panel in dashboard["panels"])
    assert set(numbers.values()) == {1}
    taken = Counter(
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    )
    assert set(taken.values()) == {1}
    assert max(x for x, _ in taken) < 24


def test_the_link_of_the_fleet_opens_the_dashboard_of_a_deployment():
    fleet, deployment = dashboards()["fleet.json"], dashboards()["deployment.json"]
    (link,) = [
        found["url"]
        for panel in panels(fleet)
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "links"
        for found in each["value"]
    ]
    assert link.startswith(f"/d/{deployment['uid']}?")
    variables = {variable["name"] for variable in deployment["templating"]["list"]}
    assert {"datasource", "job", "deployment"} == variables
    assert "var-deployment=${__data.fields.Deployment}" in link
