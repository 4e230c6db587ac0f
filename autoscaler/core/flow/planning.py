"""The one entry point: from an observation to a plan."""

from collections.abc import Collection

from msgspec.structs import replace

from autoscaler.core.capacity import FreeCapacity
from autoscaler.core.flow.constraints import ConstraintContext, constrain, joined
from autoscaler.core.flow.control_mode import change_for, current_allocations, external_control_step
from autoscaler.core.flow.measurement import Measurement, measure
from autoscaler.core.flow.plan_context import PlanContext, plan_context_of
from autoscaler.core.flow.transition import next_state
from autoscaler.core.policies import Situation, recommend_safely
from autoscaler.core.scale_to_zero import (
    decide_stopped,
    is_used_soon,
    still_stopped,
    unsafe_reason,
    updated_usage,
)
from autoscaler.core.selection import Rule, select
from autoscaler.core.state import (
    BackOff,
    DeploymentState,
    PolicyMemory,
    State,
    StoppedDeployment,
)
from autoscaler.core.values import (
    STARTED,
    Change,
    CompletedRollout,
    DataIssue,
    Decision,
    DeploymentStats,
    Observation,
    Plan,
    Reason,
    Sample,
    Schedule,
    Step,
    Unmanaged,
    Value,
)

MAX_INTERVAL_POLLS = 6.0
"""Periods after which two observations are no longer compared: an average over more hides what
happened in between. Twice as long as a slow cluster may stretch a period."""

FORGET_AFTER_S = 900.0
"""How long a deployment that is no longer reported is remembered."""

_COUNT_UNRELIABLE = frozenset(
    {
        DataIssue.NOT_STARTED,
        DataIssue.CLOCK,
        DataIssue.INCONSISTENT,
        DataIssue.COUNTER_DECREASED,
        DataIssue.IMPLAUSIBLE,
    }
)
"""Flaws that cast doubt on the reported number itself, so that not even bounds are enforced."""


class Ruleset(Value, frozen=True, kw_only=True):
    """How to decide, settled: no defaults, nothing left to look up."""

    rules: tuple[Rule, ...]  # the first that matches a deployment governs it
    max_interval_s: float  # between observations that may still be compared


def plan(
    state: State,
    observation: Observation,
    policy: Ruleset,
    open_schedules: Collection[Schedule] = (),
) -> tuple[Plan, State]:
    """Decide every managed deployment's allocations.

    Pure: the result depends on the arguments alone, and `observation.at` is the only time there
    is. A deployment that cannot be measured is held, and its first step says so.

    Args:
        open_schedules: of all schedules of the policy's rules, those whose window is open now.

    Returns:
        The plan, with decisions in order of deployment id, and the state for the next call.
    """
    context = plan_context_of(state, observation)
    stopped = still_stopped(state.stopped, observation.deployments)
    rules = _in_force(policy.rules, open_schedules)
    deployments = _missing_deployments(state, observation)
    decisions: list[Decision] = []
    unmanaged: dict[str, Unmanaged] = {}
    completed_rollouts: list[CompletedRollout] = []
    for name in sorted({*observation.deployments, *stopped}):
        if name in stopped:
            decisions.append(
                _decide_stopped(name, stopped[name], rules, context, state.resume_requested)
            )
            continue
        stats = observation.deployments[name]
        rule = select(rules, stats)
        if isinstance(rule, Unmanaged):
            unmanaged[name] = rule
            continue
        decision, deployments[name], completed = _decide(
            state.deployments.get(name),
            stats,
            rule,
            context,
            state.stopped.get(name),
            policy.max_interval_s,
        )
        decisions.append(decision)
        if completed is not None:
            completed_rollouts.append(completed)
    planned = Plan(
        at=observation.at,
        decisions=tuple(decisions),
        unmanaged=unmanaged,
        completed_rollouts=tuple(completed_rollouts),
    )
    return planned, State(
        deployments=deployments,
        capacity=context.capacity,
        cluster_back_off=state.cluster_back_off,
        stopped=stopped,
        resume_requested=state.resume_requested,
    )


def _decide_stopped(
    name: str,
    stopped_deployment: StoppedDeployment,
    rules: tuple[Rule, ...],
    context: PlanContext,
    resume_requested: Collection[str],
) -> Decision:
    rule = select(rules, stopped_deployment.stats)
    return decide_stopped(
        name,
        stopped_deployment,
        None if isinstance(rule, Unmanaged) else rule,
        at=context.at,
        resume_requested=resume_requested,
        maintenance=context.maintenance,
        forbidden=context.forbidden,
    )


def _decide(
    known: DeploymentState | None,
    stats: DeploymentStats,
    rule: Rule,
    context: PlanContext,
    stopped_deployment: StoppedDeployment | None,
    max_interval_s: float,
) -> tuple[Decision, DeploymentState, CompletedRollout | None]:
    if known is not None and known.baseline.server_created_at != stats.server_created_at:
        known = None  # stopped and started again: another deployment of the same name
    measured = measure(
        known,
        stats,
        at=context.at,
        load_window_s=rule.policy.load_window_s,
        max_interval_s=max_interval_s,
    )
    memory = None if known is None else known.memory
    if memory is not None and memory.policy != rule.policy.name:
        memory = None
    first, memory = _recommend(stats, measured, rule, context.room, known, memory)
    if known is None and stopped_deployment is not None:
        usage = updated_usage(
            stopped_deployment.usage, context.at, since=stopped_deployment.since, requests=False
        )
    else:
        usage = b"" if known is None else known.usage
    known, completed = next_state(known, stats, measured, first, rule, context, memory, usage)
    steps = _limit(first, stats, measured.sample, known, rule, context)
    decision = Decision(
        deployment_id=stats.deployment_id,
        model_id=stats.model_id,
        at=context.at,
        rule=rule.name,
        dry_run=rule.dry_run,
        current=first.before,
        min_allocations=rule.min_allocations,
        max_allocations=rule.max_allocations,
        steps=steps,
        sample=measured.sample,
        load=measured.load,
        mode=rule.mode,
        change=_change(rule, stats, steps, measured.sample, known, context),
    )
    return decision, known, completed


def _in_force(rules: tuple[Rule, ...], open_schedules: Collection[Schedule]) -> tuple[Rule, ...]:
    """The rules, with those of their schedules that are open."""
    return tuple(
        [
            replace(rule, schedules=tuple([s for s in rule.schedules if s in open_schedules]))
            if rule.schedules
            else rule
            for rule in rules
        ]
    )


def _missing_deployments(state: State, observation: Observation) -> dict[str, DeploymentState]:
    """Those that this answer does not mention: one answer may leave a deployment out."""
    oldest = observation.at - FORGET_AFTER_S
    return {
        name: known
        for name, known in state.deployments.items()
        if name not in observation.deployments and known.seen_at > oldest
    }


def _recommend(
    stats: DeploymentStats,
    measured: Measurement,
    rule: Rule,
    room: FreeCapacity,
    known: DeploymentState | None,
    memory: PolicyMemory | None,
) -> tuple[Step, PolicyMemory | None]:
    current = current_allocations(rule.mode, stats)
    if current is None:
        number = stats.target_allocations or 0
        inputs = {"issues": joined(measured.sample.issues)}
        return Step(Reason.DATA_QUALITY, number, number, inputs), memory
    elsewhere = external_control_step(rule, stats, current, known.mode_seen if known else None)
    if elsewhere is not None:
        return elsewhere, memory
    if measured.sample.issues or measured.load is None:
        inputs = {"issues": joined(measured.sample.issues)}
        return Step(Reason.DATA_QUALITY, current, current, inputs), memory
    situation = Situation(
        at=measured.sample.at,
        current=current,
        running=stats.running_allocations or 0,
        sample=measured.sample,
        load=measured.load,
        in_flight=(measured.sample.in_flight,),
        nodes=stats.nodes,
        threads=stats.threads_per_allocation or 1,
        free_threads=room.free_threads,
        new_node_s=known.new_node_s if known else None,
    )
    return recommend_safely(rule.policy, situation, memory)


def _limit(
    first: Step,
    stats: DeploymentStats,
    measured: Sample,
    known: DeploymentState,
    rule: Rule,
    context: PlanContext,
) -> tuple[Step, ...]:
    if first.externally_controlled or (
        measured.issues and not _COUNT_UNRELIABLE.isdisjoint(measured.issues)
    ):
        return (first,)
    if not first.changed and _is_unconstrained(rule, first.after, known):
        return (first,)  # which is most of them: no other rule minds a number that stays
    at, zero = context.at, rule.zero
    unsafe = ""
    if zero is not None:
        owner = context.owned.get(stats.deployment_id)
        unsafe = unsafe_reason(zero, stats, owner, context.version)
    return constrain(
        first,
        ConstraintContext(
            at=at,
            current=first.before,
            stats=stats,
            sample=measured,
            rule=rule,
            known=known,
            room=context.room,
            maintenance=context.maintenance,
            refused=_refused(known, context),
            zero_unsafe=unsafe,
            usual_soon=zero is not None and is_used_soon(known.usage, at),
        ),
    )


def _is_unconstrained(rule: Rule, number: int, known: DeploymentState) -> bool:
    """Whether no limit could have a say about a number that is to stay as it is."""
    in_bounds = rule.min_allocations <= number <= rule.max_allocations
    return in_bounds and not rule.schedules and rule.zero is None and known.infeasible is None


def _refused(known: DeploymentState, context: PlanContext) -> BackOff | None:
    """The refusal that is to be waited for the longest."""
    refused, forbidden = known.back_off, context.forbidden
    if forbidden is not None and (refused is None or refused.until < forbidden.until):
        return forbidden
    return refused


def _change(
    rule: Rule,
    stats: DeploymentStats,
    steps: tuple[Step, ...],
    measured: Sample,
    known: DeploymentState,
    context: PlanContext,
) -> Change | None:
    """What to ask for. Limits keep a number where it is while nothing may be asked for at all; a
    lever that is to be changed at the same number has to be kept as well."""
    refused = _refused(known, context)
    waiting = refused is not None and context.at < refused.until
    if context.maintenance or waiting or stats.state != STARTED:
        return None
    moved_s = None if known.bounds_moved_at is None else context.at - known.bounds_moved_at
    return change_for(rule, stats, steps, certain=not measured.issues, moved_s=moved_s)
