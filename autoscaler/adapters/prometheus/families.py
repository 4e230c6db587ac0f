"""Every metric of this program: its name, its meaning, and where its value comes from.

Names: `elasticsearch_ml_*` is what the cluster reported, passed through in base units;
`autoscaler_*` is what this program made of it. Labels, everywhere the same:

    deployment  the deployment's id
    node        the node's name, or its id where names are missing or not unique
    model       the id of the model that is deployed
    rule        the rule of the configuration that applies
    reason      why: a rule of the decision (`Reason`), or why a deployment is left alone
    outcome     what became of a change (`OutcomeKind`)
    flaw        why a sample was not trusted (`DataIssue`)
    kind        what went wrong with an observation (`FailureKind`)
    part        observe, plan or act
    state       a state, in the cluster's words; the present one alone has a series
"""

from collections.abc import Callable
from typing import Generic, Literal, NamedTuple, TypeVar

from msgspec import Struct

from autoscaler.core.values import Cluster, Decision, DeploymentStats, NodeCapacity, NodeStats

T = TypeVar("T")


class MetricFamily(NamedTuple):
    """A metric as it is declared. A counter's name is given without its `_total`."""

    name: str
    help: str
    kind: Literal["gauge", "counter", "histogram"] = "gauge"


class FieldMetric(NamedTuple, Generic[T]):
    """A metric that is read off a value; None makes no series."""

    name: str
    help: str
    read: Callable[[T], float | None]
    kind: Literal["gauge", "counter"] = "gauge"


class DecisionRow(Struct, frozen=True):
    """A decision and the statistics it was made from."""

    decision: Decision
    stats: DeploymentStats

    @property
    def utilisation(self) -> float | None:
        """Offered load ÷ the allocations that serve."""
        load, running = self.decision.load, self.stats.running_allocations
        if load is None or load.offered_load is None or not running:
            return None
        return load.offered_load / running


# --- what the cluster reported -----------------------------------------------------------------

DEPLOYMENT_INFO = MetricFamily(
    "elasticsearch_ml_deployment_info", "What a deployment is; always 1 (model, priority)."
)
DEPLOYMENT_STATE = MetricFamily(
    "elasticsearch_ml_deployment_state", "1 for the state a deployment is in (state)."
)
ALLOCATION_STATE = MetricFamily(
    "elasticsearch_ml_deployment_allocation_state",
    "1 for how far a deployment's allocations have come (state).",
)
ROUTING_STATE = MetricFamily(
    "elasticsearch_ml_deployment_node_routing_state",
    "1 for the routing state of a deployment on a node (state).",
)

DEPLOYMENT: tuple[FieldMetric[DeploymentStats], ...] = (
    FieldMetric(
        "elasticsearch_ml_deployment_requested_allocations",
        "Allocations the deployment was last asked to have.",
        lambda d: d.allocations,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_target_allocations",
        "Allocations the cluster aims at, as its allocation status has it.",
        lambda d: d.target_allocations,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_running_allocations",
        "Allocations on nodes that serve requests.",
        lambda d: d.running_allocations,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_threads_per_allocation",
        "Threads each allocation computes with.",
        lambda d: d.threads_per_allocation,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_queue_capacity_requests",
        "Requests that may wait on each node; more are rejected.",
        lambda d: d.queue_capacity,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_cache_size_bytes",
        "Size of the inference cache on each node.",
        lambda d: d.cache_bytes,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_required_memory_bytes",
        "Native memory the model needs, over all its deployments.",
        lambda d: d.required_memory_bytes,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_created_timestamp_seconds",
        "When the deployment was created, on the cluster's clock.",
        lambda d: d.server_created_at,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_inferences",
        "Requests completed, over the nodes that answered; falls when one did not.",
        lambda d: d.completed,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_errors",
        "Requests that failed, over the nodes that answered.",
        lambda d: d.errors,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_rejections",
        "Requests refused by a full queue, over the nodes that answered.",
        lambda d: d.rejections,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_timeouts",
        "Requests given up while they waited, over the nodes that answered.",
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
        "Whether the cluster's own scaler is on: 1 or 0.",
        lambda d: float(d.adaptive is not None and d.adaptive.enabled),
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_adaptive_allocations_minimum",
        "Fewest allocations the cluster's own scaler may choose.",
        lambda d: d.adaptive.minimum if d.adaptive else None,
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_adaptive_allocations_maximum",
        "Most allocations the cluster's own scaler may choose.",
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
        "Requests that wait or are being computed.",
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
        "Time spent on the completed requests: their number times their mean.",
        lambda n: n.completed * (n.mean_inference_s or 0.0) if n.reports else None,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_cache_hits",
        "Requests answered from the cache.",
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
        "Requests refused by a full queue.",
        lambda n: n.rejections if n.reports else None,
        "counter",
    ),
    FieldMetric(
        "elasticsearch_ml_deployment_node_timeouts",
        "Requests given up while they waited.",
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
        "Mean time of a request since the process started, cache hits left out.",
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
        "Requests answered from the cache in the last full minute.",
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
    "elasticsearch_ml_node_info", "What a machine-learning node is; always 1 (node_id, version)."
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
        "Part of it that nothing has claimed.",
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

# --- what this program makes of it -------------------------------------------------------------

MANAGED = MetricFamily(
    "autoscaler_managed",
    "Whether a deployment is scaled: 1 by this rule, or 0 for this reason (rule, reason).",
)

DEPLOYMENT_STOPPED = MetricFamily(
    "autoscaler_deployment_stopped",
    "1 for a deployment that was stopped because nobody used it, and is started when it is wanted.",
)

DECISION: tuple[FieldMetric[DecisionRow], ...] = (
    FieldMetric(
        "autoscaler_recommended_allocations",
        "Allocations the policy recommends, limits aside.",
        lambda d: d.decision.recommended,
    ),
    FieldMetric(
        "autoscaler_desired_allocations",
        "Allocations decided on, limits respected; with bounds as the lever, the least of them.",
        lambda d: d.decision.desired,
    ),
    FieldMetric(
        "autoscaler_minimum_allocations",
        "Fewest allocations the rule allows.",
        lambda d: d.decision.min_allocations,
    ),
    FieldMetric(
        "autoscaler_maximum_allocations",
        "Most allocations the rule allows.",
        lambda d: d.decision.max_allocations,
    ),
    FieldMetric(
        "autoscaler_dry_run",
        "Whether decisions are only observed, not carried out: 1 or 0.",
        lambda d: float(d.decision.dry_run),
    ),
    FieldMetric(
        "autoscaler_arrival_rate_per_second",
        "Requests per second asked of the deployment, served or not.",
        lambda d: d.decision.load.arrival_rate_per_s if d.decision.load else None,
    ),
    FieldMetric(
        "autoscaler_throughput_per_second",
        "Requests per second completed.",
        lambda d: d.decision.load.throughput_per_s if d.decision.load else None,
    ),
    FieldMetric(
        "autoscaler_service_time_seconds",
        "Time one allocation is busy with one request, waiting and cache hits excluded.",
        lambda d: d.decision.load.service_time_s if d.decision.load else None,
    ),
    FieldMetric(
        "autoscaler_offered_load_erlangs",
        "Allocations that the arrivals keep busy: arrival rate times service time.",
        lambda d: d.decision.load.offered_load if d.decision.load else None,
    ),
    FieldMetric(
        "autoscaler_utilisation_ratio",
        "Offered load divided by live allocations; above 1, requests queue up.",
        lambda d: d.utilisation,
    ),
    FieldMetric(
        "autoscaler_in_flight_requests",
        "Requests that wait or are being computed, over all nodes.",
        lambda d: d.decision.load.in_flight if d.decision.load else None,
    ),
    FieldMetric(
        "autoscaler_cache_hit_ratio",
        "Fraction of requests answered from the cache.",
        lambda d: d.decision.load.cache_hit_fraction if d.decision.load else None,
    ),
)

DECISIONS = MetricFamily(
    "autoscaler_decisions", "Decisions, by the rule that had the last word (reason).", "counter"
)
UPDATES = MetricFamily(
    "autoscaler_updates", "Changes decided on, by what became of them (outcome).", "counter"
)
SAMPLE_ISSUES = MetricFamily(
    "autoscaler_sample_issues", "Samples not trusted to scale down on (flaw).", "counter"
)
LEAD_TIME = MetricFamily(
    "autoscaler_lead_time_seconds",
    "From an accepted update to all its allocations serving (new_node: a process had to start).",
    "histogram",
)

# --- the daemon itself -------------------------------------------------------------------------

BUILD_INFO = MetricFamily(
    "autoscaler_build_info", "The version that is running; always 1 (version)."
)
CYCLES = MetricFamily(
    "autoscaler_cycles",
    "Cycles, completed or skipped for lack of an observation (result).",
    "counter",
)
CYCLE_DURATION = MetricFamily(
    "autoscaler_cycle_duration_seconds", "Time the parts of a cycle took (part).", "histogram"
)
OBSERVATION_FAILURES = MetricFamily(
    "autoscaler_observation_failures", "Failed observations, by what went wrong (kind).", "counter"
)
UP = MetricFamily("autoscaler_elasticsearch_up", "Whether the last observation succeeded: 1 or 0.")
OBSERVATION_AGE = MetricFamily(
    "autoscaler_observation_age_seconds",
    "Time since the last successful observation, or since the start if there was none.",
)
UNREADABLE = MetricFamily(
    "autoscaler_unreadable_deployments", "Entries of the last statistics that made no sense."
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
