"""The state that one plan leaves for the next, for one deployment."""

from msgspec.structs import replace

from autoscaler.core.decision import CompletedRollout
from autoscaler.core.flow.back_off import early_wait_s, shortened
from autoscaler.core.flow.control_mode import active_adaptive, mode_in_effect
from autoscaler.core.flow.effect import COUNT_UNRELIABLE, Tracked, setting_of, track
from autoscaler.core.flow.feedback import is_unsettled, refused_for_capacity, track_rollout
from autoscaler.core.flow.measurement import Measurement
from autoscaler.core.flow.plan_context import PlanContext
from autoscaler.core.flow.update_rate import in_next_cycle
from autoscaler.core.process_memory import observed_memory
from autoscaler.core.scale_to_zero import idle_since, updated_usage
from autoscaler.core.selection import Rule
from autoscaler.core.shortfall import shortfall_of
from autoscaler.core.state import (
    CapacityRefusal,
    DeploymentState,
    PolicyMemory,
    Rollout,
    excluding,
)
from autoscaler.core.values import DeploymentStats, Reason, Sample, Step

ADAPTIVE_TIMEOUT_S = 60.0
"""Seconds after which a minimum that adaptive allocations have not reached counts as refused. 60 s,
because they run every ten seconds, and request all of an increase or nothing."""

_NO_RECOMMENDATION = frozenset(
    {Reason.DATA_QUALITY, Reason.NOT_MEASURED, Reason.POLICY_FAILED, Reason.BLIND}
)


def next_state(
    known: DeploymentState | None,
    stats: DeploymentStats,
    measured: Measurement,
    first: Step,
    rule: Rule,
    context: PlanContext,
    memory: PolicyMemory | None,
    usage: bytes,
    recent_updates: int,
) -> tuple[DeploymentState, CompletedRollout | None, Tracked]:
    """The state after this observation: measurement, recommendations, last update, last refusal.

    Args:
        known: the state before; None: there is none, or it is that of another deployment.
        first: the recommendation; `memory` is that of the policy.
        usage: by time of the week, as far as it is known.
        recent_updates: up to the cycle before, those of an earlier deployment of its name included.

    Returns:
        The state, the accepted update that is now complete, if there is one, and what the
        observation shows of earlier updates.
    """
    at = context.at
    if known is None:
        known = DeploymentState(seen_at=at, baseline=measured.baseline, baseline_at=at)
    service_time_s = measured.service_time_s
    if measured.load is not None and measured.load.service_time_at_most_s is None:
        service_time_s = measured.load.service_time_s
    unsettled_since = None
    if is_unsettled(stats):
        unsettled_since = at if known.unsettled_since is None else known.unsettled_since
    tracked = track(
        known, stats, rule, at, reliable=COUNT_UNRELIABLE.isdisjoint(measured.sample.issues)
    )
    rollout, infeasible, completed = known.rollout, known.infeasible, None
    if tracked.no_effect is not None:
        rollout = None
    new_node_s = known.new_node_s
    if rollout is not None:
        not_reached = _minimum_not_reached(rollout, stats, context, infeasible)
        rollout, completed = track_rollout(rollout, stats, at)
        if not_reached is not None:
            rollout, infeasible = None, not_reached
        if completed is not None and completed.new_node:
            new_node_s = (
                completed.lead_time_s
                if new_node_s is None
                else (new_node_s + completed.lead_time_s) / 2.0
            )
    back_off, refused_in = tracked.back_off, known.refused_in
    if back_off is None:
        refused_in = None
    elif refused_in is not None:
        back_off, refused_in = shortened(
            back_off,
            refused_in,
            state=stats.state,
            setting=setting_of(stats),
            capacity=excluding(context.capacity, stats),
            at=at,
        )
    state = replace(
        known,
        seen_at=at,
        baseline=measured.baseline,
        baseline_at=measured.baseline_at,
        baseline_span_s=measured.baseline_span_s,
        disagreement=measured.disagreement,
        samples=measured.samples,
        service_time_s=service_time_s or known.service_time_s,
        peaks=_peaks(measured.peaks, first, rule, at),
        memory=memory,
        above_burst_s=_above_burst_s(known, measured, first, rule, at),
        stalled_since=measured.stalled_since,
        unsettled_since=unsettled_since,
        infeasible=None if infeasible is None else _in_force(infeasible, stats, context),
        rollout=rollout,
        new_node_s=new_node_s,
        recent_updates=in_next_cycle(recent_updates),
        mode_seen=mode_in_effect(rule, stats, known.mode_seen),
        idle_since=None if rule.zero is None else idle_since(known.idle_since, measured.sample),
        usage=usage if rule.zero is None else _usage(usage, known, measured.sample),
        ran=known.ran if stats.running_allocations is None else stats.running_allocations,
        shortfall=shortfall_of(known.shortfall, known.ran, stats, at),
        memory_use=observed_memory(
            known.memory_use,
            stats,
            context.nodes,
            context.model_allocations.get(stats.model_id, 0),
        ),
        back_off=back_off,
        refused_in=refused_in,
        setting=tracked.setting,
        request=tracked.request,
        external_change=tracked.external_change,
    )
    return state, completed, tracked


def _in_force(
    refusal: CapacityRefusal, stats: DeploymentStats, context: PlanContext
) -> CapacityRefusal | None:
    """The refusal, which ends early if there is more capacity; None once it does not count."""
    at = context.at
    if at >= refusal.until + refusal.hold_s:
        return None
    if (
        at < refusal.until
        and at - refusal.at >= early_wait_s(refusal.early)
        and excluding(context.capacity, stats).exceeds(refusal.capacity)
    ):
        return replace(refusal, until=at, early=refusal.early + 1)
    return refusal


def _usage(usage: bytes, known: DeploymentState, sample: Sample) -> bytes:
    return updated_usage(usage, sample.at, since=known.seen_at, requests=sample.arrivals > 0)


def _minimum_not_reached(
    rollout: Rollout,
    stats: DeploymentStats,
    context: PlanContext,
    last: CapacityRefusal | None,
) -> CapacityRefusal | None:
    """A minimum that adaptive allocations have not reached; no response reports such a refusal."""
    waited_s = context.at - rollout.accepted_at
    below = stats.allocations is not None and stats.allocations < rollout.allocations
    adaptive = active_adaptive(stats)
    if adaptive is None or (adaptive.minimum or 0) < rollout.allocations:
        return None  # it is not in force, so that nothing has been refused
    if not rollout.at_least or not below or waited_s <= ADAPTIVE_TIMEOUT_S:
        return None
    return refused_for_capacity(
        last, rollout.allocations, excluding(context.capacity, stats), context.at
    )


def _above_burst_s(
    known: DeploymentState, measured: Measurement, first: Step, rule: Rule, at: float
) -> float | None:
    """Seconds for which more than the burst ceiling has been recommended. Cycles without a
    recommendation do not change them; where measuring starts again, they start again."""
    if rule.burst_max_allocations is None:
        return None
    before_s = known.above_burst_s
    if _has_no_recommendation(first):
        return before_s if measured.samples else None
    if first.after <= rule.burst_max_allocations:
        return None
    return 0.0 if before_s is None else before_s + at - known.seen_at


def _has_no_recommendation(first: Step) -> bool:
    """Whether the step holds the allocations and recommends none."""
    return first.externally_controlled or first.reason in _NO_RECOMMENDATION


def _peaks(
    peaks: tuple[tuple[float, int], ...], first: Step, rule: Rule, at: float
) -> tuple[tuple[float, int], ...]:
    oldest = at - rule.stabilisation_window_s
    while peaks and peaks[0][0] <= oldest:
        peaks = peaks[1:]
    if _has_no_recommendation(first):
        return peaks
    while peaks and peaks[-1][1] <= first.after:
        peaks = peaks[:-1]
    return (*peaks, (at, first.after))
