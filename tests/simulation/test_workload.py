"""Arrival processes: rates, order, burstiness and traces."""

from itertools import pairwise, takewhile

import numpy as np
import pytest

from autoscaler.simulation import workload
from autoscaler.simulation.traces import Trace

START = 500.0


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def instants(arrivals, until_s: float) -> np.ndarray:
    """Instants of the arrivals within `until_s`, in seconds since the start; checks their order."""
    taken = [a.at - START for a in takewhile(lambda a: a.at < START + until_s, arrivals)]
    assert all(earlier <= later for earlier, later in pairwise(taken))
    assert not taken or taken[0] >= 0.0
    return np.array(taken)


def counts(arrivals, until_s: float, bin_s: float) -> np.ndarray:
    return np.bincount(
        (instants(arrivals, until_s) // bin_s).astype(int), minlength=int(until_s / bin_s)
    )


def test_a_steady_load_is_poisson():
    """10 000 seconds at 20/s: mean within 1%, variance of counts within 5% of it."""
    per_second = counts(workload.steady(20.0, start=START, rng=rng()), 10_000.0, 1.0)
    assert per_second.mean() == pytest.approx(20.0, rel=0.01)
    assert per_second.var() == pytest.approx(20.0, rel=0.05)


def test_no_rate_is_no_load():
    assert list(workload.steady(0.0, start=START, rng=rng())) == []


def test_a_day_has_its_mean_and_its_peak():
    """A period of 1000 s: the quarters' rates follow the sine, within 3%."""
    day = workload.diurnal(100.0, 180.0, start=START, rng=rng(), period_s=1000.0)
    morning, evening = counts(day, 1000.0, 500.0) / 500.0
    assert morning == pytest.approx(100.0 + 80.0 * 2 / np.pi, rel=0.03)
    assert evening == pytest.approx(100.0 - 80.0 * 2 / np.pi, rel=0.03)


def test_a_sine_cannot_be_negative():
    with pytest.raises(ValueError, match="twice"):
        workload.diurnal(10.0, 30.0, start=START, rng=rng())


def test_shapes():
    """Rates over 1000 s each, within 10%."""

    def rates(load, bin_s):
        return list(counts(load, 1000.0, bin_s) / bin_s)

    approx = pytest.approx
    ramp = workload.ramp(0.0, 100.0, 500.0, start=START, rng=rng())
    assert rates(ramp, 250.0) == approx([25.0, 75.0, 100.0, 100.0], rel=0.1)
    spike = workload.spike(10.0, 100.0, after_s=250.0, for_s=250.0, start=START, rng=rng())
    assert rates(spike, 250.0) == approx([10.0, 100.0, 10.0, 10.0], rel=0.1)
    on_off = workload.on_off(50.0, on_s=200.0, off_s=300.0, start=START, rng=rng())
    assert rates(on_off, 100.0) == approx([50, 50, 0, 0, 0] * 2, rel=0.1)


def test_a_load_whose_rate_stays_zero_ends():
    spike = workload.spike(0.0, 50.0, after_s=2.0, for_s=10.0, start=0.0, rng=rng())
    ramp = workload.ramp(100.0, 0.0, 12.0, start=0.0, rng=rng())
    for load in (spike, ramp):
        arrivals = list(load)
        assert 400 < len(arrivals) < 700
        assert arrivals[-1].at < 12.0


def test_a_rate_above_the_maximum_is_an_error():
    arrivals = workload.from_rate_function(lambda s: s, 50.0, start=START, rng=rng())
    with pytest.raises(ValueError, match=r"s after its start the rate is 50\.\d+/s"):
        list(takewhile(lambda a: a.at < START + 100.0, arrivals))


def test_the_same_seed_gives_the_same_load():
    def first_hundred(seed):
        return [next(load) for load in [workload.steady(5.0, start=START, rng=rng(seed))] * 100]

    assert first_hundred(1) == first_hundred(1) != first_hundred(2)


def trace(recorded, bin_s=10.0, **other) -> Trace:
    return Trace(name="made-up", bin_s=bin_s, counts=np.array(recorded), **other)


def played(source: Trace, **other) -> np.ndarray:
    arrivals = workload.from_trace(source, start=START, rng=rng(), **other)
    return counts(arrivals, source.duration_s, source.bin_s)


def test_short_bins_keep_their_counts():
    assert list(played(trace([3, 0, 500, 7]))) == [3, 0, 500, 7]


def test_a_thinned_trace_keeps_its_quiet_hours():
    """1000 bins of one request, thinned to a tenth: 100 within 4 standard deviations."""
    thinned = played(trace([1] * 1000), factor=0.1)
    assert set(thinned) == {0, 1}
    assert thinned.sum() == pytest.approx(100, abs=40)


def test_a_multiplied_trace_has_no_batches():
    """2000 bins at 10 x 10: Poisson, so the variance of the counts is their mean within 15%."""
    multiplied = played(trace([10] * 2000), factor=10.0)
    assert multiplied.mean() == pytest.approx(100.0, rel=0.02)
    assert multiplied.var() == pytest.approx(100.0, rel=0.15)


def test_long_bins_are_interpolated():
    """Between a bin of 600 and one of 6000 the rate climbs: no step at the edge."""
    source = trace([600, 6000, 6000], bin_s=600.0)
    halves = counts(workload.from_trace(source, start=START, rng=rng()), 1800.0, 300.0) / 300.0
    assert halves[0] == pytest.approx(1.0, rel=0.2)
    assert halves[1] == pytest.approx((1.0 + 5.5) / 2, rel=0.15)
    assert halves[2] == pytest.approx((5.5 + 10.0) / 2, rel=0.1)
    assert halves[4] == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize("dispersion", [0.25, 1.0, 6.0])
def test_dispersion_is_the_burstiness_inside_a_bin(dispersion):
    """60 000 requests, variance to mean of counts over a minute within 25%."""
    source = trace([6000] * 10, bin_s=600.0, dispersion=np.full(10, dispersion))
    arrivals = workload.from_trace(source, start=START, rng=rng())
    per_span = counts(arrivals, 6000.0, 4.0)
    assert per_span.mean() == pytest.approx(40.0, rel=0.05)
    assert per_span.var() / per_span.mean() == pytest.approx(dispersion, rel=0.25)


def test_very_bursty_bins_are_mostly_idle():
    source = trace([6000] * 10, bin_s=600.0, dispersion=np.full(10, 100.0))
    arrivals = workload.from_trace(source, start=START, rng=rng())
    per_second = counts(arrivals, 6000.0, 1.0)
    assert (per_second > 0).mean() == pytest.approx(0.1, abs=0.02)
    assert per_second.sum() == pytest.approx(60_000, rel=0.03)


def test_thinning_takes_burstiness_away():
    source = trace([60_000] * 10, bin_s=600.0, dispersion=np.full(10, 6.0))
    per_span = counts(workload.from_trace(source, start=START, rng=rng(), factor=0.1), 6000.0, 4.0)
    assert per_span.var() / per_span.mean() == pytest.approx(1.5, rel=0.2)


def test_sizes_are_relative_to_the_mean_of_all_requests():
    source = trace([1, 3, 0], mean_size=np.array([400.0, 200.0, np.nan]))
    sizes = [a.size for a in workload.from_trace(source, start=START, rng=rng())]
    assert sizes == pytest.approx([400 / 250, 0.8, 0.8, 0.8])


def test_instants_and_arrivals_are_the_same():
    source = trace([5, 0, 70], mean_size=np.array([1.0, np.nan, 2.0]))
    instants = np.concatenate(list(workload.arrival_instants(source, 0.5, rng())))
    arrivals = list(workload.from_trace(source, start=START, rng=rng(), factor=0.5))
    assert [arrival.at - START for arrival in arrivals] == pytest.approx(instants.tolist())


def test_a_day_of_seconds_is_in_order_from_bin_to_bin():
    source = trace([0, 1, 2, 5] * 1000, bin_s=1.0)
    instants = np.concatenate(list(workload.arrival_instants(source, 1.0, rng())))
    assert (np.diff(instants) >= 0.0).all()
    np.testing.assert_array_equal(np.bincount(source.bins_of(instants)), source.counts)


COUNTED = {
    "thinned": (trace([7, 30, 2] * 2000), 0.5),
    "as it is": (trace([7, 30, 2] * 2000), 1.0),
    "multiplied": (trace([7, 30, 2] * 2000), 3.0),
    "interpolated": (trace([600, 6000] * 50, bin_s=600.0), 1.0),
    "bursty": (trace([6000] * 100, bin_s=600.0, dispersion=np.full(100, 5.0)), 1.0),
    "bursty and thinned": (trace([6000] * 100, bin_s=600.0, dispersion=np.full(100, 5.0)), 0.5),
    "active for a tenth": (trace([6000] * 100, bin_s=600.0, dispersion=np.full(100, 100.0)), 1.0),
}


@pytest.mark.parametrize(("source", "factor"), COUNTED.values(), ids=COUNTED)
def test_counts_have_the_distribution_of_the_instants(source, factor):
    """1000 minutes: the mean within 2% or what chance allows, the variance within 15%."""
    edges = np.arange(0.0, source.duration_s + 1.0, 60.0)
    drawn = np.concatenate(list(workload.arrival_instants(source, factor, rng(1))))
    expected = np.histogram(drawn, edges)[0]
    counted = workload.arrival_counts(source, edges, factor, rng(2))
    assert counted.mean() == pytest.approx(expected.mean(), rel=0.02)
    assert counted.var() == pytest.approx(expected.var(), rel=0.15)


def test_counts_between_edges_that_cut_bins_lose_nothing():
    source = trace([3, 100, 41, 8], bin_s=90.0)
    edges = np.array([0.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0])
    assert workload.arrival_counts(source, edges, 1.0, rng()).sum() == source.counts.sum()
    assert workload.arrival_counts(source, edges[3:4], 1.0, rng()).tolist() == []
