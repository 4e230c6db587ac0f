"""What the daemon has sent to Elasticsearch by OTLP becomes the load that the cluster counted."""

import asyncio

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from autoscaler.cli import main
from autoscaler.importing import elasticsearch
from autoscaler.interval_files import read_intervals
from autoscaler.simulation.scenario import scenario_of
from autoscaler.wire.intervals import Hardware, LoadInterval
from benchmarks.history import SCENARIO, run_history
from tests.importing.store import StoreResponse, as_json, served

pytest.importorskip("opentelemetry.proto", reason="the extra otel is not installed")

SINCE, UNTIL = 1_769_860_800.0, 1_769_862_000.0


@pytest.fixture(scope="module")
def stored():
    """Twenty minutes of exports, and what the cluster counted meanwhile."""
    from autoscaler.adapters.otlp.requests import metrics_requests
    from tests.importing.otel_store import OtelStore

    store = OtelStore()

    def export(recorder, at):
        registry = CollectorRegistry()
        registry.register(recorder)
        for request in metrics_requests(registry, {"service.instance.id": "a"}, SINCE, at):
            store.receive(request.body)

    counted = asyncio.run(run_history(scenario_of(SCENARIO), export, begin=SINCE, end=UNTIL))
    return store, counted


def run(answer, tmp_path, monkeypatch, *further):
    path = tmp_path / "load.jsonl"
    with served(answer) as url:
        monkeypatch.setenv("AUTOSCALER_ELASTICSEARCH__HOSTS", f'["{url}"]')
        monkeypatch.setenv("AUTOSCALER_RULES", '[{"name": "all", "max_allocations": 4}]')
        period = ("--from", str(int(SINCE) - 60), "--to", str(int(UNTIL) + 60))
        arguments = ["import", "elasticsearch", *period, *further, "--to-file", str(path)]
        result = CliRunner().invoke(main, arguments)
    return result, path


@pytest.mark.parametrize("page", [100, 2_000])
def test_the_requests_are_those_that_the_cluster_has_counted(stored, page, tmp_path, monkeypatch):
    store, counted = stored
    monkeypatch.setattr(elasticsearch, "PAGE", page)
    result, path = run(store.answer, tmp_path, monkeypatch)
    assert result.exit_code == 0, result.output
    header, *lines = read_intervals(path)
    assert header.source == "elasticsearch"
    assert [len(line.nodes) for line in lines if isinstance(line, Hardware)] == [3]
    intervals = [line for line in lines if isinstance(line, LoadInterval)]
    for id_, totals in counted.items():
        own = [line for line in intervals if line.deployment == id_]
        assert sum(line.arrivals for line in own) == totals.arrivals
        assert sum(line.completed for line in own) == totals.completed
        assert {round(line.interval_s) for line in own} == {60}
        assert all(line.nodes and line.requested and not line.issues for line in own)
    assert store.open == set()


def test_one_deployment_can_be_chosen(stored, tmp_path, monkeypatch):
    store, counted = stored
    result, _ = run(store.answer, tmp_path, monkeypatch, "--deployment", "e5-ingest")
    assert f"of 1 deployment with {counted['e5-ingest'].arrivals:,} arrivals" in result.output


def failing(response):
    def answer(request):
        product = (("X-Elastic-Product", "Elasticsearch"),)
        found = as_json({"id": "point"}) if request.path.endswith("/_pit") else response
        return found._replace(headers=product)

    return answer


def test_a_page_without_sort_values_is_not_read_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(elasticsearch, "PAGE", 1)
    response = as_json({"hits": {"hits": [{"fields": {}}]}})
    result, _ = run(failing(response), tmp_path, monkeypatch)
    assert result.exit_code == 1
    assert "documents have no sort values" in result.stderr


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (as_json({"hits": {"hits": []}}), "has no metrics of this program in that time"),
        (
            as_json({"hits": {"hits": []}, "_shards": {"failed": 2}}),
            "was read in part only: 2 shards have failed",
        ),
        (as_json({"hits": []}), "answers a search in a form that is not known"),
        (StoreResponse(200, b"<html>"), "answers a search in a form that is not known"),
        (
            as_json({"error": {"type": "security_exception", "reason": "no"}, "status": 403}, 403),
            "may not read metrics-generic.otel-*; grant the index privilege read for it",
        ),
        (
            as_json({"hits": {"hits": [{"fields": {"@timestamp": ["x"], "a": [None]}}]}}),
            "has no metrics of this program in that time",
        ),
    ],
)
def test_an_odd_response_is_one_sentence(response, reason, tmp_path, monkeypatch):
    result, path = run(failing(response), tmp_path, monkeypatch)
    assert result.exit_code == 1
    *progress, sentence = result.stderr.splitlines()
    assert all(line.startswith("import, minutes: ") for line in progress)
    assert sentence.startswith("autoscaler: ")
    assert reason in sentence
    assert "internal error" not in result.stderr
    assert not path.exists()
