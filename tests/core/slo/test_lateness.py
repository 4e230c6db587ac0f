"""The late requests of allocations that need not have run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.slo.lateness import Lateness

MODEL = Lateness(service_time_s=0.1, max_wait=2.0, variability=0.75, max_backlog_wait=100.0)

allocations = st.lists(st.integers(1, 20), min_size=1, max_size=4)


def test_a_light_load_is_in_time():
    assert MODEL.after(0.0, 100, 10.0, (5,)) == (pytest.approx(0.0, abs=0.01), 0.0)


def test_a_load_beyond_the_allocations_leaves_a_backlog():
    late, backlog = MODEL.after(0.0, 1000, 10.0, (5,))
    assert backlog == pytest.approx(500.0)
    assert late > 900.0


def test_the_requests_after_an_overload_are_late_until_it_is_drained():
    late, backlog = MODEL.after(300.0, 250, 10.0, (5,))
    assert backlog == pytest.approx(50.0)
    assert late == pytest.approx(250.0, rel=0.1)
    late, backlog = MODEL.after(backlog, 250, 10.0, (5,))
    assert backlog == 0.0
    assert 10.0 < late < 125.0


def test_callers_give_up_so_a_backlog_has_a_bound():
    _, backlog = MODEL.after(0.0, 100_000, 10.0, (5,))
    assert backlog == 500.0


def test_without_an_allocation_all_requests_are_late():
    assert MODEL.after(7.0, 40, 10.0, ()) == (40.0, 0.0)


@given(st.integers(0, 5000), st.floats(0.0, 1000.0), allocations)
def test_no_more_requests_are_late_than_come(requests, backlog, per_node):
    late, left = MODEL.after(backlog, requests, 10.0, per_node)
    assert 0.0 <= late <= requests
    assert left >= 0.0


@given(st.integers(0, 2000), st.floats(0.0, 500.0), st.integers(1, 19))
def test_more_allocations_on_a_node_are_never_later(requests, backlog, count):
    fewer, left = MODEL.after(backlog, requests, 10.0, (count,))
    more, still_left = MODEL.after(backlog, requests, 10.0, (count + 1,))
    assert more <= fewer + 0.02 * requests + 1e-9
    assert still_left <= left + MODEL.max_backlog_wait


@given(st.integers(0, 2000), st.floats(0.0, 500.0), st.integers(1, 19))
def test_a_backlog_is_never_better_than_none(requests, backlog, count):
    assert MODEL.after(backlog, requests, 10.0, (count,))[0] >= (
        MODEL.after(0.0, requests, 10.0, (count,))[0] - 1e-9
    )
