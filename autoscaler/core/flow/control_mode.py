"""The two levers of a deployment: its number of allocations, and the bounds of the cluster's own
scaler, `adaptive_allocations`. While that one is on, Elasticsearch refuses the number.

A rule's mode says which lever is used. What the policy wants is the number in DIRECT, and the
minimum in BOUNDS: the cluster's own scaler may go higher within seconds, up to the maximum, even
while nobody else watches.

Source: elastic/elasticsearch, `TransportUpdateTrainedModelDeploymentAction.java` and
`TrainedModelAssignmentClusterService.java`.
"""

from autoscaler.core.flow.constraints import BOUNDS_COOLDOWN_S
from autoscaler.core.selection import Rule, ZeroMethod
from autoscaler.core.values import (
    AdaptiveAllocations,
    Change,
    DeploymentStats,
    Mode,
    Reason,
    SetAllocations,
    SetBounds,
    Step,
    Stop,
)


def active_adaptive(stats: DeploymentStats) -> AdaptiveAllocations | None:
    """The settings of the cluster's own scaler if it is on."""
    return stats.adaptive if stats.adaptive is not None and stats.adaptive.enabled else None


def current_allocations(mode: Mode, stats: DeploymentStats) -> int | None:
    """What the lever is at: the requested number, or the minimum; None: the cluster did not say."""
    adaptive = active_adaptive(stats)
    if mode is Mode.BOUNDS and adaptive is not None:
        return adaptive.minimum or 0
    return stats.allocations


def mode_in_effect(rule: Rule, stats: DeploymentStats, before: Mode | None) -> Mode | None:
    """The mode whose lever has been found in place, or was once; None while it never was."""
    in_place = Mode.DIRECT if active_adaptive(stats) is None else Mode.BOUNDS
    return rule.mode if rule.mode in (in_place, before) else None


def external_control_step(
    rule: Rule, stats: DeploymentStats, current: int, in_use: Mode | None
) -> Step | None:
    """A step that holds where the lever is somebody else's: never was ours to take, or has been
    put back by somebody since. Two that switch it to and fro would help nobody.

    Args:
        in_use: of the last look; see `lever_in_use`.
    """
    adaptive = active_adaptive(stats)
    if rule.mode is Mode.BOUNDS:
        if adaptive is None and in_use is Mode.BOUNDS:
            return Step(Reason.ADAPTIVE_DISABLED, current, current)
        return None
    if adaptive is None or (rule.take_over and in_use is not Mode.DIRECT):
        return None
    inputs = {"again": "yes"} if rule.take_over else {}
    return Step(Reason.ADAPTIVE_ENABLED, current, current, inputs)


def change_for(
    rule: Rule,
    stats: DeploymentStats,
    steps: tuple[Step, ...],
    *,
    certain: bool,
    moved_s: float | None = None,
) -> Change | None:
    """What to ask of the cluster so that a decision comes true; None if it is true already.

    Args:
        steps: of the decision.
        certain: whether the statistics can be trusted. A lever is not changed on others.
        moved_s: since we have moved the bounds of the cluster's own scaler; None: not lately.
    """
    current, desired = steps[0].before, steps[-1].after
    adaptive = active_adaptive(stats)
    if steps[-1].reason is Reason.IDLE and desired == 0 and rule.zero is not None:
        if rule.zero.via is ZeroMethod.STOP:
            return Stop()
    elif steps[0].externally_controlled:
        return None
    if rule.mode is Mode.DIRECT:
        if adaptive is None:
            return SetAllocations(desired) if desired != current else None
        # With 0, no capacity was granted: adaptive allocations stay as they are.
        return SetAllocations(desired, take_over=True) if certain and desired > 0 else None
    if desired > rule.max_allocations:
        return None  # it has to come down, and must not yet
    scarce = any(step.reason in _CAPACITY_REASONS for step in steps)
    wanted = SetBounds(desired, max(desired, 1) if scarce else _adaptive_maximum(rule, desired))
    if adaptive is None:
        return wanted if certain else None
    in_force = SetBounds(adaptive.minimum or 0, adaptive.maximum or 0)
    was_scarce = desired == in_force.minimum == in_force.maximum
    if was_scarce and (not certain or (moved_s is not None and moved_s < BOUNDS_COOLDOWN_S)):
        return None
    return wanted if wanted != in_force else None


_CAPACITY_REASONS = frozenset({Reason.FIT, Reason.CAPACITY})
"""Less is possible than is wanted. The cluster's own scaler asks for all that it wants or nothing,
again and again, so that it must not want more than there is."""


def _adaptive_maximum(rule: Rule, desired: int) -> int:
    """The budget: the maximum of the rule, of its schedules that are open, and up to the burst
    ceiling while no more than that has been granted."""
    ceiling = rule.max_allocations
    if rule.burst_max_allocations is not None and desired <= rule.burst_max_allocations:
        ceiling = rule.burst_max_allocations
    for schedule in rule.schedules:
        if schedule.max_allocations is not None:
            ceiling = min(ceiling, schedule.max_allocations)
    return max(ceiling, desired, 1)
