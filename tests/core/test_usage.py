"""At which times of the week a deployment is used, and when it is usually used."""

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.scale_to_zero import (
    SLOT_S,
    SLOTS_PER_DAY,
    SLOTS_PER_WEEK,
    UNUSED,
    is_usually_used,
    updated_usage,
)

DAY_S, WEEK_S = SLOTS_PER_DAY * SLOT_S, SLOTS_PER_WEEK * SLOT_S
MONDAY_9 = 10 * WEEK_S + 9 * 3600.0


def history(*uses, until, step_s=300.0):
    """The usage at `until`, updated every `step_s`, with requests at the instants of `uses`."""
    usage, before = UNUSED, min(uses, default=until) - step_s
    while before < until:
        at = before + step_s
        usage = updated_usage(
            usage, at, since=before, requests=any(before < each <= at for each in uses)
        )
        before = at
    return usage


def test_use_at_this_time_on_two_of_three_days_is_usual_use():
    uses = (MONDAY_9, MONDAY_9 + 2 * DAY_S)
    usage = history(*uses, until=MONDAY_9 + 3 * DAY_S - 3600.0)
    assert is_usually_used(usage, MONDAY_9 + 3 * DAY_S)
    assert not is_usually_used(usage, MONDAY_9 + 3 * DAY_S - 1800.0)


def test_a_single_day_is_not_usual_use():
    usage = history(MONDAY_9, until=MONDAY_9 + DAY_S - 3600.0)
    assert not is_usually_used(usage, MONDAY_9 + DAY_S)


def test_use_a_week_ago_is_usual_use():
    usage = history(MONDAY_9, until=MONDAY_9 + WEEK_S - 3600.0)
    assert is_usually_used(usage, MONDAY_9 + WEEK_S)


def test_use_a_moment_ago_is_not_usual_use():
    usage = history(MONDAY_9 + 60.0, until=MONDAY_9 + 600.0)
    assert not is_usually_used(usage, MONDAY_9 + 720.0, known_until=MONDAY_9 + 600.0)


def test_usual_use_ends_after_some_days():
    usage = history(MONDAY_9, MONDAY_9 + DAY_S, until=MONDAY_9 + WEEK_S + 2 * DAY_S)
    assert not any(
        is_usually_used(usage, MONDAY_9 + WEEK_S + 2 * DAY_S + hours * 3600.0)
        for hours in range(24)
    )


def test_without_recorded_usage_nothing_is_usual():
    assert not is_usually_used(b"", MONDAY_9)


@given(st.lists(st.floats(0.0, 3 * WEEK_S), max_size=20), st.floats(0.0, 2 * WEEK_S))
def test_after_an_idle_week_nothing_is_recorded_as_used(uses, silence_s):
    usage, before = UNUSED, 0.0
    for at in sorted(uses):
        usage = updated_usage(usage, at, since=before, requests=True)
        before = at
    later = updated_usage(usage, before + WEEK_S + silence_s, since=before, requests=False)
    assert later == UNUSED


@given(st.floats(0.0, WEEK_S), st.booleans())
def test_a_second_update_at_the_same_time_changes_nothing(at, requests):
    once = updated_usage(UNUSED, at, since=at - 1.0, requests=requests)
    assert updated_usage(once, at, since=at, requests=requests) == once


@given(
    first=st.integers(0, SLOTS_PER_WEEK),
    intervals=st.lists(st.tuples(st.integers(1, 300), st.booleans()), min_size=1, max_size=60),
)
def test_usage_is_what_happened_in_each_slot_of_the_last_week(first, intervals):
    """Whatever the day, and however far apart the updates are."""
    slot, usage, used = 10 * SLOTS_PER_WEEK + first, UNUSED, set()
    for slots, requests in intervals:
        since, slot = slot, slot + slots
        usage = updated_usage(
            usage, (slot + 0.5) * SLOT_S, since=(since + 0.5) * SLOT_S, requests=requests
        )
        used |= {slot} if requests else set()

    def usually(at, *, a_week_ago):
        return sum(at - day * SLOTS_PER_DAY in used for day in (1, 2, 3)) >= 2 or (
            a_week_ago and at - SLOTS_PER_WEEK in used
        )

    for at in range(slot, slot + SLOTS_PER_DAY):
        known_until = (slot + 0.5) * SLOT_S
        assert is_usually_used(usage, at * SLOT_S, known_until=known_until) == usually(
            at, a_week_ago=at != slot
        )
