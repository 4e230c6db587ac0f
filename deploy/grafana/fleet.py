"""All deployments: which one needs attention, and what is left of the cluster."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from panels import (
    GOOD_IF_ZERO,
    GREEN,
    JOB,
    RED,
    YELLOW,
    Column,
    Query,
    by_deployment,
    job,
    lines,
    new_dashboard,
    number,
    row,
)

DEPLOYMENT_LINK = (
    "/d/autoscaler-deployment?var-datasource=${datasource}&${job:queryparam}"
    "&var-deployment=${__data.fields.Deployment}&${__url_time_range}"
)

TABLE = (
    ("SLO attainment", "autoscaler_slo_attainment_ratio", "percentunit"),
    ("SLO target", "autoscaler_slo_target_ratio", "percentunit"),
    ("Error budget left", "autoscaler_error_budget_left_ratio", "percentunit"),
    ("Running", "elasticsearch_ml_deployment_running_allocations", "none"),
    ("Requested", "elasticsearch_ml_deployment_requested_allocations", "none"),
    ("Recommended", "autoscaler_recommended_allocations", "none"),
    ("Minimum", "autoscaler_minimum_allocations", "none"),
    ("Maximum", "autoscaler_maximum_allocations", "none"),
    ("Offered load", "autoscaler_offered_load_erlangs", "short"),
    ("Arrivals", "autoscaler_arrival_rate_per_second", "reqps"),
    ("Queue wait now", "autoscaler_queue_wait_now_seconds", "s"),
    ("In flight", "autoscaler_in_flight_requests", "none"),
)


def fleet() -> Dashboard:
    missed = f"autoscaler_slo_attainment_ratio{{{JOB}}} < autoscaler_slo_target_ratio{{{JOB}}}"
    late = f"sum(rate(autoscaler_slo_late_requests_total{{{JOB}}}[$__rate_interval]))"
    requests = f"sum(rate(autoscaler_slo_requests_total{{{JOB}}}[$__rate_interval]))"
    used = (
        f"sum by (node) (elasticsearch_ml_deployment_node_allocations{{{JOB}}}"
        f" * elasticsearch_ml_deployment_node_threads_per_allocation{{{JOB}}})"
    )
    return (
        new_dashboard(
            "Autoscaler: fleet",
            "autoscaler-fleet",
            "All trained-model deployments: which of them needs attention, and what is left of "
            "the cluster.",
        )
        .with_variable(job())
        .with_row(row("Now"))
        .with_panel(
            number(
                "Deployments in trouble",
                "Requests are late or refused, or nothing can be done about it. The table names "
                "them.",
                of_level("trouble"),
                unit="none",
                width=4,
                colours=GOOD_IF_ZERO,
            )
        )
        .with_panel(
            number(
                "Deployments that need attention",
                "Nothing is lost yet, but an operator should look.",
                of_level("attention"),
                unit="none",
                width=4,
                colours=((None, GREEN), (1.0, YELLOW)),
            )
        )
        .with_panel(
            number(
                "SLO not met",
                "Deployments of which fewer requests of about a day met the SLO than its target "
                "says. Computed from the queues at each poll, not measured.",
                f"count({missed}) or vector(0)",
                unit="none",
                width=4,
                colours=GOOD_IF_ZERO,
            )
        )
        .with_panel(
            number(
                "Missing allocations",
                "Requested allocations that do not run.",
                f"sum(autoscaler_missing_allocations{{{JOB}}}) or vector(0)",
                unit="none",
                width=4,
                colours=((None, GREEN), (1.0, YELLOW)),
            )
        )
        .with_panel(
            number(
                "Paused or overridden",
                "Deployments for which an operator has paused changes or set a number.",
                "count(count by (deployment) ("
                f"autoscaler_paused{{{JOB}}} == 1 or autoscaler_override_allocations{{{JOB}}}"
                ")) or vector(0)",
                unit="none",
                width=4,
                colours=((None, GREEN), (1.0, YELLOW)),
            )
        )
        .with_panel(
            number(
                "Data age",
                "Time since the cluster was observed.",
                f"min(autoscaler_observation_age_seconds{{{JOB}}})",
                unit="s",
                width=4,
                colours=((None, GREEN), (60.0, YELLOW), (120.0, RED)),
            )
        )
        .with_panel(
            by_deployment(
                "Deployments",
                "Those with the lowest SLO attainment need attention first. The name opens the "
                "dashboard of the deployment.",
                *(
                    Column(name, f"max by (deployment) ({metric}{{{JOB}}})", unit)
                    for name, metric, unit in TABLE
                ),
                link=DEPLOYMENT_LINK,
            )
        )
        .with_row(row("Load and allocations"))
        .with_panel(
            lines(
                "Requests",
                "Requests that arrive, and those that are late; computed, not measured.",
                Query(requests, "arrive"),
                Query(late, "late"),
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Offered load",
                "Allocations that the arrivals keep busy.",
                Query(by_id(f"autoscaler_offered_load_erlangs{{{JOB}}}"), "{{deployment}}"),
                unit="short",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Running allocations",
                "All deployments together.",
                Query(
                    by_id(f"elasticsearch_ml_deployment_running_allocations{{{JOB}}}"),
                    "{{deployment}}",
                ),
                unit="short",
                steps=True,
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Threads of machine-learning nodes",
                "Threads that allocations use, beside the processors of the node. Empty where "
                "the families by node are left out.",
                Query(used, "{{node}}: in use"),
                Query(
                    f"max by (node) (elasticsearch_ml_node_processors{{{JOB}}})",
                    "{{node}}: processors",
                ),
                unit="short",
                steps=True,
            )
        )
        .with_row(row("SLO"))
        .with_panel(
            lines(
                "Lowest SLO attainment",
                "The ten deployments with the lowest SLO attainment, over about a day.",
                Query(
                    "bottomk(10, " + by_id(f"autoscaler_slo_attainment_ratio{{{JOB}}}") + ")",
                    "{{deployment}}",
                ),
                unit="percentunit",
            )
        )
        .with_panel(
            lines(
                "Least error budget left",
                "Of about a day; below zero it is exceeded.",
                Query(
                    "bottomk(10, " + by_id(f"autoscaler_error_budget_left_ratio{{{JOB}}}") + ")",
                    "{{deployment}}",
                ),
                unit="percentunit",
            )
        )
        .with_row(row("Changes"))
        .with_panel(
            lines(
                "Updates by outcome",
                "Updates an hour. Those that are not accepted have an alert.",
                Query(
                    f"3600 * sum by (outcome) (rate(autoscaler_updates_total{{{JOB}}}"
                    "[$__rate_interval]))",
                    "{{outcome}}",
                ),
                unit="short",
            )
        )
        .with_panel(
            lines(
                "Deployments by what needs an operator",
                "How many are in trouble, need attention, are fine, or are not managed.",
                Query(f"sum by (level) (autoscaler_deployment_level{{{JOB}}})", "{{level}}"),
                unit="short",
                steps=True,
                stacked=True,
            )
        )
    )


def of_level(level: str) -> str:
    return f'sum(autoscaler_deployment_level{{{JOB}, level="{level}"}}) or vector(0)'


def by_id(metric: str) -> str:
    """The figure of each deployment. Two replicas of the autoscaler export the same ones."""
    return f"max by (deployment) ({metric})"
