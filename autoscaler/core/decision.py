"""Decisions for deployments, the changes that they request, and the outcomes."""

from collections.abc import Mapping

from autoscaler.core.instructions import Override, Pause
from autoscaler.core.next_poll import NextPoll
from autoscaler.core.rollout_status import RolloutEvent, RolloutStatus
from autoscaler.core.shadow import ShadowStatus
from autoscaler.core.shortfall import ReportedStatus, Shortfall
from autoscaler.core.slo_status import SloStatus
from autoscaler.core.values import (
    AdaptiveAllocations,
    DataIssue,
    FastStrEnum,
    LoadEstimate,
    Reason,
    Sample,
    Step,
    Value,
)


class Mode(FastStrEnum):
    """What the daemon sets."""

    DIRECT = "direct"  # the number of allocations; adaptive allocations are disabled
    BOUNDS = "bounds"  # the bounds of adaptive allocations, which are enabled


class ObserveOnlyCause(FastStrEnum):
    """Why the cluster would refuse every change, in a word."""

    PRIVILEGE = "privilege"  # the user or key lacks a cluster privilege
    LICENCE = "licence"  # it does not include machine learning, or has expired
    VERSION = "version"  # this version of Elasticsearch cannot change a running deployment
    MODE = "mode"  # this version, or serverless, does not have the control mode


class ObserveOnly(Value, frozen=True, kw_only=True):
    """Why nothing is sent although the rule is not a dry run: the cluster would refuse it."""

    cause: ObserveOnlyCause
    sentence: str  # the cause and the remedy


class SetAllocations(Value, frozen=True):
    """Set the number of allocations."""

    allocations: int  # at least 1
    take_over: bool = False  # disable adaptive allocations in the same call


class SetBounds(Value, frozen=True):
    """Enable adaptive allocations with these bounds."""

    minimum: int
    maximum: int  # 0: unlimited, which only a gradual rollout restores


class Stop(Value, frozen=True):
    """Stop the deployment. The start parameters have been recorded."""


class Start(Value, frozen=True, kw_only=True):
    """Start a deployment that was stopped, with its former parameters."""

    model_id: str
    allocations: int  # without effect if `adaptive` is enabled: its minimum is used
    threads_per_allocation: int | None
    queue_capacity: int | None
    cache_bytes: int | None
    priority: str
    adaptive: AdaptiveAllocations | None


Change = SetAllocations | SetBounds | Stop | Start
"""The values to set for one deployment."""


class Setting(Value, frozen=True):
    """What updates set: the requested allocations, or the bounds of adaptive allocations where they
    are enabled."""

    allocations: int | None  # None: adaptive allocations are enabled, and choose them
    minimum: int = 0
    maximum: int = 0

    def __str__(self) -> str:
        if self.allocations is None:
            return f"adaptive {self.minimum}..{self.maximum or 'unlimited'}"
        return str(self.allocations)


SECOND_WRITER_TIMES = 3
"""External changes in a row that are taken for a second writer. 3, because an operator who corrects
a change makes two."""


class ExternalChange(Value, frozen=True, kw_only=True):
    """A change of a deployment that the daemon has not requested: another writer's."""

    deployment_id: str
    at: float  # of the observation that shows it
    before: Setting  # as requested last, or as found
    after: Setting
    times: int  # external changes in a row, this one included
    hold_s: float  # for which it is respected; 0: it is not, except for another control mode

    @property
    def changes_mode(self) -> bool:
        """Whether adaptive allocations were enabled or disabled. The deployment is externally
        controlled until that is reverted."""
        return (self.before.allocations is None) is not (self.after.allocations is None)

    def is_respected(self, at: float) -> bool:
        """Whether the deployment is held because of it."""
        return at < self.at + self.hold_s

    def is_kept(self, at: float) -> bool:
        """Whether the deployment stays as it was changed: for a time, or until that is reverted."""
        return self.changes_mode or self.is_respected(at)

    @property
    def second_writer(self) -> bool:
        """Whether another writer changes the deployment again and again."""
        return self.times >= SECOND_WRITER_TIMES


class NoEffect(Value, frozen=True, kw_only=True):
    """A change that was accepted, and that later observations do not show."""

    deployment_id: str
    requested: Setting  # 0 allocations: a stop
    shown: Setting  # instead
    accepted_at: float
    at: float  # of the observation at which the patience ended
    times: int  # changes without effect in a row, this one included
    wait_s: float  # until the next attempt
    starts: bool = False  # whether it should have started the deployment, which does not exist


class Decision(Value, frozen=True, kw_only=True):
    """The desired allocations of one deployment. The first step recommends, the others limit."""

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
    mode: Mode = Mode.DIRECT  # BOUNDS: `current` and `desired` are minima
    change: Change | None = None  # None: nothing is requested
    observe_only: ObserveOnly | None = None  # None: changes are sent, unless it is a dry run
    requested: int | None = None  # allocations requested of the cluster now; None: unknown
    running: int | None = None  # allocations that run now; None: unknown
    external_change: ExternalChange | None = None  # the last one; None: none that is recent
    shortfall: Shortfall | None = None  # None: all that are requested run, or that is unknown
    reported: ReportedStatus | None = None  # None: started, with nothing to report
    slo: SloStatus | None = None  # None: the policy has no SLO, or knows nothing of it now
    pauses: tuple[Pause, ...] = ()  # that hold it
    override: Override | None = None  # None: there is none
    shadow: ShadowStatus | None = None  # None: it is no dry run, or has no path
    rollout: RolloutStatus | None = None  # None: the rule acts at all times

    @property
    def is_current_known(self) -> bool:
        """Whether `current` is a figure. Otherwise it is 0, and kept whatever it is."""
        return self.requested is not None or DataIssue.NOT_REPORTED not in self.sample.issues

    @property
    def recommended(self) -> int:
        """Allocations before constraints."""
        return self.steps[0].after

    @property
    def desired(self) -> int:
        return self.steps[-1].after

    @property
    def changes(self) -> bool:
        return self.change is not None

    @property
    def sends(self) -> bool:
        """Whether a change is sent."""
        return not self.dry_run and self.observe_only is None

    @property
    def externally_controlled(self) -> bool:
        """Whether the deployment is externally controlled."""
        return self.steps[0].externally_controlled

    @property
    def reason(self) -> Reason:
        """That of the last step that changed the allocations, or else of the recommendation."""
        for step in reversed(self.steps):
            if step.before != step.after:
                return step.reason
        return self.steps[0].reason


class CompletedRollout(Value, frozen=True, kw_only=True):
    """An accepted update that is now complete."""

    deployment_id: str
    allocations: int
    lead_time_s: float
    new_node: bool  # whether another node had to load the model


class Unmanaged(FastStrEnum):
    """Why a deployment is not managed."""

    NO_RULE = "no_rule"
    EXCLUDED = "excluded"
    HIDDEN = "hidden"  # its id begins with a dot
    LOW_PRIORITY = "low_priority"


class Plan(Value, frozen=True, kw_only=True):
    """All decisions from one observation."""

    at: float
    decisions: tuple[Decision, ...]
    unmanaged: Mapping[str, Unmanaged] = {}
    next_poll: NextPoll | None = None  # None: after the poll interval
    completed_rollouts: tuple[CompletedRollout, ...] = ()
    no_effect: tuple[NoEffect, ...] = ()  # changes of earlier cycles
    external_changes: tuple[ExternalChange, ...] = ()  # that this observation is the first to show
    rollout_events: tuple[RolloutEvent, ...] = ()  # of gradual rollouts, since the last plan


class OutcomeKind(FastStrEnum):
    """The kind of an outcome."""

    UNCHANGED = "unchanged"  # there was nothing to send
    DRY_RUN = "dry_run"  # a dry run; otherwise it would have been sent
    OBSERVE_ONLY = (
        "observe_only"  # not sent, as the cluster would refuse it; the detail is the cause
    )
    WITHHELD = "withheld"  # not sent in this cycle; the detail is the cause
    OUTDATED = "outdated"  # not sent: the process was suspended, and the statistics are too old
    ACCEPTED = "accepted"  # 200: the cluster has a new target
    NO_EFFECT = "no_effect"  # accepted, but later observations do not show it; see `NoEffect`
    NO_CAPACITY = "no_capacity"  # 429: nothing was changed
    NOT_STARTED = "not_started"  # 409: the deployment is starting or stopping
    ADAPTIVE_ENABLED = "adaptive_enabled"  # 400: adaptive allocations are enabled
    UNSUPPORTED = "unsupported"  # this version does not have the setting
    ENDPOINT_OWNED = "endpoint_owned"  # an inference endpoint that may not be changed owns it
    IN_USE = "in_use"  # 409: not stopped, because pipelines or endpoints use it
    GONE = "gone"  # 404: no such deployment; of a start, no such model
    BLOCKED = "blocked"  # a block or refusal that concerns this deployment, endpoint or index only
    FORBIDDEN = "forbidden"  # 401 and 403, licence included: concerns all deployments
    UNKNOWN = "unknown"  # no response, or a proxy's: the update may have been applied
    UNRECOGNISED = "unrecognised"  # refused with an unknown type or wording; may have been applied
    INVALID = "invalid"  # any other refusal


NOT_SENT = frozenset(
    {
        OutcomeKind.UNCHANGED,
        OutcomeKind.DRY_RUN,
        OutcomeKind.OBSERVE_ONLY,
        OutcomeKind.WITHHELD,
        OutcomeKind.OUTDATED,
    }
)
"""Outcomes of decisions for which no request was sent."""


class Outcome(Value, frozen=True, kw_only=True):
    """The result of a decision, with the message of the cluster if it refused."""

    decision: Decision
    kind: OutcomeKind
    at: float
    detail: str = ""
    retry_after_s: float = 0.0  # for which nothing is to be sent, by the refusal; 0: not stated
