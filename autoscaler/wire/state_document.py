"""The stored form of the state, version 4: one struct for each value of the core.

Once released, a field here keeps its name, its type and its meaning. So that a renamed field of the
core cannot change a file:

- No field has a default. A core value without the attribute cannot be encoded.
- If a field of the core is renamed, the attribute here follows, and `msgspec.field(name=...)` keeps
  the stored name.
- A changed meaning, or an additional field, is a new version, with new structs for what
  changes. `autoscaler.wire.state` keeps the decoder of the old version.

A golden file of each version guards this (tests/data).
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import force_setattr


class Stored(Struct, frozen=True, kw_only=True, gc=False):
    """A value as it is stored."""


class StoredAdaptiveAllocations(Stored, frozen=True, kw_only=True):
    enabled: bool
    minimum: int | None
    maximum: int | None


class StoredNodeStats(Stored, frozen=True, kw_only=True):
    node_id: str
    routing_state: str
    name: str
    routing_reason: str
    server_started_at: float | None
    allocations: int | None
    threads_per_allocation: int | None
    completed: int
    cache_hits: int
    errors: int
    rejections: int
    timeouts: int
    busy_s: float
    mean_inference_s: float | None
    mean_inference_without_hits_s: float | None
    pending: int
    server_last_access_at: float | None
    throughput_last_minute: int | None
    peak_throughput_per_minute: int | None
    mean_inference_last_minute_s: float | None
    cache_hits_last_minute: int | None
    memory_bytes: int | None


class StoredDeploymentStats(Stored, frozen=True, kw_only=True):
    deployment_id: str
    model_id: str
    state: str
    reason: str
    priority: str
    allocations: int | None
    running_allocations: int | None
    target_allocations: int | None
    allocation_state: str
    threads_per_allocation: int | None
    queue_capacity: int | None
    cache_bytes: int | None
    adaptive: StoredAdaptiveAllocations | None
    server_created_at: float | None
    completed: int | None
    errors: int | None
    rejections: int | None
    timeouts: int | None
    peak_throughput_per_minute: int | None
    required_memory_bytes: int | None
    nodes: tuple[StoredNodeStats, ...]
    runtime_memory_bytes: int | None
    peak_runtime_memory_bytes: int | None


class StoredSample(Stored, frozen=True, kw_only=True):
    at: float
    interval_s: float
    uncertainty_s: float
    completed: int
    cache_hits: int
    failed: int
    timeouts: int
    queue_growth: int
    busy_s: float
    timed: int
    timed_busy_s: float
    in_flight: int
    unacknowledged: int
    overloaded: bool
    issues: tuple[str, ...]


class StoredClusterCapacity(Stored, frozen=True, kw_only=True):
    nodes: tuple[str, ...]  # sorted
    processors: float
    threads: int

    def __post_init__(self) -> None:
        force_setattr(self, "nodes", tuple(sorted(self.nodes)))


class StoredCapacityRefusal(Stored, frozen=True, kw_only=True):
    allocations: int
    capacity: StoredClusterCapacity
    hold_s: float
    until: float
    at: float
    early: int


class StoredRollout(Stored, frozen=True, kw_only=True):
    allocations: int
    accepted_at: float
    nodes: tuple[str, ...]  # sorted
    at_least: bool

    def __post_init__(self) -> None:
        force_setattr(self, "nodes", tuple(sorted(self.nodes)))


class StoredBackOff(Stored, frozen=True, kw_only=True):
    times: int
    until: float
    reason: str


class StoredShortfall(Stored, frozen=True, kw_only=True):
    since: float
    progress_at: float
    requested: int
    running: int
    lost: int
    cause: str


class StoredSeenProcess(Stored, frozen=True, kw_only=True):
    node_id: str
    server_started_at: float
    max_allocations: int
    completed: int
    completed_before: int


class StoredMemoryUse(Stored, frozen=True, kw_only=True):
    allocation_bytes: float
    seasoned: bool
    processes: tuple[StoredSeenProcess, ...]


class StoredSetting(Stored, frozen=True, kw_only=True):
    allocations: int | None
    minimum: int
    maximum: int


class StoredCircumstances(Stored, frozen=True, kw_only=True):
    at: float
    state: str
    setting: StoredSetting | None
    capacity: StoredClusterCapacity
    early: int


class StoredRequest(Stored, frozen=True, kw_only=True):
    setting: StoredSetting
    at: float
    accepted: bool
    earlier: tuple[StoredSetting, ...]
    shown: bool
    visible: bool


class StoredDisagreement(Stored, frozen=True, kw_only=True):
    unacknowledged: int
    since: float
    awaited: tuple[str, ...]  # sorted
    contradictory_since: float | None

    def __post_init__(self) -> None:
        force_setattr(self, "awaited", tuple(sorted(self.awaited)))


class StoredExternalChange(Stored, frozen=True, kw_only=True):
    deployment_id: str
    at: float
    before: StoredSetting
    after: StoredSetting
    times: int
    hold_s: float


class StoredStartAttempt(Stored, frozen=True, kw_only=True):
    at: float
    accepted: bool
    capacity: StoredClusterCapacity
    early: int


class StoredMemory(Stored, frozen=True, kw_only=True):
    """A policy's memory. The value is encoded by itself, so that it can be dropped by itself."""

    policy: str
    version: int
    value: bytes


class StoredShadowTotals(Stored, frozen=True, kw_only=True):
    known_s: float
    unknown_s: float
    judged_s: float
    recorded_s: float
    shadow_s: float
    requests: float
    recorded_late: float
    shadow_late: float


class StoredHourSums(Stored, frozen=True, kw_only=True):
    hours: float
    saved_squared: float
    requests_squared: float
    recorded_squared: float
    shadow_squared: float
    recorded_shadow: float
    recorded_requests: float
    shadow_requests: float


class StoredShadowPeriod(Stored, frozen=True, kw_only=True):
    begins_at: float
    totals: StoredShadowTotals
    sums: StoredHourSums


class StoredShadowAccount(Stored, frozen=True, kw_only=True):
    past: bytes  # a row of 68 bytes for each day: its number since 1970, its totals and sums
    day: StoredShadowPeriod | None
    hour_at: float
    hour: StoredShadowTotals


class StoredShadowPath(Stored, frozen=True, kw_only=True):
    at: float
    requested: int
    running: int
    ready_at: float | None
    per_node: tuple[int, ...]
    recorded_per_node: tuple[int, ...]
    backlog: float
    recorded_backlog: float


class StoredShadow(Stored, frozen=True, kw_only=True):
    seen_at: float
    account: StoredShadowAccount
    path: StoredShadowPath | None


class StoredDeployment(Stored, frozen=True, kw_only=True):
    seen_at: float
    baseline: StoredDeploymentStats
    baseline_at: float
    baseline_span_s: float
    samples: tuple[StoredSample, ...]
    service_time_s: float | None
    peaks: tuple[tuple[float, int], ...]
    memory: StoredMemory | None
    above_burst_s: float | None
    stalled_since: float | None
    unsettled_since: float | None
    infeasible: StoredCapacityRefusal | None
    rollout: StoredRollout | None
    new_node_s: float | None
    back_off: StoredBackOff | None
    bounds_moved_at: float | None
    recent_updates: int
    mode_seen: str | None
    idle_since: float | None
    usage: bytes
    ran: int | None
    shortfall: StoredShortfall | None
    memory_use: StoredMemoryUse | None
    refused_in: StoredCircumstances | None
    setting: StoredSetting | None
    request: StoredRequest | None
    external_change: StoredExternalChange | None
    disagreement: StoredDisagreement | None
    shadow: StoredShadow | None


class StoredStoppedDeployment(Stored, frozen=True, kw_only=True):
    stats: StoredDeploymentStats
    since: float
    usage: bytes
    back_off: StoredBackOff | None


class StoredBlockTotals(Stored, frozen=True, kw_only=True):
    requests: float
    late: float
    seconds: float
    allocation_s: float
    hours: int
    hour_requests: float
    hour_late: float
    requests_squared: float
    late_squared: float
    late_requests: float


class StoredBlockHour(Stored, frozen=True, kw_only=True):
    requests: float
    late: float


class StoredEvidence(Stored, frozen=True, kw_only=True):
    log_capital: tuple[float, ...]
    requests: float
    late: float
    unavoidable: float
    seconds: float
    run_requests: float
    run_late: float
    run_s: float


class StoredGradualRollout(Stored, frozen=True, kw_only=True):
    settings: str
    seed: int
    since: float
    first_block: int | None
    seen_at: float
    before: StoredSetting | None
    created_at: float | None
    verdict: str
    reverted_at: float | None
    because: str
    block: int | None
    active: bool
    switched_at: float | None
    active_totals: StoredBlockTotals
    before_totals: StoredBlockTotals
    hour: StoredBlockHour
    evidence: StoredEvidence


class StoredState(Stored, frozen=True, kw_only=True):
    """The whole state. The mappings are by deployment id."""

    deployments: Mapping[str, StoredDeployment]
    capacity: StoredClusterCapacity
    cluster_back_off: StoredBackOff | None
    stopped: dict[str, StoredStoppedDeployment]
    resume_requested: tuple[str, ...]  # sorted
    starts: dict[str, StoredStartAttempt]
    seen_at: float | None
    rollouts: Mapping[str, StoredGradualRollout]
    cold_start_s: float | None
    is_first_start: bool

    def __post_init__(self) -> None:
        force_setattr(self, "resume_requested", tuple(sorted(self.resume_requested)))


class StateDocument(
    Stored, frozen=True, kw_only=True, tag_field="document", tag="autoscaler state"
):
    version: int
    state: StoredState


class StoppedDocument(
    Stored, frozen=True, kw_only=True, tag_field="document", tag="autoscaler stopped deployments"
):
    version: int
    stopped: dict[str, StoredStoppedDeployment]  # by deployment id
