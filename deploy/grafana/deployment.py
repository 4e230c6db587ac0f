"""One deployment: its load, its allocations, its SLO, and why it has the allocations it has."""

from grafana_foundation_sdk.builders.dashboard import AnnotationQuery, Dashboard
from panels import (
    DATASOURCE,
    GREEN,
    JOB,
    RED,
    YELLOW,
    Query,
    job,
    labels,
    lines,
    new_dashboard,
    number,
    row,
    states,
)

ONE = 'job=~"$job", deployment="$deployment"'

ALLOCATIONS = (
    ("running", "elasticsearch_ml_deployment_running_allocations"),
    ("requested", "elasticsearch_ml_deployment_requested_allocations"),
    ("recommended", "autoscaler_recommended_allocations"),
    ("minimum", "autoscaler_minimum_allocations"),
    ("maximum", "autoscaler_maximum_allocations"),
)


def one_deployment() -> Dashboard:
    spread = f"2 * autoscaler_expected_load_stddev_erlangs{{{ONE}}}"
    expected = f"autoscaler_expected_load_erlangs{{{ONE}}}"
    late = f"sum(rate(autoscaler_slo_late_requests_total{{{ONE}}}[$__rate_interval]))"
    requests = f"(sum(rate(autoscaler_slo_requests_total{{{ONE}}}[$__rate_interval])) > 0)"
    return (
        new_dashboard(
            "Autoscaler: deployment",
            "autoscaler-deployment",
            "One trained-model deployment: its load, its allocations, its SLO, and why it has "
            "the allocations it has.",
        )
        .with_variable(job())
        .with_variable(
            labels(
                "deployment",
                "Deployment",
                f"label_values(autoscaler_managed{{{JOB}}}, deployment)",
                several=False,
                description="Its id.",
            )
        )
        .annotation(
            AnnotationQuery()
            .name("Updates")
            .datasource(DATASOURCE)
            .enable(True)
            .icon_color(RED)
            .expr(f'changes(autoscaler_updates_total{{{ONE}, outcome="accepted"}}[1m]) > 0')
        )
        .with_row(row("Now"))
        .with_panel(
            number(
                "Running allocations",
                "Allocations on routes in state started.",
                latest("elasticsearch_ml_deployment_running_allocations"),
                unit="none",
                width=4,
                colours=((None, GREEN),),
            )
        )
        .with_panel(
            number(
                "Recommended allocations",
                "What the policy recommends, before constraints.",
                latest("autoscaler_recommended_allocations"),
                unit="none",
                width=4,
                colours=((None, GREEN),),
            )
        )
        .with_panel(
            number(
                "SLO attainment",
                "Fraction of the requests of about a day that met the SLO.",
                latest("autoscaler_slo_attainment_ratio"),
                unit="percentunit",
                width=4,
                colours=((None, GREEN),),
            )
        )
        .with_panel(
            number(
                "Error budget left",
                "Of about a day; below zero it is exceeded.",
                latest("autoscaler_error_budget_left_ratio"),
                unit="percentunit",
                width=4,
                colours=((None, RED), (0.0, YELLOW), (0.25, GREEN)),
            )
        )
        .with_panel(
            number(
                "Expected queue wait",
                "Now, at the quantile of the SLO target. Infinite if the queue grows.",
                latest("autoscaler_queue_wait_now_seconds"),
                unit="s",
                width=4,
                colours=((None, GREEN),),
            )
        )
        .with_panel(
            number(
                "Backlog",
                "Queued requests that will be late unless allocations are added.",
                latest("autoscaler_backlog_requests"),
                unit="none",
                width=4,
                colours=((None, GREEN), (1.0, YELLOW)),
            )
        )
        .with_row(row("Load and allocations"))
        .with_panel(
            lines(
                "Requests",
                "Requests that arrive and are completed.",
                Query(latest("autoscaler_arrival_rate_per_second"), "arrive"),
                Query(latest("autoscaler_throughput_per_second"), "completed"),
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Offered load",
                "Allocations that the arrivals keep busy, and the load to expect until the next "
                "decision has an effect, with two standard deviations. The forecast is shown "
                "while it is trusted.",
                Query(f"max({expected} + {spread})", "expected, upper"),
                Query(f"max(clamp_min({expected} - {spread}, 0))", "expected, lower"),
                Query(latest("autoscaler_offered_load_erlangs"), "offered load"),
                Query(latest("autoscaler_forecast_load_erlangs"), "forecast, 95%"),
                Query(latest("autoscaler_recurring_load_erlangs"), "recurring"),
                unit="short",
                band=("expected, upper", "expected, lower"),
                dashed=("forecast, 95%", "recurring"),
            )
        )
        .with_panel(
            lines(
                "Allocations",
                "Those that run, those requested of the cluster, those recommended by the policy "
                "and the bounds of the rule.",
                *(Query(latest(metric), name) for name, metric in ALLOCATIONS),
                unit="none",
                steps=True,
                dashed=("minimum", "maximum"),
            )
        )
        .with_panel(
            lines(
                "Allocations by node",
                "Empty where the families by node are left out.",
                Query(
                    f"max by (node) (elasticsearch_ml_deployment_node_allocations{{{ONE}}})",
                    "{{node}}",
                ),
                unit="none",
                steps=True,
                stacked=True,
            )
        )
        .with_row(row("SLO"))
        .with_panel(
            lines(
                "SLO attainment",
                "Over about a day, beside the target of the rule.",
                Query(latest("autoscaler_slo_attainment_ratio"), "attainment"),
                Query(latest("autoscaler_slo_target_ratio"), "target"),
                unit="percentunit",
                dashed=("target",),
            )
        )
        .with_panel(
            lines(
                "Late requests",
                "The fraction of late requests, computed from the queues at each poll, and what "
                "is expected now and once the desired allocations run.",
                Query(f"{late} / {requests}", "late"),
                Query(latest("autoscaler_late_ratio_now"), "expected now"),
                Query(latest("autoscaler_late_ratio_after_loading"), "expected after loading"),
                unit="percentunit",
                dashed=("expected now", "expected after loading"),
            )
        )
        .with_panel(
            lines(
                "Queue wait",
                "Expected at the quantile of the SLO target, beside the longest that the SLO "
                "allows.",
                Query(latest("autoscaler_queue_wait_now_seconds"), "now"),
                Query(latest("autoscaler_queue_wait_after_loading_seconds"), "after loading"),
                Query(latest("autoscaler_slo_max_queue_wait_seconds"), "allowed"),
                unit="s",
                dashed=("allowed",),
            )
        )
        .with_panel(
            lines(
                "Requests in flight",
                "Queued and in service, over all nodes, and those of them that are a backlog.",
                Query(latest("autoscaler_in_flight_requests"), "in flight"),
                Query(latest("autoscaler_backlog_requests"), "backlog"),
                unit="none",
            )
        )
        .with_panel(
            lines(
                "Allocations of the dry run",
                "Those that a dry run would have by now, beside those that run. Empty where "
                "changes are sent.",
                Query(latest("autoscaler_shadow_allocations"), "dry run"),
                Query(
                    f"{latest('elasticsearch_ml_deployment_running_allocations')} "
                    f"and {latest('autoscaler_shadow_allocations')}",
                    "running",
                ),
                unit="none",
                steps=True,
            )
        )
        .with_row(row("Why"))
        .with_panel(
            states(
                "Reason of the decision",
                "The step that determined the latest decision.",
                Query(by_label("autoscaler_decision_reason", "reason"), "{{reason}}"),
            )
        )
        .with_panel(
            lines(
                "Service time",
                "Time one allocation is busy with one request, queueing and cache hits excluded.",
                Query(latest("autoscaler_service_time_seconds"), "service time"),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Failed requests",
                "Requests that fail, time out in the queue or are rejected by a full queue, each "
                "second.",
                *(
                    Query(
                        f"sum(rate(elasticsearch_ml_deployment_{kind}_total{{{ONE}}}"
                        "[$__rate_interval]))",
                        kind,
                    )
                    for kind in ("errors", "timeouts", "rejections")
                ),
                unit="reqps",
            )
        )
    )


def by_label(metric: str, label: str) -> str:
    return f"max by ({label}) ({metric}{{{ONE}}})"


def latest(metric: str) -> str:
    """The figure of the deployment. Two replicas of the autoscaler export the same one."""
    return f"max({metric}{{{ONE}}})"
