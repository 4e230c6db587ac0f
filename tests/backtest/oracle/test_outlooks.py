"""What the rate oracles and the rate follower know at each poll."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.backtest.oracle.outlooks import (
    MAX_LEVELS,
    known_outlooks,
    mean_loads,
    peak_loads,
    usual_outlooks,
)
from autoscaler.core.slo.load_distribution import index_of_load, load_of_index
from tests.backtest.workloads import poisson, scenario, workload

PLACE = scenario(service_time_s=0.5, load_s=20.0)


class TestLoads:
    def test_a_load_is_the_rate_times_the_mean_service_time(self):
        load = workload([1.0, 2.0, 11.0], 9.0, duration_s=30.0)
        assert mean_loads(load, PLACE, 10.0).tolist() == pytest.approx([0.1, 0.05, 0.0])

    def test_the_rate_of_a_minute_is_constant_within_it(self):
        load = workload(np.arange(0.0, 30.0, 0.5), 0.5, duration_s=120.0)
        assert mean_loads(load, PLACE, 60.0).tolist() == pytest.approx([0.5] * 6 + [0.0] * 6)

    def test_a_last_slot_that_is_cut_short_has_its_own_length(self):
        load = workload(np.arange(10.0, 14.0, 0.5), 0.5, duration_s=14.0)
        assert mean_loads(load, PLACE, 10.0).tolist() == pytest.approx([0.0, 1.0])

    def test_polls_may_be_at_other_times_than_changes_of_the_rate(self):
        load = workload(np.arange(0.0, 60.0), 0.5, duration_s=120.0)
        place = scenario(service_time_s=0.5, poll_interval_s=40.0)
        assert mean_loads(load, place, 60.0).tolist() == pytest.approx([0.5, 0.25, 0.0])

    @given(st.integers(0, 99), st.sampled_from([10.0, 60.0]))
    def test_no_request_is_lost(self, seed, resolution_s):
        load = poisson(5.0, 300, 0.1, seed=seed)
        place = scenario(poll_interval_s=7.0)
        lengths = np.full(len(mean_loads(load, place, resolution_s)), 7.0)
        lengths[-1] = load.duration_s - 7.0 * (len(lengths) - 1)
        total = (mean_loads(load, place, resolution_s) * lengths).sum() / place.service_time_s
        assert total == pytest.approx(300.0)

    def test_a_peak_counts_from_one_poll_before_a_new_node_has_to_be_requested(self):
        """It loads for two slots: requested at the second poll, it serves in the fourth slot."""
        loads = np.array([0.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0])
        assert peak_loads(loads, PLACE).tolist() == [0.0, 5.0, 5.0, 5.0, 5.0, 0.0, 0.0]


class TestKnown:
    @given(st.integers(0, 99))
    def test_the_instants_within_a_slot_make_no_difference(self, seed):
        rng = np.random.default_rng(seed)
        slots = np.repeat(np.arange(12), rng.integers(0, 30, 12))
        first, other = (
            workload(np.sort(10.0 * (slots + rng.random(len(slots)))), 0.5, duration_s=120.0)
            for _ in range(2)
        )
        assert known_outlooks(first, PLACE, 10.0) == known_outlooks(other, PLACE, 10.0)

    def test_it_is_certain_of_the_present_slot_and_of_the_peak(self):
        load = workload(np.arange(40.0, 50.0, 0.1), 0.5, duration_s=70.0)
        outlooks = known_outlooks(load, PLACE, 10.0)
        busy, quiet = ((index_of_load(5.0), 1.0),), ((0, 1.0),)
        assert [each.now for each in outlooks] == [quiet] * 4 + [busy] + [quiet] * 2
        assert [each.peak for each in outlooks] == [quiet] + [busy] * 4 + [quiet] * 2


class TestUsual:
    ON_OFF = workload(
        np.concatenate([np.arange(40.0 * n, 40.0 * n + 10.0, 0.1) for n in range(600)]),
        0.5,
        duration_s=24_000.0,
    )

    def test_nothing_is_known_at_the_first_poll(self):
        assert usual_outlooks(self.ON_OFF, PLACE)[0] is None

    def test_it_knows_how_often_which_load_follows(self):
        """A slot in four is busy: after a busy one comes a quiet one, after a quiet one a busy one
        in one of three cases."""
        _, after_busy, after_quiet, *_ = usual_outlooks(self.ON_OFF, PLACE)
        busy = index_of_load(5.0)
        assert after_busy.now == ((0, 1.0),)
        assert dict(after_quiet.now) == pytest.approx({0: 2 / 3, busy: 1 / 3}, abs=0.01)

    @given(st.integers(0, 99))
    def test_it_knows_of_the_level_and_not_of_the_time(self, seed):
        outlooks = usual_outlooks(poisson(20.0, 40_000, 0.1, seed=seed), scenario())
        known = set(outlooks[1:])
        assert len(known) <= MAX_LEVELS
        assert len(known) <= len(outlooks) // 60 + 1
        for outlook in known:
            assert sum(chance for _, chance in outlook.now) == pytest.approx(1.0)
            assert max(load_of_index(index) for index, _ in outlook.peak) >= max(
                load_of_index(index) for index, _ in outlook.now
            )
