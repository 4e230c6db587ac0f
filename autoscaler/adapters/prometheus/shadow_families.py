"""Metrics of what a dry run would have done, beside what ran; only of deployments in dry run.

Allocation-hours are the increase of allocation-seconds over 3600.
"""

from collections.abc import Callable

from autoscaler.adapters.prometheus.families import FieldMetric, MetricFamily
from autoscaler.core.shadow import ShadowStatus, ShadowTotals

SHADOW: tuple[FieldMetric[ShadowStatus], ...] = (
    FieldMetric(
        "autoscaler_shadow_allocations",
        "Allocations that would run now, had the decisions of the dry run been carried out.",
        lambda s: s.running,
    ),
    FieldMetric(
        "autoscaler_shadow_requested_allocations",
        "Allocations that the dry run would have requested by now.",
        lambda s: s.requested,
    ),
)

ALLOCATION_S = MetricFamily(
    "autoscaler_shadow_allocation_seconds",
    "Allocation-seconds that the dry run would have used.",
    "counter",
)
RECORDED_ALLOCATION_S = MetricFamily(
    "autoscaler_recorded_allocation_seconds",
    "Allocation-seconds that ran in the same time.",
    "counter",
)
REQUESTS = MetricFamily(
    "autoscaler_shadow_requests",
    "Requests whose lateness is known for what ran and for the dry run.",
    "counter",
)
LATE_REQUESTS = MetricFamily(
    "autoscaler_shadow_late_requests",
    "Of these, the requests that the dry run would have served late: computed, not measured.",
    "counter",
)
RECORDED_LATE_REQUESTS = MetricFamily(
    "autoscaler_recorded_late_requests",
    "Of these, the requests that were late with what ran, computed with the same model.",
    "counter",
)
UNKNOWN_S = MetricFamily(
    "autoscaler_shadow_unknown_seconds",
    "Time that counts neither for the dry run nor for what ran: data-quality issues, overloads.",
    "counter",
)

COUNTERS: tuple[tuple[MetricFamily, Callable[[ShadowTotals], float]], ...] = (
    (ALLOCATION_S, lambda totals: totals.shadow_s),
    (RECORDED_ALLOCATION_S, lambda totals: totals.recorded_s),
    (REQUESTS, lambda totals: totals.requests),
    (LATE_REQUESTS, lambda totals: totals.shadow_late),
    (RECORDED_LATE_REQUESTS, lambda totals: totals.recorded_late),
    (UNKNOWN_S, lambda totals: totals.unknown_s),
)
"""What each counter counts."""
