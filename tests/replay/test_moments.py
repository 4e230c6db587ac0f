"""The hours in which the operator's rule would have made the most difference."""

from collections import Counter
from itertools import pairwise

from autoscaler.replay.moments import (
    APART_S,
    MAX_MOMENTS,
    day_around,
    moments_of,
    top_moments,
    with_moments,
)
from tests.replay.replays import MONDAY, hour, refused, replayed, results, working_day


def test_hours_in_which_nothing_differs_are_no_moments():
    same = [hour(n, replayed_hours=2.1, recorded_late=3.0, replayed_late=2.5) for n in range(24)]
    assert moments_of(replayed(hours=tuple(same))) == ()


def test_an_outage_matters_more_than_hours_saved_at_night():
    hours = list(working_day())
    hours[3] = hour(3, recorded_late=9_000.0, replayed_late=40.0, recorded_hours=3.0)
    first = moments_of(replayed(hours=tuple(hours)))[0]
    assert first.at == MONDAY + 3 * 3600.0
    assert first.late_difference == -8_960.0
    assert "2025-11-03 03:00 to 04:00 UTC" in first.sentence
    assert "9,000 were late, and 40 would have been with the rule" in first.sentence


def test_a_deployment_has_a_few_moments_which_are_apart():
    found = moments_of(replayed(hours=working_day(3)))
    assert len(found) == MAX_MOMENTS
    instants = sorted(each.at for each in found)
    assert min(b - a for a, b in pairwise(instants)) >= APART_S


def test_the_report_has_the_moments_of_all_deployments_that_mattered_most():
    hours = (hour(n, 0.5, recorded_hours=1.5, recorded_late=300.0) for n in range(24))
    quiet = replayed("quiet", tuple(hours))
    found = top_moments(results(quiet, replayed("loud")))
    assert len(found) == MAX_MOMENTS
    assert found[0].deployment == "loud"
    assert sorted(Counter(each.deployment for each in found).values()) == [2, 3]


def test_hours_that_hardly_differ_beside_another_are_left_out():
    hours = [hour(n, recorded_late=3.0, recorded_hours=1.5) for n in range(24)]
    hours[3] = hour(3, recorded_late=9_000.0)
    (only,) = moments_of(replayed(hours=tuple(hours)))
    assert only.late_difference == -9_000.0


def test_without_a_verdict_there_are_no_moments():
    assert with_moments(results(refused())).deployments[0].moments == ()


def test_the_day_around_a_moment_has_the_hours_before_and_after():
    found = day_around(working_day(3), MONDAY + 30 * 3600.0)
    assert [found[0].at, found[-1].at] == [MONDAY + 18 * 3600.0, MONDAY + 42 * 3600.0]
    assert len(day_around(working_day(1), MONDAY)) == 13
