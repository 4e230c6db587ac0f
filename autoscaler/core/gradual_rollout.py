"""The gradual rollout of a rule on one deployment: its state, and how it changes.

The rule acts in the active blocks of the listed hours only. Otherwise the deployment has what ran
before. Both are compared (`core/rollout_comparison.py`); if more requests are late in the active
blocks, the rule is reverted until an operator resumes it, or changes it.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from autoscaler.core.decision import Setting
from autoscaler.core.rollout_comparison import (
    BlockHour,
    BlockTotals,
    Evidence,
    added,
    difference,
    evidence_of_loss,
    is_gross_loss,
    is_small_loss,
    observed,
    with_hour,
)
from autoscaler.core.rollout_hours import RolloutHours, is_active, seed_of
from autoscaler.core.rollout_status import RolloutStatus, RolloutVerdict, difference_text
from autoscaler.core.units import duration_text, percent_text
from autoscaler.core.values import Value

WARM_UP_S = 60.0
"""Seconds after the beginning of a block that are not compared, since its first requests meet the
queue and the allocations of the other kind. 1 min: longer would delay a revert, and with none, the
same good rules were kept on 102 loads of public traces."""

FORGET_ROLLOUT_S = 90 * 86_400.0
"""Seconds after which the rollout of a deployment that is no longer reported is forgotten. 90 days,
because a revert is in force until an operator says otherwise."""


class GradualRollout(Value, frozen=True, kw_only=True):
    """The gradual rollout of one deployment."""

    settings: str  # of the rule; see `RolloutHours`
    seed: int  # of the active hours
    since: float  # when it began, or an operator resumed it
    first_block: int | None  # in which the rule never acts; None: the next one that is observed
    seen_at: float
    before: Setting | None  # what ran before; None: unknown
    created_at: float | None = None  # the deployment; None: unknown
    verdict: RolloutVerdict
    reverted_at: float | None = None
    because: str = ""  # why it was reverted
    block: int | None = None  # the last observed block
    active: bool = False  # whether the rule acted at the last observation
    switched_at: float | None = None  # when that changed last; None: not since `since`
    active_totals: BlockTotals = BlockTotals()
    before_totals: BlockTotals = BlockTotals()
    hour: BlockHour = BlockHour()  # of the last observed block
    evidence: Evidence = Evidence()


class ComparedInterval(Value, frozen=True, kw_only=True):
    """What one poll interval has shown of the SLO."""

    requests: float
    late: float
    unavoidable: float  # of the late requests: those expected with what ran before
    seconds: float
    running: float  # allocations
    allowed: float  # fraction of late requests that the SLO allows


def begun(
    deployment_id: str, hours: RolloutHours, at: float, before: Setting | None, *, waits: bool
) -> GradualRollout:
    """A rollout that begins now.

    Args:
        waits: for an operator, because there was no saved state.
    """
    return GradualRollout(
        settings=hours.settings,
        seed=seed_of(deployment_id, at),
        since=at,
        first_block=None,
        seen_at=at,
        before=None if waits else before,
        verdict=RolloutVerdict.WAITING if waits else RolloutVerdict.RUNNING,
    )


def restarted(rollout: GradualRollout, at: float, settings: str | None = None) -> GradualRollout:
    """The rollout after an operator has resumed it, or has changed the rule: what ran before stays
    known, and everything is measured again.

    Args:
        settings: of the changed rule; None: it has not changed.
    """
    return GradualRollout(
        settings=rollout.settings if settings is None else settings,
        seed=rollout.seed,
        since=at,
        first_block=None,
        seen_at=rollout.seen_at,
        before=rollout.before,
        created_at=rollout.created_at,
        verdict=RolloutVerdict.RUNNING,
        block=rollout.block,
        active=False,
        switched_at=at if rollout.active else None,
    )


def waiting(rollouts: Mapping[str, GradualRollout]) -> dict[str, GradualRollout]:
    """The rollouts of an instance that does not know what has happened to them meanwhile. What it
    has observed may be what another instance set in an active block, and is not what ran before."""
    return {
        name: replace(rollout, verdict=RolloutVerdict.WAITING, before=None)
        if rollout.verdict is RolloutVerdict.RUNNING
        else rollout
        for name, rollout in rollouts.items()
    }


def is_without_state(rollout: GradualRollout) -> bool:
    """Whether it waits because there was no saved state, so that what ran before is unknown. At the
    very first start, it is known also while the rollout waits because nothing can be saved."""
    return rollout.verdict is RolloutVerdict.WAITING and rollout.before is None


def begun_already(rollouts: Mapping[str, GradualRollout]) -> dict[str, GradualRollout]:
    """The rollouts that do not wait."""
    return {
        name: rollout
        for name, rollout in rollouts.items()
        if rollout.verdict is not RolloutVerdict.WAITING
    }


def of_first_start(
    rollouts: Mapping[str, GradualRollout], *, saved: bool
) -> dict[str, GradualRollout]:
    """The rollouts of the very first start, which wait while they cannot be saved."""
    verdict = RolloutVerdict.RUNNING if saved else RolloutVerdict.WAITING
    begun = RolloutVerdict.RUNNING, RolloutVerdict.WAITING
    return {
        name: replace(rollout, verdict=verdict) if rollout.verdict in begun else rollout
        for name, rollout in rollouts.items()
    }


def continued(
    own: Mapping[str, GradualRollout], stored: Mapping[str, GradualRollout]
) -> dict[str, GradualRollout]:
    """The rollouts after a saved state has been read: the saved ones, except where an operator has
    resumed one since.

    Args:
        own: those of this instance.
    """
    found = {**own, **stored}
    for name, rollout in own.items():
        saved = stored.get(name)
        if (
            saved is not None
            and rollout.verdict is not RolloutVerdict.WAITING
            and rollout.since > saved.since
        ):
            found[name] = rollout
    return found


def in_block(rollout: GradualRollout, hours: RolloutHours, block: int, at: float) -> GradualRollout:
    """The rollout in a block, in which the rule acts or does not. A complete hour is added to the
    totals.

    Args:
        block: that contains `at`.
    """
    if rollout.first_block is None:
        rollout = replace(rollout, first_block=block)
    acts = (
        rollout.verdict is RolloutVerdict.RUNNING
        and rollout.before is not None
        and block != rollout.first_block
        and is_active(hours, block, rollout.seed)
    )
    if block != rollout.block or acts is not rollout.active:
        rollout = _hour_ended(rollout)
    switched_at = rollout.switched_at
    if acts is not rollout.active or (switched_at is not None and switched_at > at):
        switched_at = at  # the latter after the host's clock was set back
    return replace(rollout, block=block, active=acts, switched_at=switched_at, seen_at=at)


def _hour_ended(rollout: GradualRollout) -> GradualRollout:
    hour = rollout.hour
    if rollout.active:
        totals = with_hour(rollout.active_totals, hour)
        return replace(rollout, active_totals=totals, hour=BlockHour())
    return replace(rollout, before_totals=with_hour(rollout.before_totals, hour), hour=BlockHour())


def is_warm(rollout: GradualRollout, at: float, interval_s: float) -> bool:
    """Whether an interval that ends now shows only the present kind of block."""
    since = rollout.switched_at
    return since is None or at - interval_s >= since + WARM_UP_S


def compared(rollout: GradualRollout, interval: ComparedInterval, at: float) -> GradualRollout:
    """The rollout after one interval of its present block: reverted, if that shows a loss."""
    requests, late = interval.requests, interval.late
    hour = BlockHour(requests=rollout.hour.requests + requests, late=rollout.hour.late + late)
    sums = requests, late, interval.seconds, interval.running
    if not rollout.active:
        totals = added(rollout.before_totals, *sums)
        return replace(rollout, hour=hour, before_totals=totals)
    no_loss = max(interval.allowed, rollout.before_totals.late_fraction or 0.0)
    evidence = observed(
        rollout.evidence, requests, late, interval.unavoidable, interval.seconds, no_loss
    )
    after = replace(
        rollout,
        hour=hour,
        active_totals=added(rollout.active_totals, *sums),
        evidence=evidence,
    )
    gross = is_gross_loss(evidence, no_loss)
    because = _gross_loss_text(after) if gross else _small_loss_text(after, interval.allowed)
    if not because:
        return after
    return replace(after, verdict=RolloutVerdict.REVERTED, reverted_at=at, because=because)


def _gross_loss_text(rollout: GradualRollout) -> str:
    run, usual = rollout.evidence, rollout.before_totals.late_fraction
    requests = run.run_requests + run.requests
    late = percent_text(min(1.0, (run.run_late + run.late) / requests))
    lasted = duration_text(run.run_s + run.seconds)
    normal = "" if usual is None else f", {percent_text(usual)} before"
    return f"{late} of {requests:.0f} requests were late within {lasted}{normal}"


def _small_loss_text(rollout: GradualRollout, allowed: float) -> str:
    """The loss that all hours together show; empty: they show none."""
    active, before = rollout.active_totals, rollout.before_totals
    if not is_small_loss(active, before, allowed):
        return ""
    found = difference(active, before)
    assert found is not None, "there is a loss"
    return difference_text(found)


def recreated(
    rollout: GradualRollout, created_at: float | None, before: Setting | None
) -> GradualRollout | None:
    """The rollout after the deployment was deleted and created again, with a setting that is what
    ran before from now on, unless it waits without a state; None: it was not.

    Args:
        created_at: the deployment; None: unknown.
    """
    if created_at is None or created_at == rollout.created_at:
        return None
    if rollout.created_at is None or is_without_state(rollout):
        return replace(rollout, created_at=created_at)
    return replace(rollout, created_at=created_at, before=before)


def status_of(
    rollout: GradualRollout, *, listed: bool, next_active_at: float | None = None
) -> RolloutStatus:
    """The rollout for a decision.

    Args:
        next_active_at: see `RolloutStatus`.
    """
    return RolloutStatus(
        verdict=rollout.verdict,
        active=rollout.active,
        listed=listed,
        before="" if rollout.before is None else setting_text(rollout.before),
        since=rollout.since,
        reverted_at=rollout.reverted_at,
        because=rollout.because,
        active_totals=rollout.active_totals,
        before_totals=rollout.before_totals,
        difference=difference(rollout.active_totals, rollout.before_totals),
        next_active_at=next_active_at,
        evidence=evidence_of_loss(rollout.evidence),
    )


def setting_text(setting: Setting) -> str:
    """
    >>> setting_text(Setting(4)), setting_text(Setting(None, 1, 8))
    ('4 allocations', 'adaptive allocations 1..8')
    """
    if setting.allocations is None:
        return f"adaptive allocations {setting.minimum}..{setting.maximum or 'unlimited'}"
    return f"{setting.allocations} allocation{'' if setting.allocations == 1 else 's'}"
