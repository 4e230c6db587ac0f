import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from autoscaler.adapters.prometheus import DaemonMetrics, PrometheusRecorder
from autoscaler.adapters.prometheus.counters import Histogram
from autoscaler.adapters.prometheus.recorder import STALE_AFTER_S
from autoscaler.core.decision import CompletedRollout, OutcomeKind, Unmanaged
from autoscaler.core.state import FORGET_AFTER_S
from autoscaler.core.values import DataIssue, Sample
from autoscaler.ports import FailureKind, ObservationFailed
from tests.adapters.recorded import (
    cycle,
    decision,
    node,
    observation,
    outcome,
    stats,
    steady,
)
from tests.fakes import FakeClock


@pytest.fixture
def clock():
    return FakeClock(start=1_000.0)


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def recorder(registry, clock):
    found = PrometheusRecorder(clock)
    registry.register(found)
    return found


@pytest.fixture
def daemon(registry, clock):
    found = DaemonMetrics(clock, "1.2.3")
    found.register(registry)
    return found


def busy_cycle(at: float = 1_000.0):
    reset = Sample(at=at, interval_s=10.0, issues=(DataIssue.COUNTER_RESET,))
    rollout = CompletedRollout(
        deployment_id="elser", allocations=3, lead_time_s=25.0, new_node=True
    )
    return cycle(
        outcome(decision(), OutcomeKind.ACCEPTED),
        outcome(steady("e5", sample=reset, load=None, dry_run=True), OutcomeKind.UNCHANGED),
        at=at,
        unmanaged={".hidden": Unmanaged.HIDDEN},
        completed_rollouts=(rollout,),
        unreadable={"broken": "trained_model_stats[7]: Expected `int`"},
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requested_allocations", 3),
        ("target_allocations", 3),
        ("running_allocations", 2),
        ("live_allocations", 2),
        ("threads_per_allocation", 4),
        ("queue_capacity_requests", 1024),
        ("cache_size_bytes", 2048),
        ("required_memory_bytes", 8192),
        ("runtime_memory_bytes", 8193),
        ("peak_runtime_memory_bytes", 8194),
        ("created_timestamp_seconds", 50.0),
        ("inferences_total", 1000),
        ("errors_total", 1),
        ("rejections_total", 2),
        ("timeouts_total", 3),
        ("peak_throughput_per_second", 10.0),
        ("adaptive_allocations_enabled", 0),
        ("adaptive_allocations_minimum", 1),
        ("adaptive_allocations_maximum", 9),
    ],
)
def test_reported_values_of_a_deployment(recorder, registry, name, value):
    recorder.planned(*busy_cycle())
    got = registry.get_sample_value(f"elasticsearch_ml_deployment_{name}", {"deployment": "elser"})
    assert got == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allocations", 2),
        ("threads_per_allocation", 4),
        ("started_timestamp_seconds", 100.5),
        ("last_access_timestamp_seconds", 990.25),
        ("pending_requests", 7),
        ("inferences_total", 1000),
        ("inference_seconds_total", 80.0),
        ("cache_hits_total", 200),
        ("errors_total", 1),
        ("rejections_total", 2),
        ("timeouts_total", 3),
        ("mean_inference_seconds", 0.08),
        ("mean_inference_without_cache_hits_seconds", 0.1),
        ("mean_inference_last_minute_seconds", 0.09),
        ("throughput_last_minute_per_second", 2.0),
        ("cache_hits_last_minute", 11),
        ("peak_throughput_per_second", 10.0),
        ("resident_memory_bytes", 4096),
    ],
)
def test_reported_values_of_a_deployment_on_a_node(recorder, registry, name, value):
    recorder.planned(*busy_cycle())
    labels = {"deployment": "elser", "node": "ml-a"}
    assert registry.get_sample_value(f"elasticsearch_ml_deployment_node_{name}", labels) == value


def test_a_node_whose_process_is_not_ready_has_a_state_but_no_totals(recorder, registry):
    recorder.planned(*busy_cycle())
    labels = {"deployment": "elser", "node": "ml-b"}
    prefix = "elasticsearch_ml_deployment_node"
    assert registry.get_sample_value(f"{prefix}_inferences_total", labels) is None
    state = {**labels, "state": "starting"}
    assert registry.get_sample_value(f"{prefix}_routing_state", state) == 1


def test_information_about_deployments_and_nodes(recorder, registry):
    recorder.planned(*busy_cycle())
    info = {"deployment": "elser", "model": ".elser_model_2", "priority": "normal"}
    assert registry.get_sample_value("elasticsearch_ml_deployment_info", info) == 1
    state = {"deployment": "elser", "state": "started"}
    assert registry.get_sample_value("elasticsearch_ml_deployment_state", state) == 1
    info = {"node": "ml-a", "node_id": "id-of-ml-a", "version": "8.18.3"}
    assert registry.get_sample_value("elasticsearch_ml_node_info", info) == 1
    at = {"node": "ml-a"}
    assert registry.get_sample_value("elasticsearch_ml_node_processors", at) == 8
    assert registry.get_sample_value("elasticsearch_ml_node_free_memory_bytes", at) == 1 << 33
    assert registry.get_sample_value("elasticsearch_ml_upgrade_mode") == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recommended_allocations", 7),
        ("wanted_allocations", 7),
        ("desired_allocations", 6),
        ("minimum_allocations", 1),
        ("maximum_allocations", 6),
        ("dry_run", 0),
        ("arrival_rate_per_second", 60.0),
        ("throughput_per_second", 20.0),
        ("service_time_seconds", 0.1),
        ("offered_load_erlangs", 4.5),
        ("utilisation_ratio", 2.25),
        ("in_flight_requests", 7),
        ("pending_requests", 7),
        ("cache_hit_ratio", 0.25),
    ],
)
def test_derived_values(recorder, registry, name, value):
    recorder.planned(*busy_cycle())
    got = registry.get_sample_value(f"autoscaler_{name}", {"deployment": "elser"})
    assert got == pytest.approx(value)


def test_a_value_that_was_never_measured_has_no_series(recorder, registry):
    recorder.planned(*busy_cycle())
    e5 = {"deployment": "e5"}
    assert registry.get_sample_value("autoscaler_utilisation_ratio", e5) is None
    assert registry.get_sample_value("autoscaler_offered_load_erlangs", e5) is None
    assert registry.get_sample_value("autoscaler_dry_run", e5) == 1


def test_managed_deployments_and_reasons(recorder, registry):
    recorder.planned(*busy_cycle())
    managed = {"deployment": "elser", "rule": "all", "reason": ""}
    assert registry.get_sample_value("autoscaler_managed", managed) == 1
    not_managed = {"deployment": ".hidden", "rule": "", "reason": "hidden"}
    assert registry.get_sample_value("autoscaler_managed", not_managed) == 0
    assert registry.get_sample_value("autoscaler_unreadable_deployments") == 1


def test_decisions_updates_and_issues_are_counted(recorder, registry):
    for _ in range(3):
        recorder.planned(*busy_cycle())
    count = registry.get_sample_value
    bounded = {"deployment": "elser", "reason": "bounds"}
    assert count("autoscaler_decisions_total", bounded) == 3
    accepted = {"deployment": "elser", "outcome": "accepted"}
    assert count("autoscaler_updates_total", accepted) == 3
    unchanged = {"deployment": "e5", "outcome": "unchanged"}
    assert count("autoscaler_updates_total", unchanged) is None
    assert (
        count("autoscaler_sample_issues_total", {"deployment": "e5", "issue": "counter_reset"}) == 3
    )


def test_lead_times_are_separate_for_new_processes(recorder, registry):
    recorder.planned(*busy_cycle())
    labels = {"deployment": "elser", "new_node": "true"}
    assert registry.get_sample_value("autoscaler_lead_time_seconds_sum", labels) == 25.0
    bucket = "autoscaler_lead_time_seconds_bucket"
    assert registry.get_sample_value(bucket, {**labels, "le": "20.0"}) == 0
    assert registry.get_sample_value(bucket, {**labels, "le": "30.0"}) == 1


def test_cycles_are_timed_by_part(recorder, registry):
    recorder.planned(*busy_cycle())
    seconds = "autoscaler_cycle_duration_seconds_sum"
    assert registry.get_sample_value(seconds, {"part": "observe"}) == 0.2
    assert registry.get_sample_value(seconds, {"part": "plan"}) == 0.003
    assert registry.get_sample_value(seconds, {"part": "act"}) == 0.04


def test_failures_are_counted_by_kind_and_the_age_of_the_data_grows(recorder, registry, clock):
    value = registry.get_sample_value
    assert value("autoscaler_elasticsearch_up") is None
    recorder.planned(*busy_cycle())
    assert value("autoscaler_elasticsearch_up") == 1
    clock.pass_by(12.0)
    recorder.skipped(ObservationFailed(FailureKind.TIMEOUT, "too slow"), clock.now())
    assert value("autoscaler_elasticsearch_up") == 0
    assert value("autoscaler_observation_age_seconds") == 12.0
    assert value("autoscaler_observation_failures_total", {"kind": "timeout"}) == 1
    assert value("autoscaler_observation_failures_total", {"kind": "forbidden"}) == 0
    assert value("autoscaler_cycles_total", {"result": "completed"}) == 1
    assert value("autoscaler_cycles_total", {"result": "skipped"}) == 1


def test_without_any_observation_the_age_counts_from_the_start(registry, recorder, clock):
    clock.pass_by(30.0)
    assert registry.get_sample_value("autoscaler_observation_age_seconds") == 30.0


def test_old_values_are_no_longer_exported(recorder, registry, clock):
    recorder.planned(*busy_cycle())
    elser = {"deployment": "elser"}
    clock.pass_by(STALE_AFTER_S)
    assert registry.get_sample_value("autoscaler_desired_allocations", elser) == 6
    clock.pass_by(1.0)
    assert registry.get_sample_value("autoscaler_desired_allocations", elser) is None


def test_a_vanished_deployment_leaves_no_values_and_later_no_counts(recorder, registry, clock):
    recorder.planned(*busy_cycle())
    clock.pass_by(10.0)
    recorder.planned(*cycle(outcome(steady("e5"), OutcomeKind.UNCHANGED), at=clock.now()))
    assert registry.get_sample_value("autoscaler_desired_allocations", {"deployment": "e5"}) == 3
    assert b'requested_allocations{deployment="elser"}' not in generate_latest(registry)
    assert b'decisions_total{deployment="elser"' in generate_latest(registry)
    clock.pass_by(FORGET_AFTER_S)
    recorder.planned(*cycle(outcome(steady("e5"), OutcomeKind.UNCHANGED), at=clock.now()))
    assert b'"elser"' not in generate_latest(registry)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("autoscaler_wanted_allocations", "autoscaler_recommended_allocations"),
        ("autoscaler_pending_requests", "autoscaler_in_flight_requests"),
        (
            "elasticsearch_ml_deployment_live_allocations",
            "elasticsearch_ml_deployment_running_allocations",
        ),
    ],
)
def test_the_old_name_of_a_metric_names_the_new_one(recorder, registry, old, new):
    recorder.planned(*busy_cycle())
    elser = {"deployment": "elser"}
    assert registry.get_sample_value(old, elser) == registry.get_sample_value(new, elser)
    help_text = f"# HELP {old} Deprecated: use {new}.\n"
    assert help_text.encode() in generate_latest(registry)


def test_the_configuration_in_force(daemon, registry, clock):
    value = registry.get_sample_value
    assert value("autoscaler_config_last_reload_successful") is None
    daemon.config_accepted("cafe", 10.0)
    clock.pass_by(60.0)
    daemon.config_refused()
    assert value("autoscaler_config_info", {"fingerprint": "cafe"}) == 1
    assert value("autoscaler_poll_interval_seconds") == 10.0
    assert value("autoscaler_config_last_reload_successful") == 0
    assert value("autoscaler_config_last_reload_success_timestamp_seconds") == 1_000.0
    daemon.config_accepted("f00d", 5.0)
    assert value("autoscaler_config_info", {"fingerprint": "cafe"}) is None
    assert value("autoscaler_config_last_reload_successful") == 1


def test_the_process_and_the_build(daemon, registry):
    assert registry.get_sample_value("autoscaler_build_info", {"version": "1.2.3"}) == 1
    text = generate_latest(registry)
    assert b"python_info" in text
    assert b"python_gc_collections_total" in text


def test_no_two_nodes_of_a_deployment_share_a_series(recorder, registry):
    nodes = (node(), node(node_id="other"), node("", node_id="nameless"))
    _, plan, outcomes, took = cycle()
    recorder.planned(observation(stats(nodes=nodes)), plan, outcomes, took)
    name = "elasticsearch_ml_deployment_node_allocations"
    for label in ("ml-a", "other", "nameless"):
        assert registry.get_sample_value(name, {"deployment": "elser", "node": label}) == 2


def test_both_formats_are_valid_and_have_no_created_series(recorder, daemon, registry):
    daemon.config_accepted("cafe", 10.0)
    recorder.planned(*busy_cycle())
    openmetrics = generate_openmetrics(registry).decode()
    families = {family.name for family in text_string_to_metric_families(openmetrics)}
    assert {"autoscaler_decisions", "elasticsearch_ml_deployment_errors"} <= families
    ours = [line for line in openmetrics.splitlines() if not line.startswith("#")]
    assert not [line for line in ours if "_created{" in line or "_created " in line]


def test_two_recorders_cannot_share_a_registry(recorder, registry, clock):
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(PrometheusRecorder(clock))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_improve(recorder, daemon, registry):
    daemon.config_accepted("cafe", 10.0)
    recorder.planned(*busy_cycle())
    text = b"".join(
        line + b"\n"
        for line in generate_latest(registry).splitlines()
        if b"autoscaler_" in line or b"elasticsearch_" in line
    )
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_histogram_counts_a_value_in_every_bucket_that_holds_it():
    histogram = Histogram([1.0, 2.0])
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    counts = {sample.labels.get("le"): sample.value for sample in histogram.samples("h", {})}
    assert counts == {"1.0": 2, "2.0": 3, "+Inf": 4, None: 6.0}
