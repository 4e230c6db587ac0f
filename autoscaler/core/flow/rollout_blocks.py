"""Gradual rollouts within a plan: which rule governs a deployment in the present block, and what
the observation adds to the comparison of both kinds of blocks."""

from collections.abc import Mapping

from msgspec.structs import replace

from autoscaler.core.decision import Decision, ExternalChange, Mode, Setting
from autoscaler.core.flow.effect import may_have_set, setting_of
from autoscaler.core.flow.plan_context import PlanContext
from autoscaler.core.flow.recommendation import Recommendation
from autoscaler.core.gradual_rollout import (
    FORGET_ROLLOUT_S,
    ComparedInterval,
    GradualRollout,
    begun,
    compared,
    in_block,
    is_warm,
    is_without_state,
    recreated,
    restarted,
    setting_text,
    status_of,
)
from autoscaler.core.policies import MAX_ALLOCATIONS
from autoscaler.core.rollout_hours import (
    RolloutHours,
    begin_of,
    block_at,
    is_listed,
    next_active,
)
from autoscaler.core.rollout_status import (
    RolloutEvent,
    RolloutEventKind,
    RolloutStatus,
    RolloutVerdict,
    rollout_text,
)
from autoscaler.core.selection import Rule
from autoscaler.core.shortfall import ShortfallCause
from autoscaler.core.slo_status import SloStatus
from autoscaler.core.state import DeploymentState, State
from autoscaler.core.values import DeploymentStats, Sample, Value


class RolloutBlock(Value, frozen=True, kw_only=True):
    """The gradual rollout of a deployment in the present block."""

    rollout: GradualRollout
    hours: RolloutHours
    configured: Rule  # with the schedules that are open
    present: Setting | None  # None: it cannot be read, or be restored
    listed: bool  # whether the block is one of the rollout
    utc_offset_s: float  # of local time
    overridden: bool  # by an operator: the rule governs the deployment, whatever the block
    events: tuple[RolloutEvent, ...] = ()

    @property
    def rule(self) -> Rule:
        """The rule that governs the deployment now."""
        if self.rollout.active or self.overridden:
            return self.configured
        before = self.rollout.before
        rule = _as_before(self.configured, self.present if before is None else before)
        if before is None or self.rollout.verdict is RolloutVerdict.WAITING:
            # What runs will be what ran before: now, or for the next process.
            return replace(rule, schedules=())
        return rule


def block_of(
    state: State, stats: DeploymentStats, rule: Rule, context: PlanContext
) -> RolloutBlock | None:
    """The present block; None: the rule acts at all times.

    Args:
        state: after the last plan.
    """
    hours = rule.rollout
    if hours is None:
        return None
    name, at, present = stats.deployment_id, context.at, _setting(stats)
    known, last = state.rollouts.get(name), state.deployments.get(name)
    events: tuple[RolloutEvent, ...] = ()
    if known is None:
        waits = context.cold_start_s is not None and not context.is_first_start
        rollout = begun(name, hours, at, present, waits=waits)
        kind = RolloutEventKind.WAITS if waits else RolloutEventKind.BEGUN
        text = rollout_text(status_of(rollout, listed=False), at) if waits else _begun(rollout)
        events = (RolloutEvent(deployment_id=name, at=at, kind=kind, text=text),)
    elif known.settings != hours.settings:
        rollout = restarted(known, at, hours.settings)
        text = "the rule has changed; " + _begun(rollout)
        kind = RolloutEventKind.BEGUN
        events = (RolloutEvent(deployment_id=name, at=at, kind=kind, text=text),)
    else:
        rollout = known
    if (new := recreated(rollout, stats.server_created_at, present)) is not None:
        if new.before != rollout.before:
            text = f"the deployment was created again; what runs before the rule: {_text(new)}"
            kind = RolloutEventKind.CHANGED
            events += (RolloutEvent(deployment_id=name, at=at, kind=kind, text=text),)
        rollout = new
    if present is not None and _follows(rollout, rule, last, present):
        rollout = replace(rollout, before=present)
    utc_offset_s = context.utc_offsets_s.get(hours.timezone, 0.0)
    block = block_at(at, utc_offset_s)
    return RolloutBlock(
        rollout=in_block(rollout, hours, block, at),
        hours=hours,
        configured=rule,
        present=present,
        listed=is_listed(hours, block),
        utc_offset_s=utc_offset_s,
        overridden=context.instructions.override_of(name, at) is not None,
        events=events,
    )


def _begun(rollout: GradualRollout) -> str:
    return f"the gradual rollout begins; what runs before it: {_text(rollout)}"


def _text(rollout: GradualRollout) -> str:
    return "unknown" if rollout.before is None else setting_text(rollout.before)


def _setting(stats: DeploymentStats) -> Setting | None:
    """What runs, if it can be restored."""
    setting = setting_of(stats)
    return None if setting is None or setting.allocations == 0 else setting


def _follows(
    rollout: GradualRollout, rule: Rule, last: DeploymentState | None, present: Setting
) -> bool:
    """Whether what runs is what ran before: that is not known yet, or another writer has changed it
    while nothing is sent. Otherwise the rule may have set it, until nothing could be sent any
    more."""
    if is_without_state(rollout):
        return False
    if rollout.before is None:
        return True
    if rule.sends or last is None or last.setting is not None:
        return False
    if may_have_set(last.request, present):
        return False
    return _setting(last.baseline) not in (None, present)


def changed_by_another(block: RolloutBlock, changed: ExternalChange) -> RolloutBlock:
    """The block after another writer's change: in the hours that are not the rule's, and if it
    enables or disables adaptive allocations, it is what ran before from now on."""
    if block.rollout.active and not changed.changes_mode:
        return block
    if is_without_state(block.rollout):
        return block
    after, name = changed.after, changed.deployment_id
    text = f"another writer has set what the rule returns to: {setting_text(after)}"
    event = RolloutEvent(
        deployment_id=name, at=changed.at, kind=RolloutEventKind.CHANGED, text=text
    )
    return replace(
        block,
        rollout=replace(block.rollout, before=after),
        events=(*block.events, event),
    )


def _as_before(rule: Rule, before: Setting | None) -> Rule:
    """The rule that restores what ran before, and keeps it. Its bounds are as wide as that needs;
    the schedules that are open, and the hold after another writer's change, are in force as well.

    Args:
        before: None: nothing is known that could be restored, so that nothing is sent.
    """
    if before is None:
        return replace(rule, dry_run=True)
    numbers = [before.maximum] if before.allocations is None else []
    numbers += [rule.min_allocations, rule.max_allocations, before.allocations or before.minimum]
    maximum = max(numbers)
    if before.allocations is None and before.maximum == 0:
        maximum = MAX_ALLOCATIONS
    return replace(
        rule,
        before=before,
        mode=Mode.BOUNDS if before.allocations is None else Mode.DIRECT,
        take_over=before.allocations is not None,
        min_allocations=min(rule.min_allocations, before.allocations or before.minimum),
        max_allocations=maximum,
        burst_max_allocations=None,
        zero=None,
        blind_allocations=None,
    )


def status(block: RolloutBlock | None) -> RolloutStatus | None:
    """The gradual rollout for the decision."""
    if block is None:
        return None
    rollout, next_at = block.rollout, None
    if rollout.verdict is RolloutVerdict.RUNNING and rollout.block is not None:
        following = next_active(block.hours, rollout.block, rollout.seed)
        next_at = None if following is None else begin_of(following, block.utc_offset_s)
    return status_of(rollout, listed=block.listed, next_active_at=next_at)


def after_decision(
    block: RolloutBlock,
    decision: Decision,
    stats: DeploymentStats,
    sample: Sample,
    recommendation: Recommendation,
) -> RolloutBlock:
    """The block with what the observation has shown of the SLO, and the revert that follows."""
    interval = _interval(block, decision, stats, sample, recommendation)
    if interval is None:
        return block
    rollout = compared(block.rollout, interval, decision.at)
    if rollout.verdict is not RolloutVerdict.REVERTED:
        return replace(block, rollout=rollout)
    text = rollout_text(status_of(rollout, listed=True), decision.at)
    event = RolloutEvent(
        deployment_id=decision.deployment_id,
        at=decision.at,
        kind=RolloutEventKind.REVERTED,
        text=text,
    )
    return replace(block, rollout=rollout, events=(*block.events, event))


def _interval(
    block: RolloutBlock,
    decision: Decision,
    stats: DeploymentStats,
    sample: Sample,
    recommendation: Recommendation,
) -> ComparedInterval | None:
    """What the last interval has shown; None: it does not count for the comparison."""
    rollout, slo, running = block.rollout, decision.slo, decision.running
    changed, missing = decision.external_change, decision.shortfall
    if (
        rollout.verdict is not RolloutVerdict.RUNNING
        or not block.listed
        or not block.configured.sends
        or decision.externally_controlled
        or decision.override is not None
        or decision.pauses
        or (changed is not None and changed.is_respected(decision.at))
        or not is_warm(rollout, decision.at, sample.interval_s)
        or (not rollout.active and _setting(stats) != rollout.before)
        or slo is None
        or running is None
        or (missing is not None and missing.cause is ShortfallCause.LOST)
        or not recommendation.learnt
    ):
        return None
    return ComparedInterval(
        requests=slo.requests,
        late=slo.late_requests,
        unavoidable=_unavoidable(
            block,
            slo,
            sample,
            running,
            None if decision.load is None else decision.load.service_time_s,
            recommendation,
        ),
        seconds=sample.interval_s,
        running=running,
        allowed=1.0 - slo.target,
    )


def _unavoidable(
    block: RolloutBlock,
    slo: SloStatus,
    sample: Sample,
    running: int,
    service_time_s: float | None,
    recommendation: Recommendation,
) -> float:
    """The late requests that were to be expected with what ran before: all of them, if no fewer
    allocations run now."""
    late = slo.late_requests
    before = block.rollout.before
    if not block.rollout.active or before is None or not late:
        return 0.0
    most = before.maximum if before.allocations is None else before.allocations
    if most and running >= most:
        return late
    if sample.failed:
        # Callers repeat requests that have failed, so that the load is not the one that they had
        # met before. It is at least that of the others.
        others = sample.arrivals - sample.failed
        least = others * (service_time_s or 0.0) / sample.interval_s
        return late if most and least >= most else 0.0
    if before.allocations is None:
        return 0.0  # how many of them adaptive allocations would run is unknown
    policy = block.configured.policy
    fraction = recommendation.late_fraction(policy, before.allocations)
    return 0.0 if fraction is None else slo.requests * fraction


def kept(
    rollouts: Mapping[str, GradualRollout], observed: Mapping[str, DeploymentStats], at: float
) -> dict[str, GradualRollout]:
    """The rollouts of deployments that are not in this observation: they may return."""
    oldest = at - FORGET_ROLLOUT_S
    return {
        name: rollout
        for name, rollout in rollouts.items()
        if name not in observed and rollout.seen_at > oldest
    }
