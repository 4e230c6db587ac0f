"""Requests that another metric counts."""

import pytest

from autoscaler.importing.counts import CountedLoad, CountKind, by_deployment
from autoscaler.importing.http_client import ImportFailed
from autoscaler.importing.range_queries import RangeSeries


def intervals(kind, values, service_times=None, allocations=None):
    load = CountedLoad(kind, 60.0)
    return list(
        load.intervals({"e5": values}, {"e5": service_times or {}}, {"e5": allocations or {}})
    )


def test_the_sum_of_a_rate_stays_whole():
    found = intervals(CountKind.RATE, {60.0 * n: 0.01 for n in range(1, 101)})
    assert sum(line.arrivals for line in found) == 60
    assert {line.interval_s for line in found} == {60.0}


def test_counts_are_taken_as_they_are():
    found = intervals(CountKind.COUNT, {60.0: 5.0, 120.0: 0.0}, {60.0: 0.1}, {120.0: 3.0})
    assert [(line.arrivals, line.busy_s, line.running) for line in found] == [
        (5, 0.5, None),
        (0, None, 3),
    ]


def test_a_value_that_is_absent_is_no_interval():
    found = intervals(CountKind.COUNT, {60.0: 5.0, 240.0: 6.0})
    assert [line.at for line in found] == [60.0, 240.0]


def test_a_counter_counts_between_its_values_and_is_unknown_where_it_falls():
    found = intervals(CountKind.COUNTER, {60.0: 100.0, 120.0: 130.0, 300.0: 10.0, 360.0: 12.0})
    assert [(line.at, line.interval_s, line.arrivals) for line in found] == [
        (120.0, 60.0, 30),
        (300.0, 180.0, None),
        (360.0, 60.0, 2),
    ]
    assert found[1].issues == ("counter_decreased",)


def test_it_must_be_known_whose_requests_they_are():
    point = [(60.0, 1.0)]
    assert by_deployment([RangeSeries({"model": "a"}, point)], "model", "up") == {"a": {60.0: 1.0}}
    assert by_deployment([RangeSeries({}, point)], "model", "up", "e5") == {"e5": {60.0: 1.0}}
    with pytest.raises(ImportFailed, match="have no label model; name another with --label"):
        by_deployment([RangeSeries({}, point)], "model", "up")
    twice = [RangeSeries({"model": "a", "pod": pod}, point) for pod in "xy"]
    with pytest.raises(ImportFailed, match=r"several series for a; aggregate them, as in sum by"):
        by_deployment(twice, "model", "up")


@pytest.mark.parametrize("kind", [CountKind.RATE, CountKind.COUNT])
@pytest.mark.parametrize("value", [-5.0, 1e300])
def test_a_count_that_no_metric_of_requests_has_is_unknown(kind, value):
    (found,) = intervals(kind, {60.0: value}, {60.0: 0.1}, {60.0: 3.0})
    assert (found.arrivals, found.busy_s, found.running) == (None, None, 3)
    assert found.issues == ("implausible",)


@pytest.mark.parametrize("value", [-5.0, 1e300])
def test_service_times_and_allocations_that_no_cluster_has_are_unknown(value):
    (found,) = intervals(CountKind.COUNT, {60.0: 5.0}, {60.0: value}, {60.0: value})
    assert (found.arrivals, found.busy_s, found.requested, found.running) == (5, None, None, None)


RISING = {60.0 * n: 7.0 * n for n in range(1, 60)}


def doubts(kind, values):
    load = CountedLoad(kind, 60.0)
    list(load.intervals({"e5": values}, {}, {}))
    return list(load.doubts())


@pytest.mark.parametrize("kind", [CountKind.RATE, CountKind.COUNT])
def test_a_counter_that_is_taken_for_a_rate_is_doubted(kind):
    (sentence,) = doubts(kind, RISING)
    assert sentence.endswith(f"import them with --arrivals-are counter, not {kind}")
    restarted = RISING | {60.0 * (60 + n): 7.0 * n for n in range(60)}
    assert doubts(kind, restarted) == [sentence]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (CountKind.COUNTER, RISING),
        (CountKind.RATE, {at: value + 0.5 for at, value in RISING.items()}),  # rising load
        (CountKind.COUNT, {60.0 * n: 5.0 for n in range(1, 60)}),
        (CountKind.COUNT, {60.0 * n: 5.0 + n % 3 for n in range(1, 60)}),
    ],
)
def test_other_values_are_not_doubted(kind, values):
    assert doubts(kind, values) == []
