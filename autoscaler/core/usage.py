"""At which times of the week a deployment has been used, in as few bytes as will do.

A slot is a quarter of an hour, in UTC; a week has 672, and a bit each. It says when a deployment
that sleeps will be wanted: at a time at which it was used on two of the last three days, or a week
ago.
"""

SLOT_S = 900.0
DAY = 96
"""Slots of a day."""

WEEK = 7 * DAY

UNUSED = bytes(WEEK // 8)


def used(usage: bytes, at: float, *, since: float, requests: bool) -> bytes:
    """The usage after the stretch of time up to `at`, in Unix seconds, in which there were
    `requests` or none. Slots that have begun since `since` were not used before."""
    number = int(at // SLOT_S)
    begun = range(max(int(since // SLOT_S) + 1, number - WEEK + 1), number + 1)
    if not begun and (not requests or _is_used(usage, number)):
        return usage
    slots = bytearray(usage or UNUSED)
    for each in begun:
        slots[each % WEEK // 8] &= ~(1 << each % 8)
    if requests:
        slots[number % WEEK // 8] |= 1 << number % 8
    return bytes(slots)


def is_usual(usage: bytes, at: float, *, known_until: float = 0.0) -> bool:
    """Whether it has been used at this time before: on two of the last three days, or a week ago.

    `at` may be up to a day ahead of the last slot that `usage` knows.

    Args:
        known_until: what the slot of this instant says is of today, and no longer of a week ago.
    """
    if not usage:
        return False
    number = int(at // SLOT_S)
    days = sum([_is_used(usage, number - day * DAY) for day in (1, 2, 3)])
    a_week_ago = number != int(known_until // SLOT_S) and _is_used(usage, number - WEEK)
    return days >= 2 or a_week_ago


def _is_used(usage: bytes, number: int) -> bool:
    return bool(usage and usage[number % WEEK // 8] >> number % 8 & 1)
