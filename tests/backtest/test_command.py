"""The command: its output, the files that it writes, and its errors."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from autoscaler.backtest.options import BacktestOptions
from autoscaler.backtest.policy_specs import DEFAULT_POLICIES, POLICY_SPECS
from autoscaler.backtest.results.file import read
from autoscaler.backtest.tasks import TASKS_A_WORKER, entries_of, tasks_of
from autoscaler.backtest.world.days import Days, played_days
from autoscaler.backtest.world.scenario import STANDARD, find_scenario
from autoscaler.backtest.world.traces import find_traces
from autoscaler.cli import main

ROOT = Path(__file__).parents[2]

SCENARIO = """\
[model]
service_time = "250ms"
load = "20s"

[nodes]
processors = 8

[slo]
wait = "500ms"

[trace]
factor = 1
window = "10m"
"""

COLUMNS = {
    "trace", "policy", "setting", "seed", "requests", "violations", "violation_fraction",
    "rejected", "timed_out", "violation_minutes", "wait_p50_s", "wait_p95_s", "wait_p99_s",
    "allocation_hours", "changes", "reversals", "simulated_s",
}  # fmt: skip


def trace_text(minutes=10, per_bin=60):
    """Bins of ten seconds with an increasing rate."""
    counts = np.linspace(0.2 * per_bin, 2.0 * per_bin, 6 * minutes).astype(int)
    rows = [f"{10 * index},{count}" for index, count in enumerate(counts)]
    return "\n".join(["# source: made up", "t_seconds,requests", *rows, ""])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A trace and a scenario."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "load.csv").write_text(trace_text())
    (tmp_path / "small.toml").write_text(SCENARIO)
    return tmp_path


def invoke(*arguments):
    """Run the command in this process, with one worker, by default on the small scenario."""
    arguments = ["backtest", "--workers", "1", *(str(each) for each in arguments)]
    if "--scenario" not in arguments:
        arguments += ["--scenario", "small.toml"]
    return CliRunner().invoke(main, arguments)


def done(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def rows_of(*arguments):
    """The rows that it writes."""
    done(*arguments, "--json", "rows.json")
    return json.loads(Path("rows.json").read_text())["rows"]


class TestResults:
    def test_the_table_is_on_stdout_and_progress_on_stderr(self):
        shown = done("load.csv", "--policy", "utilisation,static-peak")
        assert "small: SLO target 99%" in shown.stdout
        for word in ("load", "utilisation", "static-peak", "attainment, %", "alloc. hours"):
            assert word in shown.stdout
        assert "\x1b" not in shown.stdout
        assert shown.stderr == "back-test: 1 of 2\nback-test: 2 of 2\n"

    def test_the_factor_of_the_load_is_printed(self):
        shown = done("load.csv", "--policy", "static-mean", "--scenario", "short-one-node").stdout
        # 5 allocations × 70% / 100 ms, for a 99th percentile of 12 requests/s
        assert shown.startswith(
            "short-one-node: the load of load was multiplied by 2.917; "
            "its 99th percentile is 35 requests/s\n"
        )

    def test_settings_for_a_scaled_load_are_said_to_be_for_that(self):
        arguments = ["load.csv", "--policy", "utilisation,slo"]
        said = "The load was scaled, and the settings suit the scaled load."
        assert said in done(*arguments, "--scenario", "short-one-node").stdout
        assert said not in done(*arguments).stdout

    def test_a_load_that_is_not_scaled(self):
        shown = done("load.csv", "--policy", "static-mean").stdout
        assert shown.startswith("small: the load of load was not scaled; its 99th percentile is 12")

    def test_what_is_not_taken_as_it_is_written_is_a_warning(self, folder):
        minutes = range(50, 0, -2)
        rows = [f"{minute + 0.5};2026-01-31T10:{minute:02}:00Z" for minute in minutes]
        text = "\n".join(["count;@timestamp", *rows, "3;2026-01-31T10:58:00Z"])
        (folder / "odd.csv").write_text(text)
        shown = done("odd.csv", "--policy", "static-mean")
        assert shown.stderr.splitlines()[:3] == [
            (
                "autoscaler: warning: odd.csv: the rows are not in the order of their times, "
                "and were sorted"
            ),
            (
                "autoscaler: warning: odd.csv: 3 bins are missing, the first at or before line 27, "
                "and counted as idle"
            ),
            (
                "autoscaler: warning: odd.csv: 25 counts are fractional, the first in line 26, and "
                "rounded so that the sum stays"
            ),
        ]

    def test_missing_bins_are_refused_on_request(self, folder):
        (folder / "gap.csv").write_text("t_seconds,requests\n0,1\n10,1\n30,1\n")
        result = invoke("gap.csv", "--policy", "static-mean", "--gaps", "refuse")
        assert result.exit_code == 78
        assert "gap.csv, line 4: 1 bin is missing" in result.stderr

    def test_a_row_of_json_for_every_run(self, folder):
        done("load.csv", "--policy", "hpa,adaptive-9", "--seeds", 2, "--json", "rows.json")
        rows = json.loads((folder / "rows.json").read_text())["rows"]
        assert [(row["policy"], row["seed"]) for row in rows] == [
            ("hpa", 1), ("adaptive-9", 1), ("hpa", 2), ("adaptive-9", 2),
        ]  # fmt: skip
        for row in rows:
            assert set(row) >= COLUMNS
            assert (row["trace"], row["scenario"], row["simulated_s"]) == ("load", "small", 600.0)
            assert row["requests"] > 3000
            assert 600 / 3600 <= row["allocation_hours"] <= 8 * 600 / 3600
        # The requests depend on the seed and not on the policy.
        assert rows[0]["requests"] == rows[1]["requests"]
        assert rows[0]["wait_p99_s"] != rows[2]["wait_p99_s"]

    def test_json_contains_everything_to_repeat_the_run(self, folder):
        done("load.csv", "--policy", "hpa", "--json", "rows.json")
        results = read(folder / "rows.json")
        assert results.program.startswith("autoscaler ")
        assert results.command.startswith("autoscaler")
        assert results.missing == 0
        assert results.scenarios == {"small": find_scenario("small.toml").facts()}

    def test_without_names_the_default_policies_are_run(self):
        rows = rows_of("load.csv")
        assert [row["policy"] for row in rows] == list(DEFAULT_POLICIES)
        assert all(row["default"] for row in rows)

    def test_several_scenarios_may_be_named(self, folder):
        arguments = ["--policy", "static-mean", "--scenario", "small.toml", "--json", "rows.json"]
        done("load.csv", *arguments, "--scenario", "short-one-node", "--scenario", "small.toml")
        rows = read(folder / "rows.json").rows
        assert [row.scenario for row in rows] == ["small", "short-one-node"]

    def test_two_scenarios_of_one_name_are_refused(self, folder):
        (folder / "other").mkdir()
        (folder / "other" / "small.toml").write_text((folder / "small.toml").read_text())
        result = invoke("load.csv", "--scenario", "small.toml", "--scenario", "other/small.toml")
        assert result.exit_code == 2
        assert "two scenarios have the name small" in result.stderr

    def test_without_a_scenario_the_standard_ones_are_run(self, folder):
        arguments = ["backtest", "load.csv", "--policy", "static-mean", "--json", "rows.json"]
        result = CliRunner().invoke(main, [*arguments, "--workers", "1"])
        assert result.exit_code == 0, result.stderr
        assert tuple(row.scenario for row in read(folder / "rows.json").rows) == STANDARD
        assert "All traces together" in result.stdout

    def test_files_directories_and_generators_are_traces(self, folder):
        (folder / "traces").mkdir()
        for name in ("a.csv", "b.csv"):
            (folder / "traces" / name).write_text(trace_text())
        rows = rows_of("steps", "traces", "load.csv", "--policy", "static-mean")
        assert [row["trace"] for row in rows] == ["steps", "a", "b", "load"]

    def test_a_run_repeats_exactly(self):
        one, other = (rows_of("load.csv", "--policy", "hpa,keda", "--seeds", 2) for _ in range(2))
        assert one == other

    def test_the_time_of_each_run_is_beside_the_rows(self, folder):
        done("load.csv", "--policy", "hpa,keda", "--json", "rows.json")
        written = json.loads((folder / "rows.json").read_text())
        assert [row.elapsed_s for row in read(folder / "rows.json").rows] == written["elapsed_s"]
        assert all(took > 0.0 for took in written["elapsed_s"])

    def test_finished_runs_are_not_run_again(self):
        arguments = ["load.csv", "--json", "rows.json", "--resume", "finished.runs"]
        done(*arguments, "--policy", "hpa")
        first = read(Path("rows.json")).rows
        shown = done(*arguments, "--policy", "keda,hpa")
        assert shown.stderr.splitlines()[0] == "1 of 2 runs are finished already"
        assert read(Path("rows.json")).rows[1:] == first

    def test_the_file_of_finished_runs_is_no_trace(self, folder):
        result = invoke("load.csv", "--policy", "hpa", "--resume", "load.csv")
        assert (result.exit_code, (folder / "load.csv").read_text()) == (2, trace_text())

    def test_a_report_is_a_page_with_the_runs(self, folder):
        done("load.csv", "--policy", "hpa,oracle", "--no-sweep", "--report", "page.html")
        page = (folder / "page.html").read_text()
        assert page.lower().startswith("<!doctype html>")
        for word in ("hpa", "oracle", "small", "load"):
            assert word in page

    def test_only_requested_files_are_written(self, folder):
        before = set(folder.iterdir())
        done("load.csv", "--policy", "hpa", "--json", "new.json")
        assert set(folder.iterdir()) == before | {folder / "new.json"}


class TestSweeps:
    def test_settings_are_swept_with_the_first_seed_only(self):
        rows = rows_of("load.csv", "--policy", "hpa,adaptive-9", "--sweep", "--seeds", 2)
        hpa = [(row["seed"], row["setting"]) for row in rows if row["policy"] == "hpa"]
        sweep = [f"target={value:g}" for value in POLICY_SPECS["hpa"].sweep]
        assert sorted(hpa) == sorted([(1, each) for each in sweep] + [(2, "target=0.7")])
        assert [row["setting"] for row in rows if row["default"] and row["policy"] == "hpa"] == [
            "target=0.7"
        ] * 2
        assert len([row for row in rows if row["policy"] == "adaptive-9"]) == 2

    def test_the_policies_of_this_program_are_swept_with_every_seed(self):
        rows = rows_of("load.csv", "--policy", "utilisation", "--sweep", "--seeds", 2)
        found = [(row["seed"], row["setting"]) for row in rows]
        sweep = [f"target={value:g}" for value in POLICY_SPECS["utilisation"].sweep]
        assert sorted(found) == sorted((seed, each) for seed in (1, 2) for each in sweep)

    @pytest.mark.parametrize(
        ("arguments", "runs"),
        [
            ([], 1),
            (["--sweep"], 5),
            (["--report", "p.html"], 5),
            (["--report", "p.html", "--no-sweep"], 1),
        ],
    )
    def test_a_report_implies_a_sweep(self, arguments, runs):
        assert len(rows_of("load.csv", "--policy", "static-mean", *arguments)) == runs


LONG_SCENARIO = SCENARIO.replace('window = "10m"', 'window = "24h"').replace("= 1\n", "= 0.01\n")


class TestDays:
    """Traces of several days."""

    @pytest.fixture(autouse=True)
    def long_traces(self, folder):
        """Bins of an hour, the second day without a request; a trace of three days, and one of two
        and a half."""
        counts = [0 if 24 <= hour < 48 else 7200 + 500 * (hour % 7) for hour in range(72)]
        rows = [f"{3600 * hour},{count}" for hour, count in enumerate(counts)]
        (folder / "days.csv").write_text("\n".join(["t_seconds,requests", *rows, ""]))
        (folder / "half.csv").write_text("\n".join(["t_seconds,requests", *rows[:60], ""]))
        (folder / "long.toml").write_text(LONG_SCENARIO)

    def rows(self, *arguments):
        return rows_of("days.csv", "--policy", "utilisation", "--scenario", "long.toml", *arguments)

    def test_the_hardest_day_is_the_default(self):
        (row,) = self.rows()
        assert row["trace"] == "days"
        assert "day" not in row

    @pytest.mark.parametrize(("days", "expected"), [("all", [1, 3]), ("2", [3]), ("9", [1, 3])])
    def test_each_day_with_requests_is_a_run(self, days, expected):
        rows = self.rows("--days", days)
        assert [row["day"] for row in rows] == expected
        assert [row["trace"] for row in rows] == [f"days, day {day}" for day in expected]
        assert {row["recording"] for row in rows} == {"days"}
        assert {row["simulated_s"] for row in rows} == {86_400.0}

    def test_part_of_a_day_at_the_end_is_not_run(self):
        arguments = ["--policy", "utilisation", "--scenario", "long.toml", "--days", "all"]
        assert [row["day"] for row in rows_of("half.csv", *arguments)] == [1]

    def test_the_output_says_which_days_were_run(self):
        shown = done("days.csv", "--policy", "utilisation,slo", "--scenario", "long.toml")
        assert "Only the hardest day was simulated of days (3 whole days)" in shown.stdout
        arguments = ["--policy", "utilisation,slo", "--scenario", "long.toml", "--days", "all"]
        assert "Day 1 of a trace is the first 24 hours" in done("days.csv", *arguments).stdout

    def test_one_day_and_a_part_is_one_whole_day(self, folder):
        lines = (folder / "half.csv").read_text().splitlines()
        (folder / "more.csv").write_text("\n".join([*lines[:31], ""]))
        shown = done("more.csv", "--policy", "utilisation,slo", "--scenario", "long.toml")
        assert "Only the hardest day was simulated of more (1 whole day);" in shown.stdout

    def test_the_window_of_the_scenario_must_be_a_day(self):
        result = invoke("days.csv", "--policy", "utilisation", "--days", "all")
        assert result.exit_code == 2
        assert "the scenario small sets trace.window or trace.start" in result.stderr

    @pytest.mark.parametrize("days", ["0", "-1", "some", "1.5", "²", "9" * 5000])
    def test_other_texts_are_refused(self, days):
        result = invoke("days.csv", "--policy", "utilisation", f"--days={days}")
        assert result.exit_code == 2
        assert "--days must be hardest, all, or how many days" in result.stderr


class TestOutputs:
    """Results never replace a trace, or each other."""

    def test_a_trace_is_not_replaced(self, folder):
        before = (folder / "load.csv").read_text()
        result = invoke("load.csv", "--policy", "utilisation", "--markdown", "./load.csv")
        assert result.exit_code == 2
        assert "--markdown: load.csv is read too, and would be replaced by results" in result.stderr
        assert (folder / "load.csv").read_text() == before

    def test_a_scenario_is_not_replaced(self, folder):
        before = (folder / "small.toml").read_text()
        given = ("--policy", "utilisation", "--scenario", "small.toml")
        result = invoke("load.csv", *given, "--json", "small.toml")
        assert result.exit_code == 2
        assert "--json: small.toml is read too" in result.stderr
        assert (folder / "small.toml").read_text() == before

    def test_two_results_have_two_files(self, folder):
        result = invoke("load.csv", "--json", "out", "--markdown", "./out")
        assert result.exit_code == 2
        assert "--markdown: out is the file of --json too; name another file" in result.stderr
        assert not (folder / "out").exists()


class TestChoices:
    """The cheapest setting that met the SLO in every case."""

    def test_the_terminal_the_file_and_the_page_have_it(self, folder):
        arguments = ["load.csv", "--policy", "slo,utilisation,hpa", "--sweep", "--seeds", "2"]
        shown = done(
            *arguments, "--json", "rows.json", "--report", "page.html", "--markdown", "choice.md"
        ).stdout
        results = read(folder / "rows.json")
        (choice,) = results.choices
        assert (choice.scenario, choice.load, choice.days, choice.seeds) == ("small", "load", 1, 2)
        tried = [name for name in ("slo", "utilisation") for _ in POLICY_SPECS[name].sweep]
        assert sorted(each.policy for each in choice.settings) == tried
        cheapest = choice.cheapest
        assert cheapest is not None
        assert cheapest.met == cheapest.cases == 2
        assert f"✓ {cheapest.policy} {cheapest.setting}" in shown
        for text in (shown, (folder / "page.html").read_text()):
            assert "Which setting for load in small? 2 cases (1 trace, 2 seeds)" in text
            assert "met the SLO in all 2 cases" in text
        written = (folder / "choice.md").read_text()
        for text in (shown, written):
            assert choice.configuration.splitlines()[-1] in text
        assert f"| **{cheapest.policy} {cheapest.setting}" in written

    @pytest.mark.parametrize("policy", ["slo", "utilisation"])
    def test_the_rule_that_it_shows_gives_the_result_of_the_table(self, folder, policy):
        done("load.csv", "--policy", policy, "--sweep", "--json", "rows.json")
        (choice,) = read(folder / "rows.json").choices
        (folder / "config.toml").write_text(choice.configuration)
        (row,) = rows_of("load.csv", "--config", "config.toml")
        assert row["policy"] == "rule:my-deployment"
        assert row["allocation_hours"] == choice.cheapest.allocation_hours
        assert row["violation_fraction"] == choice.cheapest.worst_violation_fraction

    def test_where_the_slo_cannot_be_met_that_is_said_instead(self, folder):
        scenario = SCENARIO.replace("processors = 8", "processors = 1")
        (folder / "tiny.toml").write_text(scenario)
        shown = done("load.csv", "--policy", "slo,utilisation,oracle", "--scenario", "tiny.toml")
        assert "Which setting" not in shown.stdout
        flowed = " ".join(shown.stdout.split())
        assert (
            "No setting can be chosen for load in tiny: not even the oracle met the SLO" in flowed
        )

    def test_one_setting_is_no_choice(self):
        assert "Which setting" not in done("load.csv", "--policy", "slo,hpa").stdout


def options(**given):
    fields = {
        "traces": ("load.csv",), "policies": (), "scenarios": (), "seeds": 1, "sweep": False,
        "json": None, "report": None, "workers": None,
    }  # fmt: skip
    return BacktestOptions(**fields | given)


class TestTasks:
    def tasks(self, workers, **given):
        (source,) = find_traces(["load.csv"])
        played = list(played_days(source.read(), find_scenario("small.toml"), Days()))
        return list(tasks_of(options(**given), played, workers))

    def test_few_groups_are_split_for_all_workers(self):
        tasks = self.tasks(2)
        assert len(tasks) >= TASKS_A_WORKER
        sizes = {len(task.entries) for task in tasks[:-1]}
        assert len(sizes) == 1
        assert len(tasks[-1].entries) <= sizes.pop()
        entries = [entry for task in tasks for entry in task.entries]
        assert entries == list(entries_of(options(), first=True))

    def test_many_groups_are_not_split(self):
        tasks = self.tasks(2, seeds=8)
        assert [task.seed for task in tasks] == [*range(1, 9)]
        assert {len(task.entries) for task in tasks} == {len(DEFAULT_POLICIES)}

    def test_each_worker_gets_at_most_one_of_few_runs(self):
        tasks = self.tasks(64, policies=("hpa", "keda"))
        assert [len(task.entries) for task in tasks] == [1, 1]

    def test_their_names_are_distinct(self):
        assert [task.name for task in self.tasks(1, seeds=4)] == [
            f"load, small, seed {seed}" for seed in range(1, 5)
        ]

    def test_a_report_has_timelines_of_the_first_seed_at_default_settings(self):
        requested = options(report=Path("page.html"), sweep=True, policies=("hpa",))
        default, *others = entries_of(requested, first=True)
        assert (default.value, default.with_timeline) == (None, True)
        assert {entry.value for entry in others} == {*POLICY_SPECS["hpa"].sweep} - {0.7}
        assert not any(entry.with_timeline for entry in others)
        assert not any(entry.with_timeline for entry in entries_of(requested, first=False))


BAD_TRACES = {
    "a missing column": ("t_seconds,hits\n0,1\n", 1, "the header must be t_seconds,requests"),
    "a negative count": (
        "t_seconds,requests\n0,1\n10,-1\n",
        3,
        "a number, at least 0, not '-1'",
    ),
    "not a number": ("t_seconds,requests\n0,many\n", 2, "a number, at least 0, not 'many'"),
    "thousands": ('t_seconds,requests\n0,"1,000"\n', 2, "without separators of thousands"),
    "no instant": ("t_seconds,requests\n0,1\nnan,1\n", 3, "2026-01-31T12:00:00Z, not 'nan'"),
    "uneven bins": ("t_seconds,requests\n0,1\n10,1\n20,1\n35,1\n", 5, "or a multiple of it"),
    "a bin of no length": ("# bin_seconds: 0\nt_seconds,requests\n0,5\n", 3, "bin_seconds"),
    "two bins at once": ("t_seconds,requests\n0,5\n0,5\n", 3, "the time is that of line 2"),
    "a row too short": ("t_seconds,requests\n0,1\n10\n", 3, "1 cells for 2 columns"),
    "nothing": ("", 1, "the file ends before the first bin"),
    "bytes": ("t_seconds,requests\n0,\udcff\n", 2, "is not UTF-8"),
}

BAD_SCENARIOS = {
    "an unknown key": (
        SCENARIO + "windows = 5\n",
        "trace.windows: no such key; did you mean window?",
    ),
    "a wrong type": (SCENARIO.replace("8", '"8"'), "an integer, not '8'; remove the quotes"),
    "not a number": (SCENARIO.replace("= 1\n", "= nan\n"), "must be a finite number"),
    "a missing key": (SCENARIO.replace("processors = 8", ""), "nodes.processors: is required"),
    "bad syntax": (SCENARIO.replace("[slo]", "[slo"), ":8:5: the closing ] is missing"),
    "a conflict": (
        SCENARIO + "[deployment]\nmax_allocations = 9\n",
        "at most the 8 processors",
    ),
}


class TestErrors:
    @pytest.fixture(autouse=True)
    def nothing_is_written(self, folder):
        """No file is written or changed."""
        (folder / "kept.json").write_text("from before")
        before = {path: path.read_bytes() for path in folder.iterdir()}
        yield
        for path in folder.iterdir():
            if path.name.startswith("bad"):
                before.setdefault(path, path.read_bytes())
        assert {path: path.read_bytes() for path in folder.iterdir()} == before

    def error_of(self, *arguments, exit_code=78):
        files = ["--json", "kept.json", "--report", "new.html"]
        result = invoke(*arguments, "--policy", "hpa", *files)
        assert result.exit_code == exit_code, result.stderr
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        return result.stderr

    @pytest.mark.parametrize(("text", "line", "problem"), BAD_TRACES.values(), ids=BAD_TRACES)
    @pytest.mark.parametrize("alone", [True, False])
    def test_an_invalid_trace_is_reported_with_its_line(self, folder, text, line, problem, alone):
        (folder / "bad.csv").write_bytes(text.encode(errors="surrogateescape"))
        error = self.error_of(*([] if alone else ["load.csv"]), "bad.csv")
        assert re.match(rf"autoscaler: bad\.csv, line {line}: ", error), error
        assert problem in error

    @pytest.mark.parametrize(("text", "problem"), BAD_SCENARIOS.values(), ids=BAD_SCENARIOS)
    def test_an_invalid_scenario_is_reported_with_its_key(self, folder, text, problem):
        (folder / "bad.toml").write_text(text)
        error = self.error_of("load.csv", "--scenario", "bad.toml")
        assert error.startswith("autoscaler: bad.toml:"), error
        assert problem in error

    def test_missing_files_are_named(self):
        assert "absent.csv: not a file" in self.error_of("absent.csv")
        result = self.error_of("load.csv", "--scenario", "absent.toml")
        assert "absent.toml: neither a file nor a standard scenario" in result

    def test_a_window_that_the_trace_does_not_have(self, folder):
        (folder / "bad.toml").write_text(SCENARIO + 'start = "3h"\n')
        result = self.error_of("load.csv", "--scenario", "bad.toml")
        assert "trace load has no bin" in result

    def test_a_trace_without_requests(self, folder):
        (folder / "bad.csv").write_text("t_seconds,requests\n0,0\n10,0\n")
        assert "trace bad has no request in the window" in self.error_of("bad.csv")

    def test_an_unknown_policy(self):
        result = invoke("load.csv", "--policy", "hpa,hpx", "--json", "kept.json")
        assert result.exit_code == 2
        assert "there is no policy 'hpx'; choose from slo, slo-bounds, " in result.stderr

    @pytest.mark.parametrize("option", ["--json", "--report"])
    def test_a_file_that_cannot_be_written_is_reported_before_any_run(self, option):
        result = invoke("load.csv", option, "absent/file")
        assert result.exit_code == 1
        assert re.match(r"autoscaler: cannot write absent/file: no such file", result.stderr)
        assert (result.stdout, len(result.stderr.splitlines())) == ("", 1)

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["load.csv", "--seeds", "0"],
            ["load.csv", "--seeds", "many"],
            ["load.csv", "--workers", "0"],
            ["load.csv", "--what"],
        ],
        ids=" ".join,
    )
    def test_wrong_usage(self, arguments):
        assert CliRunner().invoke(main, ["backtest", *arguments]).exit_code == 2

    def test_without_numba_the_message_says_what_to_install(self):
        script = (
            "import sys; sys.modules['numba'] = None\n"
            "from autoscaler.cli import main; main(['backtest', 'load.csv'])"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 1
        assert ran.stderr == (
            "autoscaler: back-tests need numba, which is not installed; "
            "install it with `pip install 'autoscaler[backtest]'`, or in a checkout with "
            "`make backtest-deps`\n"
        )


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_one_trace_that_is_too_large_prevents_all_runs(folder):
    (folder / "huge.csv").write_text(trace_text(per_bin=10**9))
    result = invoke("load.csv", "huge.csv", "--policy", "hpa", "--json", "rows.json")
    assert result.exit_code == 78
    (error,) = result.stderr.splitlines()
    assert error.startswith("autoscaler: trace huge would have ")
    assert error.endswith("use a scenario with a shorter window or a smaller scale")
    assert not (folder / "rows.json").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_control_c_keeps_completed_runs(folder, workers):
    (folder / "rows.json").write_text("from before")
    arguments = ["load.csv", "--scenario", "small.toml", "--policy", "hpa"]
    arguments += ["--seeds", "1000", "--workers", str(workers), "--json", "rows.json"]
    with subprocess.Popen(
        [sys.executable, "-m", "autoscaler", "backtest", *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            assert program.stderr.readline().startswith("back-test: 100 of 1000")
            os.killpg(program.pid, signal.SIGINT)  # as a terminal does: to every process
            output, errors = program.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
    assert program.returncode == 130
    last = errors.splitlines()[-1]
    missing = re.fullmatch(r"autoscaler: (\d+) of 1000 tasks are missing from the results", last)
    assert missing, errors
    assert "Traceback" not in errors
    results = read(folder / "rows.json")
    assert results.missing == int(missing[1])
    assert 100 <= len(results.rows) == 1000 - results.missing < 1000
    incomplete = f"{missing[1]} of 1000 tasks are missing, because they failed or were interrupted"
    assert results.notes[0].startswith(incomplete)
    assert "hpa" in output
    assert not [path for path in folder.iterdir() if "partial" in path.name]
