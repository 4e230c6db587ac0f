"""Estimates of service times and dispersion, from requests of known distributions."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.slo.service_time import (
    MAX_OBSERVED_RATIO,
    RESIZE_DISCOUNT,
    TIME_CONSTANT_S,
    ServiceTimeEstimate,
    discounted,
    dispersion_after,
    updated_service_time,
)

POLL_S = 10.0


def dispersions(counts):
    """The estimate after each count."""
    known, course = 1.0, []
    for before, now in pairwise(counts):
        known = dispersion_after(known, int(before), int(now))
        course.append(known)
    return np.array(course)


def timed(rng, mean_s, cv, requests, intervals):
    """The estimate after these intervals, with Poisson counts and gamma service times."""
    known = ServiceTimeEstimate()
    for count in rng.poisson(requests, intervals):
        times_s = (
            rng.gamma(1.0 / cv**2, mean_s * cv**2, count) if cv > 0.0 else np.full(count, mean_s)
        )
        known = updated_service_time(known, int(count), float(times_s.sum()), POLL_S)
    return known


class TestDispersion:
    @pytest.mark.parametrize("mean", [0.5, 5.0, 100.0, 10_000.0])
    def test_of_poisson_counts_it_is_one(self, mean):
        course = dispersions(np.random.default_rng(1).poisson(mean, 4000))
        assert course[500:].mean() == pytest.approx(1.0, rel=0.06)

    @pytest.mark.parametrize("size", [2, 5])
    def test_of_batches_it_is_their_size(self, size):
        course = dispersions(size * np.random.default_rng(2).poisson(50.0, 6000))
        assert course[500:].mean() == pytest.approx(size, rel=0.1)

    def test_of_large_batches_it_is_underestimated(self):
        means = [
            dispersions(size * np.random.default_rng(2).poisson(50.0, 6000))[500:].mean()
            for size in (5, 10, 20, 100)
        ]
        assert means == sorted(means)
        assert means[1] > 8.0
        assert means[3] > 18.0

    def test_of_batches_of_random_size_it_is_the_mean_square_over_the_mean(self):
        rng = np.random.default_rng(3)
        counts = [rng.geometric(0.5, batches).sum() for batches in rng.poisson(50.0, 6000)]
        assert dispersions(counts)[500:].mean() == pytest.approx(3.0, rel=0.1)

    def test_a_slow_change_of_the_load_does_not_raise_it(self):
        """A day's cycle from 100 to 900 in an interval."""
        rates = 500.0 - 400.0 * np.cos(2.0 * math.pi * np.arange(8640) / 8640)
        course = dispersions(np.random.default_rng(4).poisson(rates))
        assert course[500:].mean() == pytest.approx(1.0, rel=0.06)

    def test_one_load_jump_hardly_raises_it(self):
        known = 1.0
        for _ in range(100):
            known = dispersion_after(known, 1000, 1000)
        assert dispersion_after(known, 1000, 9000) < 1.6

    def test_without_requests_it_decays_to_one(self):
        known = 20.0
        for _ in range(400):
            known = dispersion_after(known, 0, 0)
        assert known == pytest.approx(1.0, abs=0.01)

    @given(st.lists(st.integers(0, 10**6), max_size=100))
    def test_it_stays_within_bounds(self, counts):
        assert all(0.0 <= known <= MAX_OBSERVED_RATIO for known in dispersions(counts))


class TestServiceTimes:
    @pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 2.0])
    @pytest.mark.parametrize("requests", [3.0, 300.0])
    def test_their_scv_is_estimated_from_means_of_intervals(self, cv, requests):
        """The variance of a mean of N service times is one Nth of the variance of one."""
        rng = np.random.default_rng(5)
        scvs = [timed(rng, 0.1, cv, requests, 300).scv for _ in range(12)]
        assert np.mean(scvs) == pytest.approx(cv * cv, rel=0.35, abs=0.02)

    def test_their_mean_is_that_of_the_last_minutes(self):
        rng = np.random.default_rng(6)
        known = timed(rng, 0.1, 0.5, 50.0, 300)
        assert known.mean_s == pytest.approx(0.1, rel=0.03)
        for _ in range(round(2.0 * TIME_CONSTANT_S / POLL_S)):
            known = updated_service_time(known, 50, 50 * 0.3, POLL_S)
        assert known.mean_s == pytest.approx(0.3 - 0.2 * math.exp(-2.0), rel=0.05)

    def test_after_a_change_of_the_allocations_it_adapts_faster(self):
        before = timed(np.random.default_rng(6), 0.1, 0.5, 50.0, 300)
        same, changed = (
            updated_service_time(known, 500, 500 * 0.2, POLL_S)
            for known in (before, discounted(before))
        )
        assert same.mean_s < changed.mean_s < 0.2
        assert discounted(before).mean_s == pytest.approx(before.mean_s)
        assert discounted(before).requests == RESIZE_DISCOUNT * before.requests

    def test_one_interval_changes_the_scv_little(self):
        known = ServiceTimeEstimate(requests=1000.0, busy_s=100.0, scv=0.5)
        assert (
            updated_service_time(known, 100, 100.0, POLL_S).scv <= 0.5 + 0.02 * MAX_OBSERVED_RATIO
        )

    def test_without_requests_the_estimate_is_kept(self):
        known = updated_service_time(
            ServiceTimeEstimate(requests=1000.0, busy_s=100.0, scv=0.7), 0, 0.0, POLL_S
        )
        assert (known.mean_s, known.scv) == (pytest.approx(0.1), 0.7)

    def test_it_lasts_a_fortnight_without_requests(self):
        known = ServiceTimeEstimate(requests=1000.0, busy_s=100.0)
        for _ in range(14 * 24 * 60):
            known = updated_service_time(known, 0, 0.0, 60.0)
        assert known.requests > 0.0
        assert known.mean_s == pytest.approx(0.1)
        assert updated_service_time(known, 10, 2.0, POLL_S).mean_s == pytest.approx(0.2)

    @given(
        st.floats(1e-6, 1e4),
        st.lists(st.sampled_from(["interval", "long interval", "resized"]), max_size=200),
    )
    def test_nothing_that_passes_without_requests_changes_the_mean(self, mean_s, events):
        known = ServiceTimeEstimate(requests=1000.0, busy_s=1000.0 * mean_s)
        for event in events:
            if event == "resized":
                known = discounted(known)
            else:
                interval_s = POLL_S if event == "interval" else 4 * 86_400.0
                known = updated_service_time(known, 0, 0.0, interval_s)
        assert known.mean_s == pytest.approx(mean_s)
