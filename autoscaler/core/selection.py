"""Which deployments are managed, and by which rule."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from autoscaler.core.decision import Mode, ObserveOnly, Setting, Unmanaged
from autoscaler.core.policies import AnyPolicy
from autoscaler.core.rollout_hours import RolloutHours
from autoscaler.core.values import DeploymentStats, FastStrEnum, Schedule, Value


class ZeroMethod(FastStrEnum):
    """How an idle deployment is scaled to zero."""

    ADAPTIVE = "adaptive"  # by adaptive allocations, which also scale it up again
    STOP = "stop"  # the daemon stops it, and resumes it


class ScaleToZero(Value, frozen=True):
    """When an idle deployment is scaled to zero, and how."""

    after_s: float  # without a request
    via: ZeroMethod


class OnExit(FastStrEnum):
    """How a deployment is released when the daemon ends."""

    KEEP = "keep"  # unchanged
    ADAPTIVE = "adaptive"  # adaptive allocations are enabled, with the bounds of the rule
    FLOOR = "floor"  # at least `safe_allocations`


class Rule(Value, frozen=True, kw_only=True):
    """How the deployments that it selects are scaled. Resolved: no defaults are left to look up."""

    name: str
    deployments: tuple[str, ...]  # glob patterns on the deployment id; any may match
    models: tuple[str, ...]  # the same on the model id
    exclude: bool
    hidden: bool  # whether ids that begin with a dot may match
    low_priority: bool  # whether deployments of priority `low` may match
    dry_run: bool
    min_allocations: int
    max_allocations: int
    policy: AnyPolicy
    stabilisation_window_s: float
    growth_factor: float  # by which one change multiplies the allocations at most
    shrink_factor: float  # by which one change divides them at most
    burst_max_allocations: int | None = None  # exceeded only after `BURST_HOLD_S`
    schedules: tuple[Schedule, ...] = ()
    mode: Mode = Mode.DIRECT
    take_over: bool = False  # disable adaptive allocations that are enabled; DIRECT only
    zero: ScaleToZero | None = None
    on_exit: OnExit = OnExit.KEEP
    safe_allocations: int | None = None  # for OnExit.FLOOR
    blind_allocations: int | None = None  # at least these, while the load cannot be measured
    blind_after_s: float = 300.0  # without a measurement
    external_change_hold_s: float = 600.0  # for which another writer's change is respected
    observe_only: ObserveOnly | None = None  # found at run time: the cluster would refuse changes
    rollout: RolloutHours | None = None  # None: it acts at all times
    # Found at run time: what ran before a gradual rollout, in the hours that are not the rule's.
    before: Setting | None = None

    @property
    def sends(self) -> bool:
        """Whether changes are sent."""
        return not self.dry_run and self.observe_only is None


def bounds_of(rule: Rule) -> tuple[int, int]:
    """The minimum and the maximum of the rule and its schedules. Those of the rule apply to
    schedules as well, and where the bounds of schedules cross, the maximum applies."""
    minimum, maximum = rule.min_allocations, rule.max_allocations
    for schedule in rule.schedules:
        minimum = max(minimum, schedule.min_allocations or 0)
        maximum = min(maximum, schedule.max_allocations or maximum)
    maximum = max(maximum, rule.min_allocations)
    return min(minimum, maximum), maximum


def select(rules: Sequence[Rule], stats: DeploymentStats) -> Rule | Unmanaged:
    """The first rule that selects the deployment, or why it is not managed.

    A rule without `hidden` or `low_priority` does not select such deployments, and the next one is
    tried. If no rule selects them, this is the reason.
    """
    reason = None
    for rule in rules:
        if not _match(rule.deployments, rule.models, stats.deployment_id, stats.model_id):
            continue
        if rule.exclude:
            return Unmanaged.EXCLUDED
        if stats.deployment_id.startswith(".") and not rule.hidden:
            reason = Unmanaged.HIDDEN
        elif stats.priority == "low" and not rule.low_priority:
            reason = Unmanaged.LOW_PRIORITY
        else:
            return rule
    return reason or Unmanaged.NO_RULE


def matches(rule: Rule, deployment_id: str, model_id: str) -> bool:
    """Whether the patterns of a rule match a deployment. An earlier rule may select it all the
    same."""
    return _match(rule.deployments, rule.models, deployment_id, model_id)


# The same ids, up to a few thousand, are matched in every cycle.
@lru_cache(maxsize=16_384)
def _match(
    deployments: tuple[str, ...], models: tuple[str, ...], deployment_id: str, model_id: str
) -> bool:
    return any(fnmatchcase(deployment_id, glob) for glob in deployments) and any(
        fnmatchcase(model_id, glob) for glob in models
    )
