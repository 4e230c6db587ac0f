"""Files of request counts, of every honest kind."""

import gzip

import pytest

from autoscaler.errors import InputError
from autoscaler.importing.csv_files import CsvImport, import_csv
from autoscaler.interval_files import read_intervals


def imported(tmp_path, *contents, **given):
    """The intervals of files with these contents, and the notes."""
    files = []
    for number, content in enumerate(contents):
        files.append(tmp_path / f"load-{number}.csv")
        files[-1].write_text(content)
    notes = []
    options = CsvImport(files=tuple(files), path=tmp_path / "load.jsonl", **given)
    import_csv(options, notes.append)
    header, *lines = read_intervals(options.path)
    return header, lines, notes


DATES = """time,requests
2026-01-31T12:00:00Z,5
2026-01-31T12:01:00Z,0
2026-01-31T12:03:00Z,7
"""
NOON = 1_769_860_800.0


def test_a_missing_minute_is_unknown_and_an_idle_one_is_not(tmp_path):
    header, lines, notes = imported(tmp_path, DATES)
    assert [(line.at - NOON, line.arrivals) for line in lines] == [(60, 5), (120, 0), (240, 7)]
    assert {line.deployment for line in lines} == {"load-0"}
    assert {line.interval_s for line in lines} == {60.0}
    assert header.source == "csv"
    assert "busy_s is unknown: the source does not have the service times" in header.unknown[0]
    assert len(notes) == 1
    assert notes[0].endswith("and unknown in the result")


def test_bins_that_no_replay_can_use_are_said_at_once(tmp_path):
    """The daily counts of a report are honest, but not when the requests of a day arrived."""
    header, lines, _ = imported(tmp_path, "date,requests\n2026-01-30,5\n2026-01-31,6\n")
    assert [line.interval_s for line in lines] == [86_400.0, 86_400.0]
    assert (
        "2 of 2 intervals are longer than an hour, and a replay leaves them out: import shorter "
        "ones"
    ) in header.unknown


def test_a_column_names_the_deployment_of_each_row(tmp_path):
    content = (
        "Deployment;Timestamp;Count;service_time_s;allocations\n"
        "elser;1769860800;10;0.1;2\n"
        "e5;1769860800;3;;1\n"
        "elser;1769860860;20;0.2;3\n"
        "e5;1769860860;4;0.05;\n"
    )
    _, lines, _ = imported(tmp_path, content, service_time_s=0.5)
    assert [
        (line.deployment, line.at - NOON, line.arrivals, line.busy_s, line.running)
        for line in lines
    ] == [
        ("elser", 60.0, 10, 1.0, 2),
        ("e5", 60.0, 3, 1.5, 1),
        ("elser", 120.0, 20, 4.0, 3),
        ("e5", 120.0, 4, 0.2, None),
    ]


def test_what_was_given_is_said(tmp_path):
    header, lines, _ = imported(tmp_path, DATES, deployment="e5", service_time_s=0.1, allocations=4)
    assert (lines[0].deployment, lines[0].busy_s, lines[0].requested) == ("e5", 0.5, 4)
    assert header.unknown[:2] == (
        "the service time was given as 0.1 s where a file has none",
        "the allocations were given as 4 where a file has none",
    )


def test_times_since_a_beginning_need_its_date(tmp_path):
    content = "t_seconds,requests\n0,1\n60,2\n"
    _, lines, _ = imported(tmp_path, content, starts_at=NOON)
    assert [line.at - NOON for line in lines] == [60.0, 120.0]
    with pytest.raises(InputError, match="set --starts-at to the date of that"):
        imported(tmp_path, content)


def test_a_deployment_is_in_one_file(tmp_path):
    content = "time,requests,deployment\n1769860800,1,e5\n1769860860,1,e5\n"
    with pytest.raises(InputError, match=r"load-1.csv: e5 is also in .*load-0.csv"):
        imported(tmp_path, content, content)


def test_an_error_names_the_file_and_its_line(tmp_path):
    with pytest.raises(InputError, match=r"load-0.csv, line 3: requests must be a number"):
        imported(tmp_path, "time,requests\n1769860800,1\n1769860860,many\n")


def test_a_compressed_file_is_read(tmp_path):
    file = tmp_path / "day.csv.gz"
    file.write_bytes(gzip.compress(DATES.encode()))
    found = import_csv(CsvImport(files=(file,), path=tmp_path / "load.jsonl.zst"), print)
    assert (found.intervals, found.deployments, found.arrivals) == (3, 1, 12)
