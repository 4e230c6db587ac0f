"""Which rows are too old, by a clock that may be wrong."""

import math

import pytest

from autoscaler.ages import LIVED_S, AgeLimit

DAY_S = 86_400.0
MONTH_S = 30.0 * DAY_S
NOW = 1_000.0 * DAY_S


def rows(*at):
    """What says whether there are rows later than an instant and up to another."""
    return lambda after, until: any(after < each <= until for each in at)


def test_nothing_is_too_old_when_a_process_begins_and_no_earlier_one_has_left_a_row_of_yesterday():
    """The clock may be a year ahead."""
    limit = AgeLimit(MONTH_S)
    assert limit.oldest(NOW, rows()) == -math.inf
    assert limit.oldest(NOW, rows(NOW - 365.0 * DAY_S)) == -math.inf
    assert limit.oldest(NOW, rows(NOW - 60.0)) == -math.inf  # it is of this process


def test_an_age_counts_once_the_process_has_run_for_a_day():
    limit = AgeLimit(MONTH_S)
    limit.oldest(NOW, rows())
    assert limit.oldest(NOW + LIVED_S - 1.0, rows()) == -math.inf
    assert limit.oldest(NOW + LIVED_S, rows()) == NOW + LIVED_S - MONTH_S


@pytest.mark.parametrize(
    ("days_ago", "counts"), [(0.9, False), (1.0, True), (1.9, True), (2.0, False), (3.0, False)]
)
def test_an_age_counts_at_once_with_a_row_from_between_one_and_two_days_ago(days_ago, counts):
    oldest = AgeLimit(MONTH_S).oldest(NOW, rows(NOW - days_ago * DAY_S))
    assert oldest == (NOW - MONTH_S if counts else -math.inf)


def test_an_age_of_less_than_a_day_counts_once_the_process_has_run_for_as_long():
    limit = AgeLimit(3600.0)
    limit.oldest(NOW, rows())
    assert limit.oldest(NOW + 3599.0, rows()) == -math.inf
    assert limit.oldest(NOW + 3600.0, rows()) == NOW
    assert AgeLimit(3600.0).oldest(NOW, rows(NOW - 5400.0)) == NOW - 3600.0


def test_a_time_before_the_first_one_begins_the_day_again():
    limit = AgeLimit(MONTH_S)
    limit.oldest(NOW + MONTH_S, rows())
    limit.oldest(NOW, rows())
    assert limit.oldest(NOW + 0.5 * DAY_S, rows()) == -math.inf
    assert limit.oldest(NOW + DAY_S, rows()) == NOW + DAY_S - MONTH_S


def test_nothing_is_too_old_while_the_clock_of_the_host_contradicts_the_time_of_the_process():
    agrees = False
    limit = AgeLimit(MONTH_S, lambda: agrees)
    assert limit.oldest(NOW, rows(NOW - 1.5 * DAY_S)) == -math.inf
    agrees = True
    assert limit.oldest(NOW, rows(NOW - 1.5 * DAY_S)) == NOW - MONTH_S
