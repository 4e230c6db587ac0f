"""What the time of day and of week says about a load: a profile, slot by slot.

A slot is five minutes of a day, in UTC. The profile of a slot is the median of the last days at
that time, or what it was a week ago, whichever has foretold better of late; and it is corrected by
how the last hour compares with its own profile. (Source of the recipe: the seasonal naive forecast
with a level correction, as in R. J. Hyndman and G. Athanasopoulos, Forecasting: Principles and
Practice, 3rd ed., 2021, 5.2 and 5.7.)
"""

import math
from struct import Struct as Layout

from msgspec.structs import replace

from autoscaler.core.values import Value

SLOT_S = 300.0
SLOTS_PER_DAY = 288
"""Slots of a day."""

SLOTS_PER_WEEK = 7 * SLOTS_PER_DAY

MEDIAN_OF = 3
"""Days whose median is the profile: one that was unlike the others is outvoted."""

SLOTS_PER_HOUR = 12
"""Slots over which a load is compared with its profile."""

SLOTS_AHEAD = 8
"""Slots, beginning with the one that is passing, for which the profile is kept at hand."""

MAX_LEVEL_RATIO = 4.0
"""Times or parts of its profile that a load is believed to stay at. Near zero, ratios are noise."""

ERROR_GAIN = 1.0 / 72.0
"""Of the mean error of a profile: a memory of six hours."""

UNKNOWN = math.nan
"""A level that was not measured. It is not `>= 0.0`, which known ones are."""

MAX_LEVEL = 60_000.0
"""Erlangs: the highest level that a week has room for."""

_ENTRY = Layout("<e")
_NO_WEEK = _ENTRY.pack(UNKNOWN) * SLOTS_PER_WEEK  # shared by all of which nothing is known yet


class SeasonalProfile(Value, frozen=True, kw_only=True):
    """A week of slots. Numbers of slots count from 1970; levels are nan where none is known."""

    number: int  # the slot that ended last
    # Its mean loads by number modulo a week, as floats of 16 bits: three digits, and a sixteenth of
    # what a tuple would weigh.
    week: bytes
    known: int = 0  # slots measured so far
    recent: tuple[float, ...] = (UNKNOWN,) * SLOTS_PER_HOUR  # the means of the last slots
    # Profiles of those, and of the next.
    daily: tuple[float, ...] = (UNKNOWN,) * (SLOTS_PER_HOUR + SLOTS_AHEAD)
    weekly: tuple[float, ...] = (UNKNOWN,) * (SLOTS_PER_HOUR + SLOTS_AHEAD)
    daily_error: float = UNKNOWN  # mean, over the last hours
    weekly_error: float = UNKNOWN
    outlook: tuple[float, ...] = (UNKNOWN,) * (SLOTS_AHEAD + 1)  # from the slot that ended last


def initial_profile(number: int) -> SeasonalProfile:
    """Nothing is known before slot `number` has ended."""
    return SeasonalProfile(number=number - 1, week=_NO_WEEK)


def slot_mean(season: SeasonalProfile, number: int) -> float:
    """The mean load in slot `number`, one of the last week's; nan if it was not measured."""
    return _entry(season.week, number)


def _entry(week: bytes, number: int) -> float:
    mean: float = _ENTRY.unpack_from(week, number % SLOTS_PER_WEEK * _ENTRY.size)[0]
    return mean


def after_slot(season: SeasonalProfile, number: int, mean: float) -> SeasonalProfile:
    """The season after slot `number`, in which the load was `mean`; nan if it was not measured.

    The number need not follow the last one: slots left out were not measured, and after a clock was
    set back, some come again.
    """
    return _advanced(season if number == season.number + 1 else _moved(season, number), mean)


def _moved(season: SeasonalProfile, number: int) -> SeasonalProfile:
    """As if the slot before `number` had ended last."""
    week = bytearray(season.week)
    for skipped in range(max(season.number + 1, number - SLOTS_PER_WEEK), number):
        _ENTRY.pack_into(week, skipped % SLOTS_PER_WEEK * _ENTRY.size, UNKNOWN)
    kept = bytes(week)
    past, around = (
        range(number - SLOTS_PER_HOUR, number),
        range(number - SLOTS_PER_HOUR, number + SLOTS_AHEAD),
    )
    return replace(
        season,
        number=number - 1,
        week=kept,
        recent=tuple([_entry(kept, each) for each in past]),
        daily=tuple([_median(kept, each) for each in around]),
        weekly=tuple([_entry(kept, each - SLOTS_PER_WEEK) for each in around]),
    )


def _advanced(season: SeasonalProfile, mean: float) -> SeasonalProfile:
    number = season.number + 1
    place = number % SLOTS_PER_WEEK * _ENTRY.size
    week = season.week[:place] + _ENTRY.pack(mean) + season.week[place + _ENTRY.size :]
    daily_error, weekly_error = season.daily_error, season.weekly_error
    if mean >= 0.0:
        daily_error = _error(daily_error, mean, season.recent, season.daily)
        weekly_error = _error(weekly_error, mean, season.recent, season.weekly)
    recent = (*season.recent[1:], mean)
    farthest = number + SLOTS_AHEAD
    daily = (*season.daily[1:], _median(week, farthest))
    weekly = (*season.weekly[1:], _entry(week, farthest))
    profile = weekly if weekly_error < daily_error else daily
    level = _correction(recent, profile)
    return SeasonalProfile(
        number=number,
        week=week,
        known=season.known + (mean >= 0.0),
        recent=recent,
        daily=daily,
        weekly=weekly,
        daily_error=daily_error,
        weekly_error=weekly_error,
        outlook=tuple([level * each for each in profile[SLOTS_PER_HOUR - 1 :]]),
    )


def _median(week: bytes, number: int) -> float:
    """Of the last days at the time of slot `number`; nan if none is known."""
    past = [_entry(week, number - days * SLOTS_PER_DAY) for days in range(1, MEDIAN_OF + 1)]
    known = sorted([each for each in past if each >= 0.0])
    if not known:
        return UNKNOWN
    middle = len(known) // 2
    return known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2.0


def _correction(recent: tuple[float, ...], profile: tuple[float, ...]) -> float:
    """The ratio of the last hour to its profile, with which `profile` begins."""
    measured = usual = 0.0
    for mean, level in zip(recent, profile, strict=False):
        if mean >= 0.0 and level >= 0.0:
            measured += mean
            usual += level
    if usual <= 0.0:
        return 1.0
    return min(MAX_LEVEL_RATIO, max(1.0 / MAX_LEVEL_RATIO, measured / usual))


def _error(
    error: float, mean: float, recent: tuple[float, ...], profile: tuple[float, ...]
) -> float:
    """The mean error of a profile, after the slot that follows the last hour."""
    if not profile[SLOTS_PER_HOUR] >= 0.0:
        return error
    missed = abs(mean - _correction(recent, profile) * profile[SLOTS_PER_HOUR])
    return error + ERROR_GAIN * (missed - error) if error >= 0.0 else missed


def interpolated(season: SeasonalProfile, at: float) -> float:
    """The profile at an instant within the slots at hand, corrected; nan if it is not known.

    A slot's level is that of its middle, and between the middles of two slots lies a line.
    """
    place = at / SLOT_S - 0.5 - season.number
    index = min(SLOTS_AHEAD - 1, max(0, int(place)))
    here, following = season.outlook[index], season.outlook[index + 1]
    return here + min(1.0, max(0.0, place - index)) * (following - here)
