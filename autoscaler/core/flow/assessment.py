"""The first and the last pass of a plan, for one deployment.

`assess` measures the load, calls the policy, applies the limits that concern the deployment alone,
and states what it claims of the free capacity. `conclude` takes what was granted, applies the
remaining limits, and derives the change.

Claims are made after the deployment's own limits, because a policy may recommend more than its rule
allows: what the deployment could not use would be granted to it and refused to another.
"""

from functools import partial

from msgspec.structs import replace

from autoscaler.core.decision import (
    Change,
    CompletedRollout,
    Decision,
    SetAllocations,
    SetBounds,
)
from autoscaler.core.flow.arbitration import Claim
from autoscaler.core.flow.constraint_context import ConstraintContext, Grant
from autoscaler.core.flow.constraints import (
    BURST_HOLD_S,
    after_grant,
    before_grant,
    claimed_minimum,
    is_on_hold,
    joined,
    search_below_refusal,
)
from autoscaler.core.flow.control_mode import CAPACITY_REASONS, change_for, may_change_mode
from autoscaler.core.flow.effect import COUNT_UNRELIABLE, Tracked, awaits_effect, external_start
from autoscaler.core.flow.guard import limits_of, within_limits
from autoscaler.core.flow.instructed import superseded, unpaused
from autoscaler.core.flow.limits import limits_for, refused
from autoscaler.core.flow.measurement import (
    Measurement,
    is_another,
    measure,
    working_allocations,
)
from autoscaler.core.flow.memory_ledger import MemoryLimit
from autoscaler.core.flow.plan_context import PlanContext
from autoscaler.core.flow.recommendation import Recommendation, naming_unknown, recommend
from autoscaler.core.flow.requested import awaited_allocations
from autoscaler.core.flow.rollout_blocks import (
    RolloutBlock,
    after_decision,
    changed_by_another,
    status,
)
from autoscaler.core.flow.transition import next_state
from autoscaler.core.flow.update_rate import update_rate_step
from autoscaler.core.next_poll import PollRequest
from autoscaler.core.scale_to_zero import updated_usage
from autoscaler.core.selection import Rule
from autoscaler.core.shortfall import reported_status, requested_allocations
from autoscaler.core.state import DeploymentState, StoppedDeployment
from autoscaler.core.values import STARTED, DeploymentStats, Reason, Step, Value


class Assessment(Value, frozen=True):
    """One deployment before arbitration."""

    stats: DeploymentStats
    rule: Rule  # with the schedules that are open; during a rollout, that of the present block
    measured: Measurement
    recommendation: Recommendation
    steps: tuple[Step, ...]  # the recommendation, and the constraints before the grant
    state: DeploymentState  # for the next plan
    completed: CompletedRollout | None
    tracked: Tracked  # what became of earlier updates
    limits: ConstraintContext | None  # None: no constraint applies
    block: RolloutBlock | None = None  # None: the rule acts at all times

    def after(self, decision: Decision) -> RolloutBlock:
        """The block of the gradual rollout after the decision."""
        assert self.block is not None, "the rule acts in some hours only"
        sample, recommendation = self.measured.sample, self.recommendation
        return after_decision(self.block, decision, self.stats, sample, recommendation)

    @property
    def next_poll(self) -> PollRequest | None:
        """The next poll that the deployment needs; None: the routine one is early enough."""
        return self.recommendation.next_poll

    def awaited(self, at: float) -> int:
        """The allocations that the cluster places as soon as it can; 0 if nothing is missing, or no
        longer expected."""
        awaited = awaited_allocations(self.stats, self.state, at)
        if self.limits is None:
            return awaited
        # A minimum of adaptive allocations that was not reached is lowered to what may fit.
        lowered = search_below_refusal(self.steps[-1].after, self.limits)
        if lowered is None or lowered.after >= self.limits.current:
            return awaited
        return max(awaited, lowered.after)

    @property
    def claim(self) -> Claim | None:
        """What the deployment claims of the free capacity; None if it claims nothing."""
        proposed, limits, rule = self.steps[-1].after, self.limits, self.rule
        if limits is None or proposed <= limits.current:
            return None
        return Claim(
            stats=self.stats,
            current=limits.current,
            claimed=proposed,
            min_allocations=claimed_minimum(rule, proposed),
            sends=rule.sends,
            limits=limits,
            on_hold=is_on_hold(limits)
            or not may_change_mode(rule, self.stats, certain=limits.sample.counts_certain),
            cost_curve=partial(self.recommendation.cost_curve, rule.policy),
        )


def assess(
    known: DeploymentState | None,
    stats: DeploymentStats,
    rule: Rule,
    block: RolloutBlock | None,
    context: PlanContext,
    stopped_deployment: StoppedDeployment | None,
    max_interval_s: float,
    *,
    started_by_another: bool = False,
) -> Assessment:
    """Measure the load, call the policy, and apply the limits that concern the deployment alone.

    Args:
        known: the state after the last plan; None: it has not been observed before.
        block: of the gradual rollout; None: the rule acts at all times.
        stopped_deployment: its entry among the stopped deployments, if it has one.
        max_interval_s: between two observations that may still be compared.
        started_by_another: whether another client started the stopped deployment.
    """
    recent_updates = 0 if known is None else known.recent_updates
    if known is not None and is_another(known.baseline, stats):
        known = None  # stopped and started again: another deployment of the same name
    if block is not None:
        rule = block.rule
    measured = measure(
        known,
        stats,
        at=context.at,
        span_s=context.span_s,
        load_window_s=rule.policy.load_window_s,
        max_interval_s=max_interval_s,
        ml_nodes=context.ml_nodes,
    )
    return assess_measured(
        known,
        stats,
        measured,
        rule,
        context,
        stopped_deployment,
        started_by_another=started_by_another,
        block=block,
        recent_updates=recent_updates,
    )


def assess_measured(
    known: DeploymentState | None,
    stats: DeploymentStats,
    measured: Measurement,
    rule: Rule,
    context: PlanContext,
    stopped_deployment: StoppedDeployment | None = None,
    *,
    started_by_another: bool = False,
    block: RolloutBlock | None = None,
    late_requests: float | None = None,
    recent_updates: int,
) -> Assessment:
    """The same, with what has been measured.

    Args:
        block: whose rule it is.
        late_requests: those of a shadow; None: it is none, or they are not known.
        recent_updates: see `next_state`.
    """
    memory = None if known is None else known.memory
    if memory is not None and memory.policy != rule.policy.name:
        memory = None
    recommended = recommend(stats, measured, rule, context, known, memory, late_requests)
    first = recommended.step
    if known is None and stopped_deployment is not None:
        usage = updated_usage(
            stopped_deployment.usage, context.at, since=stopped_deployment.since, requests=False
        )
    else:
        usage = b"" if known is None else known.usage
    state, completed, tracked = next_state(
        known, stats, measured, first, rule, context, recommended.memory, usage, recent_updates
    )
    if known is None and stopped_deployment is not None and started_by_another:
        changed = external_start(stats, rule, context.at)
        state = replace(state, external_change=changed)
        tracked = replace(tracked, external_change=changed, is_new=changed is not None)
    if block is not None and tracked.is_new and tracked.external_change is not None:
        block = changed_by_another(block, tracked.external_change)
        rule = block.rule
    override = context.instructions.override_of(stats.deployment_id, context.at)
    if override is not None:
        state = replace(state, external_change=superseded(state.external_change, override))
    limits = limits_for(first, stats, measured.sample, state, rule, context)
    steps = (first,) if limits is None else before_grant(first, limits)
    return Assessment(
        stats, rule, measured, recommended, steps, state, completed, tracked, limits, block
    )


def conclude(
    assessment: Assessment,
    grant: Grant | None,
    context: PlanContext,
    memory_maximum: MemoryLimit | None = None,
) -> Decision:
    """The decision, given what was granted.

    Args:
        grant: None if the claim was granted in full, or there was none.
        memory_maximum: of adaptive allocations; None: no memory was measured.
    """
    stats, rule = assessment.stats, assessment.rule
    sample, first = assessment.measured.sample, assessment.steps[0]
    change, steps = decided(assessment, grant, context, memory_maximum)
    slo, error = assessment.recommendation.slo_status(rule.policy, steps[-1].after)
    if error:
        inputs = {**steps[0].inputs, "slo_status_error": error}
        steps = (replace(steps[0], inputs=inputs), *steps[1:])
    return Decision(
        deployment_id=stats.deployment_id,
        model_id=stats.model_id,
        at=context.at,
        rule=rule.name,
        dry_run=rule.dry_run,
        current=first.before,
        min_allocations=rule.min_allocations,
        max_allocations=rule.max_allocations,
        steps=steps,
        sample=sample,
        load=assessment.measured.load,
        mode=rule.mode,
        change=change,
        observe_only=rule.observe_only,
        requested=requested_allocations(stats),
        running=working_allocations(stats, sample),
        shortfall=None if stats.running_allocations is None else assessment.state.shortfall,
        reported=reported_status(stats),
        external_change=assessment.state.external_change,
        slo=slo,
        pauses=context.instructions.pauses_of(stats.deployment_id, context.at),
        override=context.instructions.override_of(stats.deployment_id, context.at),
        rollout=None if assessment.block is None else status(assessment.block),
    )


def decided(
    assessment: Assessment,
    grant: Grant | None,
    context: PlanContext,
    memory_maximum: MemoryLimit | None = None,
) -> tuple[Change | None, tuple[Step, ...]]:
    """The change of the decision, and all its steps; the arguments are those of `conclude`."""
    steps = assessment.steps
    if assessment.limits is not None:
        steps = after_grant(steps, assessment.limits, grant)
    if memory_maximum is not None and memory_maximum.inputs and steps[-1].after > 0:
        desired = steps[-1].after
        inputs = {**memory_maximum.inputs, "adaptive_maximum": memory_maximum.allocations}
        steps = (*steps, Step(Reason.FIT, desired, desired, inputs))
    change, steps = _change(assessment, steps, context, memory_maximum)
    if unknown := context.unknown_figures.get(assessment.stats.deployment_id):
        steps = naming_unknown(steps, unknown)
    if change is not None:
        # Also where the override is what is proposed anyway, so that no step names it.
        overridden = assessment.limits is not None and assessment.limits.override is not None
        change, steps = _checked(change, steps, assessment, overridden=overridden)
    return change, steps


def _change(
    assessment: Assessment,
    steps: tuple[Step, ...],
    context: PlanContext,
    memory_maximum: MemoryLimit | None,
) -> tuple[Change | None, tuple[Step, ...]]:
    """The change to request, and the steps that lead to it. The limits keep the allocations as they
    are while nothing may be requested at all; a change of the control mode at the same allocations
    has to wait as well."""
    stats, state, sample = assessment.stats, assessment.state, assessment.measured.sample
    changed = state.external_change
    if (
        context.maintenance
        or stats.state != STARTED
        or not COUNT_UNRELIABLE.isdisjoint(sample.issues)
        or awaits_effect(state.request)
        or (changed is not None and changed.is_respected(context.at))
    ):
        return None, steps
    back_off = refused(state, context)
    if back_off is not None and context.at < back_off.until:
        return None, steps
    override = context.instructions.override_of(stats.deployment_id, context.at)
    change = change_for(
        assessment.rule,
        stats,
        steps,
        certain=sample.counts_certain,
        moved_s=None if state.bounds_moved_at is None else context.at - state.bounds_moved_at,
        memory_maximum=None if memory_maximum is None else memory_maximum.allocations,
        override=override,
    )
    pauses = context.instructions.pauses_of(stats.deployment_id, context.at)
    if change is not None and pauses:
        change, steps = unpaused(change, steps, stats, pauses, context.at)
    if change is None:
        return None, steps
    held = update_rate_step(
        steps[-1].after, steps[0].before, state.recent_updates, overridden=override is not None
    )
    return (change, steps) if held is None else (None, (*steps, held))


def _checked(
    change: Change, steps: tuple[Step, ...], assessment: Assessment, *, overridden: bool
) -> tuple[Change | None, tuple[Step, ...]]:
    """The change within the limits of the rule, and the steps that lead to it."""
    rule, last, issues = assessment.rule, steps[-1], assessment.measured.sample.issues
    above_burst_s = assessment.state.above_burst_s
    limits = limits_of(
        rule,
        certain=not issues,
        zero=last.reason is Reason.IDLE,
        scarce=any(step.changed and step.reason in CAPACITY_REASONS for step in steps),
        above_burst=overridden or (above_burst_s is not None and above_burst_s >= BURST_HOLD_S),
    )
    checked = within_limits(change, limits, assessment.stats)
    desired, reason = last.after, Reason.BOUNDS
    inputs: dict[str, float | str] = {
        "min_allocations": limits.minimum,
        "max_allocations": limits.maximum,
    }
    match checked:
        case SetAllocations(allocations=allocations):
            desired = allocations
        case SetBounds(minimum=minimum):
            desired = minimum
        case None if issues:
            desired, reason, inputs = (
                steps[0].before,
                Reason.DATA_QUALITY,
                {"issues": joined(issues)},
            )
    if desired != last.after:
        steps = (*steps, Step(reason, last.after, desired, inputs))
    return checked, steps
