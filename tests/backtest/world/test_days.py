"""Which days of a trace are simulated."""

import numpy as np
import pytest
from msgspec.structs import replace

from autoscaler.backtest.world.days import Days, DaysError, is_divided, played_days, whole_days
from autoscaler.backtest.world.workload import workload_of
from autoscaler.simulation.traces import Trace
from tests.backtest.workloads import scenario

HOUR = 3600.0


def trace(hours, **given):
    counts = np.arange(1, hours + 1) * 100
    return Trace(name="load", bin_s=HOUR, counts=counts, **given)


def days_of(length_h, days, **given):
    given = {"hours": 24.0, "start_h": None} | given
    return list(played_days(trace(length_h), replace(scenario(), **given), days))


@pytest.mark.parametrize(
    ("hours", "divided", "whole"), [(1, False, 0), (24, False, 1), (25, True, 1), (48, True, 2)]
)
def test_a_trace_of_at_most_a_day_is_not_divided(hours, divided, whole):
    assert is_divided(trace(hours)) == divided
    assert whole_days(trace(hours)) == whole
    if not divided:
        (played,) = days_of(hours, Days(whole=True))
        assert (played.trace.name, played.recording, played.day) == ("load", None, None)


def test_without_a_choice_the_window_is_that_of_the_scenario():
    (played,) = days_of(72, Days(), hours=5.0, start_h=3.0)
    assert (played.scenario.hours, played.scenario.start_h) == (5.0, 3.0)


@pytest.mark.parametrize(("last", "expected"), [(None, [1, 2, 3]), (2, [2, 3]), (99, [1, 2, 3])])
def test_days_begin_with_the_first_bin(last, expected):
    found = days_of(80, Days(whole=True, last=last))
    assert [each.day for each in found] == expected
    assert [each.trace.name for each in found] == [f"load, day {day}" for day in expected]
    assert [each.scenario.start_h for each in found] == [24.0 * (day - 1) for day in expected]


def test_the_names_are_sorted_by_day():
    names = [each.trace.name for each in days_of(240, Days(whole=True))]
    assert len(names) == 10
    assert names == sorted(names)


def test_the_requests_of_a_day_are_those_of_its_hours():
    _, second = days_of(48, Days(whole=True), scale=scenario().scale)
    workload = workload_of(second.trace, second.scenario, 1)
    hours = ((workload.at - workload.start) // HOUR).astype(int)
    ratio = np.bincount(hours)[23] / np.bincount(hours)[0]
    assert ratio == pytest.approx(48 / 25, rel=0.2)
    assert workload.trace_offset_s == 24 * HOUR


def test_a_policy_that_learns_gets_the_days_before():
    found = days_of(72, Days(whole=True))
    steps = [workload_of(each.trace, each.scenario, 1).history for each in found]
    assert steps[0] is None
    assert [len(each.arrivals) for each in steps[1:]] == [24 * 60, 48 * 60]


def test_a_day_without_requests_is_left_out():
    quiet = trace(72)
    quiet.counts[24:48] = 0
    whole = replace(scenario(), hours=24.0, start_h=None)
    assert [each.day for each in played_days(quiet, whole, Days(whole=True))] == [1, 3]


@pytest.mark.parametrize("window", [{"hours": 5.0}, {"hours": None}, {"start_h": 0.0}])
def test_another_window_is_refused(window):
    with pytest.raises(DaysError, match=r"^--days: the scenario \S+ sets trace.window"):
        days_of(72, Days(whole=True), **window)
