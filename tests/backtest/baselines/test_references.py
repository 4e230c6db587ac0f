"""Fixed allocations."""

import numpy as np
import pytest

from autoscaler.backtest.baselines.static import AT_MEAN, AT_PEAK, Static, for_load, true_loads
from tests.backtest.baselines.polls import Obedient


class TestStatic:
    def test_it_always_recommends_the_same(self):
        deployment = Obedient(Static(allocations=7), 3, load=lambda at: at)
        assert deployment.watch(86_400.0) == {0.0: 7}

    @pytest.mark.parametrize(
        ("load", "utilisation", "allocations"),
        [(9.0, AT_PEAK, 10), (9.1, AT_PEAK, 11), (4.9, AT_MEAN, 7), (0.0, AT_MEAN, 1)],
    )
    def test_it_is_sized_for_a_load(self, load, utilisation, allocations):
        assert for_load(load, utilisation) == allocations


class TestTrueLoads:
    def test_work_counts_where_it_arrives(self):
        elapsed_s, work_s = np.array([0.0, 9.9, 10.0, 25.0]), np.array([5.0, 5.0, 30.0, 20.0])
        assert true_loads(elapsed_s, work_s, 30.0, 10.0).tolist() == [1.0, 3.0, 2.0]

    def test_a_shorter_last_slot_has_its_own_length(self):
        assert true_loads(np.array([11.0]), np.array([8.0]), 14.0, 10.0).tolist() == [0.0, 2.0]

    def test_all_work_is_counted(self):
        rng = np.random.default_rng(5)
        elapsed_s, work_s = np.sort(rng.random(1000)) * 600.0, rng.random(1000)
        loads = true_loads(elapsed_s, work_s, 600.0, 10.0)
        assert loads.sum() * 10.0 == pytest.approx(work_s.sum())
