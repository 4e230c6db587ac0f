"""Schedules, from the configuration to the decision."""

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.config import ConfigError, load
from autoscaler.config.calendar import _cron, _timezone
from autoscaler.control_loop import ControlLoop
from autoscaler.core.values import Reason, Schedule
from tests.calendars import FakeCalendar
from tests.fakes import FakeClock, FakeCluster, ListRecorder
from tests.messages import without_lines
from tests.observations import deployment, node, policy, rule

HEAD = '[elasticsearch]\nhosts = ["https://es:9200"]\n[defaults]\nmax_allocations = 8\n'
OFFICE = {
    "name": '"office hours"',
    "cron": '"0 8 * * mon-fri"',
    "timezone": '"Europe/Berlin"',
    "length": '"10h"',
    "min_allocations": "4",
}


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "config.toml").write_text(text)
        return tmp_path / "config.toml"

    return write


def table(**given):
    keys = {key: value for key, value in (OFFICE | given).items() if value is not None}
    return "{" + ", ".join(f"{key} = {value}" for key, value in keys.items()) + "}"


def of_a_rule(*tables, more=""):
    schedules = f"schedules = [{', '.join(tables)}]\n"
    return HEAD + '[[rules]]\nname = "all"\n' + more + schedules


def problems(path):
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    return [without_lines(problem).removeprefix(f"{path}: ") for problem in refused.value.problems]


class TestTheConfiguration:
    def test_resolves_them(self, write):
        (only,) = load(write(of_a_rule(table(max_allocations="6"))), {}).rules
        assert only.schedules == (
            Schedule(
                name="office hours",
                cron="0 8 * * mon-fri",
                timezone="Europe/Berlin",
                length_s=36_000.0,
                min_allocations=4,
                max_allocations=6,
            ),
        )

    def test_rules_inherit_all_of_them_or_none(self, write):
        defaults = HEAD + f"schedules = [{table()}]\n"
        one, other = load(
            write(defaults + '[[rules]]\nname = "one"\ndeployments = "one"\n'
                  '[[rules]]\nname = "other"\nschedules = []\n'), {}
        ).rules  # fmt: skip
        assert [len(each.schedules) for each in (one, other)] == [1, 0]

    def test_there_is_no_burst_maximum_by_default(self, write):
        assert load(write(of_a_rule()), {}).rules[0].burst_max_allocations is None
        assert (
            load(write(of_a_rule(more="burst_max_allocations = 5\n")), {})
            .rules[0]
            .burst_max_allocations
            == 5
        )

    def test_they_are_part_of_the_fingerprint(self, write):
        texts = [of_a_rule(), of_a_rule(table()), of_a_rule(table(length='"9h"'))]
        assert len({load(write(text), {}).fingerprint for text in texts}) == 3

    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"cron": '"0 8 * * mon-fry"'},
             ('cron: must be a cron expression, such as "0 8 * * mon-fri"; '
             "its day-of-week is invalid")),
            ({"cron": '"0 25 * * *"'},
             'cron: must be a cron expression, such as "0 8 * * mon-fri"; its hour is invalid'),
            ({"cron": '"0 0 8 * * *"'},
             'cron: must be a cron expression of five fields, such as "0 8 * * mon-fri", not of 6'),
            ({"cron": '"0 8 */20 * 1L"'},
             "cron: must be a cron expression that fires at some time; this one never does"),
            ({"cron": None}, "cron: is required"),
            ({"timezone": '"Europe/Berln"'},
             "timezone: must be the name of a time zone; did you mean Europe/Berlin?"),
            ({"timezone": '"../zone"'},
             "timezone: must be the name of a time zone, such as Europe/Berlin"),
            ({"timezone": None}, "timezone: is required"),
            ({"length": '"0s"'}, "length: must be between 1m and 7d, not 0s"),
            ({"length": '"8d"'}, "length: must be between 1m and 7d, not 8d"),
            ({"min_allocations": "0"},
             "min_allocations: must be at least 1, not 0; use scale_to_zero to allow 0"),
            ({"min_allocations": "9"},
             "min_allocations: must be within the bounds of the rule 'all', 1 to 8, not 9"),
            ({"max_allocations": "9"},
             "max_allocations: must be within the bounds of the rule 'all', 1 to 8, not 9"),
            ({"lenght": '"1h"'}, "lenght: no such key; did you mean length?"),
        ],
    )  # fmt: skip
    def test_rejects_one_key(self, write, given, problem):
        assert problems(write(of_a_rule(table(**given)))) == [f"rule 'all': schedules[0].{problem}"]

    def test_rejects_a_directory_of_time_zones(self, write):
        (problem,) = problems(write(of_a_rule(table(timezone='"Europe"'))))
        assert problem.startswith(
            "rule 'all': schedules[0].timezone: must be the name of a time zone"
        )

    def test_rejects_conflicting_bounds(self, write):
        assert problems(write(of_a_rule(table(max_allocations="3")))) == [
            (
                "rule 'all': schedules[0]: max_allocations must be at least min_allocations, "
                "which is 4, not 3"
            )
        ]

    def test_rejects_one_without_bounds(self, write):
        assert problems(write(of_a_rule(table(min_allocations=None)))) == [
            "rule 'all': schedules[0]: has no effect; set min_allocations, max_allocations or both"
        ]

    def test_rejects_a_name_that_is_used_twice(self, write):
        assert problems(write(of_a_rule(table(), table(length='"1h"')))) == [
            "rule 'all': schedules: more than one is named 'office hours'; names must be unique"
        ]

    def test_rejects_a_burst_maximum_outside_the_bounds(self, write):
        assert problems(write(of_a_rule(more="burst_max_allocations = 9\n"))) == [
            (
                "rule 'all': burst_max_allocations: must be within the bounds of the rule 'all', "
                "1 to 8, not 9"
            )
        ]

    def test_names_the_defaults_for_inherited_keys(self, write):
        text = HEAD + f'schedules = [{table()}]\n[[rules]]\nname = "one"\nmax_allocations = 2\n'
        (problem,) = problems(write(text))
        assert problem.startswith(
            "defaults.schedules[0].min_allocations: must be within the bounds"
        )

    def test_does_not_check_rules_that_exclude(self, write):
        excluding = "exclude = true\nmax_allocations = 1\nburst_max_allocations = 9\n"
        assert load(write(of_a_rule(table(), more=excluding)), {}).rules[0].exclude

    @given(
        st.text(alphabet="0123456789*,-/L#W monfriMAY", max_size=20)
        | st.from_regex(r"\A([0-9*L]{1,2}([,/#-][0-9]{1,2})? ){4}[0-9*L]{1,2}([,/#-][0-9])?\Z"),
        st.text(max_size=20) | st.sampled_from(["UTC", "Europe", "CET", "zone.tab"]),
    )
    def test_accepts_or_rejects_any_text(self, cron, timezone):
        for check, text in ((_cron, cron), (_timezone, timezone)):
            with contextlib.suppress(ValueError):
                assert check(text) == text


class TestTheLoop:
    OPENS_AT = 1_000.0
    SALE = Schedule(name="sale", cron="", timezone="", length_s=30.0, min_allocations=5)

    def loop(self, calendar, *schedules):
        clock = FakeClock(self.OPENS_AT - 20.0, until=self.OPENS_AT + 50.0)
        cluster = FakeCluster(clock, deployment(node(allocations=2)))
        self.recorder = ListRecorder()
        return ControlLoop(
            clock=clock,
            observer=cluster,
            actuator=cluster,
            recorder=self.recorder,
            ruleset=policy(rule(schedules=schedules)),
            calendar=calendar,
        )

    async def reasons(self, loop, cycles=6):
        for _ in range(cycles):
            await loop.run_cycle()
            loop.clock.pass_by(10.0)
        return [planned.decisions[0].reason for planned in self.recorder.plans]

    async def test_a_minimum_applies_while_its_window_is_open(self):
        loop = self.loop(FakeCalendar(sale=[self.OPENS_AT]), self.SALE)
        reasons = await self.reasons(loop)
        assert [reason is Reason.SCHEDULE for reason in reasons[:3]] == [False, False, True]
        assert loop.actuator.requested[0] == ("elser", 5)

    async def test_the_calendar_is_used_once_a_cycle_and_only_with_schedules(self):
        calendar = FakeCalendar(sale=[])
        await self.reasons(self.loop(calendar, self.SALE))
        assert calendar.asked == 6
        await self.reasons(self.loop(calendar))
        assert calendar.asked == 6

    async def test_without_a_calendar_no_schedule_opens(self):
        assert Reason.SCHEDULE not in await self.reasons(self.loop(None, self.SALE))


def test_time_zones_do_not_depend_on_the_host():
    """A slim image has no time zones; the package tzdata provides them."""
    known = "from zoneinfo import ZoneInfo; print(ZoneInfo('Europe/Berlin'))"
    ran = subprocess.run(
        [sys.executable, "-c", known],
        env={"PYTHONTZPATH": ""}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.stdout == "Europe/Berlin\n"
