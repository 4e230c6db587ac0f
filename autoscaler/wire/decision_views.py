"""The JSON of /decisions: the daemon renders it, and `autoscaler explain` reads it.

All types are plain, so that a reader need not know the enumerations of the version that wrote the
JSON. Instants are Unix seconds, durations end in `_s`, ratios are fractions. An unbounded value,
such as the queue wait with too few allocations, is null.
"""

from msgspec import Struct

Figure = int | float | str | None


class CandidateView(Struct, frozen=True, kw_only=True):
    """What the policy expects with this allocation count."""

    allocations: int
    violation_fraction: float | None
    queue_wait_s: float | None
    cost: float | None


class StepView(Struct, frozen=True, kw_only=True):
    """The effect of the policy, in the first step of a decision, or of one constraint."""

    reason: str
    before: int
    after: int
    message: str
    inputs: dict[str, Figure]
    candidates: tuple[CandidateView, ...]


class SampleView(Struct, frozen=True, kw_only=True):
    """What one deployment did in the `interval_s` seconds before `at`."""

    at: float
    interval_s: float
    arrivals: int
    completed: int
    cache_hits: int
    failed: int
    timeouts: int
    queue_growth: int
    busy_s: float
    timed: int
    timed_busy_s: float
    in_flight: int
    overloaded: bool
    issues: tuple[str, ...]


class LoadView(Struct, frozen=True, kw_only=True):
    """The load over the last `window_s` seconds; `offered_load` in erlangs."""

    arrival_rate_per_s: float
    throughput_per_s: float
    service_time_s: float | None
    offered_load: float | None
    cache_hit_fraction: float
    in_flight: int
    window_s: float


class OutcomeView(Struct, frozen=True, kw_only=True):
    """The result of a decision; `detail` is the cluster's message."""

    at: float
    current: int
    desired: int
    kind: str
    detail: str
    message: str


class ShortfallView(Struct, frozen=True, kw_only=True):
    """Fewer allocations run than are requested."""

    since: float
    missing: int
    lost: int  # missing allocations that ran before
    cause: str
    message: str


class RouteView(Struct, frozen=True, kw_only=True):
    """A node that is assigned to the deployment and does not serve it."""

    node: str
    state: str
    reason: str


class ReportedView(Struct, frozen=True, kw_only=True):
    """The status that the cluster reports for a deployment that is not simply started."""

    state: str
    reason: str
    routes: tuple[RouteView, ...]
    problem: bool  # whether it is more than routes that start or stop
    message: str


class ExternalChangeView(Struct, frozen=True, kw_only=True):
    """The last change by another writer."""

    at: float
    before: str
    after: str
    times: int
    second_writer: bool
    respected: bool  # at the time of the decision; False: overridden, or the time is over
    message: str


class ObserveOnlyView(Struct, frozen=True, kw_only=True):
    """Why the cluster would refuse every change."""

    cause: str
    message: str


class ExpectationView(Struct, frozen=True, kw_only=True):
    """What the policy expects with this allocation count."""

    allocations: int
    late_fraction: float
    queue_wait_s: float | None  # None: unbounded, the queue grows


class ForecastView(Struct, frozen=True, kw_only=True):
    """The forecast, in erlangs, and how good it was until now; None: unknown."""

    trusted: bool
    load: float | None  # which is probably not exceeded; None: not trusted
    median_load: float | None  # None: not trusted
    error_ratio: float | None
    coverage: float | None
    allocations: int | None  # that it requires on a further node; None: none


class RecurrenceView(Struct, frozen=True, kw_only=True):
    """A load that recurs and changes within the next minutes."""

    every_s: float
    load: float
    change_in_s: float | None  # None: unknown
    allocations: int | None  # that it requires on a further node; None: none


class SloView(Struct, frozen=True, kw_only=True):
    """The SLO of a deployment, computed from its statistics; None: unknown.

    `requests` and `late_requests` are those of the cycle alone.
    """

    target: float
    unreachable: bool  # the service time alone exceeds the latency
    max_queue_wait_s: float | None
    caller_timeout_s: float | None
    requests: int
    late_requests: float
    attainment: float | None
    budget_left: float | None  # part of the error budget of about a day; below 0: exceeded
    expected_attainment: float | None  # of recommendations that are not carried out
    preventable_fraction: float | None
    violation_weight: float | None
    load: float | None  # erlangs to expect until the next decision has an effect
    load_stddev: float | None
    load_at_most: (
        float | None
    )  # an overload hides the load; None: it does not, or there is no limit
    now: ExpectationView | None  # with the allocations that run
    after_loading: ExpectationView | None  # with the desired ones, once all of them run
    backlog_requests: int | None
    backlog_allocations: int | None  # that drain it in time
    after_new_node: int | None  # allocations to request once a new node is in use
    forecast: ForecastView | None  # None: there is none with a single node
    recurrence: RecurrenceView | None  # None: nothing recurs within minutes


class InstructionView(Struct, frozen=True, kw_only=True):
    """A pause or an override that is in force."""

    kind: str  # pause or override
    deployment: str | None  # null: all deployments
    changes: str  # that a pause holds: everything, increases or decreases; empty: an override
    allocations: int | None  # of an override
    since: float
    until: float
    by: str  # the name of the token
    reason: str
    message: str


class ShadowView(Struct, frozen=True, kw_only=True):
    """What a dry run would have by now, had its decisions been carried out."""

    requested: int  # allocations
    running: int  # of these
    message: str  # with the totals of all known days


class RolloutTotalsView(Struct, frozen=True, kw_only=True):
    """What the blocks of one kind have shown until now."""

    hours: float  # measured
    requests: float
    late_requests: float
    allocation_hours: float


class RolloutView(Struct, frozen=True, kw_only=True):
    """A gradual rollout: the rule acts in some hours, which are compared with the others."""

    verdict: str  # running, waiting or reverted
    active: bool  # whether the rule acts now
    listed: bool  # whether this hour is one of the rollout
    before: str  # what ran before; empty: unknown
    since: float
    reverted_at: float | None
    because: str  # why it was reverted; empty: it was not
    active_totals: RolloutTotalsView
    before_totals: RolloutTotalsView
    # Late fraction in active hours minus that before, and half of its interval; null: unknown yet.
    difference: float | None
    difference_half_width: float | None
    next_active_at: float | None  # when the rule acts next; null: it does not, or not soon
    evidence: float  # of a loss within minutes; 1 reverts the rule
    message: str
    comparison: str  # empty: nothing is compared yet
    reverts: str  # what would revert the rule; empty: it does not act


class ManagedView(Struct, frozen=True, kw_only=True, tag_field="status", tag="managed"):
    """A deployment that a rule governs: the latest decision, with every step and its inputs."""

    deployment: str
    model: str
    running_text: str = ""  # such as "16 of 24 running"; empty if all run, or that is unknown
    running: int | None = None  # None: unknown
    requested: int | None = None  # of the cluster, by whomever; None: unknown
    shortfall: ShortfallView | None = None
    reported: ReportedView | None = None
    observe_only: ObserveOnlyView | None = None
    external_change: ExternalChangeView | None = None
    pauses: tuple[InstructionView, ...] = ()  # that hold it
    override: InstructionView | None = None  # null: there is none
    rollout: RolloutView | None = None  # null: the rule acts at all times
    mode: str
    change: str  # the update as text, or that there is none
    message: str
    unchanged_because: str  # empty if an update was, or may have been, applied
    at: float
    rule: str
    dry_run: bool
    current: int
    recommended: int
    desired: int
    min_allocations: int
    max_allocations: int
    reason: str
    steps: tuple[StepView, ...]
    sample: SampleView
    load: LoadView | None
    slo: SloView | None = None  # None: the policy has no SLO, or knows nothing of it now
    shadow: ShadowView | None = None  # null: it is no dry run, or has no shadow
    no_shadow_because: str = ""  # why something that is not sent has no shadow
    outcome: OutcomeView
    last_update: OutcomeView | None  # the last update sent; None: none since the start


class VanishedView(Struct, frozen=True, kw_only=True, tag_field="status", tag="vanished"):
    """A deployment that the cluster no longer reports."""

    deployment: str
    at: float  # of the first observation without it
    allocations: int | None  # as last requested; None: unknown
    message: str


class UnmanagedView(Struct, frozen=True, kw_only=True, tag_field="status", tag="unmanaged"):
    """A deployment without a decision, and the reason."""

    deployment: str
    reason: str
    message: str


DeploymentView = ManagedView | UnmanagedView | VanishedView


class NextPollView(Struct, frozen=True, kw_only=True):
    """When the next poll is due, and why."""

    within_s: float  # from the observation
    cause: str
    deployment: str  # that needs it; empty: none in particular
    because: str  # the cause in words; empty for the routine poll


class LeadershipView(Struct, frozen=True, kw_only=True):
    """Which of several instances leads."""

    instance: str  # the name of the one that responds
    leads: bool  # whether it leads
    leader: str  # the one that leads; empty: unknown, or there is none
    failure: str = ""  # why the lease cannot be read or renewed; empty: it can


class ResponseHeader(Struct, frozen=True, kw_only=True):
    """The fields that every response begins with."""

    autoscaler: str  # the version of the daemon
    at: float  # of the observation
    age_s: float
    failure: str  # why later observations failed; empty if none did
    reload_failure: str = ""  # why a changed configuration is not in effect; empty if it is
    next_poll: NextPollView | None = None  # None: unknown
    leadership: LeadershipView | None = None  # None: there is one instance only


class DeploymentsResponse(ResponseHeader, frozen=True, kw_only=True):
    deployments: tuple[DeploymentView, ...]  # in order of their ids


class DeploymentResponse(ResponseHeader, frozen=True, kw_only=True):
    deployment: DeploymentView


class AdminError(Struct, frozen=True, kw_only=True):
    """The body of an error response: the reason, in one sentence."""

    autoscaler: str
    error: str
