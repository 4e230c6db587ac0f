"""The seasonal profile of a load: its mean by time of day and of week, slot by slot.

A slot is five minutes of a day, in UTC. The profile of a slot is the median of the last days at
that time, or the value of a week earlier: the alternative with the smaller error in the last hours.
It is scaled by the ratio of the last hour to its own profile. (The method is the seasonal naive
forecast with a level correction, as in R. J. Hyndman and G. Athanasopoulos, Forecasting: Principles
and Practice, 3rd ed., 2021, 5.2 and 5.7.)
"""

import math
from struct import Struct as Layout

from msgspec.structs import replace

from autoscaler.core.values import Value

SLOT_S = 300.0
SLOTS_PER_DAY = 288
"""Slots of one day: 24 h of 300 s each."""

SLOTS_PER_WEEK = 7 * SLOTS_PER_DAY

MEDIAN_OF = 3
"""Days whose median is the profile. 3, so that a single unusual day has no effect."""

SLOTS_PER_HOUR = 12
"""Slots over which the load is compared with its profile: one hour."""

SLOTS_AHEAD = 8
"""Slots for which the profile is kept in memory, beginning with the present one. 8: the longest
horizon is six slots."""

MAX_LEVEL_RATIO = 4.0
"""Bound of the ratio of the load to its profile, upwards and downwards. Near zero, ratios are
noise."""

ERROR_GAIN = 1.0 / 72.0
"""Weight of one slot in the mean error of a profile. 1/72: an average over six hours."""

UNKNOWN = math.nan
"""A mean load that was not measured: nan, so that the test `>= 0.0` is false for it."""

MAX_LEVEL = 60_000.0
"""Erlangs: about the largest load that a 16-bit float represents."""

_ENTRY = Layout("<e")
_NO_WEEK = _ENTRY.pack(UNKNOWN) * SLOTS_PER_WEEK  # shared by all profiles without data


class SeasonalProfile(Value, frozen=True, kw_only=True):
    """The mean loads of one week of slots. Slot numbers count from 1970; unknown loads are nan."""

    slot: int  # the slot that ended last
    # Mean loads by slot number modulo a week, as 16-bit floats: three digits, in a sixteenth of the
    # memory of a tuple.
    week: bytes
    known: int = 0  # slots measured so far
    recent: tuple[float, ...] = (UNKNOWN,) * SLOTS_PER_HOUR  # mean loads of the last slots
    # Profiles of the last slots and of the next ones.
    daily: tuple[float, ...] = (UNKNOWN,) * (SLOTS_PER_HOUR + SLOTS_AHEAD)
    weekly: tuple[float, ...] = (UNKNOWN,) * (SLOTS_PER_HOUR + SLOTS_AHEAD)
    daily_error: float = UNKNOWN  # mean absolute error over the last hours
    weekly_error: float = UNKNOWN
    # Expected loads, beginning with the slot that ended last.
    outlook: tuple[float, ...] = (UNKNOWN,) * (SLOTS_AHEAD + 1)


def initial_profile(slot: int) -> SeasonalProfile:
    """A profile without data, before `slot` has ended."""
    return SeasonalProfile(slot=slot - 1, week=_NO_WEEK)


def slot_mean(season: SeasonalProfile, slot: int) -> float:
    """The mean load in a slot of the last week; nan if it was not measured."""
    return _entry(season.week, slot)


def _entry(week: bytes, slot: int) -> float:
    mean: float = _ENTRY.unpack_from(week, slot % SLOTS_PER_WEEK * _ENTRY.size)[0]
    return mean


def after_slot(season: SeasonalProfile, slot: int, mean: float) -> SeasonalProfile:
    """The profile after a slot in which the load was `mean`; nan if it was not measured.

    The slot need not follow the last one: slots in between were not measured, and after a clock was
    set back, some occur again.
    """
    return _advanced(season if slot == season.slot + 1 else _moved(season, slot), mean)


def _moved(season: SeasonalProfile, slot: int) -> SeasonalProfile:
    """The profile as if the slot before this one had ended last."""
    week = bytearray(season.week)
    for skipped in range(max(season.slot + 1, slot - SLOTS_PER_WEEK), slot):
        _ENTRY.pack_into(week, skipped % SLOTS_PER_WEEK * _ENTRY.size, UNKNOWN)
    cleared = bytes(week)
    past, around = (
        range(slot - SLOTS_PER_HOUR, slot),
        range(slot - SLOTS_PER_HOUR, slot + SLOTS_AHEAD),
    )
    return replace(
        season,
        slot=slot - 1,
        week=cleared,
        recent=tuple([_entry(cleared, earlier) for earlier in past]),
        daily=tuple([_median(cleared, near) for near in around]),
        weekly=tuple([_entry(cleared, near - SLOTS_PER_WEEK) for near in around]),
    )


def _advanced(season: SeasonalProfile, mean: float) -> SeasonalProfile:
    slot = season.slot + 1
    offset = slot % SLOTS_PER_WEEK * _ENTRY.size
    week = season.week[:offset] + _ENTRY.pack(mean) + season.week[offset + _ENTRY.size :]
    daily_error, weekly_error = season.daily_error, season.weekly_error
    if mean >= 0.0:
        daily_error = _error(daily_error, mean, season.recent, season.daily)
        weekly_error = _error(weekly_error, mean, season.recent, season.weekly)
    recent = (*season.recent[1:], mean)
    last = slot + SLOTS_AHEAD
    daily = (*season.daily[1:], _median(week, last))
    weekly = (*season.weekly[1:], _entry(week, last))
    profile = weekly if weekly_error < daily_error else daily
    level = _correction(recent, profile)
    return SeasonalProfile(
        slot=slot,
        week=week,
        known=season.known + (mean >= 0.0),
        recent=recent,
        daily=daily,
        weekly=weekly,
        daily_error=daily_error,
        weekly_error=weekly_error,
        outlook=tuple([level * value for value in profile[SLOTS_PER_HOUR - 1 :]]),
    )


def _median(week: bytes, slot: int) -> float:
    """The median of the last days at the time of this slot; nan if none is known."""
    past = [_entry(week, slot - days * SLOTS_PER_DAY) for days in range(1, MEDIAN_OF + 1)]
    known = sorted([value for value in past if value >= 0.0])
    if not known:
        return UNKNOWN
    middle = len(known) // 2
    return known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2.0


def _correction(recent: tuple[float, ...], profile: tuple[float, ...]) -> float:
    """The ratio of the last hour to its profile, the first part of `profile`."""
    measured = expected = 0.0
    for mean, level in zip(recent, profile, strict=False):
        if mean >= 0.0 and level >= 0.0:
            measured += mean
            expected += level
    if expected <= 0.0:
        return 1.0
    return min(MAX_LEVEL_RATIO, max(1.0 / MAX_LEVEL_RATIO, measured / expected))


def _error(
    error: float, mean: float, recent: tuple[float, ...], profile: tuple[float, ...]
) -> float:
    """The mean absolute error of a profile, after the slot that follows the last hour."""
    if not profile[SLOTS_PER_HOUR] >= 0.0:
        return error
    deviation = abs(mean - _correction(recent, profile) * profile[SLOTS_PER_HOUR])
    return error + ERROR_GAIN * (deviation - error) if error >= 0.0 else deviation


def interpolated(season: SeasonalProfile, at: float) -> float:
    """The corrected profile at an instant within the slots in memory; nan if unknown.

    The load of a slot is that of its middle, with linear interpolation in between.
    """
    position = at / SLOT_S - 0.5 - season.slot
    index = min(SLOTS_AHEAD - 1, max(0, int(position)))
    current, following = season.outlook[index], season.outlook[index + 1]
    return current + min(1.0, max(0.0, position - index)) * (following - current)
