"""Result files: read back unchanged, and written atomically."""

import json
import math
from typing import ClassVar

import pytest

from autoscaler.backtest.results.file import (
    Results,
    ResultsError,
    ensure_writable,
    read,
    to_json,
    write,
)
from autoscaler.errors import UserError
from tests.backtest.synthetic import row


def results(**given):
    figures = {
        "program": "autoscaler 1.0",
        "command": "autoscaler backtest trace.csv",
        "made_at": "2026-01-01T00:00:00Z",
        "scenarios": {"small": {"service_time_s": 0.12, "nodes": 3, "sizes": True, "hours": None}},
        "rows": (row(), row(seed=2, wait_p99_s=None)),
    }
    return Results(**{**figures, **given})


class TestJson:
    def test_a_written_file_is_read_back(self, tmp_path):
        path = tmp_path / "results.json"
        write(path, to_json(results()))
        assert read(path) == results()

    @pytest.mark.parametrize("rows", [(), (row(),)])
    def test_any_count_of_rows_is_valid_json(self, rows):
        assert len(json.loads(to_json(results(rows=rows)))["rows"]) == len(rows)

    def test_a_row_is_a_line(self):
        lines = to_json(results()).splitlines()
        assert [json.loads(line.rstrip(","))["seed"] for line in lines[1:-1]] == [1, 2]

    @pytest.mark.parametrize("figure", [math.nan, math.inf])
    def test_figures_that_json_does_not_support_are_refused(self, figure):
        with pytest.raises(ValueError, match="not JSON compliant"):
            to_json(results(rows=(row(wait_p99_s=figure),)))

    def test_any_name_is_read_back(self, tmp_path):
        path = tmp_path / "results.json"
        named = results(rows=(row(trace="</script> \u2028 Übung \udcff \x00"),))
        write(path, to_json(named))
        assert read(path) == named


class TestReading:
    def test_an_absent_file_is_named(self, tmp_path):
        with pytest.raises(ResultsError, match=r"absent\.json: no such file"):
            read(tmp_path / "absent.json")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "is not JSON"),
            ('{"rows": [NaN]}', "NaN is not valid in JSON"),
            ("\xff", "is not JSON"),
            ("[" * 100_000, "is not JSON"),
            ("[]", "is not a result file"),
            ('{"version": 1, "rows": []}', "is not a result file"),
            ('{"version": 1, "rows": [1], "scenarios": {"a": 1}}', "is not a result file"),
            ('{"version": 2, "rows": []}', "is not a result file"),
            ('{"version": 3}', "format 3, but this version reads formats 1 to 2"),
        ],
    )
    def test_other_content_is_refused_in_one_sentence(self, tmp_path, text, message):
        path = tmp_path / "results.json"
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ResultsError, match=message) as error:
            read(path)
        assert "\n" not in str(error.value)
        assert "results.json" in str(error.value)


class TestFormat1:
    ROW: ClassVar = {
        "trace": "day",
        "scenario": "small",
        "policy": "native-9",
        "setting": "",
        "default": True,
        "seed": 1,
        "requests": 1000,
        "misses": 10,
        "miss_fraction": 0.01,
        "rejected": 2,
        "timed_out": 1,
        "retries": 1,
        "violation_minutes": 3,
        "wait_p50_s": 0.0,
        "wait_p95_s": 0.1,
        "wait_p99_s": None,
        "allocation_hours": 20.0,
        "running_allocation_hours": 19.5,
        "changes": 4,
        "reversals": 1,
        "refused_updates": 0,
        "longest_backlog_s": 20.0,
        "seconds": 86400.0,
        "took_s": 0.5,
    }
    FACTS: ClassVar = {"slo_share": 0.99, "minimum": 1, "maximum": 8, "poll_s": 10.0}

    def test_is_read_with_the_current_names(self, tmp_path):
        file = tmp_path / "format-1.json"
        header = {"program": "autoscaler 0.1.0", "command": "", "made_at": "", "version": 1}
        file.write_text(
            json.dumps({**header, "scenarios": {"small": self.FACTS}, "rows": [self.ROW]})
        )
        found = read(file)
        assert found.version == 2
        assert found.scenarios["small"] == {
            "slo_target": 0.99,
            "min_allocations": 1,
            "max_allocations": 8,
            "poll_interval_s": 10.0,
        }
        (only,) = found.rows
        assert (only.policy, only.violations, only.violation_fraction) == ("adaptive-9", 10, 0.01)
        assert (only.simulated_s, only.elapsed_s, only.max_backlog_s) == (86400.0, 0.5, 20.0)


class TestWriting:
    def test_a_writable_path_is_left_unchanged(self, tmp_path):
        ensure_writable(tmp_path / "new.json")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("path", ["absent/new.json", "file.txt/new.json", "n" * 300])
    def test_a_path_that_cannot_be_written_is_found_in_advance(self, tmp_path, path):
        (tmp_path / "file.txt").write_text("no folder")
        with pytest.raises(UserError, match="cannot write"):
            ensure_writable(tmp_path / path)
        with pytest.raises(UserError, match="cannot write"):
            write(tmp_path / path, "text")

    def test_a_folder_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="it is not a file"):
            ensure_writable(tmp_path)

    def test_an_existing_file_is_replaced_as_a_whole(self, tmp_path):
        path = tmp_path / "results.json"
        write(path, "before, and longer")
        write(path, "after")
        assert path.read_text() == "after"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_symbolic_link_is_kept(self, tmp_path):
        (tmp_path / "real.json").write_text("before")
        (tmp_path / "link.json").symlink_to("real.json")
        write(tmp_path / "link.json", "after")
        assert (tmp_path / "link.json").is_symlink()
        assert (tmp_path / "real.json").read_text() == "after"
