"""The search for a weight whose violations are just within the error budget."""

import math

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.backtest.oracle.weight_search import MAX_LOG_WEIGHT, WeightSearch


@given(st.floats(-5.0, 8.0), st.floats(0.3, 3.0))
def test_it_finds_where_the_violations_equal_the_budget(root, slope):
    search = WeightSearch()
    for _ in range(40):
        if search.ended:
            break
        search.add(slope * (root - search.log_weight))
    assert abs(search.log_weight - root) < 0.1


def test_it_goes_no_further_than_the_highest_weight():
    search = WeightSearch()
    for _ in range(10):
        search.add(1.0)
    assert search.log_weight == MAX_LOG_WEIGHT == math.log(1e4)
    assert not search.ended
