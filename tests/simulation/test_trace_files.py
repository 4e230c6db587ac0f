"""Reading recorded loads in common formats, and the errors of other files."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation.trace_files import MAX_BINS, Gaps, read_trace
from autoscaler.simulation.traces import Trace, TraceError
from tests.simulation.test_traces import GOOD, written

RECORDED = Path(__file__).parents[2].parent / "shared" / "traces"


def read(folder: Path, text: str, **options: Gaps) -> Trace:
    path = folder / "made-up.csv"
    path.write_bytes(text.encode())
    return read_trace(path, **options)


def notes(trace: Trace) -> list[str]:
    return [re.sub(r"^\S+made-up\.csv: ", "", note) for note in trace.notes]


THREE = (60.0, [4, 0, 16])

FORMS = {
    "as documented": "t_seconds,requests\n0,4\n60,0\n120,16\n",
    "another order": "requests,host,t_seconds\n4,a,0\n0,a,60\n16,a,120\n",
    "other names": "Timestamp,Count\n0,4\n60,0\n120,16\n",
    "spaces": " time , requests \n 0 , 4 \n\n 60 , 0\n120,16\n\n",
    "byte order mark": "\ufefftime,requests\n0,4\n60,0\n120,16",
    "line ends of Windows": "time,requests\r\n0,4\r\n60,0\r\n120,16\r\n",
    "semicolons": "time;requests\n0;4\n60;0\n120;16\n",
    "tabs": "time\trequests\n0\t4\n60\t0\n120\t16\n",
    "of a spreadsheet": "sep=;\r\ntime;requests\r\n0;4\r\n60;0\r\n120;16\r\n",
    "quotes": '"time","requests","note"\n"0","4","a, b"\n"60","0",""\n"120","16",""\n',
    "epoch": "time,requests\n1760000040,4\n1760000100,0\n1760000160,16\n",
    "epoch in ms": "time,requests\n1760000040000,4\n1760000100000,0\n1760000160000,16\n",
    "epoch in ns": "time,requests\n1760000040000000000,4\n1760000100000000000,0\n"
    "1760000160000000000,16\n",
    "dates": "@timestamp,count\n2026-03-29T00:59:00.000Z,4\n2026-03-29T01:00:00.000Z,0\n"
    "2026-03-29T01:01:00.000Z,16\n",
    "offsets": "time,requests\n2026-03-29 01:59:00+01:00,4\n2026-03-29 03:00:00+02:00,0\n"
    "2026-03-29 01:01:00 UTC,16\n",
    "without offset": "date,requests\n2026-03-29 01:59,4\n2026-03-29 02:00,0\n"
    "2026-03-29 02:01,16\n",
    "floats": "time,requests\n0.0,4.0\n6e1,0.000\n120.,16.\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_is_the_same_trace(tmp_path, text):
    trace = read(tmp_path, text)
    assert (trace.bin_s, trace.counts.tolist()) == THREE
    assert trace.counts.dtype == np.int64
    assert trace.notes == ()


def test_without_a_header_the_first_column_is_the_time(tmp_path):
    trace = read(tmp_path, "0;4\n60;0\n120;16\n")
    assert (trace.bin_s, trace.counts.tolist()) == THREE
    assert notes(trace) == ["there is no header; the columns are taken for times and counts"]


def test_rows_in_another_order_are_sorted(tmp_path):
    trace = read(tmp_path, "time,requests\n120,16\n60,0\n0,4\n")
    assert (trace.bin_s, trace.counts.tolist()) == THREE
    assert notes(trace) == ["the rows are not in the order of their times, and were sorted"]


GAP = "time,requests,mean_size\n0,4,2\n60,,3\n120,5,4\n300,6,5\n360,7,6\n"


def test_missing_bins_are_idle(tmp_path):
    trace = read(tmp_path, GAP)
    assert (trace.bin_s, trace.counts.tolist()) == (60.0, [4, 0, 5, 0, 0, 6, 7])
    np.testing.assert_equal(trace.mean_size, [2, 3, 4, np.nan, np.nan, 5, 6])
    assert notes(trace) == [
        "3 bins are missing, the first at or before line 3, and counted as idle"
    ]


def test_missing_bins_are_refused_on_request(tmp_path):
    with pytest.raises(TraceError, match=r"made-up\.csv, line 3: 3 bins are missing"):
        read(tmp_path, GAP, gaps=Gaps.REFUSE)
    read(tmp_path, FORMS["tabs"], gaps=Gaps.REFUSE)


def test_fractional_counts_are_rounded(tmp_path):
    trace = read(tmp_path, "time,requests\n0,10\n60,10.6\n120,9.4\n180,0.5\n")
    assert trace.counts.tolist() == [10, 11, 9, 1]
    assert notes(trace) == [
        "3 counts are fractional, the first in line 3, and rounded so that the sum stays"
    ]


def test_small_fractions_do_not_become_an_idle_trace(tmp_path):
    rows = "".join(f"{60 * row},0.1\n" for row in range(100))
    assert read(tmp_path, f"time,requests\n{rows}").counts.sum() == 10


@given(st.lists(st.floats(0.0, 1e6), min_size=2, max_size=30))
def test_rounding_keeps_the_sum(tmp_path_factory, counts):
    rows = "".join(f"{60 * row},{count:f}\n" for row, count in enumerate(counts))
    trace = read(tmp_path_factory.getbasetemp(), f"time,requests\n{rows}")
    assert (trace.counts >= 0).all()
    assert abs(np.cumsum(trace.counts) - np.cumsum(counts)).max() < 0.51


def test_a_compressed_trace_is_the_same(tmp_path):
    path = tmp_path / "made-up.csv.gz"
    path.write_bytes(gzip.compress(GOOD.encode()))
    assert list(read_trace(path).counts) == [4, 0, 16]


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("", 1, "ends before the first bin"),
        ("# name: x\n", 1, "ends before the first bin"),
        ("t_seconds,requests\n", 1, "ends before the first bin"),
        ("\n\n", 2, "ends before the first bin"),
        ("when,requests\n0,1\n", 1, "the header must be"),
        ("t_seconds,hits\n0,1\n", 1, "the header must be"),
        ("0,1,2\n1,2,3\n", 1, "the header must be"),
        ("t_seconds,requests\n0,1\n10\n", 3, "1 cells for 2 columns"),
        ("t_seconds,requests\n0,-1\n", 2, "a number, at least 0, not '-1'"),
        ("t_seconds,requests\n0,many\n", 2, "a number, at least 0, not 'many'"),
        ("t_seconds,requests\n0,inf\n", 2, "a number, at least 0, not 'inf'"),
        ("t_seconds,requests\n0,1e999\n", 2, "below 2^53, not '1e999'"),
        (f"t_seconds,requests\n0,{'9' * 5000}\n", 2, "below 2^53, not '999"),
        ('t_seconds,requests\n0,"1,234"\n', 2, "without separators of thousands, not '1,234'"),
        ("t_seconds;requests\n0;1.234.567\n", 2, "without separators of thousands"),
        ("t_seconds;requests\n0;1 234\n", 2, "without separators of thousands"),
        ("t_seconds;requests\n0;1,5\n", 2, "with a decimal point, not '1,5'"),
        ("t_seconds,requests\n0,1,234\n", 2, "3 cells for 2 columns"),
        ("t_seconds,requests\nnan,1\n", 2, "t_seconds must be a number"),
        ("t_seconds,requests\nzero,1\n", 2, "t_seconds must be a number"),
        ("t_seconds,requests,mean_size\n0,1,big\n", 2, "mean_size must be a number"),
        ("t_seconds,requests\n-10,1\n", 2, "t_seconds must be a number of at least 0"),
        ("time,requests\n31/01/2026 12:00,1\n", 2, "such as 2026-01-31T12:00:00Z"),
        ("time,requests\n2026-01-31,1\n5,1\n", 3, "written like those before it, not '5'"),
        ("t_seconds,requests\n0,1\n10,1\n25,1\n35,1\n", 4, "or a multiple of it, not 15 s"),
        ("t_seconds,requests\n10,1\n20,1\n10,1\n", 4, "the time is that of line 2"),
        ("t_seconds,requests\n0,1\n1,1\n2,1\n99999999,1\n", 5, f"more than {MAX_BINS:,} bins"),
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
    latin.write_bytes(GOOD.encode() + b"# name: caf\xe9\n")
    last = GOOD.count("\n") + 1
    with pytest.raises(TraceError, match=rf"latin\.csv, line {last}: it is not UTF-8; save"):
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


CELLS = st.sampled_from(
    (
        *("t_seconds", "requests", "time", "count", "0", "1", "1.5", "-1", "60", "1e400", "1e17"),
        *("2026-01-31", "0001-01-01T00:00-23:59", "9999-12-31T23:59:59-23:59", '"', '"a,b"', ""),
        *("1760000000000", "\x00", "#", "sep=;", "null", "1,000", "\u00a0", "\x0b", "\u0661"),
    )
)


@given(st.lists(st.lists(CELLS, max_size=3), max_size=6), st.sampled_from(",;\t|"))
def test_any_file_is_a_trace_or_an_error(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    header = [["time", "requests"]] * (len(rows) % 2)
    path.write_text("\n".join(delimiter.join(row) for row in header + rows), encoding="utf-8")
    try:
        trace = read_trace(path)
    except TraceError as error:
        message = str(error)
    else:
        message = f"{path}"
        assert (trace.counts >= 0).all()
        assert trace.bin_s > 0.0
    assert message.startswith(str(path))
