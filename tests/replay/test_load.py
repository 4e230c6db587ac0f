"""Requests like those of a record."""

import numpy as np
import pytest
from msgspec.structs import replace

from autoscaler.replay.dispersion import dispersion_of
from autoscaler.replay.first_attempts import first_attempts
from autoscaler.replay.load import LoadModel, drawn
from autoscaler.replay.record import record_of
from autoscaler.replay.service_times import service_times_of
from autoscaler.wire.intervals import LoadInterval

SERVICE_TIME_S, SCV = 0.1, 0.5


def record(counts, interval_s=10.0, seed=1):
    rng = np.random.default_rng(seed)
    return record_of(
        "model",
        [
            LoadInterval(
                deployment="model",
                at=interval_s * (1 + place),
                interval_s=interval_s,
                arrivals=int(count),
                completed=int(count),
                busy_s=float(rng.gamma(count / SCV, SERVICE_TIME_S * SCV)) if count else 0.0,
                requested=4,
            )
            for place, count in enumerate(counts)
        ],
    )


def model_of(found):
    return LoadModel(
        record=found, service_times=service_times_of(found), dispersion=dispersion_of(found)
    )


def test_each_interval_has_as_many_requests_as_were_recorded():
    counts = np.random.default_rng(1).poisson(80.0, 400)
    counts[100:120] = 0
    found = drawn(model_of(record(counts)), seed=1, draw=0)
    assert np.bincount((found.at // 10.0).astype(int), minlength=400).tolist() == counts.tolist()
    assert (np.diff(found.at) >= 0.0).all()
    assert found.work_s.mean() == pytest.approx(SERVICE_TIME_S, rel=0.02)


def test_draws_differ_and_repeat_themselves():
    model = model_of(record([50] * 200))
    first = drawn(model, seed=1, draw=0)
    assert np.array_equal(first.at, drawn(model, seed=1, draw=0).at)
    assert not np.array_equal(first.at, drawn(model, seed=1, draw=1).at)
    assert not np.array_equal(first.at, drawn(model, seed=2, draw=0).at)


def test_service_times_vary_as_the_means_of_intervals_show():
    found = service_times_of(record(np.random.default_rng(2).poisson(60.0, 1000)))
    assert found.mean_s == pytest.approx(SERVICE_TIME_S, rel=0.01)
    assert found.scv == pytest.approx(SCV, rel=0.2)
    assert np.ptp(found.by_interval_s) < 0.05 * SERVICE_TIME_S


def test_the_dispersion_of_the_counts_is_measured():
    rng = np.random.default_rng(3)
    for dispersion in (1.0, 4.0):
        rates = rng.gamma(60.0 / max(dispersion - 1.0, 1e-6), max(dispersion - 1.0, 1e-6), 1000)
        found = dispersion_of(record(rng.poisson(rates)))
        assert np.median(found) == pytest.approx(dispersion, rel=0.2)


def test_counts_of_minutes_show_no_dispersion_within_seconds():
    counts = np.random.default_rng(4).integers(10, 500, 200)
    assert (dispersion_of(record(counts, interval_s=60.0)) == 1.0).all()


def test_requests_with_a_dispersion_come_together():
    model = model_of(record([400] * 100))
    bursty = LoadModel(
        record=model.record, service_times=model.service_times, dispersion=np.full(100, 9.0)
    )
    variances = [
        np.bincount((drawn(each, seed=1, draw=0).at // 1.0).astype(int), minlength=1000).var()
        for each in (model, bursty)
    ]
    assert variances[1] > 3.0 * variances[0]


def test_attempts_of_callers_who_try_again_are_no_load_of_their_own():
    found = replace(record([100] * 60), failed=np.where(np.arange(60) >= 30, 100.0, 0.0))
    assert first_attempts(found, 0.0).tolist() == [100] * 60
    # All attempts fail, so that each request has two: half of the arrivals are first attempts.
    counts = first_attempts(found, 1.0)
    assert counts[:25].tolist() == [100] * 25
    assert counts[40:].sum() == pytest.approx(0.5 * 2000, rel=0.02)


def test_a_timeout_that_is_counted_late_was_tried_again_before():
    failed = np.zeros(60)
    failed[40] = 300.0  # more than arrive in the interval
    counts = first_attempts(replace(record([100] * 60), failed=failed), 0.5)
    assert 6000 - counts.sum() == pytest.approx(0.5 * 300 / (1.0 + 0.5 * 3 / 7), rel=0.02)
    assert counts[41:].tolist() == [100] * 19
    assert counts.min() > 0


def test_a_short_record_has_first_attempts():
    found = replace(record([100] * 3), failed=np.array([100.0, 100.0, 100.0]))
    assert first_attempts(found, 1.0).tolist() == [50, 50, 50]
