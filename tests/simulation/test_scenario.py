import textwrap

import pytest

from autoscaler.simulation import scenario as scenario_module
from autoscaler.simulation.emulator.building import build_cluster
from autoscaler.simulation.loads import Diurnal, OnOff, Ramp, Spike, Steady, arrivals_of
from autoscaler.simulation.scenario import (
    ClusterScenarioError,
    adjust,
    check_scenario,
    read_scenario,
    sample_scenario,
)

COMPLETE = """
version = "8.19.4"
name = "test"
seed = 3
speed = 60.0
can_grow = true

[[nodes]]
name = "ml-1"
processors = 4
memory = "8gb"
zone = "a"

[[nodes]]
node_id = "n2"
name = "ml-2"

[[models]]
model_id = "e5"
size = "120mb"
service_time_s = 0.02
cache_hit_fraction = 0.1

[[deployments]]
model_id = "e5"
deployment_id = "search"
number_of_allocations = 2
threads_per_allocation = 2
queue_capacity = 100
cache_size = "10mb"
load = {kind = "diurnal", mean_per_s = 10, peak_per_s = 15, period_s = 3600}

[[deployments]]
model_id = "e5"
deployment_id = "ingest"
adaptive_allocations = {enabled = true, min_number_of_allocations = 1}

[[endpoints]]
inference_id = "ingest"
service = "elser"

[[endpoints]]
inference_id = "mine"
deployment_id = "search"
task_type = "rerank"

[security]
roles = {scaling = ["manage_ml"]}
accounts = [{username = "a", password = "b", roles = ["scaling"]}]
"""


def written(tmp_path, text):
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    return path


def test_a_file_with_all_settings(tmp_path):
    scenario = read_scenario(written(tmp_path, COMPLETE))
    assert (scenario.version, scenario.speed, scenario.can_grow) == ("8.19.4", 60.0, True)
    search, ingest = scenario.deployments
    assert search.load == Diurnal(mean_per_s=10.0, peak_per_s=15.0, period_s=3600.0)
    assert ingest.adaptive_allocations.enabled
    assert [endpoint.serves for endpoint in scenario.endpoints] == ["ingest", "search"]
    cluster = build_cluster(scenario, now=1_760_000_000.0)
    assert set(cluster.nodes) == {"ml-1", "n2"}
    assert cluster.nodes["ml-1"].memory_bytes == 8 << 30
    assert cluster.behaviour.number == "8.19.4"
    deployment = cluster.deployments["search"]
    assert deployment.parameters.cache_bytes == 10 << 20
    assert deployment.parameters.queue_capacity == 100
    assert deployment.allocation_state() == "fully_allocated"
    assert cluster.now == 1_760_000_000.0


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ('{kind = "steady", rate_per_s = 5}', Steady(rate_per_s=5.0)),
        (
            '{kind = "ramp", from_per_s = 1, to_per_s = 5, over_s = 60}',
            Ramp(from_per_s=1.0, to_per_s=5.0, over_s=60.0),
        ),
        (
            '{kind = "spike", base_per_s = 1, peak_per_s = 9, after_s = 60, for_s = 30}',
            Spike(base_per_s=1.0, peak_per_s=9.0, after_s=60.0, for_s=30.0),
        ),
        (
            '{kind = "on_off", rate_per_s = 5, on_s = 60, off_s = 30}',
            OnOff(rate_per_s=5.0, on_s=60.0, off_s=30.0),
        ),
    ],
)
def test_every_kind_of_load_can_be_described(tmp_path, load, expected):
    text = f"""
        nodes = [{{name = "n"}}]
        models = [{{model_id = "m"}}]
        deployments = [{{model_id = "m", load = {load}}}]
    """
    assert read_scenario(written(tmp_path, text)).deployments[0].load == expected


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("processors = 4", "processors = 0"), "nodes[0].processors"),
        (("processors = 4", "cpus = 4"), "nodes[0]"),
        (('memory = "8gb"', 'memory = "much"'), "nodes[0].memory"),
        (('version = "8.19.4"', 'version = "7.17"'), "version"),
        (('name = "ml-2"', ""), "nodes[1]"),
        (('node_id = "n2"', 'node_id = "ml-1"'), "nodes[1]"),
        (('deployment_id = "ingest"', 'deployment_id = "search"'), "deployments[1]"),
        (('"diurnal"', '"lunar"'), "deployments[0].load"),
        (("queue_capacity = 100", "queue_capacity = true"), "deployments[0].queue_capacity"),
        (("enabled = true", "enable = true"), "deployments[1].adaptive_allocations"),
        (('inference_id = "mine"', 'inference_id = "ingest"'), "endpoints[1]"),
        (('"search"\ntask_type', '"sarch"\ntask_type'), "endpoints[1]"),
        (('"elser"', '"openai"'), "endpoints[0].service"),
        (("speed = 60.0", "speed = 0"), "speed"),
        (('model_id = "e5"\nsize', 'model_id = "e6"\nsize'), "deployments[0].model_id"),
        (("seed = 3", "seed = "), "scenario.toml"),
    ],
)
def test_an_error_is_reported_with_file_and_key(tmp_path, change, key):
    path = written(tmp_path, COMPLETE.replace(*change, 1))
    with pytest.raises(ClusterScenarioError) as error:
        read_scenario(path)
    assert str(path) in str(error.value)
    assert key in str(error.value)
    assert "\n" not in str(error.value)


def test_the_example_in_the_documentation_works(tmp_path):
    example = textwrap.dedent(scenario_module.__doc__.partition("\n")[2])
    read = read_scenario(written(tmp_path, example))
    assert read.deployments[0].load == Steady(rate_per_s=60.0)
    build_cluster(read, now=1_760_000_000.0)


def test_a_trace_is_found_beside_the_scenario(tmp_path):
    (tmp_path / "two.csv").write_text("t_seconds,requests\n0,30\n60,60\n")
    text = """
        nodes = [{name = "n"}]
        models = [{model_id = "m"}]
        deployments = [{model_id = "m", load = {kind = "trace", file = "two.csv"}}]
    """
    load = read_scenario(written(tmp_path, text)).deployments[0].load
    assert len(list(arrivals_of(load, 0.0))) == 90
    with pytest.raises(ClusterScenarioError, match=r"deployments\[0\]\.load.*three\.csv"):
        read_scenario(written(tmp_path, text.replace("two.csv", "three.csv")))


def test_an_inconsistent_load(tmp_path):
    text = """
        nodes = [{name = "n"}]
        models = [{model_id = "m"}]
        deployments = [
            {model_id = "m", load = {kind = "diurnal", mean_per_s = 1, peak_per_s = 9}}
        ]
    """
    with pytest.raises(ClusterScenarioError, match=r"deployments\[0\]\.load: .*peak"):
        read_scenario(written(tmp_path, text))


def test_a_missing_file(tmp_path):
    with pytest.raises(ClusterScenarioError, match=r"gone\.toml"):
        read_scenario(tmp_path / "gone.toml")


def test_a_cluster_needs_nodes(tmp_path):
    with pytest.raises(ClusterScenarioError, match="nodes"):
        read_scenario(written(tmp_path, "nodes = []"))


def test_the_sample_is_small_and_complete():
    scenario = sample_scenario(load=False)
    check_scenario(scenario)
    cluster = build_cluster(scenario, now=1_760_000_000.0)
    assert len(cluster.nodes) == 3
    assert len(cluster.models) > len(cluster.deployments) == 3
    assert any(d.adaptive is not None for d in cluster.deployments.values())
    assert all(d.allocation_state() == "fully_allocated" for d in cluster.deployments.values())


def test_an_older_version_omits_missing_features():
    assert any(d.adaptive_allocations for d in sample_scenario(version="8.16").deployments)
    assert not any(d.adaptive_allocations for d in sample_scenario(version="8.12").deployments)
    assert all(d.id == d.model_id for d in sample_scenario(version="8.6").deployments)


def test_serverless_is_a_version_like_any_other(tmp_path):
    read = read_scenario(written(tmp_path, COMPLETE.replace("8.19.4", "serverless")))
    cluster = build_cluster(read, now=1_760_000_000.0)
    assert all(deployment.adaptive.enabled for deployment in cluster.deployments.values())
    assert sample_scenario(version="serverless").version == "serverless"


def test_endpoints_are_omitted_in_versions_without_them(tmp_path):
    read = read_scenario(written(tmp_path, COMPLETE))
    assert adjust(read, version="8.11").endpoints == read.endpoints
    assert adjust(read, version="8.10").endpoints == []


def test_the_command_line_takes_precedence():
    adjusted = adjust(sample_scenario(), version="8.19.4", load=False, speed=60.0, user="me:secret")
    assert (adjusted.version, adjusted.speed) == ("8.19.4", 60.0)
    assert all(deployment.load is None for deployment in adjusted.deployments)
    assert [account.username for account in adjusted.security.accounts] == ["me"]
    assert adjust(adjusted) == adjusted


@pytest.mark.parametrize(
    "arguments", [{"version": "7.0"}, {"speed": 0.0}, {"speed": float("inf")}, {"user": "me"}]
)
def test_invalid_arguments(arguments):
    with pytest.raises(ClusterScenarioError, match=r"version|speed|user"):
        adjust(sample_scenario(), **arguments)


@pytest.mark.parametrize(
    ("version", "key"), [("8.12", "adaptive_allocations"), ("8.6", "deployment_id")]
)
def test_a_file_must_not_use_missing_features(tmp_path, version, key):
    adaptive = "adaptive_allocations = {enabled = true, min_number_of_allocations = 1}"
    text = COMPLETE.replace("8.19.4", version)
    if key != "adaptive_allocations":
        text = text.replace(adaptive, "")
    text = text.partition("[[endpoints]]")[0]
    with pytest.raises(ClusterScenarioError, match=rf"deployments\[\d\]\.{key}"):
        read_scenario(written(tmp_path, text))


def test_a_file_must_not_define_endpoints_in_a_version_without_them(tmp_path):
    text = """
        version = "8.10"
        nodes = [{name = "n"}]
        models = [{model_id = "m"}]
        deployments = [{model_id = "m"}]
        endpoints = [{inference_id = "m"}]
    """
    with pytest.raises(
        ClusterScenarioError, match=r"endpoints\[0\]: version 8\.10\.0 has no inference API"
    ):
        read_scenario(written(tmp_path, text))
