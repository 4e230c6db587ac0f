"""The autoscaler itself: whether it sees the cluster and acts, and what it costs."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from panels import (
    GOOD_IF_ONE,
    GOOD_IF_ZERO,
    GREEN,
    JOB,
    RED,
    YELLOW,
    Query,
    job,
    lines,
    new_dashboard,
    number,
    row,
)


def daemon() -> Dashboard:
    return (
        new_dashboard(
            "Autoscaler: daemon",
            "autoscaler-daemon",
            "The autoscaler itself: whether it sees the cluster and acts, and what it costs.",
        )
        .with_variable(job())
        .with_row(row("Now"))
        .with_panel(
            number(
                "Cluster observed",
                "Whether the latest observation succeeded.",
                f"min(autoscaler_elasticsearch_up{{{JOB}}})",
                unit="bool_yes_no",
                width=4,
                colours=GOOD_IF_ONE,
            )
        )
        .with_panel(
            number(
                "Leaders",
                "Instances that change the cluster: one of all replicas of a cluster.",
                f"sum(autoscaler_leader{{{JOB}}})",
                unit="none",
                width=4,
                colours=GOOD_IF_ONE,
            )
        )
        .with_panel(
            number(
                "Configuration in force",
                "Whether the configuration was valid when it was last read. If not, the previous "
                "one stays in effect.",
                f"min(autoscaler_config_last_reload_successful{{{JOB}}})",
                unit="bool_yes_no",
                width=4,
                colours=GOOD_IF_ONE,
            )
        )
        .with_panel(
            number(
                "State saved",
                "Unknown where nothing has to be saved.",
                f"min(autoscaler_state_saved{{{JOB}}})",
                unit="bool_yes_no",
                width=4,
                colours=GOOD_IF_ONE,
            )
        )
        .with_panel(
            number(
                "Data age",
                "Time since the cluster was observed.",
                f"max(autoscaler_observation_age_seconds{{{JOB}}})",
                unit="s",
                width=4,
                colours=((None, GREEN), (60.0, YELLOW), (120.0, RED)),
            )
        )
        .with_panel(
            number(
                "Unreadable deployments",
                "Deployments with invalid statistics; they are held.",
                f"max(autoscaler_unreadable_deployments{{{JOB}}})",
                unit="none",
                width=4,
                colours=GOOD_IF_ZERO,
            )
        )
        .with_row(row("Cycles"))
        .with_panel(
            lines(
                "Cycles",
                "Cycles a minute; those that are skipped had no observation.",
                Query(per_minute("autoscaler_cycles_total", "result"), "{{result}}"),
                unit="short",
            )
        )
        .with_panel(
            lines(
                "Duration of cycles",
                "The time that 99% of the cycles do not exceed, by part.",
                Query(
                    "histogram_quantile(0.99, sum by (part, le) (rate("
                    f"autoscaler_cycle_duration_seconds_bucket{{{JOB}}}[$__rate_interval])))",
                    "{{part}}",
                ),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Polls by cause",
                "Polls a minute, by why they were due when they were.",
                Query(per_minute("autoscaler_polls_total", "cause"), "{{cause}}"),
                unit="short",
            )
        )
        .with_panel(
            lines(
                "Poll interval",
                "From the start of the last cycle to the next, beside the configured interval. "
                "Above it, the cluster or the planning is slow.",
                Query(f"max by (instance) (autoscaler_next_poll_seconds{{{JOB}}})", "{{instance}}"),
                Query(f"max(autoscaler_poll_interval_seconds{{{JOB}}})", "configured"),
                unit="s",
                steps=True,
                dashed=("configured",),
            )
        )
        .with_row(row("Faults"))
        .with_panel(
            lines(
                "Failed observations",
                "Observations an hour that failed, by kind.",
                Query(per_hour("autoscaler_observation_failures_total", "kind"), "{{kind}}"),
                unit="short",
            )
        )
        .with_panel(
            lines(
                "Changes of the cluster",
                "Changes an hour of the cluster at the address, by kind.",
                Query(per_hour("autoscaler_cluster_changes_total", "kind"), "{{kind}}"),
                unit="short",
            )
        )
        .with_panel(
            lines(
                "Refused requests",
                "Requests to the autoscaler that were refused, and connections closed, an hour.",
                Query(per_hour("autoscaler_http_refused_total", "reason"), "{{reason}}"),
                unit="short",
            )
        )
        .with_panel(
            lines(
                "Dropped log lines",
                "Log lines an hour that were not written, by reason.",
                Query(per_hour("autoscaler_log_lines_dropped_total", "reason"), "{{reason}}"),
                unit="short",
            )
        )
        .with_row(row("Process"))
        .with_panel(
            lines(
                "Resident memory",
                "Of each instance.",
                Query(own("process_resident_memory_bytes"), "{{instance}}"),
                unit="bytes",
                width=8,
            )
        )
        .with_panel(
            lines(
                "Processor",
                "Processors that each instance keeps busy.",
                Query(
                    f"rate({own('process_cpu_seconds_total')}[$__rate_interval])", "{{instance}}"
                ),
                unit="short",
                width=8,
            )
        )
        .with_panel(
            lines(
                "Open files",
                "File descriptors of each instance.",
                Query(own("process_open_fds"), "{{instance}}"),
                unit="none",
                width=8,
            )
        )
    )


def per_minute(metric: str, label: str) -> str:
    return f"60 * sum by ({label}) (rate({metric}{{{JOB}}}[$__rate_interval]))"


def per_hour(metric: str, label: str) -> str:
    return f"3600 * sum by ({label}) (rate({metric}{{{JOB}}}[$__rate_interval]))"


def own(metric: str) -> str:
    return f"{metric}{{{JOB}}}"
