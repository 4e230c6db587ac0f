"""The emulator as a library: what the tests of another program can do with it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import aiohttp
import elasticsearch8
import elasticsearch9
import pytest

from autoscaler.emulator import ClusterScenarioError, serve

ROOT = Path(__file__).parents[1]

SCENARIO = {
    "version": "9.2",
    "nodes": [{"name": "only", "processors": 4}],
    "models": [{"model_id": "e5", "service_time_s": 0.1, "load_s": 20.0}],
    "deployments": [{"model_id": "e5", "load": {"kind": "steady", "rate_per_s": 5.0}}],
}


def _stats(client, deployment_id):
    (entry,) = client.ml.get_trained_models_stats(model_id=deployment_id)["trained_model_stats"]
    return entry["deployment_stats"]


def test_time_stands_still_until_it_is_advanced():
    with serve(SCENARIO) as cluster:
        client = elasticsearch9.Elasticsearch(cluster.url)
        before = _stats(client, "e5").get("inference_count", 0)
        assert _stats(client, "e5").get("inference_count", 0) == before
        began = cluster.now
        cluster.advance(600)
        assert cluster.now == began + 600
        assert _stats(client, "e5")["inference_count"] == pytest.approx(before + 3000, rel=0.1)


def test_a_request_that_waits_lets_as_much_time_pass_as_it_needs():
    with serve(SCENARIO) as cluster:
        client = elasticsearch9.Elasticsearch(cluster.url)
        began = cluster.now
        client.ml.start_trained_model_deployment(
            model_id="e5", deployment_id="second", wait_for="fully_allocated"
        )
        assert 20.0 <= cluster.now - began < 21.0


def test_the_same_calls_give_the_same_history():
    def history():
        with serve(SCENARIO) as cluster:
            client = elasticsearch9.Elasticsearch(cluster.url)
            cluster.advance(100)
            client.ml.update_trained_model_deployment(model_id="e5", number_of_allocations=3)
            cluster.advance(100)
            return _stats(client, "e5")

    assert history() == history()


def test_requests_of_several_threads_are_served_together():
    with serve(SCENARIO, load=False) as cluster, ThreadPoolExecutor(8) as threads:
        client = elasticsearch9.Elasticsearch(cluster.url)
        infer = client.ml.infer_trained_model
        calls = [
            threads.submit(infer, model_id="e5", docs=[{"text_field": str(i)}]) for i in range(40)
        ]
        assert all(call.result()["inference_results"] for call in calls)
        assert _stats(client, "e5")["inference_count"] == 40


async def test_it_serves_an_asynchronous_program_too():
    with serve(version="8.19", load=False) as cluster:
        async with aiohttp.ClientSession(cluster.url) as session:
            document = await (await session.get("/")).json()
    assert document["version"]["number"] == "8.19.0"


def test_several_clusters_run_side_by_side():
    with serve(version="8.6") as old, serve(version="9.5") as new:
        numbers = [
            elasticsearch8.Elasticsearch(old.url).info()["version"]["number"],
            elasticsearch9.Elasticsearch(new.url).info()["version"]["number"],
        ]
    assert numbers == ["8.6.0", "9.5.0"]


def test_a_scenario_can_be_a_file_and_require_credentials(tmp_path):
    path = tmp_path / "cluster.toml"
    path.write_text('nodes = [{name = "a"}]')
    with serve(str(path)) as cluster:
        assert elasticsearch9.Elasticsearch(cluster.url).info()["tagline"]
    with serve(path, user="elastic:secret") as cluster:
        with pytest.raises(elasticsearch9.AuthenticationException):
            elasticsearch9.Elasticsearch(cluster.url).info()
        client = elasticsearch9.Elasticsearch(cluster.url, basic_auth=("elastic", "secret"))
        assert client.info()["tagline"]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"scenario": {"nodes": []}}, "nodes"),
        ({"scenario": {"nodes": [{"name": "a", "cores": 8}]}}, r"nodes\[\.\.\.\]|nodes\[0\]"),
        ({"version": "7.17"}, "version"),
        ({"version": 9.2}, "version"),
        ({"scenario": "nowhere.toml"}, "nowhere.toml"),
        ({"scenario": {"nodes": [{"name": "a", "memory": "16"}]}}, "memory"),
        ({"scenario": {"nodes": [{"name": "a", "memory": "0b"}]}}, "memory"),
        ({"user": "elastic"}, "user"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments, key):
    with pytest.raises(ClusterScenarioError, match=key), serve(**arguments):
        pass


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_does_not_pass_backwards_or_for_ever(seconds):
    with serve(SCENARIO) as cluster, pytest.raises(ValueError, match="negative or infinite"):
        cluster.advance(seconds)


PROGRAM = """
    \"\"\"Another program: keeps the queue of a deployment short.\"\"\"
    from elasticsearch9 import Elasticsearch

    def step(client, deployment_id, per_allocation=10):
        stats = client.ml.get_trained_models_stats(model_id=deployment_id)
        deployment = stats["trained_model_stats"][0]["deployment_stats"]
        waiting = sum(n.get("number_of_pending_requests", 0) for n in deployment["nodes"])
        needed = min(4, -(-waiting // per_allocation))
        if needed > deployment["number_of_allocations"]:
            client.ml.update_trained_model_deployment(
                model_id=deployment_id, number_of_allocations=needed
            )
"""
CONFTEST = """
    pytest_plugins = ["autoscaler.emulator.pytest_plugin"]
"""
TESTS = """
    from elasticsearch9 import Elasticsearch
    import program

    def test_it_adds_allocations_for_a_queue(emulated_elasticsearch):
        cluster = emulated_elasticsearch({
            "nodes": [{"name": "ml-1", "processors": 4}],
            "models": [{"model_id": "e5", "service_time_s": 0.1}],
            "deployments": [{"model_id": "e5", "load": {"kind": "steady", "rate_per_s": 25.0}}],
        })
        client = Elasticsearch(cluster.url)
        for _ in range(12):
            cluster.advance(10)
            program.step(client, "e5")
        stats = client.ml.get_trained_models_stats(model_id="e5")
        assert stats["trained_model_stats"][0]["deployment_stats"]["number_of_allocations"] == 4

    def test_each_call_of_the_fixture_serves_another_cluster(emulated_elasticsearch):
        assert emulated_elasticsearch().url != emulated_elasticsearch(version="8.19").url
"""


def test_another_program_uses_the_fixture(tmp_path):
    """The whole of it is here: a program on the official client, and its tests."""
    for name, text in (("program", PROGRAM), ("conftest", CONFTEST), ("test_program", TESTS)):
        (tmp_path / f"{name}.py").write_text(dedent(text))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
