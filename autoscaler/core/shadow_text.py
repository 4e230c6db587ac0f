"""What a dry run would have done, as text."""

from autoscaler.core.decision import Decision, Mode
from autoscaler.core.shadow import HOUR_S, HourlyEstimate, ShadowPeriod, ShadowStatus, together
from autoscaler.core.units import percent_text


def no_shadow_text(decision: Decision) -> str:
    """Why a decision that sends nothing is not judged by a shadow; empty if one does, or if it
    sends."""
    if decision.sends or decision.shadow is not None:
        return ""
    if decision.externally_controlled:
        return "adaptive allocations control it, and not the rule"
    if decision.mode is Mode.BOUNDS:
        return "what adaptive allocations would make of other bounds is not known"
    return "its allocations are not reported"


def shadow_text(shadow: ShadowStatus) -> str:
    """What the dry run would have by now, and what it would have done in all known days."""
    running = f"would run {_count(shadow.running, 'allocation')}"
    if shadow.requested != shadow.running:
        running = f"would run {shadow.running} of {_count(shadow.requested, 'allocation')}"
    days = shadow.account.days
    period = together(days)
    if period is None or period.totals.known_s <= 0.0:
        return running
    return f"{running}; {_since(len(days))} {period_text(period)}"


def period_text(period: ShadowPeriod) -> str:
    """The hours and the late requests of a period, beside those of what ran.

    >>> from autoscaler.core.shadow import ShadowTotals
    >>> totals = ShadowTotals(known_s=7200.0, recorded_s=72000.0, shadow_s=36000.0)
    >>> period_text(ShadowPeriod(begins_at=0.0, totals=totals))
    '10.0 allocation-hours instead of 20.0 (saves 10.0)'
    """
    totals, saved = period.totals, period.saved_hours
    hours = f"{totals.shadow_s / HOUR_S:.1f} allocation-hours instead of "
    hours += f"{totals.recorded_s / HOUR_S:.1f} ({_saved_text(saved)})"
    shadow, recorded = period.shadow_late_fraction, period.recorded_late_fraction
    if shadow is None or recorded is None:
        return hours
    late = f"{percent_text(shadow.value)} of the requests late instead of"
    return f"{hours}, {late} {percent_text(recorded.value)}, both computed"


def _saved_text(saved: HourlyEstimate) -> str:
    verb, value, low, high = "saves", saved.value, saved.low, saved.high
    if value < 0.0:
        verb, value = "costs", -value
        low, high = (None, None) if low is None or high is None else (-high, -low)
    if low is None or high is None:
        return f"{verb} {value:.1f}"
    return f"{verb} {value:.1f}, between {low:.1f} and {high:.1f}"


def _since(days: int) -> str:
    return "today" if days == 1 else f"in {days} days"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
