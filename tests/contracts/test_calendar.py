"""The contract of a Calendar, for every implementation."""

import pytest

from autoscaler.adapters.calendar import CronCalendar
from autoscaler.core.values import Schedule
from tests.calendars import FakeCalendar

MIDNIGHT = 1_767_225_600.0  # the first of January 2026, in UTC
HOUR = 3600.0

MORNINGS = Schedule(
    name="mornings", cron="0 8 * * *", timezone="UTC", length_s=2 * HOUR, min_allocations=4
)
NOONS = Schedule(
    name="noons", cron="30 9 * * *", timezone="UTC", length_s=4 * HOUR, max_allocations=9
)

DAYS = [MIDNIGHT + day * 24 * HOUR for day in range(-2, 5)]

CALENDARS = {
    "cron": CronCalendar,
    "fake": lambda: FakeCalendar(
        mornings=[day + 8 * HOUR for day in DAYS], noons=[day + 9.5 * HOUR for day in DAYS]
    ),
}


@pytest.fixture(params=CALENDARS)
def calendar(request):
    return CALENDARS[request.param]()


def opened(calendar, hours, schedules=(MORNINGS, NOONS)):
    return {s.name for s in calendar.open_at(MIDNIGHT + hours * HOUR, schedules)}


def test_a_window_is_open_from_its_first_instant_to_just_before_its_end(calendar):
    hours = (7.9999, 8.0, 9.9999, 10.0)
    assert [bool(opened(calendar, at, [MORNINGS])) for at in hours] == [False, True, True, False]


def test_windows_open_and_close_by_themselves(calendar):
    open_by_hour = [opened(calendar, hour) for hour in (8, 9, 9.5, 10, 13, 13.5)]
    both = {"mornings", "noons"}
    assert open_by_hour == [{"mornings"}, {"mornings"}, both, {"noons"}, {"noons"}, set()]


def test_a_window_opens_again_and_again(calendar):
    days = [[opened(calendar, 24 * day + hour) for hour in (7, 8, 11, 14)] for day in range(4)]
    assert all(day == [set(), {"mornings"}, {"noons"}, set()] for day in days)


def test_only_the_given_schedules_are_named(calendar):
    assert opened(calendar, 9.75, []) == set()
    assert opened(calendar, 9.75, [NOONS]) == {"noons"}
    assert opened(calendar, 9.75, [MORNINGS]) == {"mornings"}


def test_the_result_for_an_instant_does_not_depend_on_the_order(calendar):
    hours = [step / 4 for step in range(100)]
    forwards = [opened(calendar, at) for at in hours]
    backwards = [opened(calendar, at) for at in reversed(hours)]
    assert forwards == backwards[::-1]


def test_schedules_with_one_name_are_distinguished_by_their_other_fields(calendar):
    short = Schedule(
        name="mornings", cron="0 8 * * *", timezone="UTC", length_s=HOUR, min_allocations=4
    )
    assert calendar.open_at(MIDNIGHT + 9.25 * HOUR, [short, MORNINGS]) == {MORNINGS}
