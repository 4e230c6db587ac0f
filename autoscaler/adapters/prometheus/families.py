"""The metrics of this program: their names, their meaning, and the source of their values.

Names: `elasticsearch_ml_*`, in `cluster_families`, is passed through from the cluster in base
units; `autoscaler_*` is derived by this program. The labels are the same everywhere:

    cluster     the name of the cluster; absent where the daemon has one cluster only
    deployment  the deployment's id
    node        the node's name, or its id where names are missing or not unique
    model       the id of the model that the deployment runs
    rule        the rule of the configuration that applies
    reason      the reason of a decision (`Reason`), or why a deployment is not managed or observed
                only
    changes     what a pause holds (`PausedChanges`)
    cause       why requested allocations do not run (`ShortfallCause`)
    outcome     the outcome of a change (`OutcomeKind`)
    issue       the data-quality issue of a sample (`DataIssue`)
    kind        the kind of a failed observation (`FailureKind`)
    part        observe, plan or act
    state       a state, named as the cluster names it; only the current one has a series
"""

from collections.abc import Callable
from typing import Generic, Literal, NamedTuple, TypeVar

from msgspec import Struct

from autoscaler.core.decision import Decision
from autoscaler.core.values import DeploymentStats

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


MANAGED = MetricFamily(
    "autoscaler_managed",
    "Whether a deployment is managed: 1 with the rule, 0 with the reason (rule, reason).",
)
OBSERVE_ONLY = MetricFamily(
    "autoscaler_observe_only",
    "1 where the cluster would refuse every change, with the cause (reason).",
)
MISSING_ALLOCATIONS = MetricFamily(
    "autoscaler_missing_allocations",
    "Allocations that are requested and do not run; absent where all run (cause).",
)
SECOND_WRITER = MetricFamily(
    "autoscaler_second_writer",
    "1 for a deployment that another writer changes again and again.",
)

DEPLOYMENT_STOPPED = MetricFamily(
    "autoscaler_deployment_stopped",
    "1 for a deployment that the autoscaler stopped because it was idle.",
)

RECOMMENDED: FieldMetric[DecisionRow] = FieldMetric(
    "autoscaler_recommended_allocations",
    "Allocations that the policy recommends, before constraints.",
    lambda d: d.decision.recommended if d.decision.is_current_known else None,
)
IN_FLIGHT: FieldMetric[DecisionRow] = FieldMetric(
    "autoscaler_in_flight_requests",
    "Requests queued and in service, over all nodes.",
    lambda d: d.decision.load.in_flight if d.decision.load else None,
)
DECISION: tuple[FieldMetric[DecisionRow], ...] = (
    FieldMetric(
        "autoscaler_current_allocations",
        "Allocations before the decision: those requested; in mode bounds, the adaptive minimum.",
        lambda d: d.decision.current if d.decision.is_current_known else None,
    ),
    FieldMetric(
        "autoscaler_working_allocations",
        "Running allocations, without those that no process acknowledges.",
        lambda d: d.decision.running,
    ),
    RECOMMENDED,
    RECOMMENDED.alias("autoscaler_wanted_allocations"),
    FieldMetric(
        "autoscaler_desired_allocations",
        "Allocations decided on, after constraints; in mode bounds, the adaptive minimum.",
        lambda d: d.decision.desired if d.decision.is_current_known else None,
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
        "Whether the rule is a dry run: 1 or 0.",
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

LEVEL = MetricFamily(
    "autoscaler_deployment_level",
    "1 for how much a deployment needs an operator: trouble, attention, fine, unmanaged (level).",
)
CONTROL_MODE = MetricFamily("autoscaler_control_mode", "1 for the control mode of the rule (mode).")
DECISION_REASON = MetricFamily(
    "autoscaler_decision_reason",
    "1 for the reason of the step that determined the last decision (reason).",
)
SAMPLE_ISSUE = MetricFamily(
    "autoscaler_sample_issue",
    "1 for each data-quality issue of the last sample (issue).",
)
MISSING_SINCE = MetricFamily(
    "autoscaler_missing_allocations_since_timestamp_seconds",
    "Since when fewer allocations run than are requested; absent where all run.",
)
PAUSED = MetricFamily(
    "autoscaler_paused",
    "1 while an operator has paused what the label changes says: everything, increases or "
    "decreases.",
)
PAUSED_UNTIL = MetricFamily(
    "autoscaler_paused_until_timestamp_seconds",
    "Unix time at which that pause ends by itself.",
)
OVERRIDE = MetricFamily(
    "autoscaler_override_allocations",
    "Allocations that an operator has set for a time, before the bounds of the rule are applied.",
)
OVERRIDE_UNTIL = MetricFamily(
    "autoscaler_override_until_timestamp_seconds",
    "Unix time at which that override ends by itself.",
)
ROLLOUT = MetricFamily(
    "autoscaler_rollout",
    "1 for the state of the gradual rollout of the rule: active or before, waiting or reverted "
    "(state); absent where the rule acts at all times.",
)
ROLLOUT_REQUESTS = MetricFamily(
    "autoscaler_rollout_requests",
    "Requests compared since the gradual rollout began, by whether the rule acted: active or "
    "before (block).",
)
ROLLOUT_LATE_REQUESTS = MetricFamily(
    "autoscaler_rollout_late_requests", "The late ones of these requests (block)."
)
ROLLOUT_SECONDS = MetricFamily(
    "autoscaler_rollout_seconds", "Time in which these requests were compared (block)."
)
ROLLOUT_ALLOCATION_SECONDS = MetricFamily(
    "autoscaler_rollout_allocation_seconds",
    "Running allocations multiplied by that time (block).",
)
ROLLOUT_DIFFERENCE = MetricFamily(
    "autoscaler_rollout_late_difference_ratio",
    "Fraction of late requests while the rule acted, minus that before; absent with few hours.",
)
ROLLOUT_HALF_WIDTH = MetricFamily(
    "autoscaler_rollout_late_difference_half_width_ratio",
    "Half of the interval of that difference, which holds at all times.",
)
ROLLOUT_NEXT_ACTIVE_AT = MetricFamily(
    "autoscaler_rollout_next_active_timestamp_seconds",
    "When the rule acts again after the present hour; absent if it does not.",
)
ROLLOUT_EVIDENCE = MetricFamily(
    "autoscaler_rollout_loss_evidence_ratio",
    "Evidence of many late requests within minutes; 1 reverts the rule.",
)
EXTERNAL_CHANGE_AT = MetricFamily(
    "autoscaler_external_change_timestamp_seconds",
    "When another writer last changed the deployment; absent if not recently.",
)
EXTERNAL_CHANGE_RESPECTED = MetricFamily(
    "autoscaler_external_change_respected",
    "Whether the last change by another writer is respected: 1 or 0.",
)
LAST_UPDATE_AT = MetricFamily(
    "autoscaler_last_update_timestamp_seconds",
    "When the last update was sent; absent if there was none (outcome).",
)

DECISIONS = MetricFamily(
    "autoscaler_decisions",
    "Decisions, by the reason of the step that determined the result (reason).",
    "counter",
)
UPDATES = MetricFamily("autoscaler_updates", "Changes decided on, by outcome (outcome).", "counter")
EXTERNAL_CHANGES = MetricFamily(
    "autoscaler_external_changes",
    "Changes of a deployment by another writer.",
    "counter",
)
SAMPLE_ISSUES = MetricFamily(
    "autoscaler_sample_issues",
    "Samples with a data-quality issue, on which nothing is scaled down (issue).",
    "counter",
)
UNKNOWN_FIGURES = MetricFamily(
    "autoscaler_unknown_figures",
    "Observations with figures that are not reported or unreadable (figures: needed, other).",
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
CLUSTER_CHANGES = MetricFamily(
    "autoscaler_cluster_changes", "Changes of the cluster at the address (kind).", "counter"
)
OBSERVATION_FAILURES = MetricFamily(
    "autoscaler_observation_failures", "Failed observations, by kind of failure (kind).", "counter"
)
UP = MetricFamily("autoscaler_elasticsearch_up", "Whether the last observation succeeded: 1 or 0.")
LEADER = MetricFamily(
    "autoscaler_leader",
    "Whether this instance leads, and changes the cluster: 1 or 0. Always 1 where there is one "
    "instance only.",
)
STATE_SAVED = MetricFamily(
    "autoscaler_state_saved",
    "Whether the state is saved: 1 or 0. Absent where it does not have to be: an instance that "
    'does not lead, and state = "none".',
)
OBSERVATION_AGE = MetricFamily(
    "autoscaler_observation_age_seconds",
    "Time since the last successful observation, or since the start if there was none.",
)
PER_NODE = MetricFamily(
    "autoscaler_per_node_metrics",
    "Whether the metrics of each deployment on each node are exported: 1 or 0.",
)
UNREADABLE = MetricFamily(
    "autoscaler_unreadable_deployments",
    "Deployments with invalid statistics in the last observation.",
)
LEFT_OUT = MetricFamily(
    "autoscaler_left_out_deployments",
    "Deployments of the last observation beyond those that are observed at once.",
)
POLL_INTERVAL = MetricFamily(
    "autoscaler_poll_interval_seconds", "From the start of one cycle to the start of the next."
)
NEXT_POLL = MetricFamily(
    "autoscaler_next_poll_seconds",
    "From the start of the last cycle to the start of the next, as planned.",
)
POLLS = MetricFamily(
    "autoscaler_polls",
    "Completed cycles, by why the poll was due when it was (cause).",
    "counter",
)
LOG_LINES_DROPPED = MetricFamily(
    "autoscaler_log_lines_dropped", "Log lines that were not written (reason).", "counter"
)
HTTP_REFUSED = MetricFamily(
    "autoscaler_http_refused",
    "Requests to the daemon that were refused, and connections closed for their clients (reason).",
    "counter",
)
OTLP_EXPORTS = MetricFamily(
    "autoscaler_otlp_exports",
    "Exports of metrics or decisions by OTLP (signal, result).",
    "counter",
)
OTLP_LOST = MetricFamily(
    "autoscaler_otlp_lost",
    "Data points and decisions that the receiver of exports has not accepted (signal, cause).",
    "counter",
)
RECORDING_BYTES = MetricFamily(
    "autoscaler_recording_bytes", "Size of the recording of the cycles; absent if there is none."
)
RECORDED_AT = MetricFamily(
    "autoscaler_recording_last_cycle_timestamp_seconds",
    "When the last recorded cycle was observed; absent if there is none.",
)
RECORDING_FAILURES = MetricFamily(
    "autoscaler_recording_failed_cycles",
    "Completed cycles that could not be recorded; absent if cycles are not recorded.",
    "counter",
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
