"""Which deployments are managed, and by which rule."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from autoscaler.core.policies import AnyPolicy
from autoscaler.core.values import DeploymentStats, FastStrEnum, Mode, Schedule, Unmanaged, Value


class ZeroMethod(FastStrEnum):
    """How an idle deployment comes down to nothing."""

    ADAPTIVE = "adaptive"  # by the cluster's own scaler, which also wakes it
    STOP = "stop"  # it is stopped, and started again


class ScaleToZero(Value, frozen=True):
    """When an idle deployment may come down to nothing, and how."""

    after_s: float  # without a request
    via: ZeroMethod


class OnExit(FastStrEnum):
    """What becomes of a deployment when nobody scales it any more."""

    KEEP = "keep"  # it stays as it is
    ADAPTIVE = "adaptive"  # the cluster's own scaler takes over, within the bounds of the rule
    FLOOR = "floor"  # it gets at least a number that is safe without anybody


class Rule(Value, frozen=True, kw_only=True):
    """How the deployments that match are scaled: every value settled, nothing left to look up."""

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
    growth_factor: float  # the most a number is multiplied by in one step up
    shrink_factor: float  # the most it is divided by in one step down
    burst_max_allocations: int | None = None  # beyond it only what has been wanted for a while
    schedules: tuple[Schedule, ...] = ()
    mode: Mode = Mode.DIRECT
    take_over: bool = False  # switch the cluster's own scaler off where it is on; DIRECT only
    zero: ScaleToZero | None = None
    on_exit: OnExit = OnExit.KEEP
    safe_allocations: int | None = None  # for OnExit.FLOOR


def select(rules: Sequence[Rule], stats: DeploymentStats) -> Rule | Unmanaged:
    """The first rule that matches, or why the deployment is left alone.

    A rule that does not take hidden or low-priority deployments passes them on to the next; if
    none takes them, that is the reason given.
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


# The same few thousand ids are matched every ten seconds.
@lru_cache(maxsize=16_384)
def _match(
    deployments: tuple[str, ...], models: tuple[str, ...], deployment_id: str, model_id: str
) -> bool:
    return any(fnmatchcase(deployment_id, glob) for glob in deployments) and any(
        fnmatchcase(model_id, glob) for glob in models
    )
