"""The load window: frequent polls take no more samples, and the estimate stays the same."""

import random

from autoscaler.core.flow.estimation import estimate
from autoscaler.core.flow.load_window import PARTS, within
from autoscaler.core.values import Sample

WINDOW_S = 60.0


def polled(interval_s, seconds=300.0, **changes):
    """Samples of equal intervals, with random counts."""
    draw = random.Random(1)
    found = []
    for number in range(1, round(seconds / interval_s) + 1):
        count = draw.randrange(200)
        busy_s = count * 0.04
        found.append(
            Sample(
                at=interval_s * number,
                interval_s=interval_s,
                completed=count,
                queue_growth=draw.randrange(-3, 4),
                in_flight=draw.randrange(9),
                busy_s=busy_s,
                timed=count,
                timed_busy_s=busy_s,
                **changes,
            )
        )
    return found


def window_of(samples):
    window = ()
    for each in samples:
        window = within(WINDOW_S, window, each)
    return window


def test_samples_of_a_part_or_longer_stay_as_they_are():
    samples = polled(WINDOW_S / PARTS)
    assert window_of(samples) == tuple(samples[-PARTS:])


def test_polls_every_second_leave_a_sample_for_each_part_and_the_latest():
    assert len(window_of(polled(1.0))) <= PARTS + 2


def test_the_estimate_is_that_of_all_samples_of_the_window():
    samples = polled(1.0)
    window = window_of(samples)
    covered = samples[-round(sum(each.interval_s for each in window)) :]
    assert WINDOW_S - WINDOW_S / PARTS <= len(covered) <= WINDOW_S
    found, expected = estimate(window, None), estimate(covered, None)
    assert abs(found.arrival_rate_per_s - expected.arrival_rate_per_s) < 1e-9
    assert abs(found.service_time_s - expected.service_time_s) < 1e-9
    assert found.in_flight == expected.in_flight


def test_the_latest_sample_is_never_merged_because_a_jump_is_seen_from_it():
    samples = polled(1.0)
    assert window_of(samples)[-1] is samples[-1]


def test_samples_of_an_overload_are_not_merged():
    assert len(window_of(polled(1.0, overloaded=True))) == WINDOW_S


def test_samples_before_and_after_a_gap_are_not_merged():
    before, after = polled(1.0, seconds=3.0), Sample(at=20.0, interval_s=1.0, completed=5)
    window = within(WINDOW_S, window_of(before), after)
    latest = Sample(at=21.0, interval_s=1.0, completed=5)
    assert within(WINDOW_S, window, latest)[-2:] == (after, latest)
