"""Real Prometheus scrapes real daemons, answers the dashboards, and has Alertmanager notify."""

import re
import shutil

import pytest

from tests.dashboards import dashboards, queries
from tests.monitoring import Monitoring, autoscaler, free_port

pytestmark = [
    pytest.mark.deep,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("prometheus-alertmanager") is None,
        reason="prometheus and prometheus-alertmanager are not installed",
    ),
]

SCALED = {
    "alert": "Scaled",
    "expr": 'sum(autoscaler_updates_total{job="demo", outcome="accepted"}) >= 3 and '
    'sum(count_over_time(autoscaler_elasticsearch_up{job="demo"}[1m])) >= 20',
}
"""The demo has been scraped for a while, and has scaled its deployments."""

ONLY_AT_TIMES = {
    "Offered load: forecast, 95%": "a forecast takes days",
    "Offered load: recurring": "a load must recur",
    "Late requests: expected after loading": "allocations must be loading",
    "Queue wait: after loading": "allocations must be loading",
    "Refused requests: {{reason}}": "a request must have been refused",
    "annotation: Updates": "within a minute of an update",
}
"""Series that are absent while there is nothing to show, and why."""

CONFIG = """
state_dir = "state"
[elasticsearch]
hosts = ["{url}"]
username = "operator"
password_file = "password"
[server]
port = {port}
[[rules]]
name = "watched"
deployments = ["elser-search"]
max_allocations = 4
dry_run = true
[[rules]]
name = "all"
max_allocations = 4
"""


def test_the_dashboards_have_data_and_a_wrong_password_notifies_the_operator(tmp_path, monkeypatch):
    monkeypatch.delenv("AUTOSCALER_STATE", raising=False)  # of the tests
    port = free_port()
    password = tmp_path / "password"
    password.write_text("right")
    password.chmod(0o600)
    with (
        autoscaler("demo", "--keep-running", "--speed", "20") as demo,
        autoscaler("emulate", "--port", "0", "--user", "operator:right") as emulator,
    ):
        url = re.search(r"http://\S+", emulator.stdout.readline())[0].rstrip(".;,")
        config = tmp_path / "config.toml"
        config.write_text(CONFIG.format(url=url, port=port))
        metrics = next(
            found for line in demo.stdout if (found := re.search(r"Metrics: .*:(\d+)/", line))
        )
        targets = {"demo": int(metrics[1]), "autoscaler": port}
        with (
            autoscaler("run", "--config", str(config)),
            Monitoring(tmp_path, targets, rules=(SCALED,)) as monitoring,
        ):
            monitoring.alert("Scaled")
            assert without_data(monitoring) == []
            password.write_text("wrong")
            alert = monitoring.alert("AutoscalerForbidden")
    assert alert["status"] == "firing"
    assert alert["labels"]["job"] == "autoscaler"
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["runbook_url"] == "docs/runbook.md#autoscalerforbidden"


def without_data(monitoring):
    """The queries of all dashboards that find nothing, except those that need not."""
    return [
        str(query)
        for dashboard in dashboards().values()
        for query in queries(dashboard, deployment="elser-search")
        if not monitoring.query(query.expr) and str(query) not in ONLY_AT_TIMES
    ]
