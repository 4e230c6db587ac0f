import shutil
import subprocess

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from autoscaler.adapters.prometheus import DaemonMetrics, PrometheusRecorder
from autoscaler.adapters.prometheus.counters import Histogram
from autoscaler.adapters.prometheus.recorder import MAX_DEPLOYMENTS_PER_NODE, STALE_AFTER_S
from autoscaler.core.decision import (
    CompletedRollout,
    ExternalChange,
    NoEffect,
    ObserveOnly,
    ObserveOnlyCause,
    OutcomeKind,
    Setting,
    Unmanaged,
)
from autoscaler.core.next_poll import NextPoll, PollCause
from autoscaler.core.shortfall import Shortfall, ShortfallCause
from autoscaler.core.state import FORGET_AFTER_S
from autoscaler.core.values import Cluster, DataIssue, NodeCapacity, Reason, Sample, Step
from autoscaler.ports import ClusterChangeKind, FailureKind, ObservationFailed
from autoscaler.wire.decisions import managed
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
    found = DaemonMetrics(clock, "1.2.3", lambda: {"rate": 7, "queue": 2})
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
    info = {"node": "ml-a", "node_id": "id-of-ml-a", "name": "ml-a", "version": "8.18.3"}
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
    assert registry.get_sample_value("autoscaler_left_out_deployments") == 0


def test_deployments_that_are_left_out_are_counted(recorder, registry):
    observation, *rest = busy_cycle()
    recorder.planned(replace(observation, left_out=7), *rest)
    assert registry.get_sample_value("autoscaler_left_out_deployments") == 7


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


def test_polls_are_counted_by_why_they_were_due(recorder, registry):
    early = NextPoll(within_s=2.0, cause=PollCause.QUEUE, deployment_id="elser")
    for due in (early, early, NextPoll(within_s=10.0)):
        recorder.planned(*cycle(next_poll=due))
    assert registry.get_sample_value("autoscaler_polls_total", {"cause": "routine"}) == 1.0, (
        "the first"
    )
    assert registry.get_sample_value("autoscaler_polls_total", {"cause": "queue"}) == 2.0
    assert registry.get_sample_value("autoscaler_next_poll_seconds") == 10.0
    recorder.planned(*cycle(next_poll=early))
    assert registry.get_sample_value("autoscaler_next_poll_seconds") == 2.0
    recorder.skipped(ObservationFailed(FailureKind.TIMEOUT, "no response"), at=1_000.0)
    recorder.planned(*cycle(next_poll=early))
    assert registry.get_sample_value("autoscaler_polls_total", {"cause": "queue"}) == 2.0
    assert registry.get_sample_value("autoscaler_polls_total", {"cause": "routine"}) == 3.0


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


def test_log_lines_that_were_not_written(daemon, registry):
    name = "autoscaler_log_lines_dropped_total"
    assert registry.get_sample_value(name, {"reason": "rate"}) == 7
    assert registry.get_sample_value(name, {"reason": "queue"}) == 2


def test_the_process_and_the_build(daemon, registry):
    assert registry.get_sample_value("autoscaler_build_info", {"version": "1.2.3"}) == 1
    text = generate_latest(registry)
    assert b"python_info" in text
    assert b"python_gc_collections_total" in text


class TestNodesOfOneName:
    """A name is no key: two nodes of one name are labelled by their ids, in any order."""

    ML_A = node(completed=1000)
    OTHER = node(node_id="other", completed=9000)

    @pytest.fixture
    def completed(self, recorder, registry):
        def found(*nodes, cluster=None):
            _, plan, outcomes, took = cycle()
            observed = observation(stats(nodes=nodes), cluster=cluster)
            recorder.planned(observed, plan, outcomes, took)
            return {
                sample.labels["node"]: sample.value
                for metric in registry.collect()
                for sample in metric.samples
                if sample.name == "elasticsearch_ml_deployment_node_inferences_total"
            }

        return found

    def test_a_unique_name_is_the_label(self, completed):
        assert completed(self.ML_A, node("ml-b", completed=7)) == {"ml-a": 1000, "ml-b": 7}

    def test_nodes_without_a_name_are_labelled_by_their_ids(self, completed):
        nameless = node("", node_id="nameless", completed=3)
        assert completed(self.ML_A, nameless) == {"ml-a": 1000, "nameless": 3}

    def test_the_order_makes_no_difference(self, completed):
        expected = {"id-of-ml-a": 1000, "other": 9000}
        assert completed(self.ML_A, self.OTHER) == expected
        assert completed(self.OTHER, self.ML_A) == expected

    def test_a_series_never_continues_with_the_totals_of_another_node(self, completed):
        assert completed(self.ML_A) == {"ml-a": 1000}
        assert completed(self.ML_A, self.OTHER) == {"id-of-ml-a": 1000, "other": 9000}
        assert completed(self.OTHER) == {"other": 9000}

    def test_nodes_of_two_deployments_are_distinguished_too(self, recorder, registry):
        _, plan, outcomes, took = cycle()
        observed = observation(stats(nodes=(self.ML_A,)), stats("e5", nodes=(self.OTHER,)))
        recorder.planned(observed, plan, outcomes, took)
        name = "elasticsearch_ml_deployment_node_inferences_total"
        for deployment, label in (("elser", "id-of-ml-a"), ("e5", "other")):
            labels = {"deployment": deployment, "node": label}
            assert registry.get_sample_value(name, labels) is not None

    def test_a_name_that_is_the_id_of_another_node(self, completed):
        impostor = node("other", node_id="third", completed=5)
        nodes = (node("ml-b", node_id="other", completed=9000), impostor)
        assert completed(*nodes) == {"ml-b": 9000, "third": 5}
        assert completed(*reversed(nodes)) == {"ml-b": 9000, "third": 5}

    def test_two_entries_about_one_node_are_one_series(self, completed):
        twice = (self.ML_A, node(completed=400))
        assert completed(*twice) == completed(*reversed(twice)) == {"ml-a": 1000}

    def test_the_families_of_nodes_have_a_row_for_each(self, completed, registry):
        nodes = tuple(
            NodeCapacity(node_id=node_id, name="ml-a", processors=8.0) for node_id in ("a", "b")
        )
        completed(cluster=Cluster(nodes=nodes))
        for label in ("a", "b"):
            labels = {"node": label, "node_id": label, "name": "ml-a", "version": ""}
            assert registry.get_sample_value("elasticsearch_ml_node_info", labels) == 1
            at = {"node": label}
            assert registry.get_sample_value("elasticsearch_ml_node_processors", at) == 8

    def test_a_node_that_the_cluster_still_lists_after_its_replacement(self, completed):
        """The nodes of the cluster are read less often than the statistics."""
        old = Cluster(nodes=(NodeCapacity(node_id="gone", name="ml-a"),))
        assert completed(self.ML_A, cluster=old) == {"ml-a": 1000}

    @pytest.mark.parametrize(
        ("name", "label"),
        [
            *((same, same) for same in ('a"b', "a\\b", "é", "{}", " ")),
            ("a\nb", r"a\nb"),
            ("a\x1b[2J\u202e", r"a\x1b[2J\u202e"),
            (r"a\x1b", r"a\\x1b"),
        ],
    )
    def test_odd_characters_are_escaped(self, completed, registry, name, label):
        completed(node(name))
        parsed = text_string_to_metric_families(generate_openmetrics(registry).decode())
        found = {
            sample.labels["node"]
            for family in parsed
            for sample in family.samples
            if sample.name == "elasticsearch_ml_deployment_node_allocations"
        }
        assert found == {label}


def value(registry, name, **labels):
    return registry.get_sample_value(name, {"deployment": "elser", **labels})


def test_missing_allocations_have_a_cause(recorder, registry):
    lost = steady(
        shortfall=Shortfall(
            since=990.0,
            progress_at=990.0,
            requested=24,
            running=16,
            lost=8,
            cause=ShortfallCause.LOST,
        )
    )
    recorder.planned(*cycle(outcome(lost, OutcomeKind.UNCHANGED)))
    assert value(registry, "autoscaler_missing_allocations", cause="lost") == 8
    recorder.planned(*cycle(outcome(steady(), OutcomeKind.UNCHANGED)))
    assert value(registry, "autoscaler_missing_allocations", cause="lost") is None


def test_observe_only_is_no_dry_run(recorder, registry):
    lacks = ObserveOnly(cause=ObserveOnlyCause.PRIVILEGE, sentence="grant manage_ml")
    recorder.planned(*cycle(outcome(decision(observe_only=lacks), OutcomeKind.OBSERVE_ONLY)))
    assert value(registry, "autoscaler_observe_only", reason="privilege") == 1
    assert value(registry, "autoscaler_dry_run") == 0
    assert value(registry, "autoscaler_updates_total", outcome="observe_only") == 1


def test_a_deployment_left_to_adaptive_allocations_is_not_managed(recorder, registry):
    left = steady(steps=(Step(Reason.ADAPTIVE_ENABLED, 3, 3),))
    recorder.planned(*cycle(outcome(left, OutcomeKind.UNCHANGED)))
    name = "autoscaler_managed"
    assert value(registry, name, rule="all", reason="adaptive_enabled") == 0
    assert value(registry, name, rule="all", reason="") is None


def test_external_changes_and_updates_without_effect_are_counted(recorder, registry):
    changed = ExternalChange(
        deployment_id="elser", at=1_000.0, before=Setting(8), after=Setting(4), times=3, hold_s=60.0
    )
    lost = NoEffect(
        deployment_id="elser",
        requested=Setting(6),
        shown=Setting(4),
        accepted_at=900.0,
        at=1_000.0,
        times=1,
        wait_s=60.0,
    )
    observed, plan, outcomes, took = cycle(
        outcome(steady(external_change=changed), OutcomeKind.UNCHANGED)
    )
    plan = replace(plan, external_changes=(changed,), no_effect=(lost,))
    recorder.planned(observed, plan, outcomes, took)
    assert value(registry, "autoscaler_external_changes_total") == 1
    assert value(registry, "autoscaler_second_writer") == 1
    assert value(registry, "autoscaler_updates_total", outcome="no_effect") == 1


@pytest.mark.parametrize(("at", "kept"), [(1_059.0, 1), (1_061.0, 0)])
def test_an_external_change_is_respected_only_as_long_as_it_holds(recorder, registry, at, kept):
    changed = ExternalChange(
        deployment_id="elser", at=1_000.0, before=Setting(8), after=Setting(4), times=1, hold_s=60.0
    )
    decided = steady(at=at, external_change=changed)
    recorder.planned(*cycle(outcome(decided, OutcomeKind.UNCHANGED)))
    assert value(registry, "autoscaler_external_change_respected") == kept
    shown = managed(outcome(decided, OutcomeKind.UNCHANGED)).external_change
    assert shown.respected is bool(kept)


def test_unknown_figures_are_counted_by_whether_a_decision_needs_them(recorder, registry):
    observed, plan, outcomes, took = cycle(outcome(steady(), OutcomeKind.UNCHANGED))
    odd = replace(observed, unreadable_figures={"elser": "deployment_stats.cache_size: odd"})
    recorder.planned(odd, plan, outcomes, took)
    lacking = replace(observed, unknown_figures={"elser": ("state",)})
    recorder.planned(lacking, plan, outcomes, took)
    recorder.planned(lacking, plan, outcomes, took)
    assert value(registry, "autoscaler_unknown_figures_total", figures="other") == 1
    assert value(registry, "autoscaler_unknown_figures_total", figures="needed") == 2
    unmanaged = replace(plan, decisions=())
    recorder.planned(lacking, unmanaged, (), took)
    assert value(registry, "autoscaler_unknown_figures_total", figures="other") == 2


@pytest.mark.parametrize("kind", ClusterChangeKind)
def test_changes_of_the_cluster_are_counted_from_the_start(recorder, registry, kind):
    name = "autoscaler_cluster_changes_total"
    assert registry.get_sample_value(name, {"kind": kind}) == 0
    recorder.cluster_changed(kind)
    assert registry.get_sample_value(name, {"kind": kind}) == 1


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


def test_the_mode_the_reason_and_the_issues_of_the_last_decision(recorder, registry):
    recorder.planned(*busy_cycle())
    mode = {"deployment": "elser", "mode": "direct"}
    assert registry.get_sample_value("autoscaler_control_mode", mode) == 1
    reason = {"deployment": "elser", "reason": "bounds"}
    assert registry.get_sample_value("autoscaler_decision_reason", reason) == 1
    issue = {"deployment": "e5", "issue": "counter_reset"}
    assert registry.get_sample_value("autoscaler_sample_issue", issue) == 1


def test_the_time_and_the_outcome_of_the_last_update(recorder, registry):
    """An update that turns out to have no effect was still sent when it was sent."""
    name = "autoscaler_last_update_timestamp_seconds"
    recorder.planned(*busy_cycle())
    accepted = {"deployment": "elser", "outcome": "accepted"}
    assert registry.get_sample_value(name, accepted) == 1_000.0
    assert registry.get_sample_value(name, {"deployment": "e5", "outcome": "unchanged"}) is None
    found = NoEffect(
        deployment_id="elser",
        requested=Setting(6),
        shown=Setting(3),
        accepted_at=1_000.0,
        at=1_200.0,
        times=1,
        wait_s=60.0,
    )
    observed, plan, outcomes, took = cycle(outcome(steady(), OutcomeKind.UNCHANGED), at=1_200.0)
    recorder.planned(observed, replace(plan, no_effect=(found,)), outcomes, took)
    ineffective = {"deployment": "elser", "outcome": "no_effect"}
    assert registry.get_sample_value(name, ineffective) == 1_000.0
    assert registry.get_sample_value(name, accepted) is None


def exported_by_node(registry):
    labels = {"deployment": "elser", "node": "ml-a"}
    allocations = registry.get_sample_value("elasticsearch_ml_deployment_node_allocations", labels)
    flag = registry.get_sample_value("autoscaler_per_node_metrics")
    assert flag == float(allocations is not None)
    return bool(flag)


@pytest.mark.parametrize(
    ("per_node", "further", "exported"),
    [
        (None, MAX_DEPLOYMENTS_PER_NODE - 1, True),
        (None, MAX_DEPLOYMENTS_PER_NODE, False),
        (True, MAX_DEPLOYMENTS_PER_NODE, True),
        (False, 0, False),
    ],
)
def test_metrics_by_node_depend_on_the_number_of_deployments_or_a_setting(
    recorder, registry, per_node, further, exported
):
    recorder.per_node = per_node
    names = ["elser", *(f"deployment-{n}" for n in range(further))]
    recorder.planned(*cycle(*(outcome(steady(name), OutcomeKind.UNCHANGED) for name in names)))
    assert exported_by_node(registry) is exported


def test_the_memory_of_a_nodes_processes_is_always_exported(recorder, registry):
    recorder.per_node = False
    recorder.planned(*busy_cycle())
    name = "elasticsearch_ml_node_process_memory_bytes"
    assert registry.get_sample_value(name, {"node": "ml-a"}) == 3 * 4096  # of three deployments


def test_the_level_is_that_of_the_status_page(recorder, registry):
    recorder.planned(
        *cycle(
            outcome(steady(), OutcomeKind.UNCHANGED),
            outcome(decision("e5"), OutcomeKind.NO_CAPACITY, "no room"),
            unmanaged={".hidden": Unmanaged.HIDDEN},
        )
    )
    found = {
        (sample.labels["deployment"], sample.labels["level"])
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "autoscaler_deployment_level"
    }
    assert found == {("elser", "fine"), ("e5", "trouble"), (".hidden", "unmanaged")}
