"""Requests drawn from a trace: counts, instants, work, and the load history."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.backtest.world.generators import generate
from autoscaler.backtest.world.scenario import BacktestScenario, Scale, find_scenario
from autoscaler.backtest.world.workload import START, hardest_s, workload_of
from autoscaler.simulation.traces import Trace, TraceError

HOUR_S, DAY_S = 3600.0, 86_400.0


def trace(counts, bin_s=60.0, **other) -> Trace:
    return Trace(name="made-up", bin_s=bin_s, counts=np.array(counts, dtype=np.int64), **other)


def scenario(**changes) -> BacktestScenario:
    """Ten times the trace, with a service time of 0.1 s."""
    standard = find_scenario("short-one-node")
    return replace(standard, **{"scale": Scale(factor=10.0)} | changes)


def test_the_busiest_hours_need_the_allocations_of_the_scenario():
    """3600 per minute at the 99th percentile: 35 per second are 5 allocations at 70%."""
    counts = [3600] * 30 + [360] * 1410
    workload = workload_of(trace(counts), find_scenario("short-one-node"), seed=1)
    busy = workload.at < START + 1800.0
    assert busy.sum() / 1800.0 == pytest.approx(35.0, rel=0.02)
    assert workload.work_s[busy].sum() / 1800.0 == pytest.approx(3.5, rel=0.03)


def test_the_99th_percentile_is_that_of_the_whole_trace():
    """An hour of 300 per minute is played; the others have three times as much."""
    counts = [900] * 600 + [300] * 60
    part = scenario(scale=Scale(allocations=5.0), start_h=10.0, hours=1.0)
    workload = workload_of(trace(counts), part, seed=1)
    assert len(workload.at) / HOUR_S == pytest.approx(35.0 / 3.0, rel=0.03)


def test_work_is_log_normal():
    """300 000 requests: the mean within 1%, the deviation within 2%, and so the logarithm."""
    workload = workload_of(trace([5000] * 6), scenario(service_time_s=2.0), seed=1)
    assert len(workload.work_s) == pytest.approx(300_000, rel=0.01)
    assert workload.work_s.mean() == pytest.approx(2.0, rel=0.01)
    assert workload.work_s.std() / workload.work_s.mean() == pytest.approx(0.7, rel=0.02)
    assert np.log(workload.work_s).var() == pytest.approx(np.log(1.49), rel=0.02)


def test_service_times_can_be_constant():
    workload = workload_of(trace([10]), scenario(service_cv=0.0), seed=1)
    assert workload.work_s == pytest.approx(0.1)


def test_sizes_multiply_the_work_if_the_scenario_uses_them():
    """30 000 requests per bin: means within 3%. The mean over all requests is unchanged."""
    sized = trace([3000] * 4, mean_size=np.array([100.0, 300.0, 300.0, np.nan]))
    workload = workload_of(sized, scenario(sizes=True), seed=1)
    of_bins = ((workload.at - START) // 60.0).astype(int)
    means = np.bincount(of_bins, weights=workload.work_s) / np.bincount(of_bins)
    expected = [0.1 * 100 * 3 / 700, 0.1 * 300 * 3 / 700, 0.1 * 300 * 3 / 700, 0.1]
    assert means == pytest.approx(expected, rel=0.03)
    assert workload_of(sized, scenario(), seed=1).work_s.mean() == pytest.approx(0.1, rel=0.02)


def test_routing_and_retries_are_uniform_and_independent():
    """60 000 requests: means within 1%, correlations within four standard errors."""
    workload = workload_of(trace([1000] * 6), scenario(), seed=1)
    columns = [workload.routing, workload.retry_draw, np.log(workload.work_s)]
    for column in columns[:2]:
        assert 0.0 <= column.min() < column.max() < 1.0
        assert column.mean() == pytest.approx(0.5, rel=0.01)
    correlations = np.corrcoef(columns)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 4.0 / np.sqrt(len(workload.at))


def columns(workload):
    return workload.at, workload.work_s, workload.routing, workload.retry_draw


def test_the_same_seed_gives_the_same_requests_and_another_different_ones():
    source = generate("diurnal")
    first, again, other = (workload_of(source, scenario(hours=1.0), seed) for seed in (1, 1, 2))
    for one, same in zip(columns(first), columns(again), strict=True):
        np.testing.assert_array_equal(one, same)
    assert len(first.at) != len(other.at)


def test_slower_requests_have_the_same_instants_and_routing():
    source = generate("steps")
    fast = workload_of(source, scenario(hours=1.0), seed=1)
    slow = workload_of(source, scenario(hours=1.0, service_time_s=0.3, nodes=3), seed=1)
    np.testing.assert_array_equal(fast.at, slow.at)
    np.testing.assert_array_equal(fast.routing, slow.routing)
    np.testing.assert_allclose(3.0 * fast.work_s, slow.work_s)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=200).filter(any),
    st.sampled_from([0.7, 1.0, 10.0, 60.0, 600.0]),
    st.floats(0.3, 30.0),
    st.integers(0, 2**40),
)
def test_arrays_are_contiguous_and_in_order(counts, bin_s, factor, seed):
    source = trace([*counts, 50], bin_s)  # at least one request is almost certain
    workload = workload_of(source, scenario(scale=Scale(factor=factor), hours=None), seed)
    assert len({len(column) for column in columns(workload)}) == 1
    for column in columns(workload):
        assert column.dtype == np.float64
        assert column.flags.c_contiguous
    assert (np.diff(workload.at) >= 0.0).all()
    assert workload.start <= workload.at[0]
    assert workload.at[-1] < workload.start + workload.duration_s
    assert workload.duration_s == pytest.approx(source.duration_s)


class TestWindow:
    # Three days by hour: steady, variable, almost steady.
    DAYS = trace([50] * 24 + [10, 90] * 12 + [50, 51] * 12, bin_s=HOUR_S)

    def test_it_is_the_most_variable_day(self):
        workload = workload_of(self.DAYS, scenario(), seed=1)
        assert workload.duration_s == DAY_S
        # The 24 hours of the first day precede it.
        assert len(workload.history.arrivals) == 24 * 60

    def test_no_window_at_a_whole_hour_is_more_variable(self):
        for seed in range(5):
            rng = np.random.default_rng(seed)
            source = trace(rng.poisson(rng.gamma(2.0, 20.0, 500)), bin_s=900.0)
            begin_s = hardest_s(source, 6 * HOUR_S)
            deviations = {
                hour * HOUR_S: source.between(hour * HOUR_S, (hour + 6) * HOUR_S).counts.std()
                for hour in range(125 - 6 + 1)
            }
            assert deviations[begin_s] == pytest.approx(max(deviations.values()))

    def test_a_window_need_not_fit_the_bins(self):
        source = trace([1, 9] * 100, bin_s=7000.0)
        assert 0.0 <= hardest_s(source, 5000.0) < source.duration_s
        workload = workload_of(source, scenario(hours=5000.0 / HOUR_S), seed=1)
        assert workload.duration_s == 7000.0

    def test_it_can_begin_where_the_scenario_says(self):
        workload = workload_of(self.DAYS, scenario(start_h=30.0, hours=6.0), seed=1)
        assert (workload.start, workload.duration_s) == (START, 6 * HOUR_S)
        assert len(workload.history.arrivals) == 30 * 60

    def test_it_can_be_the_whole_trace(self):
        assert workload_of(self.DAYS, scenario(hours=None), seed=1).duration_s == 3 * DAY_S
        assert (
            workload_of(self.DAYS, scenario(hours=None, start_h=70.0), seed=1).duration_s == 7200.0
        )

    def test_a_shorter_trace_is_played_from_beginning_to_end(self):
        workload = workload_of(trace([5] * 90), scenario(), seed=1)
        assert workload.duration_s == 5400.0
        assert workload.history is None

    def test_a_window_beyond_the_end_is_an_error(self):
        with pytest.raises(TraceError, match=r"made-up has no bin from 360000 s.*another window"):
            workload_of(self.DAYS, scenario(start_h=100.0), seed=1)


class TestHistory:
    def test_it_has_the_arrivals_of_each_minute_before_the_run(self):
        """At a factor of 10 counts are Poisson: 60 x 100 within 5%, 60 x 1000 within 2%."""
        source = trace([10] * 60 + [100] * 60 + [1, 999] * 30)
        history = workload_of(source, scenario(hours=1.0), seed=1).history
        assert history.step_s == 60.0
        assert history.arrivals.dtype == np.int64
        assert history.arrivals[:60].mean() == pytest.approx(100.0, rel=0.05)
        assert history.arrivals[60:].mean() == pytest.approx(1000.0, rel=0.02)
        assert len(history.arrivals) == 120

    def test_a_part_of_a_minute_at_its_beginning_is_left_out(self):
        source = trace([1] * 80 + [500] * 10, bin_s=45.0)
        history = workload_of(source, scenario(hours=450.0 / HOUR_S, start_h=1.0), seed=1).history
        assert len(history.arrivals) == 60
        source = trace([1] * 200, bin_s=50.0)
        # The first bin from 3590 s on begins at 3600 s; from 100 s on, there is one minute.
        history = workload_of(source, scenario(hours=1.0, start_h=100.0 / HOUR_S), seed=1).history
        assert len(history.arrivals) == 1

    def test_it_has_at_most_two_weeks(self):
        history = workload_of(
            trace([3] * 20 * 24, bin_s=HOUR_S), scenario(start_h=456.0), seed=1
        ).history
        assert len(history.arrivals) == 14 * 24 * 60

    def test_it_has_the_mean_service_time_of_its_requests(self):
        sizes = np.repeat([100.0, 500.0], 60)
        source = trace([30] * 60 + [10] * 60, mean_size=sizes)
        history = workload_of(source, scenario(sizes=True, start_h=1.0), seed=1).history
        assert history.service_time_s == pytest.approx(0.1 * 100.0 / 200.0)
        history = workload_of(source, scenario(start_h=1.0), seed=1).history
        assert history.service_time_s == pytest.approx(0.1)

    def test_an_idle_history_is_kept(self):
        history = workload_of(trace([0] * 60 + [9] * 60), scenario(start_h=1.0), seed=1).history
        assert history.arrivals.tolist() == [0] * 60
        assert history.service_time_s == pytest.approx(0.1)


class TestScale:
    def test_an_idle_trace_cannot_be_scaled_to_its_99th_percentile(self):
        with pytest.raises(TraceError, match="made-up is idle for 99% of the time"):
            workload_of(trace([0] * 999 + [5]), find_scenario("short-one-node"), seed=1)

    def test_too_many_requests_are_refused_before_they_are_drawn(self):
        with pytest.raises(TraceError, match=r"600 million requests.* maximum of 50 million"):
            workload_of(trace([10**6] * 60), scenario(), seed=1)

    def test_a_run_without_requests_is_refused(self):
        with pytest.raises(TraceError, match="no request in the window"):
            workload_of(trace([0] * 60 + [9]), scenario(hours=1.0, start_h=0.0), seed=1)
