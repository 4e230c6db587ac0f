"""Metrics that pass through what the cluster reported, in base units."""

from autoscaler.adapters.prometheus.families import FieldMetric, MetricFamily
from autoscaler.core.values import Cluster, DeploymentStats, NodeCapacity, NodeStats


def _per_second(per_minute: int | None) -> float | None:
    return None if per_minute is None else per_minute / 60.0


def _adaptive_enabled(stats: DeploymentStats) -> float | None:
    """None where the settings, and with them the requested allocations, are unknown."""
    if stats.adaptive is not None:
        return float(stats.adaptive.enabled)
    return None if stats.allocations is None else 0.0


DEPLOYMENT_INFO = MetricFamily(
    "elasticsearch_ml_deployment_info",
    "The model and the priority of a deployment; always 1 (model, priority).",
)
DEPLOYMENT_STATE = MetricFamily(
    "elasticsearch_ml_deployment_state", "1 for the state of a deployment (state)."
)
ALLOCATION_STATE = MetricFamily(
    "elasticsearch_ml_deployment_allocation_state",
    "1 for the allocation state of a deployment (state).",
)
ROUTING_STATE = MetricFamily(
    "elasticsearch_ml_deployment_node_routing_state",
    "1 for the routing state of a deployment on a node (state).",
)

RUNNING: FieldMetric[DeploymentStats] = FieldMetric(
    "elasticsearch_ml_deployment_running_allocations",
    "Allocations on routes in state started.",
    lambda d: d.running_allocations,
)
DEPLOYMENT: tuple[FieldMetric[DeploymentStats], ...] = (
    FieldMetric(
        "elasticsearch_ml_deployment_requested_allocations",
        "Allocations last requested for the deployment.",
        lambda d: d.allocations,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_target_allocations",
        "Target allocations of the deployment's allocation status.",
        lambda d: d.target_allocations,
    ),
    RUNNING,
    RUNNING.alias("elasticsearch_ml_deployment_live_allocations"),
    FieldMetric(
        "elasticsearch_ml_deployment_threads_per_allocation",
        "Threads of each allocation.",
        lambda d: d.threads_per_allocation,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_queue_capacity_requests",
        "Requests that each node queues at most; it rejects further ones.",
        lambda d: d.queue_capacity,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_cache_size_bytes",
        "Size of the inference cache on each node.",
        lambda d: d.cache_bytes,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_required_memory_bytes",
        "Native memory that the model requires, over all its deployments.",
        lambda d: d.required_memory_bytes,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_runtime_memory_bytes",
        "Native memory that processes of the model use.",
        lambda d: d.runtime_memory_bytes,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_peak_runtime_memory_bytes",
        "The most native memory that processes of the model have used.",
        lambda d: d.peak_runtime_memory_bytes,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_created_timestamp_seconds",
        "When the deployment was created, on the cluster's clock.",
        lambda d: d.server_created_at,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_inferences",
        "Requests completed, over the nodes that responded; falls when one does not.",
        lambda d: d.completed,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_errors",
        "Requests that failed, over the nodes that responded.",
        lambda d: d.errors,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_rejections",
        "Requests rejected by a full queue, over the nodes that responded.",
        lambda d: d.rejections,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_timeouts",
        "Requests that timed out in the queue, over the nodes that responded.",
        lambda d: d.timeouts,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_peak_throughput_per_second",
        "Requests per second completed in each node's best minute, summed.",
        lambda d: _per_second(d.peak_throughput_per_minute),
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_adaptive_allocations_enabled",
        "Whether adaptive allocations are enabled: 1 or 0.",
        _adaptive_enabled,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_adaptive_allocations_minimum",
        "Minimum of adaptive allocations.",
        lambda d: d.adaptive.minimum if d.adaptive else None,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_adaptive_allocations_maximum",
        "Maximum of adaptive allocations.",
        lambda d: d.adaptive.maximum if d.adaptive else None,
    ),
)

NODE: tuple[FieldMetric[NodeStats], ...] = (
    FieldMetric(
        "elasticsearch_ml_deployment_node_allocations",
        "Allocations that the node's process has acknowledged.",
        lambda n: n.allocations,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_threads_per_allocation",
        "Threads per allocation that the node's process has acknowledged.",
        lambda n: n.threads_per_allocation,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_started_timestamp_seconds",
        "When the node's process became ready, on the cluster's clock; its totals began then.",
        lambda n: n.server_started_at,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_last_access_timestamp_seconds",
        "When the node last completed a request, on the cluster's clock.",
        lambda n: n.server_last_access_at,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_pending_requests",
        "Pending requests: queued and in service.",
        lambda n: n.pending if n.reports else None,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_inferences",
        "Requests completed, cache hits included.",
        lambda n: n.completed if n.reports else None,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_inference_seconds",
        "Inference time of the completed requests: their count times their mean.",
        lambda n: n.completed * (n.mean_inference_s or 0.0) if n.reports else None,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_cache_hits",
        "Requests served from the cache.",
        lambda n: n.cache_hits if n.reports else None,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_errors",
        "Requests that failed.",
        lambda n: n.errors if n.reports else None,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_rejections",
        "Requests rejected by a full queue.",
        lambda n: n.rejections if n.reports else None,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_timeouts",
        "Requests that timed out in the queue.",
        lambda n: n.timeouts if n.reports else None,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_mean_inference_seconds",
        "Mean time of a request since the process started, cache hits included.",
        lambda n: n.mean_inference_s,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_mean_inference_without_cache_hits_seconds",
        "Mean time of a request since the process started, cache hits excluded.",
        lambda n: n.mean_inference_without_hits_s,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_mean_inference_last_minute_seconds",
        "Mean time of a request in the last full minute.",
        lambda n: n.mean_inference_last_minute_s,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_throughput_last_minute_per_second",
        "Requests per second completed in the last full minute.",
        lambda n: _per_second(n.throughput_last_minute),
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_cache_hits_last_minute",
        "Requests served from the cache in the last full minute.",
        lambda n: n.cache_hits_last_minute if n.reports else None,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_peak_throughput_per_second",
        "Requests per second completed in the best minute.",
        lambda n: _per_second(n.peak_throughput_per_minute),
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_resident_memory_bytes",
        "Resident memory of the node's process.",
        lambda n: n.memory_bytes,
    ),
)

NODE_INFO = MetricFamily(
    "elasticsearch_ml_node_info",
    "Id, name and version of a machine-learning node; always 1 (node_id, name, version).",
)

PROCESS_MEMORY = MetricFamily(
    "elasticsearch_ml_node_process_memory_bytes",
    "Resident memory of all processes of deployments on the node, as far as it is reported.",
)

CAPACITY: tuple[FieldMetric[NodeCapacity], ...] = (
    FieldMetric(
        "elasticsearch_ml_node_processors",
        "Processors the node may use for allocations.",
        lambda n: n.processors,
    ),
    FieldMetric(
        "elasticsearch_ml_node_memory_bytes",
        "Memory the node sets aside for machine learning.",
        lambda n: n.ml_memory_bytes,
    ),
    FieldMetric(
        "elasticsearch_ml_node_free_memory_bytes",
        "Memory for machine learning on the node that is not in use.",
        lambda n: n.free_ml_memory_bytes,
    ),
)

CLUSTER: tuple[FieldMetric[Cluster], ...] = (
    FieldMetric(
        "elasticsearch_ml_upgrade_mode",
        "Whether machine learning is in upgrade mode: 1 or 0.",
        lambda c: None if c.upgrade_mode is None else float(c.upgrade_mode),
    ),
    FieldMetric(
        "elasticsearch_ml_mixed_versions",
        "Whether the machine-learning nodes run different versions: 1 or 0.",
        lambda c: float(c.mixed_versions) if c.nodes else None,
    ),
)
