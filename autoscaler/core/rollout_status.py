"""How a gradual rollout is, for a decision and for operators."""

from autoscaler.core.rollout_comparison import ALPHA, BlockTotals, Difference
from autoscaler.core.rollout_hours import HOUR_S
from autoscaler.core.units import duration_text, percent_text
from autoscaler.core.values import FastStrEnum, Value


class RolloutVerdict(FastStrEnum):
    """Whether the rule may act in its blocks."""

    RUNNING = "running"
    WAITING = "waiting"  # for an operator, since there was no saved state
    REVERTED = "reverted"  # more requests were late than before, until an operator says otherwise


class RolloutStatus(Value, frozen=True, kw_only=True):
    """The gradual rollout of one deployment."""

    verdict: RolloutVerdict
    active: bool  # whether the rule acts now
    listed: bool  # whether this hour is one of the rollout
    before: str  # what ran before, in words; empty: unknown
    since: float  # when it began, or an operator resumed it
    reverted_at: float | None  # None: it has not been reverted
    because: str  # why it has been reverted; empty: it has not been
    active_totals: BlockTotals
    before_totals: BlockTotals
    difference: Difference | None  # None: there are too few hours
    next_active_at: float | None = None  # None: the rule does not act, or not soon
    evidence: float = 0.0  # of a loss within minutes; 1 reverts the rule


class RolloutEventKind(FastStrEnum):
    """What has happened to a gradual rollout."""

    BEGUN = "begun"
    WAITS = "waits"
    CHANGED = "changed"  # what ran before is another setting
    REVERTED = "reverted"


class RolloutEvent(Value, frozen=True, kw_only=True):
    """Something has happened to a gradual rollout."""

    deployment_id: str
    at: float
    kind: RolloutEventKind
    text: str  # what, without the deployment


def rollout_event_text(event: RolloutEvent) -> str:
    """The event in one sentence."""
    return f"{event.deployment_id}: {event.text}"


def rollout_text(status: RolloutStatus, at: float) -> str:
    """The gradual rollout in one sentence.

    >>> status = RolloutStatus(
    ...     verdict=RolloutVerdict.RUNNING, active=True, listed=True, before="4", since=0.0,
    ...     reverted_at=None, because="", active_totals=BlockTotals(),
    ...     before_totals=BlockTotals(), difference=None,
    ... )
    >>> rollout_text(status, 60.0)
    'the rule acts in this hour; before it: 4'
    """
    before = status.before or "unknown"
    match status.verdict:
        case RolloutVerdict.WAITING:
            return (
                "the rule does not act: there was no saved state, so that what ran before, and "
                f"whether it was reverted, is unknown; {resume_hint()}"
            )
        case RolloutVerdict.REVERTED:
            ago = duration_text(max(0.0, at - (status.reverted_at or at)))
            return (
                f"the rule does not act: it was reverted to {before} {ago} ago, because "
                f"{status.because}; {resume_hint()}"
            )
    if status.active:
        present, following = f"the rule acts in this hour; before it: {before}", "it acts again"
    elif status.listed:
        present = f"this hour is for comparison, with what ran before: {before}"
        following = "the rule acts"
    else:
        present = f"this hour is not one of the rollout; what ran before: {before}"
        following = "the rule acts"
    if status.next_active_at is None:
        return present
    return f"{present}; {following} in {duration_text(max(0.0, status.next_active_at - at))}"


def resume_hint() -> str:
    """What to do about a rollout that does not act."""
    return "change the rule, or run `autoscaler rollout resume`"


def state_text(status: RolloutStatus) -> str:
    """The gradual rollout in a few words."""
    if status.verdict is not RolloutVerdict.RUNNING:
        return f"rollout {status.verdict}"
    return "rollout: active hour" if status.active else "rollout: as before"


def revert_text(status: RolloutStatus) -> str:
    """What would revert the rule, and how near that is; empty: it does not act.

    >>> print(revert_text(RolloutStatus(
    ...     verdict=RolloutVerdict.RUNNING, active=True, listed=True, before="8", since=0.0,
    ...     reverted_at=None, because="", active_totals=BlockTotals(), before_totals=BlockTotals(),
    ...     difference=None, evidence=0.25,
    ... )))
    when most requests are late for about four minutes, or a fifth for ten (25% of that evidence \
now), or, over days, more than before and than the SLO allows
    """
    if status.verdict is not RolloutVerdict.RUNNING:
        return ""
    return (
        "when most requests are late for about four minutes, or a fifth for ten "
        f"({percent_text(status.evidence)} of that evidence now), or, over days, more than before "
        "and than the SLO allows"
    )


def comparison_text(status: RolloutStatus) -> str:
    """What both kinds of blocks have shown until now; empty: nothing.

    >>> active = BlockTotals(requests=1000.0, late=4.0, seconds=7200.0, allocation_s=21600.0)
    >>> before = BlockTotals(requests=900.0, late=0.0, seconds=3600.0, allocation_s=28800.0)
    >>> print(comparison_text(RolloutStatus(
    ...     verdict=RolloutVerdict.RUNNING, active=True, listed=True, before="8", since=0.0,
    ...     reverted_at=None, because="", active_totals=active, before_totals=before,
    ...     difference=None,
    ... )))
    active 2.0 h: 99.6% of 1000 requests met the SLO, 3.0 allocations; before 1.0 h: 100% of 900 \
requests met the SLO, 8.0 allocations
    """
    parts = [
        f"{name} {totals.seconds / HOUR_S:.1f} h: {_attained(totals)}, "
        f"{totals.allocation_s / totals.seconds:.1f} allocations"
        for name, totals in (("active", status.active_totals), ("before", status.before_totals))
        if totals.seconds > 0.0
    ]
    if status.difference is not None:
        parts.append(difference_text(status.difference))
    return "; ".join(parts)


def difference_text(found: Difference) -> str:
    """
    >>> difference_text(Difference(estimate=0.004, half_width=0.01))
    'late in active hours: 0.40 percentage points more than before, 95% interval -0.60 to 1.40'
    """
    low, high = found.estimate - found.half_width, found.estimate + found.half_width
    return (
        f"late in active hours: {100.0 * found.estimate:.2f} percentage points more than before, "
        f"{1.0 - ALPHA:.0%} interval {100.0 * low:.2f} to {100.0 * high:.2f}"
    )


def _attained(totals: BlockTotals) -> str:
    late = totals.late_fraction
    if late is None:
        return "no requests"
    return f"{percent_text(1.0 - late)} of {totals.requests:.0f} requests met the SLO"
