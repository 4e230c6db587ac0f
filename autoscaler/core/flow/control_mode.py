"""The two control modes: the number of allocations, and the bounds of adaptive allocations. While
adaptive allocations are enabled, Elasticsearch rejects a number of allocations.

The mode of a rule says which of them is set. The decided allocations are the number in DIRECT, and
the minimum in BOUNDS: adaptive allocations may go higher within seconds, up to the maximum, also
while the daemon does not run.

Source: elastic/elasticsearch, `TransportUpdateTrainedModelDeploymentAction.java` and
`TrainedModelAssignmentClusterService.java`.
"""

from autoscaler.core.decision import Change, Mode, SetAllocations, SetBounds, Setting, Stop
from autoscaler.core.flow.constraints import BOUNDS_COOLDOWN_S
from autoscaler.core.instructions import Override
from autoscaler.core.selection import Rule, ZeroMethod
from autoscaler.core.values import AdaptiveAllocations, DeploymentStats, Reason, Step

# Looked up once: this module runs several times for each deployment in each cycle, and the lookup
# of an enumeration's member is slow.
_DIRECT, _BOUNDS = Mode.DIRECT, Mode.BOUNDS


def active_adaptive(stats: DeploymentStats) -> AdaptiveAllocations | None:
    """The settings of adaptive allocations if they are enabled."""
    return stats.adaptive if stats.adaptive is not None and stats.adaptive.enabled else None


def current_allocations(mode: Mode, stats: DeploymentStats) -> int | None:
    """The value that the mode sets: the requested allocations, or the minimum of adaptive
    allocations; None: not reported."""
    adaptive = active_adaptive(stats)
    if adaptive is not None and mode is _BOUNDS:
        return adaptive.minimum or 0
    return stats.allocations


def mode_in_effect(rule: Rule, stats: DeploymentStats, before: Mode | None) -> Mode | None:
    """The rule's mode, if the setting that it needs is found now or was found before; else None."""
    found = _DIRECT if active_adaptive(stats) is None else _BOUNDS
    return rule.mode if rule.mode in (found, before) else None


def external_control_step(
    rule: Rule, stats: DeploymentStats, current: int, in_effect: Mode | None
) -> Step | None:
    """A step that holds a deployment that is externally controlled: the setting that the mode needs
    was never found and may not be taken over, or it was found and has been reverted since. Changing
    it again would only start a contest.

    Args:
        in_effect: at the last poll; see `mode_in_effect`.
    """
    adaptive = active_adaptive(stats)
    if rule.mode is _BOUNDS:
        if adaptive is None and in_effect is _BOUNDS:
            return Step(Reason.ADAPTIVE_DISABLED, current, current)
        return None
    if adaptive is None or (rule.take_over and in_effect is not _DIRECT):
        return None
    inputs = {"again": "yes"} if rule.take_over else {}
    return Step(Reason.ADAPTIVE_ENABLED, current, current, inputs)


def may_change_mode(rule: Rule, stats: DeploymentStats, *, certain: bool) -> bool:
    """Whether the rule's mode is set already, or may be set now: adaptive allocations are neither
    enabled nor disabled on statistics with a data-quality issue. A slow response is none here: the
    settings in it are certain."""
    return certain or (active_adaptive(stats) is not None) is (rule.mode is _BOUNDS)


def change_for(
    rule: Rule,
    stats: DeploymentStats,
    steps: tuple[Step, ...],
    *,
    certain: bool,
    moved_s: float | None = None,
    memory_maximum: int | None = None,
    override: Override | None = None,
) -> Change | None:
    """The change that carries out a decision; None if nothing has to change.

    Args:
        steps: of the decision.
        certain: whether the statistics have no data-quality issue, apart from a slow response.
        moved_s: since the daemon changed the adaptive bounds; None: not recently.
        memory_maximum: the most allocations that the memory of the nodes allows; None: not known.
        override: of an operator, above which adaptive allocations get no room.
    """
    current, desired = steps[0].before, steps[-1].after
    adaptive = active_adaptive(stats)
    if desired == 0 and rule.zero is not None and steps[-1].reason is Reason.IDLE:
        if rule.zero.via is ZeroMethod.STOP:
            return Stop()
    elif steps[0].externally_controlled:
        return None
    if not may_change_mode(rule, stats, certain=certain):
        return None
    if rule.mode is _DIRECT:
        if adaptive is None:
            return SetAllocations(desired) if desired != current else None
        # With 0, no capacity was granted: adaptive allocations stay as they are.
        return SetAllocations(desired, take_over=True) if desired > 0 else None
    if rule.before is not None and override is None:
        return _restored_bounds(rule.before, adaptive, desired)
    scarce = any(step.changed and step.reason in CAPACITY_REASONS for step in steps)
    maximum = max(desired, 1) if scarce else _adaptive_maximum(rule, desired)
    if memory_maximum is not None:
        # The bounds do not force adaptive allocations below the present count.
        maximum = min(maximum, max(memory_maximum, stats.allocations or 0, desired, 1))
    if override is not None:
        maximum = max(desired, override.allocations, 1)
    bounds = SetBounds(desired, maximum)
    if adaptive is None:
        return bounds
    in_force = SetBounds(adaptive.minimum or 0, adaptive.maximum or 0)
    if in_force.minimum == desired and in_force.maximum <= maximum and _starts_cold(steps):
        return None  # whether more would fit is not known before more is wanted
    was_scarce = desired == in_force.minimum == in_force.maximum
    if memory_maximum is not None:
        was_scarce |= desired == in_force.minimum and in_force.maximum < maximum
    if was_scarce and (not certain or (moved_s is not None and moved_s < BOUNDS_COOLDOWN_S)):
        return None
    return bounds if bounds != in_force else None


def _restored_bounds(
    before: Setting, adaptive: AdaptiveAllocations | None, minimum: int
) -> SetBounds | None:
    """The bounds before a gradual rollout, with the minimum that an open schedule may have raised;
    None: they are in force."""
    maximum = max(before.maximum, minimum) if before.maximum else 0
    bounds = SetBounds(minimum, maximum)
    if adaptive is None:
        return bounds
    return bounds if bounds != SetBounds(adaptive.minimum or 0, adaptive.maximum or 0) else None


def _starts_cold(steps: tuple[Step, ...]) -> bool:
    return any(step.changed and step.reason is Reason.COLD_START for step in steps)


CAPACITY_REASONS = frozenset({Reason.FIT, Reason.CAPACITY})
"""Reasons for which less is possible than is recommended. Adaptive allocations request all of an
increase or nothing, again and again, so that they must not try for more than fits."""


def _adaptive_maximum(rule: Rule, desired: int) -> int:
    """The maximum of the rule and of its open schedules, and the burst ceiling while no more than
    that is desired."""
    ceiling = rule.max_allocations
    if rule.burst_max_allocations is not None and desired <= rule.burst_max_allocations:
        ceiling = rule.burst_max_allocations
    for schedule in rule.schedules:
        if schedule.max_allocations is not None:
            ceiling = min(ceiling, schedule.max_allocations)
    return max(ceiling, desired, 1)
