"""Every metric of this program: its name, its meaning, and the source of its value.

Names: `elasticsearch_ml_*` is what the cluster reported, passed through in base units;
`autoscaler_*` is what this program derived from it. The labels are the same everywhere:

    deployment  the deployment's id
    node        the node's name, or its id where names are missing or not unique
    model       the id of the model that the deployment runs
    rule        the rule of the configuration that applies
    reason      the reason of a decision (`Reason`), or why a deployment is not managed
    outcome     the outcome of a change (`OutcomeKind`)
    issue       the data-quality issue of a sample (`DataIssue`)
    kind        the kind of a failed observation (`FailureKind`)
    part        observe, plan or act
    state       a state, named as the cluster names it; only the current one has a series
"""

from collections.abc import Callable
from typing import Generic, Literal, NamedTuple, TypeVar

from msgspec import Struct

from autoscaler.core.values import Cluster, Decision, DeploymentStats, NodeCapacity, NodeStats

T = TypeVar("T")


class MetricFamily(NamedTuple):
    """The declaration of a metric. The name of a counter is without `_total`."""

    name: str
    help: str
    kind: Literal["gauge", "counter", "histogram"] = "gauge"


class FieldMetric(NamedTuple, Generic[T]):
    """A metric that is read from a value; None makes no series."""

    name: str
    help: str
    read: Callable[[T], float | None]
    kind: Literal["gauge", "counter"] = "gauge"

    def alias(self, old_name: str) -> "FieldMetric[T]":
        """The same metric under the name it had, which is exported for one more release."""
        return self._replace(name=old_name, help=f"Deprecated: use {self.name}.")


class DecisionRow(Struct, frozen=True):
    """A decision and the statistics it is based on."""

    decision: Decision
    stats: DeploymentStats

    @property
    def utilisation(self) -> float | None:
        """Offered load ÷ running allocations."""
        load, running = self.decision.load, self.stats.running_allocations
        if load is None or load.offered_load is None or not running:
            return None
        return load.offered_load / running


# --- what the cluster reported -----------------------------------------------------------------

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
        lambda d: d.peak_throughput_per_minute / 60.0,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_adaptive_allocations_enabled",
        "Whether adaptive allocations are enabled: 1 or 0.",
        lambda d: float(d.adaptive is not None and d.adaptive.enabled),
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
        lambda n: n.throughput_last_minute / 60.0,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_cache_hits_last_minute",
        "Requests served from the cache in the last full minute.",
        lambda n: n.cache_hits_last_minute if n.reports else None,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_peak_throughput_per_second",
        "Requests per second completed in the best minute.",
        lambda n: n.peak_throughput_per_minute / 60.0,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_resident_memory_bytes",
        "Resident memory of the node's process.",
        lambda n: n.memory_bytes,
    ),
)

NODE_INFO = MetricFamily(
    "elasticsearch_ml_node_info",
    "The id and the version of a machine-learning node; always 1 (node_id, version).",
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
        lambda c: float(c.upgrade_mode),
    ),
    FieldMetric(
        "elasticsearch_ml_mixed_versions",
        "Whether the machine-learning nodes run different versions: 1 or 0.",
        lambda c: float(c.mixed_versions),
    ),
)

# --- what this program derives from it ---------------------------------------------------------

MANAGED = MetricFamily(
    "autoscaler_managed",
    "Whether a deployment is managed: 1 with the rule, 0 with the reason (rule, reason).",
)

DEPLOYMENT_STOPPED = MetricFamily(
    "autoscaler_deployment_stopped",
    "1 for a deployment that the autoscaler stopped because it was idle.",
)

RECOMMENDED: FieldMetric[DecisionRow] = FieldMetric(
    "autoscaler_recommended_allocations",
    "Allocations that the policy recommends, before constraints.",
    lambda d: d.decision.recommended,
)
IN_FLIGHT: FieldMetric[DecisionRow] = FieldMetric(
    "autoscaler_in_flight_requests",
    "Requests queued and in service, over all nodes.",
    lambda d: d.decision.load.in_flight if d.decision.load else None,
)
DECISION: tuple[FieldMetric[DecisionRow], ...] = (
    RECOMMENDED,
    RECOMMENDED.alias("autoscaler_wanted_allocations"),
    FieldMetric(
        "autoscaler_desired_allocations",
        "Allocations decided on, after constraints; in mode bounds, the adaptive minimum.",
        lambda d: d.decision.desired,
    ),
    FieldMetric(
        "autoscaler_minimum_allocations",
        "Minimum allocations of the rule.",
        lambda d: d.decision.min_allocations,
    ),
    FieldMetric(
        "autoscaler_maximum_allocations",
        "Maximum allocations of the rule.",
        lambda d: d.decision.max_allocations,
    ),
    FieldMetric(
        "autoscaler_dry_run",
        "Whether updates are not sent: 1 or 0.",
        lambda d: float(d.decision.dry_run),
    ),
    FieldMetric(
        "autoscaler_arrival_rate_per_second",
        "Requests per second sent to the deployment, served or not.",
        lambda d: d.decision.load.arrival_rate_per_s if d.decision.load else None,
    ),
    FieldMetric(
        "autoscaler_throughput_per_second",
        "Requests per second completed.",
        lambda d: d.decision.load.throughput_per_s if d.decision.load else None,
    ),
    FieldMetric(
        "autoscaler_service_time_seconds",
        "Time one allocation is busy with one request, queueing and cache hits excluded.",
        lambda d: d.decision.load.service_time_s if d.decision.load else None,
    ),
    FieldMetric(
        "autoscaler_offered_load_erlangs",
        "Allocations that the arrivals keep busy: arrival rate times service time.",
        lambda d: d.decision.load.offered_load if d.decision.load else None,
    ),
    FieldMetric(
        "autoscaler_utilisation_ratio",
        "Offered load divided by running allocations; above 1 the queue grows.",
        lambda d: d.utilisation,
    ),
    IN_FLIGHT,
    IN_FLIGHT.alias("autoscaler_pending_requests"),
    FieldMetric(
        "autoscaler_cache_hit_ratio",
        "Fraction of requests served from the cache.",
        lambda d: d.decision.load.cache_hit_fraction if d.decision.load else None,
    ),
)

DECISIONS = MetricFamily(
    "autoscaler_decisions",
    "Decisions, by the reason of the step that determined the result (reason).",
    "counter",
)
UPDATES = MetricFamily("autoscaler_updates", "Changes decided on, by outcome (outcome).", "counter")
SAMPLE_ISSUES = MetricFamily(
    "autoscaler_sample_issues",
    "Samples with a data-quality issue, on which nothing is scaled down (issue).",
    "counter",
)
LEAD_TIME = MetricFamily(
    "autoscaler_lead_time_seconds",
    "Time from an accepted update until all its allocations run (new_node: on a new node).",
    "histogram",
)

# --- the daemon itself -------------------------------------------------------------------------

BUILD_INFO = MetricFamily(
    "autoscaler_build_info", "The version that is running; always 1 (version)."
)
CYCLES = MetricFamily(
    "autoscaler_cycles",
    "Cycles, completed or skipped because the observation failed (result).",
    "counter",
)
CYCLE_DURATION = MetricFamily(
    "autoscaler_cycle_duration_seconds", "Duration of the parts of a cycle (part).", "histogram"
)
OBSERVATION_FAILURES = MetricFamily(
    "autoscaler_observation_failures", "Failed observations, by kind of failure (kind).", "counter"
)
UP = MetricFamily("autoscaler_elasticsearch_up", "Whether the last observation succeeded: 1 or 0.")
OBSERVATION_AGE = MetricFamily(
    "autoscaler_observation_age_seconds",
    "Time since the last successful observation, or since the start if there was none.",
)
UNREADABLE = MetricFamily(
    "autoscaler_unreadable_deployments",
    "Deployments with invalid statistics in the last observation.",
)
POLL_INTERVAL = MetricFamily(
    "autoscaler_poll_interval_seconds", "From the start of one cycle to the start of the next."
)
CONFIG_INFO = MetricFamily(
    "autoscaler_config_info", "The configuration in force; always 1 (fingerprint)."
)
CONFIG_SUCCESS = MetricFamily(
    "autoscaler_config_last_reload_successful",
    "Whether the configuration was valid when last read: 1 or 0.",
)
CONFIG_SUCCESS_AT = MetricFamily(
    "autoscaler_config_last_reload_success_timestamp_seconds",
    "When a valid configuration was last read.",
)
