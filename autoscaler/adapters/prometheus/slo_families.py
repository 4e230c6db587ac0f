"""Metrics of the SLO, which the policy computes: the cluster reports no queue waits."""

from autoscaler.adapters.prometheus.families import FieldMetric, MetricFamily
from autoscaler.core.slo_status import ForecastStatus, RecurrenceStatus, SloStatus

REQUESTS = MetricFamily(
    "autoscaler_slo_requests",
    "Requests that count for the SLO, computed from the statistics: cache hits do not count.",
    "counter",
)
LATE_REQUESTS = MetricFamily(
    "autoscaler_slo_late_requests",
    "Requests that were late, computed from the queues of each poll and the failed requests; not "
    "measured.",
    "counter",
)

SLO: tuple[FieldMetric[SloStatus], ...] = (
    FieldMetric(
        "autoscaler_slo_target_ratio",
        "Fraction of the requests that must meet the SLO.",
        lambda s: s.target,
    ),
    FieldMetric(
        "autoscaler_slo_unreachable",
        "Whether the service time alone exceeds the latency that the SLO allows: 1 or 0.",
        lambda s: float(s.unreachable),
    ),
    FieldMetric(
        "autoscaler_slo_max_queue_wait_seconds",
        "The queue wait that the SLO allows.",
        lambda s: s.max_queue_wait_s,
    ),
    FieldMetric(
        "autoscaler_slo_attainment_ratio",
        "Fraction of the requests of about a day that met the SLO, computed, not measured.",
        lambda s: s.attainment,
    ),
    FieldMetric(
        "autoscaler_slo_expected_attainment_ratio",
        "The same for recommended allocations that are not set, as in a dry run: expected.",
        lambda s: s.expected_attainment,
    ),
    FieldMetric(
        "autoscaler_error_budget_left_ratio",
        "Part of the error budget of about a day that is left; below 0 it is exceeded.",
        lambda s: s.budget_left,
    ),
    FieldMetric(
        "autoscaler_preventable_late_ratio",
        "Fraction of the late requests of about a day that more allocations could have prevented.",
        lambda s: s.preventable_fraction,
    ),
    FieldMetric(
        "autoscaler_violation_weight_allocations",
        "Allocations that one erlang of late requests counts for in the cost.",
        lambda s: s.violation_weight,
    ),
    FieldMetric(
        "autoscaler_caller_timeout_seconds",
        "Time for which callers are taken to wait: older requests are not worth serving.",
        lambda s: s.caller_timeout_s,
    ),
    FieldMetric(
        "autoscaler_late_ratio_now",
        "Expected fraction of late requests with the present queue and the running allocations.",
        lambda s: None if s.now is None else s.now.late_fraction,
    ),
    FieldMetric(
        "autoscaler_queue_wait_now_seconds",
        "Expected queue wait now, at the quantile of the SLO target; +Inf if the queue grows.",
        lambda s: None if s.now is None else s.now.queue_wait_s,
    ),
    FieldMetric(
        "autoscaler_late_ratio_after_loading",
        "Expected fraction of late requests once the desired allocations run.",
        lambda s: None if s.after_loading is None else s.after_loading.late_fraction,
    ),
    FieldMetric(
        "autoscaler_queue_wait_after_loading_seconds",
        "Expected queue wait once the desired allocations run, at the quantile of the SLO target.",
        lambda s: None if s.after_loading is None else s.after_loading.queue_wait_s,
    ),
    FieldMetric(
        "autoscaler_expected_load_erlangs",
        "Load to expect until the next decision has an effect; the least while it is hidden.",
        lambda s: s.load,
    ),
    FieldMetric(
        "autoscaler_expected_load_stddev_erlangs",
        "Standard deviation of the load to expect.",
        lambda s: s.load_stddev,
    ),
    FieldMetric(
        "autoscaler_load_at_most_erlangs",
        "The most that the load can be; only while an overload hides it.",
        lambda s: s.load_at_most,
    ),
    FieldMetric(
        "autoscaler_backlog_requests",
        "Queued requests that are worth serving and will be late unless allocations are added.",
        lambda s: s.backlog_requests,
    ),
    FieldMetric(
        "autoscaler_backlog_allocations",
        "Allocations that drain the backlog in time; only while there is one.",
        lambda s: s.backlog_allocations,
    ),
    FieldMetric(
        "autoscaler_after_new_node_allocations",
        "Allocations to request once a new node is in use; only while one is needed.",
        lambda s: s.after_new_node,
    ),
)

FORECAST: tuple[FieldMetric[ForecastStatus], ...] = (
    FieldMetric(
        "autoscaler_forecast_trusted",
        "Whether the forecast may add allocations: 1 or 0; absent where none is needed.",
        lambda f: float(f.trusted),
    ),
    FieldMetric(
        "autoscaler_forecast_load_erlangs",
        "Load that is not exceeded in 19 of 20 cases by the time a new node serves; if trusted.",
        lambda f: f.load,
    ),
    FieldMetric(
        "autoscaler_forecast_median_load_erlangs",
        "Load that is exceeded in half of the cases by then; if trusted.",
        lambda f: f.median_load,
    ),
    FieldMetric(
        "autoscaler_forecast_error_ratio",
        "Mean error of the forecast divided by that of a naive one; below 1 it is better.",
        lambda f: f.error_ratio,
    ),
    FieldMetric(
        "autoscaler_forecast_coverage_ratio",
        "Fraction of the last forecasts that were not exceeded.",
        lambda f: f.coverage,
    ),
    FieldMetric(
        "autoscaler_forecast_allocations",
        "Allocations that the forecast requires on a new node; only while it does.",
        lambda f: f.allocations,
    ),
)

RECURRENCE: tuple[FieldMetric[RecurrenceStatus], ...] = (
    FieldMetric(
        "autoscaler_recurrence_period_seconds",
        "Period of a load that recurs; only where it changes within the next minutes.",
        lambda r: r.every_s,
    ),
    FieldMetric(
        "autoscaler_recurring_load_erlangs",
        "Load that recurs at this time.",
        lambda r: r.load,
    ),
    FieldMetric(
        "autoscaler_recurring_change_seconds",
        "Time until the load that recurs changes.",
        lambda r: r.change_in_s,
    ),
    FieldMetric(
        "autoscaler_recurring_allocations",
        "Allocations that a recurring load requires on a new node; only while it does.",
        lambda r: r.allocations,
    ),
)
