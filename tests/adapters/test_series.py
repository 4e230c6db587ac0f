"""The last hours of every deployment, in memory."""

import math

import pytest

from autoscaler.adapters.admin_http.series import (
    MAX_GONE,
    MAX_POINTS,
    POINT_BYTES,
    SeriesRecorder,
    last_points,
    series_of,
)
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.slo_status import Expectation, SloStatus
from autoscaler.core.state import FORGET_AFTER_S
from autoscaler.ports import FailureKind, ObservationFailed
from tests.adapters.recorded import cycle, outcome, steady


@pytest.fixture
def recorder():
    return SeriesRecorder()


def record(recorder, at, *names, kind=OutcomeKind.UNCHANGED, **changed):
    outcomes = [outcome(steady(name, at=at, **changed), kind) for name in names or ["elser"]]
    recorder.planned(*cycle(*outcomes, at=at))


def test_each_cycle_is_a_point_and_what_is_unknown_is_null(recorder):
    now = Expectation(allocations=2, late_fraction=0.5, queue_wait_s=math.inf)
    record(recorder, 1_000.0, running=2, requested=3, slo=SloStatus(target=0.99, now=now))
    record(recorder, 1_010.0, load=None)

    found = series_of(recorder.points("elser"))

    assert found.at == [1_000.0, 1_010.0]
    assert found.values["running"] == [2.0, None]
    assert found.values["arrival_rate_per_s"] == [60.0, None]
    assert found.values["offered_load"] == [4.5, None]
    assert found.values["backlog_requests"] == [None, None]
    assert found.values["queue_wait_s"] == [None, None]  # without a bound, and unknown
    assert found.values["recommended"] == [3.0, 3.0]


def test_only_later_points_are_given_on_request(recorder):
    for at in (1_000.0, 1_010.0, 1_020.0):
        record(recorder, at)
    assert series_of(recorder.points("elser"), since=1_010.0).at == [1_020.0]
    newest = last_points(recorder.points("elser"), 2)
    assert series_of(newest).at == [1_010.0, 1_020.0]
    assert series_of(newest).values["running"] == [None, None]
    assert series_of(recorder.points("other")).at == []


def test_the_oldest_points_are_discarded(recorder):
    for i in range(MAX_POINTS * 2):
        record(recorder, 1_000.0 + i)
    found = series_of(recorder.points("elser"))
    assert MAX_POINTS <= len(found.at) <= 1.13 * MAX_POINTS
    assert found.at[-1] == 1_000.0 + 2 * MAX_POINTS - 1
    assert all(len(each) == len(found.at) for each in found.values.values())


def test_the_bytes_of_all_points_are_bounded():
    recorder = SeriesRecorder(max_bytes=100_000)
    names = [f"d{i}" for i in range(50)]
    for i in range(200):
        record(recorder, 1_000.0 + i, *names)
    points = [recorder.points(name) for name in names]
    assert 50_000 < sum(POINT_BYTES * len(each.at) for each in points) <= 100_000


def test_of_vanished_deployments_the_latest_are_kept_for_a_while(recorder):
    record(recorder, 1_000.0, *(f"d{i}" for i in range(2 * MAX_GONE)))
    record(recorder, 1_010.0, "elser")
    kept = [i for i in range(2 * MAX_GONE) if len(recorder.points(f"d{i}").at)]
    assert len(kept) == MAX_GONE
    record(recorder, 1_010.0 + FORGET_AFTER_S, "elser")
    assert not any(len(recorder.points(f"d{i}").at) for i in range(2 * MAX_GONE))


def test_failed_observations_are_one_gap(recorder):
    record(recorder, 1_000.0, running=2)
    for at in (1_010.0, 1_020.0):
        recorder.skipped(ObservationFailed(FailureKind.TIMEOUT, "no response"), at)
    record(recorder, 1_030.0, running=2)
    found = series_of(recorder.points("elser"))
    assert found.at == [1_000.0, 1_010.0, 1_030.0]
    assert found.values["running"] == [2.0, None, 2.0]
