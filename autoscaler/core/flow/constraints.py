"""The constraints: functions that limit or hold the proposed allocations and return a Step.

Their order is `CONSTRAINTS`. The bounds come after everything that shapes the proposal. After them
come the reasons to keep the allocations as they are, which only lead back towards the current
allocations and never past a bound.

Those before `limit_to_free_capacity` concern the deployment alone; their result is what it claims
of the free capacity. The others are applied when the claims of all deployments have been compared.
"""

import math
from collections.abc import Mapping

from msgspec.structs import replace

from autoscaler.core.flow.cold_start import COLD_START_HOLD_S, is_overloaded
from autoscaler.core.flow.constraint_context import Constraint, ConstraintContext, Grant
from autoscaler.core.flow.effect import awaits_effect
from autoscaler.core.flow.instructed import apply_override, hold_paused
from autoscaler.core.flow.update_rate import is_used_up, limit_update_rate
from autoscaler.core.gradual_rollout import setting_text
from autoscaler.core.selection import Rule, ZeroMethod
from autoscaler.core.values import (
    STARTED,
    DataIssue,
    Reason,
    Step,
)

SETTLING_LIMIT_S = 600.0
"""Seconds for which missing allocations prevent a decrease. 10 min: allocations that have not
started by then will not start soon, and on hardware that grows they would have to be paid for."""

BURST_HOLD_S = 60.0
"""Seconds for which more than `burst_max_allocations` must have been recommended before it is
granted. 60 s, the default load window, because a shorter excess may be one bad count."""

BOUNDS_COOLDOWN_S = 60.0
"""Minimum seconds between a change of the adaptive bounds and the next decrease of them. 60 s: each
change updates the cluster state, and a minimum that is too high for a minute costs little."""


def stabilise(proposed: int, context: ConstraintContext) -> Step | None:
    """Scale down only to the highest recommendation of the stabilisation window."""
    if proposed >= context.current:
        return None
    peaks = context.known.peaks
    highest = peaks[0][1] if peaks else proposed
    after = min(max(proposed, highest), context.current)
    inputs = {"window_s": context.rule.stabilisation_window_s, "highest": highest}
    return Step(Reason.STABILISATION, proposed, after, inputs) if after != proposed else None


def limit_step(proposed: int, context: ConstraintContext) -> Step | None:
    """Multiply or divide the allocations by no more than the step limits at once.

    The largest step is rounded away from the current allocations, so that 1 can become 2 and 2 can
    become 1 with any factor.
    """
    current = context.current
    if proposed == current:
        return None
    if proposed > current:
        furthest = max(math.ceil(max(current, 1) * context.rule.growth_factor), current + 1)
        after = min(proposed, furthest)
    else:
        furthest = min(math.floor(current / context.rule.shrink_factor), current - 1)
        after = max(proposed, furthest)
    if after == proposed:
        return None
    return Step(Reason.STEP_LIMIT, proposed, after, {"furthest": furthest})


def limit_burst(proposed: int, context: ConstraintContext) -> Step | None:
    """Exceed the burst ceiling only if more has been recommended for `BURST_HOLD_S`."""
    ceiling, above_s = context.rule.burst_max_allocations, context.known.above_burst_s or 0.0
    if ceiling is None or proposed <= ceiling or proposed <= context.current:
        return None
    if above_s >= BURST_HOLD_S:
        return None
    inputs = {"burst_max": ceiling, "hold_s": BURST_HOLD_S, "above_s": above_s}
    return Step(Reason.BURST, proposed, max(ceiling, context.current), inputs)


def hold_after_cold_start(proposed: int, context: ConstraintContext) -> Step | None:
    """Keep the allocations that a daemon without a saved state has found, for a while."""
    observed_s, running = context.cold_start_s, context.stats.running_allocations
    if observed_s is None or proposed == context.current:
        return None
    if proposed > context.current and is_overloaded(context.sample, running):
        return None
    inputs = {"observed_s": observed_s, "hold_s": COLD_START_HOLD_S}
    return Step(Reason.COLD_START, proposed, context.current, inputs)


def return_to_before(proposed: int, context: ConstraintContext) -> Step | None:
    """Propose what ran before a gradual rollout, in the hours that are not the rule's."""
    before = context.rule.before
    if before is None:
        return None
    after = before.minimum if before.allocations is None else before.allocations
    return Step(Reason.GRADUAL_ROLLOUT, proposed, after, {"before": setting_text(before)})


def apply_schedules(proposed: int, context: ConstraintContext) -> Step | None:
    """Apply the strictest bounds of all open schedules. If they cross, the maximum applies."""
    schedules = context.rule.schedules
    if not schedules:
        return None
    after, inputs = proposed, dict[str, float | str]()
    for schedule in schedules:
        if schedule.min_allocations is not None and after < schedule.min_allocations:
            after, inputs = (
                schedule.min_allocations,
                {"schedule": schedule.name, "min_allocations": schedule.min_allocations},
            )
    for schedule in schedules:
        if schedule.max_allocations is not None and after > schedule.max_allocations:
            after, inputs = (
                schedule.max_allocations,
                {"schedule": schedule.name, "max_allocations": schedule.max_allocations},
            )
    return Step(Reason.SCHEDULE, proposed, after, inputs) if inputs else None


def apply_bounds(proposed: int, context: ConstraintContext) -> Step | None:
    """Apply the bounds of the rule: at least `min_allocations`, at most `max_allocations`."""
    minimum, maximum = context.rule.min_allocations, context.rule.max_allocations
    if minimum <= proposed <= maximum:
        return None
    after = min(max(proposed, minimum), maximum)
    inputs = {"min_allocations": minimum, "max_allocations": maximum}
    return Step(Reason.BOUNDS, proposed, after, inputs)


def scale_to_zero(proposed: int, context: ConstraintContext) -> Step | None:
    """Propose 0 for a deployment that has been idle for long enough and is not usually used now."""
    zero = context.rule.zero
    if zero is None or context.usual_soon or context.override is not None:
        return None
    idle_since, sample = context.known.idle_since, context.sample
    idle_s = 0.0 if idle_since is None else context.at - idle_since
    # A gap in the observations does not resume a deployment that is scaled to zero.
    at_zero = zero.via is ZeroMethod.ADAPTIVE and context.current == 0
    stays_at_zero = at_zero and sample.arrivals == 0 and sample.in_flight == 0
    if idle_s < zero.after_s and not stays_at_zero:
        return None
    if any(schedule.min_allocations is not None for schedule in context.rule.schedules):
        return None
    inputs: dict[str, float | str] = {"idle_s": idle_s}
    if idle_s < zero.after_s:
        inputs["scaled_to_zero"] = "yes"
    if context.zero_unsafe:
        return Step(Reason.IDLE, proposed, proposed, inputs | {"unsafe": context.zero_unsafe})
    return Step(Reason.IDLE, proposed, 0, inputs)


def hold_on_data_issues(proposed: int, context: ConstraintContext) -> Step | None:
    """Never scale down on statistics with a data-quality issue."""
    issues = context.sample.issues
    if proposed >= context.current or not issues:
        return None
    return Step(Reason.DATA_QUALITY, proposed, context.current, {"issues": joined(issues)})


def hold_on_overload(proposed: int, context: ConstraintContext) -> Step | None:
    """Never scale down while callers give up: the load is not measured well then."""
    if proposed >= context.current or not context.sample.overloaded:
        return None
    return Step(Reason.OVERLOAD, proposed, context.current, {"timeouts": context.sample.timeouts})


def hold_while_settling(proposed: int, context: ConstraintContext) -> Step | None:
    """Hold a deployment that is still changing.

    A deployment that starts or stops accepts no update. While a node loads the model, its part of
    the load is not known, and a seeming excess of allocations may be just enough.
    """
    stats, current = context.stats, context.current
    if proposed == current:
        return None
    if stats.state != STARTED:
        return Step(Reason.SETTLING, proposed, current, {"state": stats.state or "unknown"})
    since = context.known.unsettled_since
    if proposed > current or since is None or context.at - since > SETTLING_LIMIT_S:
        return None
    inputs = {"running": stats.running_allocations or 0, "target": current}
    return Step(Reason.SETTLING, proposed, current, inputs)


def limit_to_free_capacity(proposed: int, context: ConstraintContext) -> Step | None:
    """Scale up only as far as the deployment was granted free capacity."""
    grant = context.grant
    if grant is None or proposed <= context.current:
        return None
    # The nodes of what runs may not be reported, and then the grant is without them.
    running = min(context.stats.running_allocations or 0, context.stats.allocations or 0)
    after = max(grant.allocations, context.current, running)
    if after >= proposed:
        return None
    minimum = claimed_minimum(context.rule, proposed)
    below: Mapping[str, int] = {"min_allocations": minimum} if after < minimum else {}
    return Step(Reason.FIT, proposed, after, {**grant.inputs, **below})


def limit_bounds_rate(proposed: int, context: ConstraintContext) -> Step | None:
    """Lower the adaptive bounds no more often than once in `BOUNDS_COOLDOWN_S`."""
    moved_at = context.known.bounds_moved_at
    if proposed >= context.current or moved_at is None:
        return None
    moved_s = context.at - moved_at
    if moved_s >= BOUNDS_COOLDOWN_S:
        return None
    inputs = {"moved_s": moved_s, "pause_s": BOUNDS_COOLDOWN_S}
    return Step(Reason.BOUNDS_COOLDOWN, proposed, context.current, inputs)


def wait_for_effect(proposed: int, context: ConstraintContext) -> Step | None:
    """Change nothing while an accepted update is not visible yet."""
    request = context.known.request
    if proposed == context.current or request is None or not awaits_effect(request):
        return None
    inputs: Mapping[str, float | str] = {
        "accepted": f"the update to {request.setting}",
        "accepted_s": context.at - request.at,
    }
    return Step(Reason.SETTLING, proposed, context.current, inputs)


def hold_external_change(proposed: int, context: ConstraintContext) -> Step | None:
    """Respect what another writer has set, for a while."""
    changed = context.known.external_change
    if proposed == context.current or changed is None or not changed.is_respected(context.at):
        return None
    inputs: Mapping[str, float | str] = {
        "from": str(changed.before),
        "to": str(changed.after),
        "at": changed.at,
        "ago_s": context.at - changed.at,
        "count": changed.times,
        "wait_s": changed.at + changed.hold_s - context.at,
    }
    return Step(Reason.EXTERNAL_CHANGE, proposed, context.current, inputs)


def search_below_refusal(proposed: int, context: ConstraintContext) -> Step | None:
    """Below a refused allocation count, approach the largest one that fits by halves.

    A refusal changes nothing and shows only that the count was too large.
    """
    refused, current = context.known.infeasible, context.current
    if refused is None or context.at >= refused.until:
        return None
    # A minimum of adaptive allocations may be in force although it has not been reached.
    requested = context.stats.allocations
    reached = current if requested is None else min(current, requested)
    if proposed < refused.allocations or proposed <= reached:
        return None
    after = reached + max(0, refused.allocations - reached) // 2
    if after < context.rule.min_allocations:
        after = current
    if after == proposed:
        return None
    return Step(Reason.CAPACITY, proposed, after, {"infeasible": refused.allocations})


def hold_in_maintenance(proposed: int, context: ConstraintContext) -> Step | None:
    """Change nothing while the cluster is being upgraded."""
    if proposed == context.current or not context.maintenance:
        return None
    return Step(Reason.MAINTENANCE, proposed, context.current, {"reason": context.maintenance})


def back_off(proposed: int, context: ConstraintContext) -> Step | None:
    """Wait after a refusal that a retry would not change."""
    refused = context.refused
    if proposed == context.current or refused is None or context.at >= refused.until:
        return None
    inputs: Mapping[str, float | str] = {
        "wait_s": refused.until - context.at,
        "reason": refused.reason,
    }
    return Step(Reason.BACK_OFF, proposed, context.current, inputs)


CONSTRAINTS: tuple[Constraint, ...] = (
    stabilise,  # first: it compares recommendations, which no limit has changed yet
    limit_step,
    limit_burst,
    hold_after_cold_start,
    return_to_before,
    apply_override,
    apply_schedules,
    apply_bounds,  # no later constraint may leave the bounds, ...
    scale_to_zero,  # ... except this one, which the operator has configured as well
    hold_on_data_issues,
    hold_on_overload,
    hold_while_settling,
    hold_paused,  # last of those before the grant, so that it claims nothing
    limit_to_free_capacity,
    limit_bounds_rate,
    limit_update_rate,
    search_below_refusal,
    hold_in_maintenance,
    wait_for_effect,
    hold_external_change,
    back_off,
)

_BEFORE_GRANT = CONSTRAINTS[: CONSTRAINTS.index(limit_to_free_capacity)]
_AFTER_GRANT = CONSTRAINTS[len(_BEFORE_GRANT) :]
_OVERRIDDEN = _BEFORE_GRANT[_BEFORE_GRANT.index(apply_override) :]
"""The constraints on an override. Those before it limit recommendations, which it replaces."""

_AS_BEFORE = _BEFORE_GRANT[_BEFORE_GRANT.index(return_to_before) :]
"""The same for what ran before a gradual rollout."""


def before_grant(first: Step, context: ConstraintContext) -> tuple[Step, ...]:
    """Apply the constraints that concern the deployment alone; return all steps.

    Args:
        first: the recommendation.
    """
    if context.override is not None:
        constraints = _OVERRIDDEN
    elif context.rule.before is not None:
        constraints = _AS_BEFORE
    else:
        constraints = _BEFORE_GRANT
    return _applied(constraints, (first,), context)


def after_grant(
    steps: tuple[Step, ...], context: ConstraintContext, grant: Grant | None
) -> tuple[Step, ...]:
    """Apply the other constraints; return all steps.

    Args:
        steps: those of `before_grant`.
        grant: None if the claim was granted in full.
    """
    if grant is not None:
        context = replace(context, grant=grant)
    elif not _may_change(steps[-1].after, context):
        return steps
    return _applied(_AFTER_GRANT, steps, context)


def _may_change(proposed: int, context: ConstraintContext) -> bool:
    """Whether any constraint after the grant could apply to a claim that is granted in full. Mostly
    none does, and this is quicker than to call each of them."""
    known = context.known
    return (
        known.infeasible is not None
        or context.refused is not None
        or (proposed != context.current and is_on_hold(context))
        or (
            proposed < context.current
            and (known.bounds_moved_at is not None or known.recent_updates != 0)
        )
    )


def is_on_hold(context: ConstraintContext) -> bool:
    """Whether a constraint after the grant keeps the current allocations with any grant."""
    refused, changed = context.refused, context.known.external_change
    return (
        bool(context.maintenance)
        or (refused is not None and context.at < refused.until)
        or awaits_effect(context.known.request)
        or is_used_up(context.known.recent_updates)
        or (changed is not None and changed.is_respected(context.at))
    )


def _applied(
    constraints: tuple[Constraint, ...], steps: tuple[Step, ...], context: ConstraintContext
) -> tuple[Step, ...]:
    proposed, further = steps[-1].after, []
    for constraint in constraints:
        step = constraint(proposed, context)
        if step is not None:
            further.append(step)
            proposed = step.after
    return (*steps, *further) if further else steps


def claimed_minimum(rule: Rule, claimed: int) -> int:
    """The minimum of the rule and its open schedules, as far as the claim contains it: a schedule
    may set more than `max_allocations`."""
    minima = [schedule.min_allocations or 0 for schedule in rule.schedules]
    return min(claimed, max(rule.min_allocations, *minima) if minima else rule.min_allocations)


def joined(issues: tuple[DataIssue, ...]) -> str:
    """The issues as one input of a step, each of them once."""
    return ", ".join(dict.fromkeys(issues))  # several nodes may have the same
