"""Values of this program's metrics, by the instants at which they were read.

A *reader* is one process that exported them: several instances of the daemon observe the same
cluster, and a restarted one may have another address. Each has series of its own.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct, field

from autoscaler.errors import UserError
from autoscaler.text import printable

OBSERVED_AT = "observed_at"
"""The name under which the instants of observations are added: they are computed from two metrics,
or are those of the documents."""

OBSERVATION_AGE = "autoscaler_observation_age_seconds"

NODE_METRICS: Mapping[str, str] = {
    "elasticsearch_ml_deployment_node_allocations": "allocations",
    "elasticsearch_ml_deployment_node_started_timestamp_seconds": "started_at",
    "elasticsearch_ml_deployment_node_last_access_timestamp_seconds": "last_access_at",
    "elasticsearch_ml_deployment_node_pending_requests": "pending",
    "elasticsearch_ml_deployment_node_inferences_total": "completed",
    "elasticsearch_ml_deployment_node_inference_seconds_total": "busy_s",
    "elasticsearch_ml_deployment_node_cache_hits_total": "cache_hits",
    "elasticsearch_ml_deployment_node_errors_total": "errors",
    "elasticsearch_ml_deployment_node_rejections_total": "rejections",
    "elasticsearch_ml_deployment_node_timeouts_total": "timeouts",
}
"""Of each deployment on each node."""

DEPLOYMENT_METRICS: Mapping[str, str] = {
    "elasticsearch_ml_deployment_requested_allocations": "requested",
    "elasticsearch_ml_deployment_target_allocations": "target",
    "elasticsearch_ml_deployment_running_allocations": "running",
    "elasticsearch_ml_deployment_threads_per_allocation": "threads",
    "elasticsearch_ml_deployment_queue_capacity_requests": "queue_capacity",
    "elasticsearch_ml_deployment_created_timestamp_seconds": "created_at",
    "elasticsearch_ml_deployment_adaptive_allocations_enabled": "adaptive",
    "elasticsearch_ml_deployment_adaptive_allocations_minimum": "adaptive_minimum",
    "elasticsearch_ml_deployment_adaptive_allocations_maximum": "adaptive_maximum",
    "elasticsearch_ml_deployment_inferences_total": "completed",
    "elasticsearch_ml_deployment_errors_total": "errors",
    "elasticsearch_ml_deployment_rejections_total": "rejections",
    "elasticsearch_ml_deployment_timeouts_total": "timeouts",
    "autoscaler_in_flight_requests": "in_flight",
    "autoscaler_service_time_seconds": "service_time_s",
    "autoscaler_desired_allocations": "desired",
    "autoscaler_slo_requests_total": "slo_requests",
    "autoscaler_slo_late_requests_total": "slo_late_requests",
}
"""Of each deployment."""

TEXT_METRICS: Mapping[str, tuple[str, str]] = {
    "elasticsearch_ml_deployment_info": ("model", "model"),
    "elasticsearch_ml_deployment_state": ("state", "state"),
    "elasticsearch_ml_deployment_node_routing_state": ("routing_state", "state"),
    "autoscaler_last_update_timestamp_seconds": ("outcome", "outcome"),
}
"""Those whose value is in a label: its name here, and the label."""

HARDWARE_METRICS: Mapping[str, str] = {
    "elasticsearch_ml_node_processors": "processors",
    "elasticsearch_ml_node_memory_bytes": "memory_bytes",
}
"""Of each node."""

NODE_INFO = "elasticsearch_ml_node_info"

INCOMPLETE = "autoscaler_sample_issue"
"""With the label `issue`: whether the statistics of a node were missing."""

ALL_METRICS: tuple[str, ...] = (
    *NODE_METRICS,
    *DEPLOYMENT_METRICS,
    *TEXT_METRICS,
    *HARDWARE_METRICS,
    NODE_INFO,
    INCOMPLETE,
)

MAX_FIGURE = 2.0**53
"""What a figure is below; whole numbers are exact until then. Others are unknown."""

_OWN_LABELS = frozenset(
    {
        "__name__",
        "deployment",
        "node",
        "state",
        "issue",
        "outcome",
        "model",
        "priority",
        "node_id",
        "name",
        "version",
        "le",
    }
)

_EXPORTED = "exported_"

_FIGURES = {**NODE_METRICS, **DEPLOYMENT_METRICS, **HARDWARE_METRICS}
_OF_NODES = frozenset({*HARDWARE_METRICS, NODE_INFO})
_BY_NODE = frozenset({*NODE_METRICS, *_OF_NODES, "elasticsearch_ml_deployment_node_routing_state"})
"""Metrics of nodes, and of anything on nodes. Any series may have a label `node` of the target."""

Values = dict[str, dict[float, float]]
"""By field, then by instant."""

Reader = tuple[tuple[str, str], ...]
"""The labels of one process: its address, its job, and the cluster that it observes."""


class Entity(NamedTuple):
    """A deployment, or with a node a deployment on it, or without a deployment a node."""

    deployment: str
    node: str = ""


class Readings(Struct):
    """What one reader exported in a part of the period."""

    observed_at: dict[float, float] = field(default_factory=dict)  # by the instant of the reading
    values: dict[Entity, Values] = field(default_factory=dict)
    texts: dict[Entity, dict[str, dict[float, tuple[str, float]]]] = field(default_factory=dict)
    incomplete: dict[str, set[float]] = field(default_factory=dict)  # instants, by deployment


def reader_of(labels: Mapping[str, str]) -> Reader:
    return tuple(
        sorted(
            (name, text)
            for name, text in labels.items()
            if name.removeprefix(_EXPORTED) not in _OWN_LABELS
        )
    )


def ensure_one_cluster(readings: Iterable[Reader]) -> None:
    """
    Raises:
        UserError: there are readers of several clusters, whose deployments may have equal ids.
    """
    clusters = sorted({dict(reader).get("cluster", "") for reader in readings})
    if len(clusters) > 1:
        names = ", ".join(printable(name) or "none" for name in clusters[:5])
        raise UserError(
            f"there are metrics of several clusters ({names}); choose one with --cluster"
        )


def add(
    readings: Readings,
    metric: str,
    labels: Mapping[str, str],
    points: Iterable[tuple[float, float]],
) -> None:
    """Add the values of a series."""
    entity = Entity(
        "" if metric in _OF_NODES else _own(labels, "deployment"),
        _own(labels, "node") if metric in _BY_NODE else "",
    )
    if metric == OBSERVED_AT:
        readings.observed_at.update(points)
    elif metric == INCOMPLETE:
        if _own(labels, "issue") == "incomplete":
            readings.incomplete.setdefault(entity.deployment, set()).update(at for at, _ in points)
    elif metric == NODE_INFO:
        _add_texts(readings, entity, "version", _own(labels, "version"), points)
    elif metric in TEXT_METRICS:
        name, label = TEXT_METRICS[metric]
        _add_texts(readings, entity, name, _own(labels, label), points)
    else:
        name = _FIGURES[metric]
        readings.values.setdefault(entity, {}).setdefault(name, {}).update(
            (at, value) for at, value in points if 0.0 <= value < MAX_FIGURE
        )


def _own(labels: Mapping[str, str], name: str) -> str:
    """A label that the daemon has set. Prometheus renames it if the target has one of that name."""
    return labels.get(f"{_EXPORTED}{name}", labels.get(name, ""))


def _add_texts(
    readings: Readings,
    entity: Entity,
    name: str,
    text: str,
    points: Iterable[tuple[float, float]],
) -> None:
    """Of several texts at one instant, that with the greatest value is kept: the last outcome."""
    kept = readings.texts.setdefault(entity, {}).setdefault(name, {})
    for at, value in points:
        if at not in kept or value > kept[at][1]:
            kept[at] = (text, value)
