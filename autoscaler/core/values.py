"""The nouns every stage speaks in: immutable values, units in their names.

Instants (`at`, `_at`) are float seconds on the daemon's own clock, or on the server's where the
name says `server_`; the two are never compared. Durations end in `_s`, rates in `_per_s`.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

STARTED = "started"
"""The routing state of a node, and the state of a deployment, that serves requests."""

ROUNDING_LOSS_S = 0.0005
"""Service times are counted in whole milliseconds, rounded down: half of one is lost on average.

Source: elastic/ml-cpp, `bin/pytorch_inference`; without this, a model that answers in less than a
millisecond would look like no work at all.
"""


class Value(Struct, frozen=True, gc=False):
    """An immutable value. Values form trees, so the garbage collector need not search them."""


class FastStrEnum(StrEnum):
    """One of a few words. Hashed as the string it is, for which an enumeration is far slower."""

    __hash__ = str.__hash__


class NodeStats(Value, frozen=True):
    """One deployment on one node: totals since its process started, and its queue now."""

    node_id: str  # "" on serverless, which names no nodes
    routing_state: str  # starting, started, stopping, stopped, failed
    name: str = ""
    routing_reason: str = ""
    server_started_at: float | None = None  # when the process became ready; None: it is not
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
    pending: int = 0  # queued or being computed at this instant; not a total
    server_last_access_at: float | None = None
    throughput_last_minute: int = 0
    peak_throughput_per_minute: int = 0
    mean_inference_last_minute_s: float | None = None
    cache_hits_last_minute: int = 0
    memory_bytes: int | None = None

    @property
    def reports(self) -> bool:
        """Whether the node's process answered with counters."""
        return self.server_started_at is not None


class AdaptiveAllocations(Value, frozen=True, kw_only=True):
    """The settings of the cluster's own scaler, `adaptive_allocations`, for one deployment."""

    enabled: bool
    minimum: int | None = None
    maximum: int | None = None


class DeploymentStats(Value, frozen=True):
    """What the cluster reported about one deployment."""

    deployment_id: str
    model_id: str
    state: str = ""
    reason: str = ""
    priority: str = "normal"
    allocations: int | None = None  # requested; None: the cluster did not say
    running_allocations: int | None = None  # current allocations of started routes
    target_allocations: int | None = None
    allocation_state: str = ""  # starting, started, fully_allocated
    threads_per_allocation: int | None = None
    queue_capacity: int | None = None
    cache_bytes: int | None = None
    adaptive: AdaptiveAllocations | None = None  # None: never set, or removed
    server_created_at: float | None = None
    completed: int = (
        0  # this and the next three: sums over the nodes of one answer, never differenced
    )
    errors: int = 0
    rejections: int = 0
    timeouts: int = 0
    peak_throughput_per_minute: int = 0
    required_memory_bytes: int | None = None  # of the model, over all its deployments
    nodes: tuple[NodeStats, ...] = ()


class NodeCapacity(Value, frozen=True, kw_only=True):
    """What one ML node has to offer."""

    node_id: str
    name: str
    version: str = ""
    processors: float | None = None
    ml_memory_bytes: int | None = None
    free_ml_memory_bytes: int | None = None


class Cluster(Value, frozen=True, kw_only=True):
    """The ML nodes and the state of maintenance."""

    nodes: tuple[NodeCapacity, ...]
    upgrade_mode: bool = False
    growable: bool | None = None  # whether hardware follows demand; None: not known

    @property
    def mixed_versions(self) -> bool:
        return len({node.version for node in self.nodes if node.version}) > 1


class Observation(Value, frozen=True, kw_only=True):
    """All deployments, by id, as the cluster reported them at one instant."""

    at: float
    deployments: Mapping[str, DeploymentStats]
    unreadable: Mapping[str, str] = {}  # deployment id, or place -> what is wrong with its entry
    owned: Mapping[str, str] = {}  # deployment id -> inference endpoint that it belongs to
    cluster: Cluster | None = None  # None: not asked, or not permitted


class DataIssue(FastStrEnum):
    """Why a sample must not be trusted. The load may be higher than it says; never scale down."""

    FIRST_OBSERVATION = "first_observation"  # nothing to compare with
    OBSERVATION_GAP = "observation_gap"  # the last observation is too long ago
    CLOCK = "clock"  # time did not advance
    NOT_STARTED = "not_started"  # the deployment is not in state started
    INCOMPLETE = "incomplete"  # a node that serves did not answer
    NEW_NODE = "new_node"  # a node's totals have no known beginning
    COUNTER_RESET = "counter_reset"  # a process ended and took its totals with it
    COUNTER_DECREASED = "counter_decreased"  # totals of one process fell
    INCONSISTENT = "inconsistent"  # two figures of one answer exclude each other
    IMPLAUSIBLE = "implausible"  # more work than the allocations could have done
    STALLED = "stalled"  # requests wait, and none comes or goes


class Sample(Value, frozen=True, kw_only=True):
    """What one deployment did in the `interval_s` seconds before `at`."""

    at: float
    interval_s: float
    completed: int = 0
    cache_hits: int = 0
    failed: int = 0
    timeouts: int = 0  # of those that failed
    queue_growth: int = 0
    busy_s: float = 0.0  # allocation-seconds of the completed requests
    timed: int = 0  # completions to learn the service time from: no cache hits, no warm-up
    timed_busy_s: float = 0.0  # allocation-seconds of those
    in_flight: int = 0
    overloaded: bool = False  # so many callers gave up that no service time can be learnt
    issues: tuple[DataIssue, ...] = ()

    @property
    def arrivals(self) -> int:
        """Requests asked of the deployment, served or not: what came out plus what stayed in."""
        return max(0, self.completed + self.failed + self.queue_growth)


class LoadEstimate(Value, frozen=True, kw_only=True):
    """The load a deployment is under."""

    arrival_rate_per_s: float
    throughput_per_s: float
    service_time_s: float | None  # of a request not answered by the cache; None: never measured
    cache_hit_fraction: float
    in_flight: int
    window_s: float  # what the rates are measured over

    @property
    def offered_load(self) -> float | None:
        """Erlangs: allocations the arrivals keep busy. None: arrivals of unknown service time."""
        if self.arrival_rate_per_s == 0.0:
            return 0.0
        if self.service_time_s is None:
            return None
        return self.arrival_rate_per_s * (1.0 - self.cache_hit_fraction) * self.service_time_s


class Schedule(Value, frozen=True, kw_only=True):
    """A window of time, opened again and again by a clock on the wall, with bounds of its own."""

    name: str
    cron: str  # five fields; the window opens whenever they match
    timezone: str  # an IANA name, such as Europe/Berlin
    length_s: float  # how long it stays open, in time that passes
    min_allocations: int | None = None
    max_allocations: int | None = None


class Reason(FastStrEnum):
    """The rules that may have a say in a decision, one `Step` each."""

    NOT_MEASURED = "not_measured"
    SLO = "slo"
    TARGET_TRACKING = "target_tracking"
    RECOMMENDATION = "recommendation"  # of a policy that gives no reason of its own
    POLICY_FAILED = "policy_failed"
    STABILISATION = "stabilisation"
    STEP_LIMIT = "step_limit"
    BURST = "burst"
    SCHEDULE = "schedule"
    BOUNDS = "bounds"
    DATA_QUALITY = "data_quality"
    OVERLOAD = "overload"
    SETTLING = "settling"
    FIT = "fit"
    MAINTENANCE = "maintenance"
    CAPACITY = "capacity"
    BACK_OFF = "back_off"
    ADAPTIVE_ENABLED = "adaptive_enabled"  # the cluster's own scaler is on, and left alone
    ADAPTIVE_DISABLED = (
        "adaptive_disabled"  # somebody has switched it off, though its bounds are the lever
    )
    BOUNDS_COOLDOWN = (
        "bounds_cooldown"  # bounds of the cluster's scaler are not lowered all the time
    )
    IDLE = "idle"  # nobody has asked for long enough
    STOPPED = "stopped"  # it was stopped because it was idle
    RESUME = "resume"  # it is to be started again


# A set, since the lookup of an enumeration's member takes longer than that of an element.
_EXTERNAL_CONTROL = frozenset({Reason.ADAPTIVE_ENABLED, Reason.ADAPTIVE_DISABLED})


class Mode(FastStrEnum):
    """Which of a deployment's two levers is used."""

    DIRECT = "direct"  # the number of allocations; the cluster's own scaler is off
    BOUNDS = "bounds"  # the bounds of the cluster's own scaler, which is on


class SetAllocations(Value, frozen=True):
    """Have so many allocations, at least one."""

    allocations: int
    take_over: bool = False  # switch the cluster's own scaler off in the same call


class SetBounds(Value, frozen=True):
    """Let the cluster's own scaler choose between these, both included; it is switched on."""

    minimum: int
    maximum: int


class Stop(Value, frozen=True):
    """Remove the deployment. Everything that is needed to start it again has been kept."""


class Start(Value, frozen=True, kw_only=True):
    """Deploy the model again as it was."""

    model_id: str
    allocations: int  # of no meaning where `native` is enabled, whose minimum counts
    threads_per_allocation: int | None
    queue_capacity: int | None
    cache_bytes: int | None
    priority: str
    adaptive: AdaptiveAllocations | None


Change = SetAllocations | SetBounds | Stop | Start
"""What is asked of the cluster for one deployment."""


class Candidate(Value, frozen=True, kw_only=True):
    """What a policy expects of a number of allocations."""

    allocations: int
    violation_fraction: float  # of the requests: those that would wait longer than the SLO allows
    queue_wait_s: float  # that the share of requests which the SLO names would not exceed
    cost: float  # allocations, with what late requests are worth added


class Step(Value, frozen=True):
    """One rule's effect on the number of allocations, and the figures it looked at."""

    reason: Reason
    before: int
    after: int
    inputs: Mapping[str, float | str] = {}
    candidates: tuple[Candidate, ...] = ()  # numbers that were weighed against each other

    @property
    def changed(self) -> bool:
        return self.before != self.after

    @property
    def externally_controlled(self) -> bool:
        """Whether the deployment is held because it is externally controlled."""
        return self.reason in _EXTERNAL_CONTROL


class Decision(Value, frozen=True, kw_only=True):
    """The allocations one deployment should have. The first step recommends, the others limit."""

    deployment_id: str
    model_id: str
    at: float
    rule: str
    dry_run: bool
    current: int
    min_allocations: int
    max_allocations: int
    steps: tuple[Step, ...]
    sample: Sample
    load: LoadEstimate | None  # None: nothing measured yet
    mode: Mode = Mode.DIRECT  # BOUNDS: `current` and `desired` are minima of the cluster's scaler
    change: Change | None = None  # None: nothing is asked for

    @property
    def recommended(self) -> int:
        """What the policy recommends, limits aside."""
        return self.steps[0].after

    @property
    def desired(self) -> int:
        return self.steps[-1].after

    @property
    def changes(self) -> bool:
        return self.change is not None

    @property
    def externally_controlled(self) -> bool:
        """Whether the lever is somebody else's."""
        return self.steps[0].externally_controlled

    @property
    def reason(self) -> Reason:
        """The last rule that moved the number, or the recommendation if none did."""
        for step in reversed(self.steps):
            if step.before != step.after:
                return step.reason
        return self.steps[0].reason


class CompletedRollout(Value, frozen=True, kw_only=True):
    """An accepted update that the cluster has now fully carried out."""

    deployment_id: str
    allocations: int
    lead_time_s: float
    new_node: bool  # whether a process had to be started for it


class Unmanaged(FastStrEnum):
    """Why a deployment is left alone."""

    NO_RULE = "no_rule"
    EXCLUDED = "excluded"
    HIDDEN = "hidden"  # its id begins with a dot
    LOW_PRIORITY = "low_priority"


class Plan(Value, frozen=True, kw_only=True):
    """All decisions from one observation."""

    at: float
    decisions: tuple[Decision, ...]
    unmanaged: Mapping[str, Unmanaged] = {}
    completed_rollouts: tuple[CompletedRollout, ...] = ()


class OutcomeKind(FastStrEnum):
    """What became of a decision."""

    UNCHANGED = "unchanged"  # nothing to do
    DRY_RUN = "dry_run"  # would have been sent
    WITHHELD = "withheld"  # not sent, because the cluster could not take more in this cycle
    ACCEPTED = "accepted"  # 200: the number is the cluster's target now
    NO_CAPACITY = "no_capacity"  # 429: nothing was changed
    NOT_STARTED = "not_started"  # 409: starting or stopping; wait
    ADAPTIVE_ENABLED = "adaptive_enabled"  # 400: the cluster's own scaler is on
    UNSUPPORTED = "unsupported"  # this version has no such lever
    ENDPOINT_OWNED = "endpoint_owned"  # an inference endpoint owns it, and we may not change that
    IN_USE = "in_use"  # 409: not stopped, since pipelines or endpoints use it
    GONE = "gone"  # 404: no such deployment; of a start, no such model
    FORBIDDEN = "forbidden"  # 401 and 403, licence included
    UNKNOWN = "unknown"  # no answer, or a proxy's: it may or may not have taken effect
    INVALID = "invalid"  # any other refusal


class Outcome(Value, frozen=True, kw_only=True):
    """What became of a decision, and the cluster's words if it refused."""

    decision: Decision
    kind: OutcomeKind
    at: float
    detail: str = ""
