"""The types that all stages use: immutable values, with units in their names.

Instants (`at`, `_at`) are float seconds on the daemon's own clock, or on the server's where the
name says `server_`; the two are never compared. Durations end in `_s`, rates in `_per_s`.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

STARTED = "started"
"""The routing state of a node that serves requests, and the state of such a deployment."""

STOPPING = "stopping"
"""The state of a deployment that is being stopped, and may still be reported."""

ROUNDING_LOSS_S = 0.0005
"""Seconds added to a mean service time: half of the millisecond to which reported times are rounded
down. Without it, a model that takes less than one would seem to need no allocation.

Source: elastic/ml-cpp, `bin/pytorch_inference`.
"""


MAX_UNDERESTIMATE = 2.0
"""Ratio of the least service time that an overload shows to the known one, above which the known
one is no longer used. 2: below that, it may be chance, and the load is known well enough."""


class Value(Struct, frozen=True, gc=False):
    """An immutable value. Values form trees, so the garbage collector does not track them."""


class FastStrEnum(StrEnum):
    """A member of a fixed set of strings. It is hashed as a string, which is much faster."""

    __hash__ = str.__hash__


class NodeStats(Value, frozen=True):
    """One deployment on one node: totals since its process started, and its queue now."""

    node_id: str  # "" on serverless, which names no nodes
    routing_state: str  # starting, started, stopping, stopped, failed
    name: str = ""
    routing_reason: str = ""
    server_started_at: float | None = None  # when the process became ready; None: not yet
    allocations: int | None = None  # what the process acknowledged
    threads_per_allocation: int | None = None
    completed: int = 0
    cache_hits: int = 0
    errors: int = 0
    rejections: int = 0
    timeouts: int = 0
    busy_s: float = 0.0  # allocation-seconds of all completed requests
    mean_inference_s: float | None = None  # over `completed`, cache hits included
    mean_inference_without_hits_s: float | None = None
    pending: int = 0  # in-flight requests at this instant; not a total
    server_last_access_at: float | None = None
    throughput_last_minute: int | None = 0
    peak_throughput_per_minute: int | None = 0
    mean_inference_last_minute_s: float | None = None
    cache_hits_last_minute: int | None = 0
    memory_bytes: int | None = None  # resident memory of the process

    @property
    def reports(self) -> bool:
        """Whether the response contains counters of the node's process."""
        return self.server_started_at is not None


class AdaptiveAllocations(Value, frozen=True, kw_only=True):
    """The settings of `adaptive_allocations`, Elasticsearch's scaler, for one deployment."""

    enabled: bool
    minimum: int | None = None
    maximum: int | None = None


class DeploymentStats(Value, frozen=True):
    """The statistics of one deployment, from one poll."""

    deployment_id: str
    model_id: str
    state: str = ""
    reason: str = ""
    priority: str = "normal"
    allocations: int | None = None  # requested; None: not reported
    running_allocations: int | None = None  # on routes in state started
    target_allocations: int | None = None
    allocation_state: str = ""  # starting, started, fully_allocated
    threads_per_allocation: int | None = None
    queue_capacity: int | None = None
    cache_bytes: int | None = None
    adaptive: AdaptiveAllocations | None = None  # None: never set, or removed
    server_created_at: float | None = None
    # This and the next four are sums over the nodes of one response, and never differenced.
    # None: unknown; one that is left out is 0.
    completed: int | None = 0
    errors: int | None = 0
    rejections: int | None = 0
    timeouts: int | None = 0
    peak_throughput_per_minute: int | None = 0
    required_memory_bytes: int | None = None  # of the model, over all its deployments
    nodes: tuple[NodeStats, ...] = ()
    # What processes of the model really use, and the most they have used; newest versions only.
    runtime_memory_bytes: int | None = None
    peak_runtime_memory_bytes: int | None = None


class NodeCapacity(Value, frozen=True, kw_only=True):
    """The capacity of one ML node."""

    node_id: str
    name: str
    version: str = ""
    processors: float | None = None
    ml_memory_bytes: int | None = None
    free_ml_memory_bytes: int | None = None  # by what the planner has reserved
    job_memory_bytes: int | None = None  # reserved for anomaly detection and analytics
    machine_memory_bytes: int | None = None
    max_ml_memory_bytes: int | None = None  # an upper bound of `ml_memory_bytes`


class Cluster(Value, frozen=True, kw_only=True):
    """The ML nodes, and whether they are being upgraded."""

    nodes: tuple[NodeCapacity, ...]
    upgrade_mode: bool | None = False  # None: unknown
    upgrade_mode_odd: bool = False  # whether it is unknown because the response is damaged
    growable: bool | None = None  # whether nodes can be added automatically; None: unknown

    @property
    def mixed_versions(self) -> bool:
        return len({node.version for node in self.nodes if node.version}) > 1


class Callers(FastStrEnum):
    """Who waits for the responses of a deployment, which determines for how long."""

    UNKNOWN = "unknown"  # some may be pipelines or inference endpoints, or none
    DIRECT = "direct"  # searches and `_infer`: neither pipelines nor inference endpoints use it
    ENDPOINT = "endpoint"  # an inference endpoint
    COMPLETION = "completion"  # an inference endpoint for completion
    INGEST = "ingest"  # an ingest pipeline, perhaps among others


class Observation(Value, frozen=True, kw_only=True):
    """All deployments, by id, as the cluster reported them at an instant between the request for
    the statistics and their arrival."""

    at: float  # when the last response had arrived
    requested_at: float | None = None  # when the first request was sent; None: no earlier than `at`
    deployments: Mapping[str, DeploymentStats]
    unreadable: Mapping[str, str] = {}  # deployment id, or position -> why it was set aside
    left_out: int = 0  # deployments that are reported, beyond those that are observed at once
    # Deployment id -> figures that could not be read, with the errors; they are unknown.
    unreadable_figures: Mapping[str, str] = {}
    # Deployment id -> figures that a decision needs and that are not reported, or unreadable.
    unknown_figures: Mapping[str, tuple[str, ...]] = {}
    owned: Mapping[str, str] = {}  # deployment id -> inference endpoint that it belongs to
    in_use: Mapping[str, str] = {}  # deployment id -> why it must not be stopped
    callers: Mapping[str, Callers] = {}  # by deployment id; one that is left out is unknown
    cluster: Cluster | None = None  # None: not read, or not permitted

    @property
    def span_s(self) -> float:
        """Seconds from the request to the arrival."""
        return 0.0 if self.requested_at is None else max(0.0, self.at - self.requested_at)


class DataIssue(FastStrEnum):
    """Why a sample must not lead to fewer allocations: the load may be higher than it shows."""

    FIRST_OBSERVATION = "first_observation"  # there is no earlier one to compare with
    OBSERVATION_GAP = "observation_gap"  # the previous observation is too old
    CLOCK = "clock"  # time did not advance
    SLOW_RESPONSE = "slow_response"  # the length of the interval is too uncertain
    NOT_STARTED = "not_started"  # the deployment is not in state started
    NOT_REPORTED = "not_reported"  # its state, its number or its target is unknown
    INCOMPLETE = "incomplete"  # the statistics of a serving node, or a figure of it, are missing
    NEW_NODE = "new_node"  # it is not known when a node's totals began
    COUNTER_RESET = "counter_reset"  # a process ended, and its totals with it
    COUNTER_DECREASED = "counter_decreased"  # totals of one process fell
    INCONSISTENT = "inconsistent"  # figures contradict each other
    IMPLAUSIBLE = "implausible"  # more work than the allocations could have done
    STALLED = "stalled"  # requests are queued, and none arrives or completes


class Sample(Value, frozen=True, kw_only=True):
    """One deployment in the `interval_s` seconds before `at`."""

    at: float
    interval_s: float
    uncertainty_s: float = 0.0  # by which the interval may be shorter or longer
    completed: int = 0
    cache_hits: int = 0
    failed: int = 0
    timeouts: int = 0  # of the failed requests
    queue_growth: int = 0
    busy_s: float = 0.0  # allocation-seconds of the completed requests
    timed: int = 0  # completions that show the service time: no cache hits, no warm-up
    timed_busy_s: float = 0.0  # allocation-seconds of the timed completions
    in_flight: int = 0
    unacknowledged: int = 0  # running allocations that no process acknowledges, and never will
    overloaded: bool = False  # too many callers gave up for the service time to be measured
    issues: tuple[DataIssue, ...] = ()

    @property
    def arrivals(self) -> int:
        """Requests sent to the deployment: completed, failed, or added to the queue."""
        return max(0, self.completed + self.failed + self.queue_growth)

    def contradicts(self, known_s: float | None) -> bool:
        """Whether an overload shows that service times are far above the known one, and only the
        least that they can be."""
        if not self.overloaded or not self.timed:
            return False
        return known_s is None or self.timed_busy_s > MAX_UNDERESTIMATE * known_s * self.timed

    @property
    def shortest_s(self) -> float:
        """The shortest that the interval can have been. Seconds."""
        return self.interval_s - self.uncertainty_s

    @property
    def longest_s(self) -> float:
        """The longest that the interval can have been. Seconds."""
        return self.interval_s + self.uncertainty_s

    @property
    def counts_certain(self) -> bool:
        """Whether the requests are known, although perhaps not the time in which they came."""
        return not self.issues or self.issues == (DataIssue.SLOW_RESPONSE,)


class LoadEstimate(Value, frozen=True, kw_only=True):
    """The load of a deployment."""

    arrival_rate_per_s: float
    throughput_per_s: float
    service_time_s: float | None  # of a request that is no cache hit; None: never measured
    cache_hit_fraction: float
    in_flight: int
    window_s: float  # over which the rates are measured
    # None: the service time is measured. Otherwise that is the least that it can be, and this the
    # most; infinite if nothing was completed.
    service_time_at_most_s: float | None = None
    # Then whether it is estimated from the totals of the processes, and may be less.
    from_totals: bool = False

    @property
    def load_at_most(self) -> float | None:
        """Erlangs: the most that the offered load can be. None: the offered load is measured, or
        unknown."""
        load, least_s, most_s = self.offered_load, self.service_time_s, self.service_time_at_most_s
        return load * most_s / least_s if load and least_s and most_s is not None else None

    @property
    def offered_load(self) -> float | None:
        """Erlangs: the allocations that the arrivals keep busy. None: unknown service time."""
        if self.arrival_rate_per_s == 0.0:
            return 0.0
        if self.service_time_s is None:
            return None
        return self.arrival_rate_per_s * (1.0 - self.cache_hit_fraction) * self.service_time_s


class Schedule(Value, frozen=True, kw_only=True):
    """A recurring window of time, in local time, with its own bounds."""

    name: str
    cron: str  # five fields; the window opens whenever they match
    timezone: str  # an IANA name, such as Europe/Berlin
    length_s: float  # for which it stays open, in elapsed time
    min_allocations: int | None = None
    max_allocations: int | None = None


class Reason(FastStrEnum):
    """The reason of a step: the policy's, or the constraint that made it."""

    NOT_MEASURED = "not_measured"
    SLO = "slo"
    TARGET_TRACKING = "target_tracking"
    RECOMMENDATION = "recommendation"  # of an installed policy
    BLIND = "blind"  # nothing could be measured for long: `blind_allocations`
    POLICY_FAILED = "policy_failed"
    STABILISATION = "stabilisation"
    STEP_LIMIT = "step_limit"
    BURST = "burst"
    COLD_START = "cold_start"  # the daemon began without a saved state
    GRADUAL_ROLLOUT = "gradual_rollout"  # what ran before, in hours that are not the rule's
    OVERRIDE = "override"  # an operator has set a number
    SCHEDULE = "schedule"
    BOUNDS = "bounds"
    DATA_QUALITY = "data_quality"
    OVERLOAD = "overload"
    SETTLING = "settling"
    PAUSED = "paused"  # by an operator
    FIT = "fit"
    MAINTENANCE = "maintenance"
    CAPACITY = "capacity"
    BACK_OFF = "back_off"
    EXTERNAL_CHANGE = "external_change"  # another writer changed it
    ADAPTIVE_ENABLED = "adaptive_enabled"  # externally controlled, in mode direct
    ADAPTIVE_DISABLED = "adaptive_disabled"  # externally controlled, in mode bounds
    BOUNDS_COOLDOWN = "bounds_cooldown"  # the bounds were changed recently
    UPDATE_RATE = "update_rate"  # many updates were sent in the last cycles
    IDLE = "idle"  # it has been idle for long enough
    STOPPED = "stopped"  # it was stopped because it was idle
    RESUME = "resume"  # it is started again


# A set, since the lookup of an enumeration's member takes longer than that of an element.
_EXTERNAL_CONTROL = frozenset({Reason.ADAPTIVE_ENABLED, Reason.ADAPTIVE_DISABLED})


class Candidate(Value, frozen=True, kw_only=True):
    """What a policy predicts for an allocation count."""

    allocations: int
    violation_fraction: float  # of the requests: those that would exceed the max queue wait
    queue_wait_s: float  # not exceeded by the fraction of requests that the SLO target names
    cost: float  # of allocations and late requests, in allocations


class Step(Value, frozen=True):
    """What the policy or one constraint did to the allocations, and from which inputs."""

    reason: Reason
    before: int
    after: int
    inputs: Mapping[str, float | str] = {}
    candidates: tuple[Candidate, ...] = ()  # allocation counts that were compared

    @property
    def changed(self) -> bool:
        return self.before != self.after

    @property
    def externally_controlled(self) -> bool:
        """Whether the deployment is held because it is externally controlled."""
        return self.reason in _EXTERNAL_CONTROL
