"""The stopped deployments in one plan: which of them are still stopped, and which are started."""

from collections.abc import Mapping

from msgspec.structs import replace

from autoscaler.core.decision import Decision, NoEffect, OutcomeKind, Setting, Start, Unmanaged
from autoscaler.core.flow.back_off import early_wait_s, lengthened
from autoscaler.core.flow.effect import EFFECT_PATIENCE_S, STOPPED
from autoscaler.core.flow.feedback import stopped_deployment
from autoscaler.core.flow.guard import limits_of, within_limits
from autoscaler.core.flow.instructed import paused_step
from autoscaler.core.flow.plan_context import PlanContext
from autoscaler.core.scale_to_zero import (
    decide_stopped,
    start_change,
    starting_allocations,
    still_stopped,
)
from autoscaler.core.selection import Rule, select
from autoscaler.core.state import StartAttempt, State, StoppedDeployment
from autoscaler.core.values import STOPPING, DeploymentStats, Observation, Reason, Step, Value


class StoppedDeployments(Value, frozen=True, kw_only=True):
    """The stopped deployments, and the decisions for them. The mappings are by deployment id."""

    stopped: Mapping[str, StoppedDeployment]
    starts: Mapping[str, StartAttempt]
    decisions: Mapping[str, Decision]
    no_effect: tuple[NoEffect, ...]


def plan_stopped(
    state: State, observation: Observation, rules: tuple[Rule, ...], context: PlanContext
) -> StoppedDeployments:
    """Decide for every deployment that is still stopped."""
    stopped, starts, decisions, no_effect = {}, {}, {}, []
    for name, each in _now_stopped(state, observation).items():
        selected = select(rules, each.stats)
        rule = None if isinstance(selected, Unmanaged) else selected
        reported = observation.deployments.get(name)
        known, attempt, failed = _tracked(name, each, state.starts.get(name), rule, context)
        settling: Mapping[str, float | str] = {}
        if reported is not None:
            settling = {"state": STOPPING}
        elif attempt is not None and attempt.accepted:
            settling = {"accepted": "the start", "accepted_s": context.at - attempt.at}
        pauses = context.instructions.pauses_of(name, context.at)
        decision = decide_stopped(
            name,
            known,
            rule,
            at=context.at,
            resume_requested=state.resume_requested,
            maintenance=context.maintenance,
            forbidden=context.forbidden,
            settling=settling,
            paused=paused_step(1, 0, pauses, context.at),
        )
        decision = replace(decision, pauses=pauses)
        stopped[name], decisions[name] = known, checked_start(decision, rule, scarce=False)
        if attempt is not None:
            starts[name] = attempt
        if failed is not None:
            no_effect.append(failed)
    return StoppedDeployments(
        stopped=stopped, starts=starts, decisions=decisions, no_effect=tuple(no_effect)
    )


def checked_start(decision: Decision, rule: Rule | None, *, scarce: bool) -> Decision:
    """The decision to start a deployment, within the limits of the rule that governs it now.

    Args:
        rule: None: none governs it, so that it is started as it was.
        scarce: whether it is started with fewer allocations for lack of capacity.
    """
    start = decision.change
    if rule is None or not isinstance(start, Start):
        return decision
    limits = limits_of(rule, certain=True, scarce=scarce)
    stats = DeploymentStats(decision.deployment_id, decision.model_id)
    checked = within_limits(start, limits, stats)
    if checked == start or not isinstance(checked, Start):
        return decision
    before, after = decision.desired, starting_allocations(checked)
    inputs = {"min_allocations": limits.minimum, "max_allocations": limits.maximum}
    steps = decision.steps
    if before != after:
        steps = (*steps, Step(Reason.BOUNDS, before, after, inputs))
    return replace(decision, change=checked, steps=steps)


def is_started_by_another(state: State, name: str, stats: DeploymentStats) -> bool:
    """Whether another client has started a deployment that was stopped at the last observation."""
    stopped = state.stopped.get(name)
    if stopped is None or name in state.starts or state.seen_at is None:
        return False
    created_at = stats.server_created_at
    return created_at is None or created_at != stopped.stats.server_created_at


def _now_stopped(state: State, observation: Observation) -> dict[str, StoppedDeployment]:
    """The stopped deployments. A deployment that was reported after its stop may end later."""
    vanished = {
        name: stopped_deployment(known, observation.at)
        for name, known in state.deployments.items()
        if name not in observation.deployments
        and name not in state.stopped
        and known.request is not None
        and known.request.setting == STOPPED
    }
    return still_stopped({**state.stopped, **vanished}, observation.deployments)


def _tracked(
    name: str,
    known: StoppedDeployment,
    attempt: StartAttempt | None,
    rule: Rule | None,
    context: PlanContext,
) -> tuple[StoppedDeployment, StartAttempt | None, NoEffect | None]:
    """The deployment after this observation, which does not show that it runs."""
    if attempt is None:
        return known, None, None
    at, back_off = context.at, known.back_off
    if attempt.accepted:
        if at - attempt.at < EFFECT_PATIENCE_S:
            return known, attempt, None
        back_off = lengthened(back_off, OutcomeKind.NO_EFFECT, at)
        failed = NoEffect(
            deployment_id=name,
            requested=Setting(starting_allocations(start_change(known, rule))),
            shown=STOPPED,
            accepted_at=attempt.at,
            at=at,
            times=back_off.times,
            wait_s=back_off.until - at,
            starts=True,
        )
        return replace(known, back_off=back_off), None, failed
    if (
        back_off is not None
        and back_off.reason == OutcomeKind.NO_CAPACITY
        and at < back_off.until
        and context.capacity.exceeds(attempt.capacity)
        and at - attempt.at >= early_wait_s(attempt.early)
    ):
        known = replace(known, back_off=replace(back_off, until=at))
        attempt = replace(attempt, early=attempt.early + 1)
    return known, attempt, None
