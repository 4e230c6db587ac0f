"""Each figure that `explain` and the HTTP server show is a metric, or has a reason not to be one.

The tables name every field of the views. A field that is added has to be entered here.
"""

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
from msgspec import Struct
from prometheus_client import CollectorRegistry

from autoscaler.adapters.prometheus import DaemonMetrics, PrometheusRecorder
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.instructions import Override, Pause, PausedChanges
from autoscaler.core.slo_status import (
    Expectation,
    ForecastStatus,
    RecurrenceStatus,
    SloStatus,
)
from autoscaler.wire import decision_views as views
from autoscaler.wire.decisions import managed
from tests.adapters.recorded import cycle, outcome, steady
from tests.fakes import FakeClock

TEXT = "a text; a label of unbounded values would be a new series for each of them"
OF_STEPS = "a decision has any number of steps; its first, its last and its reason are metrics"
OF_CANDIDATES = "of counts that were compared; what is expected now and after loading are metrics"
SETTING = "a setting that no cycle changes"

METRICS: dict[type[Struct], dict[str, str]] = {
    views.ManagedView: {
        "deployment": "label deployment",
        "model": "elasticsearch_ml_deployment_info",
        "running": "autoscaler_working_allocations",
        "requested": "elasticsearch_ml_deployment_requested_allocations",
        "mode": "autoscaler_control_mode",
        "at": "autoscaler_observation_age_seconds",
        "rule": "autoscaler_managed",
        "dry_run": "autoscaler_dry_run",
        "current": "autoscaler_current_allocations",
        "recommended": "autoscaler_recommended_allocations",
        "desired": "autoscaler_desired_allocations",
        "min_allocations": "autoscaler_minimum_allocations",
        "max_allocations": "autoscaler_maximum_allocations",
        "reason": "autoscaler_decision_reason",
    },
    views.UnmanagedView: {
        "deployment": "label deployment",
        "reason": "autoscaler_managed",
    },
    views.VanishedView: {"deployment": "label deployment"},
    views.SloView: {
        "target": "autoscaler_slo_target_ratio",
        "unreachable": "autoscaler_slo_unreachable",
        "max_queue_wait_s": "autoscaler_slo_max_queue_wait_seconds",
        "caller_timeout_s": "autoscaler_caller_timeout_seconds",
        "requests": "autoscaler_slo_requests",
        "late_requests": "autoscaler_slo_late_requests",
        "attainment": "autoscaler_slo_attainment_ratio",
        "budget_left": "autoscaler_error_budget_left_ratio",
        "expected_attainment": "autoscaler_slo_expected_attainment_ratio",
        "preventable_fraction": "autoscaler_preventable_late_ratio",
        "violation_weight": "autoscaler_violation_weight_allocations",
        "load": "autoscaler_expected_load_erlangs",
        "load_stddev": "autoscaler_expected_load_stddev_erlangs",
        "load_at_most": "autoscaler_load_at_most_erlangs",
        "backlog_requests": "autoscaler_backlog_requests",
        "backlog_allocations": "autoscaler_backlog_allocations",
        "after_new_node": "autoscaler_after_new_node_allocations",
    },
    views.ShadowView: {
        "requested": "autoscaler_shadow_requested_allocations",
        "running": "autoscaler_shadow_allocations",
    },
    views.ForecastView: {
        "trusted": "autoscaler_forecast_trusted",
        "load": "autoscaler_forecast_load_erlangs",
        "median_load": "autoscaler_forecast_median_load_erlangs",
        "error_ratio": "autoscaler_forecast_error_ratio",
        "coverage": "autoscaler_forecast_coverage_ratio",
        "allocations": "autoscaler_forecast_allocations",
    },
    views.RecurrenceView: {
        "every_s": "autoscaler_recurrence_period_seconds",
        "load": "autoscaler_recurring_load_erlangs",
        "change_in_s": "autoscaler_recurring_change_seconds",
        "allocations": "autoscaler_recurring_allocations",
    },
    views.ExpectationView: {
        "late_fraction": "autoscaler_late_ratio_now",
        "queue_wait_s": "autoscaler_queue_wait_now_seconds",
    },
    views.LoadView: {
        "arrival_rate_per_s": "autoscaler_arrival_rate_per_second",
        "throughput_per_s": "autoscaler_throughput_per_second",
        "service_time_s": "autoscaler_service_time_seconds",
        "offered_load": "autoscaler_offered_load_erlangs",
        "cache_hit_fraction": "autoscaler_cache_hit_ratio",
        "in_flight": "autoscaler_in_flight_requests",
    },
    views.SampleView: {
        "at": "autoscaler_observation_age_seconds",
        "arrivals": "autoscaler_arrival_rate_per_second",
        "completed": "elasticsearch_ml_deployment_inferences",
        "cache_hits": "autoscaler_cache_hit_ratio",
        "failed": "elasticsearch_ml_deployment_errors",
        "timeouts": "elasticsearch_ml_deployment_timeouts",
        "queue_growth": "autoscaler_in_flight_requests",
        "in_flight": "autoscaler_in_flight_requests",
        "issues": "autoscaler_sample_issue",
    },
    views.OutcomeView: {
        "at": "autoscaler_last_update_timestamp_seconds",
        "current": "autoscaler_current_allocations",
        "desired": "autoscaler_desired_allocations",
        "kind": "autoscaler_updates",
    },
    views.ShortfallView: {
        "since": "autoscaler_missing_allocations_since_timestamp_seconds",
        "missing": "autoscaler_missing_allocations",
        "lost": "autoscaler_missing_allocations",
        "cause": "autoscaler_missing_allocations",
    },
    views.ReportedView: {
        "state": "elasticsearch_ml_deployment_state",
        "problem": "elasticsearch_ml_deployment_allocation_state",
    },
    views.RouteView: {"state": "elasticsearch_ml_deployment_node_routing_state"},
    views.ExternalChangeView: {
        "at": "autoscaler_external_change_timestamp_seconds",
        "times": "autoscaler_external_changes",
        "second_writer": "autoscaler_second_writer",
        "respected": "autoscaler_external_change_respected",
    },
    views.ObserveOnlyView: {"cause": "autoscaler_observe_only"},
    views.InstructionView: {
        "deployment": "label deployment",
        "kind": "autoscaler_paused",
        "changes": "autoscaler_paused",
        "allocations": "autoscaler_override_allocations",
        "until": "autoscaler_paused_until_timestamp_seconds",
    },
    views.RolloutView: {
        "verdict": "autoscaler_rollout",
        "active": "autoscaler_rollout",
        "difference": "autoscaler_rollout_late_difference_ratio",
        "difference_half_width": "autoscaler_rollout_late_difference_half_width_ratio",
        "next_active_at": "autoscaler_rollout_next_active_timestamp_seconds",
        "evidence": "autoscaler_rollout_loss_evidence_ratio",
    },
    views.RolloutTotalsView: {
        "hours": "autoscaler_rollout_seconds",
        "requests": "autoscaler_rollout_requests",
        "late_requests": "autoscaler_rollout_late_requests",
        "allocation_hours": "autoscaler_rollout_allocation_seconds",
    },
    views.ResponseHeader: {
        "autoscaler": "autoscaler_build_info",
        "at": "autoscaler_observation_age_seconds",
        "age_s": "autoscaler_observation_age_seconds",
        "failure": "autoscaler_observation_failures",
        "reload_failure": "autoscaler_config_last_reload_successful",
    },
    views.NextPollView: {
        "within_s": "autoscaler_next_poll_seconds",
        "cause": "autoscaler_polls",
    },
    views.LeadershipView: {"leads": "autoscaler_leader"},
}

NO_METRIC: dict[type[Struct], dict[str, str]] = {
    views.ManagedView: dict.fromkeys(
        ("running_text", "change", "message", "no_shadow_because"), TEXT
    )
    | {"unchanged_because": TEXT},
    views.ShadowView: {"message": TEXT},
    views.UnmanagedView: {"message": TEXT},
    views.VanishedView: {
        "message": TEXT,
        "at": "it has no series any more; the time of its last one is when it vanished",
        "allocations": "it has none any more",
    },
    views.ExpectationView: {"allocations": "the working, and the desired allocations"},
    views.StepView: dict.fromkeys(("reason", "before", "after", "message", "inputs"), OF_STEPS),
    views.CandidateView: dict.fromkeys(views.CandidateView.__struct_fields__, OF_CANDIDATES),
    views.LoadView: {"window_s": SETTING},
    views.SampleView: {
        "interval_s": "the time between two observations, as in autoscaler_next_poll_seconds",
        "busy_s": "the offered load follows from it",
        "timed": "the service time follows from it",
        "timed_busy_s": "the service time follows from it",
        "overloaded": "autoscaler_load_at_most_erlangs is present then",
    },
    views.OutcomeView: {"detail": TEXT, "message": TEXT},
    views.ShortfallView: {"message": TEXT},
    views.ReportedView: {"reason": TEXT, "message": TEXT},
    views.RouteView: {"node": "label node", "reason": TEXT},
    views.ExternalChangeView: {"before": TEXT, "after": TEXT, "message": TEXT},
    views.ObserveOnlyView: {"message": TEXT},
    views.InstructionView: dict.fromkeys(("by", "reason", "message"), TEXT)
    | {"since": "the history has it; the end is what an alert needs"},
    views.RolloutView: dict.fromkeys(
        ("before", "because", "message", "comparison", "reverts"), TEXT
    )
    | dict.fromkeys(("since", "reverted_at"), "the history has it")
    | {"listed": "the hours are those of the configuration"},
    views.ResponseHeader: {},
    views.NextPollView: {"deployment": TEXT, "because": TEXT},
    views.LeadershipView: {
        "instance": "the scraper adds the label instance",
        "leader": "the instance whose autoscaler_leader is 1",
        "failure": TEXT,
    },
}
"""Why a field is no metric."""


def structs_of(annotation: Any) -> Iterator[type[Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        yield annotation
    for argument in get_args(annotation):
        yield from structs_of(argument)


def fields_of(view: type[Struct]) -> dict[str, set[type[Struct]]]:
    """The fields, with the views in them."""
    hints = get_type_hints(view)
    return {name: set(structs_of(hints[name])) for name in view.__struct_fields__}


def shown() -> set[type[Struct]]:
    """All views that a response about deployments contains."""
    found: set[type[Struct]] = set()
    left = {views.DeploymentsResponse, views.DeploymentResponse}
    while left:
        found |= left
        left = {each for view in left for inner in fields_of(view).values() for each in inner}
        left -= found
    return found - {views.DeploymentsResponse, views.DeploymentResponse} | {views.ResponseHeader}


@pytest.mark.parametrize("view", sorted(shown(), key=lambda view: view.__name__))
def test_each_figure_is_a_metric_or_has_a_reason(view):
    figures = {name for name, inner in fields_of(view).items() if not inner}
    metrics, reasons = METRICS.get(view, {}), NO_METRIC.get(view, {})
    assert metrics.keys() | reasons.keys() == figures
    assert metrics.keys() & reasons.keys() == set()
    assert all(reasons.values())


def families() -> set[str]:
    clock = FakeClock(start=1_000.0)
    registry = CollectorRegistry()
    recorder = PrometheusRecorder(clock)
    DaemonMetrics(clock, "1.2.3").register(registry)
    return {metric.name for metric in [*recorder.describe(), *registry.collect()]}


def test_the_metrics_exist():
    named = {name for each in METRICS.values() for name in each.values()}
    assert named - families() == {"label deployment"}


SLO = SloStatus(
    target=0.95,
    max_queue_wait_s=0.25,
    caller_timeout_s=10.0,
    requests=120,
    late_requests=7.5,
    attainment=0.97,
    expected_attainment=0.96,
    preventable_fraction=0.125,
    violation_weight=20.5,
    load=3.5,
    load_stddev=0.5,
    load_at_most=4.5,
    now=Expectation(allocations=3, late_fraction=0.75, queue_wait_s=float("inf")),
    after_loading=Expectation(allocations=6, late_fraction=0.0625, queue_wait_s=0.125),
    backlog_requests=11,
    backlog_allocations=5,
    after_new_node=9,
    forecast=ForecastStatus(
        trusted=True,
        load=6.5,
        median_load=5.5,
        error_ratio=0.875,
        coverage=0.9375,
        allocations=8,
    ),
    recurrence=RecurrenceStatus(every_s=300.0, load=7.5, change_in_s=40.0, allocations=10),
)


@pytest.fixture
def value():
    clock, registry = FakeClock(start=1_000.0), CollectorRegistry()
    recorder = PrometheusRecorder(clock)
    registry.register(recorder)
    for at in (1_000.0, 1_010.0):
        recorder.planned(*cycle(outcome(steady(slo=SLO), OutcomeKind.UNCHANGED), at=at))

    def read(name):
        return registry.get_sample_value(name, {"deployment": "elser"})

    return read


@pytest.mark.parametrize("view", [views.SloView, views.ForecastView, views.RecurrenceView])
def test_a_metric_has_the_value_that_is_shown(value, view):
    slo = managed(outcome(steady(slo=SLO), OutcomeKind.UNCHANGED)).slo
    found = {views.SloView: slo, views.ForecastView: slo.forecast}.get(view, slo.recurrence)
    counted = {"requests", "late_requests"}
    for field, name in METRICS[view].items():
        if field not in counted:
            assert value(name) == pytest.approx(float(getattr(found, field))), name


def test_requests_and_late_requests_are_counted_over_all_cycles(value):
    assert value("autoscaler_slo_requests_total") == 240
    assert value("autoscaler_slo_late_requests_total") == 15.0


def test_what_is_expected_now_and_after_loading(value):
    assert value("autoscaler_late_ratio_now") == 0.75
    assert value("autoscaler_queue_wait_now_seconds") == float("inf")
    assert value("autoscaler_late_ratio_after_loading") == 0.0625
    assert value("autoscaler_queue_wait_after_loading_seconds") == 0.125


def test_what_is_unknown_has_no_series():
    registry = CollectorRegistry()
    recorder = PrometheusRecorder(FakeClock(start=1_000.0))
    registry.register(recorder)
    unknown = SloStatus(target=0.99)
    recorder.planned(*cycle(outcome(steady(slo=unknown), OutcomeKind.UNCHANGED)))
    exported = {
        sample.name for metric in registry.collect() for sample in metric.samples if sample.labels
    }
    known = {"target", "unreachable", "requests", "late_requests"}
    named = {name for field, name in METRICS[views.SloView].items() if field not in known}
    assert not named & exported


def test_the_instructions_of_operators_and_their_ends():
    registry = CollectorRegistry()
    recorder = PrometheusRecorder(FakeClock(start=1_000.0))
    registry.register(recorder)
    given = {"since": 1_000.0, "by": "alice", "reason": "why"}
    decision = steady(
        pauses=(
            Pause(changes=PausedChanges.DECREASES, until=2_000.0, **given),
            Pause(changes=PausedChanges.DECREASES, until=3_000.0, **given),
        ),
        override=Override(allocations=7, until=4_000.0, **given),
    )
    recorder.planned(*cycle(outcome(decision, OutcomeKind.UNCHANGED)))
    own = {"deployment": "elser"}
    paused = own | {"changes": "decreases"}
    read = registry.get_sample_value
    assert read("autoscaler_paused", paused) == 1.0
    assert read("autoscaler_paused_until_timestamp_seconds", paused) == 3_000.0
    assert read("autoscaler_override_allocations", own) == 7.0
    assert read("autoscaler_override_until_timestamp_seconds", own) == 4_000.0
