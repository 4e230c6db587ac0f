"""What a dry run would have done, beside what ran: its totals by hour and by day.

The *shadow* of a deployment is the path of allocations that a dry run's decisions would have led
to. Its late requests and those of what ran are both computed, with the same model and from the same
arrivals, so that the errors of the model are on both sides of the difference. None of them is
measured: the statistics contain no queue waits.

An interval counts for both or for neither. The hours are the blocks of a 95% interval: arrivals of
one hour depend on each other much more than those of different hours. It covers chance, not the
errors of the model.
"""

import math
import struct
from collections.abc import Iterable, Iterator

from autoscaler.core.values import Value

HOUR_S, DAY_S = 3600.0, 86400.0

MAX_DAYS = 31
"""Days that are kept, the present one included. 31: each month is complete once."""

_T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179),
    *(2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064),
)
"""Quantiles 0.975 of Student's t, by the degrees of freedom from 1."""


class ShadowTotals(Value, frozen=True, kw_only=True):
    """Sums over intervals, of what ran and of the shadow."""

    known_s: float = 0.0  # time that counts
    unknown_s: float = 0.0  # time with a data-quality issue or an overload: counts for neither
    judged_s: float = 0.0  # of the time that counts: that in which late requests are known
    recorded_s: float = 0.0  # allocation-seconds that ran
    shadow_s: float = 0.0  # allocation-seconds of the shadow
    requests: float = 0.0  # in `judged_s`; cache hits are none
    recorded_late: float = 0.0
    shadow_late: float = 0.0

    def plus(self, other: "ShadowTotals") -> "ShadowTotals":
        """Both together."""
        return ShadowTotals(
            known_s=self.known_s + other.known_s,
            unknown_s=self.unknown_s + other.unknown_s,
            judged_s=self.judged_s + other.judged_s,
            recorded_s=self.recorded_s + other.recorded_s,
            shadow_s=self.shadow_s + other.shadow_s,
            requests=self.requests + other.requests,
            recorded_late=self.recorded_late + other.recorded_late,
            shadow_late=self.shadow_late + other.shadow_late,
        )


class HourSums(Value, frozen=True, kw_only=True):
    """Sums of products of the totals of hours, from which their variance follows."""

    hours: float = 0.0  # with any time that counts
    saved_squared: float = 0.0  # allocation-hours
    requests_squared: float = 0.0
    recorded_squared: float = 0.0  # late requests of what ran
    shadow_squared: float = 0.0
    recorded_shadow: float = 0.0
    recorded_requests: float = 0.0
    shadow_requests: float = 0.0

    def plus(self, other: "HourSums") -> "HourSums":
        """Both together."""
        return HourSums(
            hours=self.hours + other.hours,
            saved_squared=self.saved_squared + other.saved_squared,
            requests_squared=self.requests_squared + other.requests_squared,
            recorded_squared=self.recorded_squared + other.recorded_squared,
            shadow_squared=self.shadow_squared + other.shadow_squared,
            recorded_shadow=self.recorded_shadow + other.recorded_shadow,
            recorded_requests=self.recorded_requests + other.recorded_requests,
            shadow_requests=self.shadow_requests + other.shadow_requests,
        )


def _sums_of(hour: ShadowTotals) -> HourSums:
    if hour.known_s <= 0.0:
        return HourSums()
    saved_hours = (hour.recorded_s - hour.shadow_s) / HOUR_S
    recorded, shadow, requests = hour.recorded_late, hour.shadow_late, hour.requests
    return HourSums(
        hours=1.0,
        saved_squared=saved_hours**2,
        requests_squared=requests**2,
        recorded_squared=recorded**2,
        shadow_squared=shadow**2,
        recorded_shadow=recorded * shadow,
        recorded_requests=recorded * requests,
        shadow_requests=shadow * requests,
    )


class HourlyEstimate(Value, frozen=True):
    """A value with its 95% interval over the hours; None: fewer than two hours."""

    value: float
    low: float | None = None
    high: float | None = None


class ShadowPeriod(Value, frozen=True, kw_only=True):
    """A day or several, in hours of UTC."""

    begins_at: float  # Unix seconds
    totals: ShadowTotals = ShadowTotals()
    sums: HourSums = HourSums()

    def plus(self, hour: ShadowTotals) -> "ShadowPeriod":
        """The period with one more hour."""
        return ShadowPeriod(
            begins_at=self.begins_at,
            totals=self.totals.plus(hour),
            sums=self.sums.plus(_sums_of(hour)),
        )

    @property
    def saved_hours(self) -> HourlyEstimate:
        """Allocation-hours that the shadow would have saved; below 0: it would have used more."""
        value, hours = (self.totals.recorded_s - self.totals.shadow_s) / HOUR_S, self.sums.hours
        if hours < 2.0:
            return HourlyEstimate(value)
        variance = max(0.0, self.sums.saved_squared - value**2 / hours) / (hours - 1.0)
        return _estimate(value, math.sqrt(hours * variance), hours)

    @property
    def recorded_late_fraction(self) -> HourlyEstimate | None:
        """The fraction of the requests that were late with what ran; None: unknown."""
        sums = self.sums
        return self._fraction(
            self.totals.recorded_late, sums.recorded_squared, sums.recorded_requests
        )

    @property
    def shadow_late_fraction(self) -> HourlyEstimate | None:
        """The fraction of the requests that the shadow would have served late; None: unknown."""
        sums = self.sums
        return self._fraction(self.totals.shadow_late, sums.shadow_squared, sums.shadow_requests)

    @property
    def late_fraction_difference(self) -> HourlyEstimate | None:
        """That of the shadow less that of what ran; below 0: fewer would have been late."""
        sums, totals = self.sums, self.totals
        return self._fraction(
            totals.shadow_late - totals.recorded_late,
            sums.shadow_squared + sums.recorded_squared - 2.0 * sums.recorded_shadow,
            sums.shadow_requests - sums.recorded_requests,
        )

    def _fraction(
        self, late: float, late_squared: float, late_requests: float
    ) -> HourlyEstimate | None:
        """A ratio of sums over the hours (W. G. Cochran, Sampling Techniques, 1977, section 6)."""
        requests, hours = self.totals.requests, self.sums.hours
        if self.totals.judged_s <= 0.0:
            return None
        if requests <= 0.0:
            return HourlyEstimate(0.0)
        value = late / requests
        if hours < 2.0:
            return HourlyEstimate(value)
        residual = late_squared - 2.0 * value * late_requests
        residual += value**2 * self.sums.requests_squared
        error = math.sqrt(max(0.0, residual) * hours / (hours - 1.0)) / requests
        return _estimate(value, error, hours)


def _estimate(value: float, error: float, hours: float) -> HourlyEstimate:
    freedom = int(hours) - 1
    quantile = _T_QUANTILES[freedom - 1] if freedom <= len(_T_QUANTILES) else 1.96 + 2.5 / freedom
    return HourlyEstimate(value, value - quantile * error, value + quantile * error)


class ShadowAccount(Value, frozen=True, kw_only=True):
    """The totals of the last `MAX_DAYS` days with any."""

    past: bytes = b""  # the days before the present one, packed, since they are saved each cycle
    day: ShadowPeriod | None = None  # the present one, without the present hour; None: no time yet
    hour_at: float = 0.0  # beginning of the present hour
    hour: ShadowTotals = ShadowTotals()

    def after(self, at: float, totals: ShadowTotals) -> "ShadowAccount":
        """The account with an interval of one cycle.

        Args:
            at: a time in the interval. If it is before the present hour, it counts for that hour,
                unless the clock was set back by a day or more.
        """
        hour_at = at - at % HOUR_S
        if self.day is None:
            day = ShadowPeriod(begins_at=at - at % DAY_S)
            return ShadowAccount(day=day, hour_at=hour_at, hour=totals)
        if self.hour_at - DAY_S < hour_at <= self.hour_at:
            return ShadowAccount(
                past=self.past, day=self.day, hour_at=self.hour_at, hour=self.hour.plus(totals)
            )
        day, past, begins_at = self.day.plus(self.hour), self.past, at - at % DAY_S
        if begins_at != day.begins_at:
            # The last ones, whatever their dates: by a clock that is wrong, all are too old.
            others = {each.begins_at: each for each in (*_unpacked(past), day)}
            day = others.pop(begins_at, ShadowPeriod(begins_at=begins_at))
            past = b"".join(map(_packed, [*others.values()][-(MAX_DAYS - 1) :]))
        return ShadowAccount(past=past, day=day, hour_at=hour_at, hour=totals)

    @property
    def days(self) -> tuple[ShadowPeriod, ...]:
        """The days that are known, the present one last, with the present hour."""
        if self.day is None:
            return ()
        return (*_unpacked(self.past), self.day.plus(self.hour))

    @property
    def observed_s(self) -> float:
        """The time of all of them, whether it counts or not."""
        return sum([day.totals.known_s + day.totals.unknown_s for day in self.days])


def together(days: Iterable[ShadowPeriod]) -> ShadowPeriod | None:
    """Several days as one period; None without any."""
    found = None
    for day in days:
        if found is None:
            found = day
        else:
            found = ShadowPeriod(
                begins_at=min(found.begins_at, day.begins_at),
                totals=found.totals.plus(day.totals),
                sums=found.sums.plus(day.sums),
            )
    return found


_PACKED = struct.Struct("<I16f")
"""The day since 1970, the eight totals, and the eight sums, in the order of their fields."""


_MAX_PACKED = 3e38
"""Largest figure of a packed day; more is damage."""


def _packed(day: ShadowPeriod) -> bytes:
    totals, sums = day.totals, day.sums
    return _PACKED.pack(
        int(day.begins_at // DAY_S),
        *[min(_MAX_PACKED, getattr(totals, name)) for name in ShadowTotals.__struct_fields__],
        *[min(_MAX_PACKED, getattr(sums, name)) for name in HourSums.__struct_fields__],
    )


def _unpacked(past: bytes) -> Iterator[ShadowPeriod]:
    """The days; an incomplete last one is left out."""
    split = len(ShadowTotals.__struct_fields__)
    for day, *figures in _PACKED.iter_unpack(past[: len(past) - len(past) % _PACKED.size]):
        totals = dict(zip(ShadowTotals.__struct_fields__, figures[:split], strict=True))
        sums = dict(zip(HourSums.__struct_fields__, figures[split:], strict=True))
        yield ShadowPeriod(
            begins_at=day * DAY_S, totals=ShadowTotals(**totals), sums=HourSums(**sums)
        )


class ShadowStatus(Value, frozen=True, kw_only=True):
    """The shadow of a dry run at a poll."""

    requested: int  # allocations, as far as its decisions are carried out
    running: int  # of these: that would run now
    latest: ShadowTotals  # since the poll before
    account: ShadowAccount
