"""From an observation to a plan, in three passes.

1. *Assess* every deployment by itself: sample, load, recommendation, its own limits, its claim.
2. *Arbitrate*: all claims together, against the capacity that is free.
3. *Conclude*: the limits that remain, the decision, and the change.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from msgspec.structs import replace

from autoscaler.core.decision import (
    Decision,
    Mode,
    ObserveOnly,
    OutcomeKind,
    Plan,
    Start,
    Unmanaged,
)
from autoscaler.core.flow.arbitration import Claim, arbitrate
from autoscaler.core.flow.assessment import Assessment, assess, conclude
from autoscaler.core.flow.constraint_context import Grant
from autoscaler.core.flow.memory_ledger import MemoryLedger, MemoryLimit, memory_ledger
from autoscaler.core.flow.memory_limit import limit_by_memory
from autoscaler.core.flow.plan_context import PlanContext, plan_context_of, unmanaged_after
from autoscaler.core.flow.requested import (
    requested_of_left_out,
    requested_of_unmanaged,
)
from autoscaler.core.flow.rollout_blocks import block_of, kept
from autoscaler.core.flow.shadowing import (
    assess_shadows,
    shadow_claims,
    shadows_after,
    with_shadows,
)
from autoscaler.core.flow.stopped import checked_start, is_started_by_another, plan_stopped
from autoscaler.core.next_poll import Polling, earliest
from autoscaler.core.rollout_status import RolloutEvent
from autoscaler.core.scale_to_zero import reduced_start, starting_allocations
from autoscaler.core.selection import Rule, select
from autoscaler.core.state import FORGET_AFTER_S, DeploymentState, State, StoppedDeployment
from autoscaler.core.values import DeploymentStats, Observation, Schedule, Value

MAX_INTERVAL_POLLS = 6.0
"""Poll intervals after which two observations are no longer compared, because an average over more
of them hides changes. 6, twice as long as a slow cluster may stretch an interval."""

Result = TypeVar("Result")

Parts = Generator[None, None, Result]
"""A long computation that yields between its parts, so that its caller may do other things
meanwhile. What it depends on does not change by that: it has its arguments."""


class Ruleset(Value, frozen=True, kw_only=True):
    """The resolved rules: no defaults, and nothing left to look up."""

    rules: tuple[Rule, ...]  # the first that matches a deployment governs it
    max_interval_s: float  # between two observations that may still be compared
    polling: Polling = Polling()
    owned_observe_only: ObserveOnly | None = None  # of deployments of inference endpoints


def whole(parts: Parts[Result]) -> Result:
    """The result of a computation without an interruption."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            result: Result = end.value
            return result


def plan(
    state: State,
    observation: Observation,
    ruleset: Ruleset,
    open_schedules: Collection[Schedule] = (),
    blind_s: Mapping[str, float] = MappingProxyType({}),
    utc_offsets_s: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Plan, State]:
    """Decide every managed deployment's allocations.

    Pure: the result depends on the arguments alone, and `observation.at` is the only time. A
    deployment that cannot be measured is held, and its first step says so.

    Args:
        open_schedules: the schedules of the rules whose window is open.
        blind_s: seconds since the last measurement, by deployment id; left out: none.
        utc_offsets_s: of local time at this observation, by time zone; left out: none.

    Returns:
        The plan, with the decisions in order of deployment id, and the state for the next call.
    """
    return whole(plan_in_parts(state, observation, ruleset, open_schedules, blind_s, utc_offsets_s))


def plan_in_parts(
    state: State,
    observation: Observation,
    ruleset: Ruleset,
    open_schedules: Collection[Schedule],
    blind_s: Mapping[str, float],
    utc_offsets_s: Mapping[str, float],
) -> Parts[tuple[Plan, State]]:
    """The same, with a yield before each deployment."""
    context = plan_context_of(
        state, observation, ruleset.polling, blind_s, ruleset.max_interval_s, utc_offsets_s
    )
    rules = _in_force(ruleset.rules, open_schedules)
    zeroed = plan_stopped(state, observation, rules, context)
    stopped = zeroed.stopped

    assessments: list[Assessment] = []
    deployments = _missing_deployments(state, observation, stopped)
    unmanaged: dict[str, Unmanaged] = {}
    rollouts = kept(state.rollouts, observation.deployments, observation.at)
    rollout_events: list[RolloutEvent] = []
    for name in sorted(observation.deployments):
        yield
        if name in stopped:
            continue
        stats = observation.deployments[name]
        rule = select(rules, stats)
        if isinstance(rule, Unmanaged):
            unmanaged[name] = rule
            continue
        if name in observation.owned and rule.observe_only is None:
            rule = replace(rule, observe_only=ruleset.owned_observe_only)
        block = block_of(state, stats, rule, context)
        assessment = assess(
            state.deployments.get(name),
            stats,
            rule,
            block,
            context,
            state.stopped.get(name),
            ruleset.max_interval_s,
            started_by_another=is_started_by_another(state, name, stats),
        )
        deployments[name] = assessment.state
        assessments.append(assessment)
    claims = _claims(assessments, zeroed.decisions, stopped)
    memory = None
    if claims or any(assessment.rule.mode is Mode.BOUNDS for assessment in assessments):
        memory = memory_ledger(
            observation, deployments, stopped, context.free_capacity, _given_up(assessments)
        )
    requested_elsewhere = [
        *[requested_of_unmanaged(observation.deployments[name]) for name in unmanaged],
        *requested_of_left_out(state, observation),
    ]
    grants = _granted(claims, assessments, requested_elsewhere, context, memory)
    shadows, shadow_context = yield from assess_shadows(
        state, observation, assessments, context, ruleset.max_interval_s
    )
    in_dry_run = {each.assessment.stats.deployment_id: each.assessment for each in shadows}
    as_if_sent = [in_dry_run.get(a.stats.deployment_id, a) for a in assessments]
    known_shadows, shadow_statuses = shadows_after(
        shadows,
        _granted(
            shadow_claims(shadows),
            as_if_sent,
            requested_elsewhere,
            shadow_context,
            None,
        ),
        shadow_context,
    )

    decisions = []
    for assessment in assessments:
        yield
        grant = grants.get(assessment.stats.deployment_id)
        maximum = None if memory is None else _adaptive_maximum(assessment, memory)
        decision = conclude(assessment, grant, context, maximum)
        if (shadow := shadow_statuses.get(decision.deployment_id)) is not None:
            decision = replace(decision, shadow=shadow)
        decisions.append(decision)
        if assessment.block is not None:
            name, block = decision.deployment_id, assessment.after(decision)
            rollouts[name] = block.rollout
            rollout_events += block.events
    if stopped:
        decisions += [
            _granted_start(decision, rules, stopped[name].stats, grants.get(name), memory)
            for name, decision in zeroed.decisions.items()
        ]
        decisions.sort(key=_deployment_id)
    planned = Plan(
        at=observation.at,
        decisions=tuple(decisions),
        unmanaged=unmanaged,
        next_poll=earliest(
            {
                assessment.stats.deployment_id: request
                for assessment in assessments
                if (request := assessment.next_poll) is not None
            },
            ruleset.polling,
        ),
        completed_rollouts=tuple([a.completed for a in assessments if a.completed is not None]),
        no_effect=(
            *[each for a in assessments if (each := a.tracked.no_effect) is not None],
            *zeroed.no_effect,
        ),
        external_changes=tuple(
            [
                changed
                for a in assessments
                if a.tracked.is_new and (changed := a.tracked.external_change) is not None
            ]
        ),
        rollout_events=tuple(rollout_events),
    )
    return planned, State(
        deployments=with_shadows(
            deployments,
            known_shadows,
            {each.stats.deployment_id for each in assessments if each.rule.sends},
            context.at,
        ),
        unmanaged=unmanaged_after(state, observation, unmanaged),
        capacity=context.capacity,
        cluster_back_off=state.cluster_back_off,
        stopped=stopped,
        resume_requested=state.resume_requested,
        starts=zeroed.starts,
        seen_at=observation.at,
        instructions=state.instructions,
        rollouts=rollouts,
        cold_start_s=context.cold_start_s,
        is_first_start=state.is_first_start and context.cold_start_s is not None,
    )


def _claims(
    assessments: list[Assessment],
    starts: Mapping[str, Decision],
    stopped: Mapping[str, StoppedDeployment],
) -> list[Claim]:
    """The claims of the deployments, and of the stopped deployments that are started."""
    claims = [claim for assessment in assessments if (claim := assessment.claim) is not None]
    claims += [
        Claim(
            stats=stopped[name].stats,
            current=0,
            claimed=starting_allocations(decision.change),
            min_allocations=starting_allocations(decision.change),
            sends=decision.sends,
        )
        for name, decision in starts.items()
        if isinstance(decision.change, Start)
    ]
    return claims


def _granted(
    claims: list[Claim],
    assessments: Sequence[Assessment],
    elsewhere: Sequence[tuple[DeploymentStats, int]],
    context: PlanContext,
    memory: MemoryLedger | None,
) -> dict[str, Grant]:
    """The grants of the claims that are not granted in full, by deployment id.

    Args:
        elsewhere: deployments without an assessment, and the allocations that they have or will
            have before any claim.
    """
    if not claims:
        return {}
    awaited = [(each.stats, each.awaited(context.at)) for each in assessments]
    requested = [each for each in (*awaited, *elsewhere) if each[1] > 0]
    grants = arbitrate(claims, requested, context.free_capacity)
    return grants if memory is None else limit_by_memory(claims, grants, memory)


def _given_up(assessments: list[Assessment]) -> dict[str, int]:
    """The allocations that decreases of this plan, and earlier ones, may still take away."""
    given_up = {}
    for assessment in assessments:
        placed = assessment.stats.running_allocations or 0
        kept = min(assessment.steps[-1].after, assessment.stats.allocations or 0)
        if kept < placed:
            given_up[assessment.stats.deployment_id] = placed - kept
    return given_up


def _adaptive_maximum(assessment: Assessment, memory: MemoryLedger) -> MemoryLimit | None:
    """The most that adaptive allocations may have; None if they do not scale the deployment, or
    its memory has not been measured."""
    rule = assessment.rule
    if rule.mode is not Mode.BOUNDS or rule.before is not None:
        return None
    return memory.maximum(assessment.stats, rule.max_allocations)


def _granted_start(
    decision: Decision,
    rules: tuple[Rule, ...],
    stats: DeploymentStats,
    grant: Grant | None,
    memory: MemoryLedger | None,
) -> Decision:
    """The start with what was granted, within the limits of the rule."""
    rule = select(rules, stats)
    return checked_start(
        _fitting_start(decision, stats, grant, memory),
        None if isinstance(rule, Unmanaged) else rule,
        scarce=grant is not None,
    )


def _fitting_start(
    decision: Decision, stats: DeploymentStats, grant: Grant | None, memory: MemoryLedger | None
) -> Decision:
    """The start with what was granted, and with a maximum of adaptive allocations that the memory
    of the nodes allows."""
    if grant is not None:
        decision = reduced_start(decision, grant.allocations, grant.inputs)
    start = decision.change
    if memory is None or not isinstance(start, Start):
        return decision
    if start.adaptive is None or not start.adaptive.enabled:
        return decision
    maximum = start.adaptive.maximum or decision.max_allocations
    limit = memory.maximum(stats, maximum, starting=True)
    if limit is None or limit.allocations >= maximum:
        return decision
    most = max(limit.allocations, start.adaptive.minimum or 0, 1)
    return replace(decision, change=replace(start, adaptive=replace(start.adaptive, maximum=most)))


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


def _missing_deployments(
    state: State, observation: Observation, stopped: Mapping[str, StoppedDeployment]
) -> dict[str, DeploymentState]:
    """The state of deployments that are not in this observation, but were in a recent one.

    Not that of stopped ones, of which everything is known that the next start needs, nor of those
    that were also gone at the last update.
    """
    oldest = observation.at - FORGET_AFTER_S
    return {
        name: known
        for name, known in state.deployments.items()
        if name not in observation.deployments
        and name not in stopped
        and known.seen_at > oldest
        and (known.back_off is None or known.back_off.reason != OutcomeKind.GONE)
    }


def _deployment_id(decision: Decision) -> str:
    return decision.deployment_id
