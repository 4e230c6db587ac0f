"""Recorded loads."""

from pathlib import Path

import numpy as np
import pytest

from autoscaler.simulation.trace_files import read_trace
from autoscaler.simulation.traces import Trace

GOOD = """\
# name: made-up
# bin_seconds: 10
# note: two colons: are fine
t_seconds,requests,mean_size,other
0,4,100.5,x
10,0,,
20,16,50,y
"""


def written(folder: Path, text: str, name: str = "made-up.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_trace_is_read_with_its_metadata(tmp_path):
    trace = read_trace(written(tmp_path, GOOD))
    assert (trace.name, trace.bin_s, trace.duration_s) == ("made-up", 10.0, 30.0)
    assert list(trace.counts) == [4, 0, 16]
    np.testing.assert_equal(trace.mean_size, [100.5, np.nan, 50.0])
    assert trace.dispersion is None
    assert (trace.peak_per_s, trace.p99_per_s) == (1.6, 1.6)
    assert trace.mean_per_s == pytest.approx(2 / 3)
    assert trace.metadata["note"] == "two colons: are fine"


def test_a_window_is_a_trace(tmp_path):
    window = read_trace(written(tmp_path, GOOD)).between(10.0, 30.0)
    assert (list(window.counts), window.mean_size[1]) == ([0, 16], 50.0)
    with pytest.raises(ValueError, match="no bin from 40 s to 50 s"):
        window.between(40.0, 50.0)


def test_rounding_does_not_lose_a_bin():
    """Multiples of 0.1 are not exact in floating point."""
    tenths = Trace(name="made-up", bin_s=0.1, counts=np.arange(100))
    windows = [tenths.between(first * 0.1, (first + 1) * 0.1) for first in range(100)]
    assert [window.counts.tolist() for window in windows] == [[first] for first in range(100)]


def test_instants_lie_in_bins_and_at_the_end_in_the_last():
    trace = Trace(name="made-up", bin_s=10.0, counts=np.arange(3))
    assert trace.bins_of(np.array([0.0, 9.9, 10.0, 30.0])).tolist() == [0, 0, 1, 2]
    assert [trace.first_bin_from(at) for at in (-1.0, 0.0, 0.1, 10.0, 99.0)] == [0, 0, 1, 1, 3]


def test_a_factor_scales_the_99th_percentile_to_the_given_allocations(tmp_path):
    trace = read_trace(written(tmp_path, GOOD))
    factor = trace.factor_for(allocations=8, service_time_s=0.1, utilisation=0.5)
    assert factor * trace.p99_per_s * 0.1 == pytest.approx(8 * 0.5)
    with pytest.raises(ValueError, match="idle"):
        trace.between(10.0, 20.0).factor_for(allocations=8, service_time_s=0.1)
