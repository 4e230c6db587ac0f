"""When windows open and close where clocks go forward and back. Berlin, 2026: on 29 March from 2:00
to 3:00, on 25 October from 3:00 to 2:00."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.calendar import CronCalendar
from autoscaler.core.values import Schedule

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600.0


def schedule(cron, hours, timezone="Europe/Berlin"):
    return Schedule(
        name="s", cron=cron, timezone=timezone, length_s=hours * HOUR, min_allocations=1
    )


def berlin(text, fold=0):
    """Unix seconds of a local time, such as 2026-03-29 08:00; fold 1 is its second occurrence."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


def windows(schedule, day, calendar=None):
    """The times of a day in Berlin, in its own UTC offset, at which a window opens and closes."""
    calendar = calendar or CronCalendar()
    at = berlin(f"{day} 00:00")
    end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=BERLIN).timestamp()
    changes, before = [], bool(calendar.open_at(at, [schedule]))
    while (at := at + 300.0) < end:
        now = bool(calendar.open_at(at, [schedule]))
        if now is not before:
            changes.append(datetime.fromtimestamp(at, BERLIN).strftime("%H:%M%z")[:-2])
        before = now
    return changes


@pytest.mark.parametrize(
    ("day", "times"),
    [
        ("2026-03-28", ["08:00+01", "18:00+01"]),
        ("2026-03-29", ["08:00+02", "18:00+02"]),
        ("2026-10-24", ["08:00+02", "18:00+02"]),
        ("2026-10-25", ["08:00+01", "18:00+01"]),
    ],
)
def test_office_hours_follow_local_time(day, times):
    assert windows(schedule("0 8 * * *", 10), day) == times


@pytest.mark.parametrize(
    ("day", "closes"),
    [("2026-03-29", "09:00+02"), ("2026-10-25", "07:00+01"), ("2026-06-07", "08:00+02")],
)
def test_a_night_lasts_for_its_elapsed_time(day, closes):
    assert windows(schedule("0 22 * * sat", 10), day) == [closes]


def test_a_skipped_time_fires_right_afterwards():
    assert windows(schedule("30 2 * * *", 2), "2026-03-29") == ["03:00+02", "05:00+02"]
    assert windows(schedule("30 2 * * *", 2), "2026-03-30") == ["02:30+02", "04:30+02"]


def test_a_time_that_occurs_twice_fires_the_first_time():
    assert windows(schedule("30 2 * * *", 0.5), "2026-10-25") == ["02:30+02", "02:00+01"]


@pytest.mark.parametrize("fold", [0, 1])
def test_the_first_call_is_within_the_hour_that_occurs_twice(fold):
    """A firing before the call is not mistaken for a later one."""
    at = berlin("2026-10-25 02:15", fold)
    late, early = schedule("30 2 * * *", 0.5), schedule("0 2 * * *", 0.5)
    assert not CronCalendar().open_at(at, [late])
    assert bool(CronCalendar().open_at(at, [early])) is (fold == 0)


def test_an_hourly_expression_follows_elapsed_time():
    hourly = schedule("0 * * * *", 0.5)
    assert len(windows(hourly, "2026-03-29")) == 2 * 23 - 1
    assert len(windows(hourly, "2026-10-25")) == 2 * 25 - 1


def test_time_zones_differ():
    at = berlin("2026-06-01 08:30")
    assert CronCalendar().open_at(at, [schedule("0 8 * * *", 1)])
    assert not CronCalendar().open_at(at, [schedule("0 8 * * *", 1, "America/New_York")])
    assert CronCalendar().open_at(at + 6 * HOUR, [schedule("0 8 * * *", 1, "America/New_York")])


def test_a_window_that_opens_again_before_it_closes_stays_open():
    assert windows(schedule("0 8,9 * * *", 2), "2026-06-01") == ["08:00+02", "11:00+02"]
    assert windows(schedule("*/5 * * * *", 1), "2026-06-01") == []


class Counting(CronSim):
    calls = 0

    def __next__(self):
        Counting.calls += 1
        return super().__next__()


def test_a_day_of_cycles_evaluates_the_expression_a_few_times(monkeypatch):
    monkeypatch.setattr("autoscaler.adapters.calendar.CronSim", Counting)
    windows(schedule("0 8 * * mon-fri", 10), "2026-06-01")
    assert 0 < Counting.calls <= 3


def test_a_schedule_that_is_no_longer_used_is_forgotten():
    calendar = CronCalendar()
    for hours in range(1, 50):
        calendar.open_at(0.0, [schedule("0 8 * * *", hours)])
    assert len(calendar._window_states) == 1


expressions = st.sampled_from(
    ["0 8 * * mon-fri", "30 2 * * *", "0 2 * * *", "*/20 * * * *", "15 * * * *", "0 3 25 10 *",
     "0 1-3 * * *", "45 1,2 * * sun", "0 0 1 * *", "*/7 2 * * *"]
)  # fmt: skip
around_changes = st.sampled_from(
    [berlin("2026-03-29 00:00"), berlin("2026-10-25 00:00"), berlin("2026-06-01 00:00")]
)


@given(
    expressions,
    st.sampled_from([0.25, 1.0, 3.0, 26.0]),
    around_changes,
    st.lists(st.floats(-3 * 86_400, 3 * 86_400), min_size=1, max_size=30),
)
def test_cached_results_are_those_of_a_calendar_without_a_cache(cron, hours, start, offsets):
    window, caching = schedule(cron, hours), CronCalendar()
    for offset in offsets:
        at = start + offset
        assert caching.open_at(at, [window]) == CronCalendar().open_at(at, [window])


@given(expressions, st.sampled_from([0.25, 1.0, 3.0, 26.0]), around_changes,
       st.floats(-2 * 86_400, 2 * 86_400))  # fmt: skip
def test_a_window_is_open_if_a_firing_lies_within_its_length(cron, hours, start, offset):
    """All firings of the days around it, one by one."""
    at = start + offset
    begin = datetime.fromtimestamp(start - 6 * 86_400, UTC).astimezone(BERLIN)
    recent = False
    for fires in CronSim(cron, begin):
        if fires.timestamp() > start + 6 * 86_400:
            break
        recent = recent or 0.0 <= at - fires.timestamp() < hours * HOUR
    assert bool(CronCalendar().open_at(at, [schedule(cron, hours)])) is recent
