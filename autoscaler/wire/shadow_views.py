"""The JSON of what a dry run would have done. Fields as in `decision_views`: plain types, instants
in Unix seconds, durations in `_s`; null is unknown.

All late requests are computed, with the same model for what ran and for the shadow; none of them is
measured.
"""

from msgspec import Struct

from autoscaler.core.shadow import HOUR_S, HourlyEstimate, ShadowPeriod, ShadowStatus, together
from autoscaler.core.shadow_text import period_text, shadow_text
from autoscaler.wire.decision_views import ResponseHeader, ShadowView


class EstimateView(Struct, frozen=True):
    """A value with its 95% interval over the hours; null: there are fewer than two of them."""

    value: float
    low: float | None
    high: float | None


class ShadowPeriodView(Struct, frozen=True, kw_only=True):
    """A day of UTC, or all known days, beside what ran."""

    begins_at: float
    known_s: float  # time that counts
    unknown_s: float  # time with a data-quality issue or an overload: it counts for neither
    recorded_hours: float  # allocation-hours that ran
    shadow_hours: float  # allocation-hours that the dry run would have used
    saved_hours: EstimateView
    requests: float  # of the time in which late requests are known
    recorded_late_fraction: EstimateView | None
    shadow_late_fraction: EstimateView | None
    late_fraction_difference: EstimateView | None  # below 0: fewer would have been late
    message: str


class ShadowResponse(ResponseHeader, frozen=True, kw_only=True):
    """What a dry run would have done with one deployment."""

    deployment: str
    requested: int  # allocations, by now
    running: int  # of these
    message: str
    days: tuple[ShadowPeriodView, ...]  # the present one last
    together: ShadowPeriodView | None  # all days; null: there is none yet


def shadow_view(shadow: ShadowStatus) -> ShadowView:
    """The shadow at a glance."""
    return ShadowView(
        requested=shadow.requested, running=shadow.running, message=shadow_text(shadow)
    )


def period_views(shadow: ShadowStatus) -> tuple[ShadowPeriodView, ...]:
    """The days that are known, the present one last."""
    return tuple(map(_period, shadow.account.days))


def together_view(shadow: ShadowStatus) -> ShadowPeriodView | None:
    """All days as one period; None: there is none yet."""
    period = together(shadow.account.days)
    return None if period is None else _period(period)


def _period(period: ShadowPeriod) -> ShadowPeriodView:
    totals = period.totals
    return ShadowPeriodView(
        begins_at=period.begins_at,
        known_s=totals.known_s,
        unknown_s=totals.unknown_s,
        recorded_hours=totals.recorded_s / HOUR_S,
        shadow_hours=totals.shadow_s / HOUR_S,
        saved_hours=_estimate(period.saved_hours),
        requests=totals.requests,
        recorded_late_fraction=_fraction(period.recorded_late_fraction),
        shadow_late_fraction=_fraction(period.shadow_late_fraction),
        late_fraction_difference=_fraction(period.late_fraction_difference),
        message=period_text(period),
    )


def _fraction(estimate: HourlyEstimate | None) -> EstimateView | None:
    return None if estimate is None else _estimate(estimate)


def _estimate(estimate: HourlyEstimate) -> EstimateView:
    return EstimateView(estimate.value, estimate.low, estimate.high)
