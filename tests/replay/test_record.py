"""Records: intervals in order, without overlaps, and with gaps where nothing is known."""

import numpy as np
from msgspec.structs import replace

from autoscaler.replay.record import record_of
from autoscaler.wire.intervals import LoadInterval


def interval(at, arrivals=100, **given):
    fields = {"deployment": "model", "interval_s": 10.0, "requested": 2} | given
    return LoadInterval(at=at, arrivals=arrivals, **fields)


def test_intervals_are_sorted_and_repeated_ones_are_left_out():
    found = record_of("model", [interval(20.0), interval(10.0), interval(20.0, 7)])
    assert found.edges.tolist() == [0.0, 10.0, 20.0]
    assert found.arrivals.tolist() == [100.0, 100.0]
    assert found.known.all()


def test_missing_time_is_a_gap_whose_load_is_that_around_it():
    found = record_of("model", [interval(10.0, 100), interval(140.0, 300)])
    assert found.edges.tolist() == [0.0, 10.0, 70.0, 130.0, 140.0]
    assert found.known.tolist() == [True, False, False, True]
    assert 600.0 < found.arrivals[1] < found.arrivals[2] < 1800.0
    assert found.known_fraction == 20.0 / 140.0
    assert found.by_hour(found.arrivals).tolist() == [400.0]


def test_unknown_arrivals_are_a_gap_and_misleading_ones_too():
    parts = [interval(10.0), interval(20.0, None), interval(30.0, 5, issues=("incomplete",))]
    found = record_of("model", parts)
    assert found.known.tolist() == [True, False, False]
    assert found.arrivals.tolist() == [100.0, 100.0, 100.0]


def test_where_a_process_ended_at_least_as_many_requests_arrived_as_are_known():
    parts = [interval(10.0), interval(20.0, 40, issues=("counter_reset",)), interval(30.0)]
    found = record_of("model", parts)
    assert found.known.all()
    assert found.arrivals.tolist() == [100.0, 100.0, 100.0]


def test_cache_hits_are_no_load():
    found = record_of("model", [interval(10.0, 100, completed=90, cache_hits=30)])
    assert (found.arrivals[0], found.completed[0]) == (70.0, 60.0)


def test_unknown_allocations_are_the_last_known_ones():
    parts = [interval(10.0 * n, requested=r) for n, r in ((1, None), (2, 3), (3, None), (4, 5))]
    assert record_of("model", parts).requested.tolist() == [3, 3, 3, 5]


def test_without_any_arrivals_or_allocations_there_is_no_record():
    assert record_of("model", []) is None
    assert record_of("model", [interval(10.0, None)]) is None
    assert record_of("model", [replace(interval(10.0), requested=None)]) is None


def test_the_hours_begin_with_the_record():
    found = record_of("model", [interval(1000.0 + 600.0 * n, interval_s=600.0) for n in range(9)])
    assert found.hours == 2
    assert np.bincount(found.hour_of).tolist() == [6, 3]
