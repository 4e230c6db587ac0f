"""Reading recorded loads, and the errors of unreadable files."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from autoscaler.simulation.traces import Trace, TraceError, read_trace

RECORDED = Path(__file__).parents[2].parent / "shared" / "traces"

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


def test_a_compressed_trace_is_the_same(tmp_path):
    path = tmp_path / "made-up.csv.gz"
    path.write_bytes(gzip.compress(GOOD.encode()))
    assert list(read_trace(path).counts) == [4, 0, 16]


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


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("", 1, "ends before the first bin"),
        ("# name: x\n", 1, "ends before the first bin"),
        ("t_seconds,requests\n", 1, "ends before the first bin"),
        ("time,requests\n0,1\n", 1, "the header must be"),
        ("t_seconds,hits\n0,1\n", 1, "the header must be"),
        ("t_seconds,requests\n0,1\n10\n", 3, "1 cells for 2 columns"),
        ("t_seconds,requests\n0,1\n10,1.5\n", 3, "an integer of at least 0, not '1.5'"),
        ("t_seconds,requests\n0,-1\n", 2, "an integer of at least 0, not '-1'"),
        ("t_seconds,requests\n0,nan\n", 2, "an integer of at least 0, not 'nan'"),
        ("t_seconds,requests\n0,\n", 2, "an integer of at least 0, not ''"),
        (f"t_seconds,requests\n0,{'9' * 5000}\n", 2, "an integer of at least 0, not '999"),
        ("t_seconds,requests\nnan,1\n", 2, "t_seconds must be a number"),
        ("t_seconds,requests\nzero,1\n", 2, "t_seconds must be a number"),
        ("t_seconds,requests,mean_size\n0,1,big\n", 2, "mean_size must be a number"),
        ("t_seconds,requests,dispersion\n0,1,nan\n", 2, "dispersion must be a number"),
        ("t_seconds,requests\n0,1\n10,1\n30,1\n", 4, "must begin 10 s after"),
        ("t_seconds,requests\n10,1\n10,1\n", 3, "must increase"),
        ("t_seconds,requests\n0,1\n20,1\n10,1\n", 4, "must begin 20 s after"),
        ("t_seconds,requests\n20,1\n10,1\n", 3, "must increase"),
        ("# bin_seconds: 0\nt_seconds,requests\n0,1\n", 3, "a single bin needs"),
        ("t_seconds,requests\n0,1\n", 2, "a single bin needs"),
    ],
)
def test_an_error_is_reported_with_its_line(tmp_path, text, line, complaint):
    path = written(tmp_path, text)
    with pytest.raises(TraceError) as refusal:
        read_trace(path)
    assert str(refusal.value).startswith(f"{path}, line {line}: ")
    assert complaint in str(refusal.value)


def test_files_that_cannot_be_read_at_all(tmp_path):
    missing = tmp_path / "missing.csv"
    with pytest.raises(TraceError, match=r"missing\.csv: cannot be read: No such file"):
        read_trace(missing)
    fake = written(tmp_path, GOOD, "fake.csv.gz")
    with pytest.raises(TraceError, match=r"fake\.csv\.gz: cannot be read: Not a gzipped"):
        read_trace(fake)
    with pytest.raises(TraceError, match=rf"{tmp_path.name}: cannot be read: Is a directory"):
        read_trace(tmp_path)
    latin = tmp_path / "latin.csv"
    latin.write_bytes(b"# name: caf\xe9\n")
    with pytest.raises(TraceError, match=r"latin\.csv, line 0: .*UTF-8"):
        read_trace(latin)


def test_a_truncated_compressed_trace_is_reported_with_the_last_line(tmp_path):
    cut = tmp_path / "cut.csv.gz"
    rows = "".join(f"{10 * row},{row % 7}\n" for row in range(10_000))
    cut.write_bytes(gzip.compress(f"t_seconds,requests\n{rows}".encode())[:-500])
    with pytest.raises(
        TraceError, match=r"cut\.csv\.gz, line 9\d\d\d: the next line cannot be read"
    ):
        read_trace(cut)


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path):
    assert list(read_trace(written(tmp_path, "\ufeff" + GOOD)).counts) == [4, 0, 16]


@pytest.mark.parametrize(
    "name", ["azure_fn_levels.csv", "nasa_http_launch_1s.csv.gz", "servegen_m_large_idle.csv"]
)
def test_recorded_traces_match_their_metadata(name):
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"the recorded traces are not at {RECORDED}")
    trace = read_trace(path)
    assert trace.counts.sum() == int(trace.metadata["total_requests"])
    assert trace.bin_s == float(trace.metadata["bin_seconds"])
    for ours, theirs in (
        (trace.mean_per_s, "mean_rps"),
        (trace.p99_per_s, "p99_rps"),
        (trace.peak_per_s, "peak_rps"),
    ):
        assert ours == pytest.approx(float(trace.metadata[theirs]), abs=1e-4)
