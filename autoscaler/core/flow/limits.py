"""What the limits of one deployment depend on."""

from autoscaler.core.flow.constraint_context import ConstraintContext
from autoscaler.core.flow.effect import COUNT_UNRELIABLE
from autoscaler.core.flow.plan_context import PlanContext
from autoscaler.core.scale_to_zero import is_used_soon, unsafe_reason
from autoscaler.core.selection import Rule
from autoscaler.core.state import BackOff, DeploymentState
from autoscaler.core.values import DeploymentStats, Sample, Step


def limits_for(
    first: Step,
    stats: DeploymentStats,
    sample: Sample,
    state: DeploymentState,
    rule: Rule,
    context: PlanContext,
) -> ConstraintContext | None:
    """What the limits depend on; None if none of them applies."""
    if first.externally_controlled or (
        sample.issues and not COUNT_UNRELIABLE.isdisjoint(sample.issues)
    ):
        return None
    pauses = context.instructions.pauses_of(stats.deployment_id, context.at)
    override = context.instructions.override_of(stats.deployment_id, context.at)
    if not first.changed and override is None and _is_unconstrained(rule, first.after, state):
        return None  # the usual case: no limit applies to allocations that stay as they are
    zero = rule.zero
    unsafe = ""
    if zero is not None:
        owner = context.owned.get(stats.deployment_id)
        in_use = context.in_use.get(stats.deployment_id, "")
        unsafe = unsafe_reason(zero, stats, owner, context.version, in_use)
    return ConstraintContext(
        at=context.at,
        current=first.before,
        stats=stats,
        sample=sample,
        rule=rule,
        known=state,
        maintenance=context.maintenance,
        refused=refused(state, context),
        zero_unsafe=unsafe,
        pauses=pauses,
        override=override,
        cold_start_s=context.cold_start_s,
        usual_soon=zero is not None and is_used_soon(state.usage, context.at),
    )


def _is_unconstrained(rule: Rule, allocations: int, state: DeploymentState) -> bool:
    """Whether no limit could apply to allocations that stay as they are."""
    in_bounds = rule.min_allocations <= allocations <= rule.max_allocations
    return (
        in_bounds
        and rule.before is None
        and not rule.schedules
        and rule.zero is None
        and state.infeasible is None
    )


def refused(state: DeploymentState, context: PlanContext) -> BackOff | None:
    """The back-off that ends last: the deployment's own, or that of the whole cluster."""
    refused, forbidden = state.back_off, context.forbidden
    if forbidden is not None and (refused is None or refused.until < forbidden.until):
        return forbidden
    return refused
