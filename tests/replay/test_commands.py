"""`autoscaler replay` and `autoscaler report`, from files of load to pages."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from autoscaler.cli import main
from autoscaler.config.values import ReportSettings
from autoscaler.errors import UserError
from autoscaler.interval_files import write_intervals
from autoscaler.replay import resuming
from autoscaler.replay.outputs import Outputs
from autoscaler.replay.results_file import read_results, to_json
from autoscaler.replay.source import LoadSource
from autoscaler.wire.intervals import IntervalsHeader, LoadInterval
from tests.replay.recorded import CONFIG, cluster, fixed, trace
from tests.replay.replays import HOSTILE, results
from tests.test_recording_commands import recorded

__all__ = ["recorded"]  # a fixture

COSTS = '[report]\ncost_per_allocation_hour = 0.5\ncurrency = "EUR"\n'


@pytest.fixture(scope="module")
def lines():
    """Two hours of six fixed allocations, and of one deployment with a hostile id."""
    found, _ = fixed(6, cluster(), trace(hours=2, mean_per_minute=40))
    found = list(found)
    few = [each for each in found if isinstance(each, LoadInterval)][:30]
    return [*found, *(replace(each, deployment=HOSTILE) for each in few)]


@pytest.fixture
def folder(tmp_path, monkeypatch, lines):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG + COSTS)
    write_intervals(tmp_path / "load.jsonl.zst", lines)
    return tmp_path


def run(*words):
    return CliRunner().invoke(main, [*words, "--config", "config.toml"])


@pytest.mark.usefixtures("folder")
def test_a_file_of_load_becomes_a_table_a_page_and_results():
    given = ("--intervals", "load.jsonl.zst", "--policy", "hpa", "--workers", "1")
    given += ("--resume", "finished")
    files = ("--json", "r.json", "--report", "r.html", "--markdown", "r.md")
    ran = run("replay", *given, *files)
    assert ran.exit_code == 0, ran.output
    assert "what really ran" in ran.stdout
    assert "fewer allocation-hours" in ran.stdout
    assert "\x1b" not in ran.output
    found = read_results(Path("r.json")).results
    model, hostile = sorted(found.deployments, key=lambda each: each.deployment, reverse=True)
    assert [each.policy for each in model.policies] == ["rule:all", "hpa"]
    assert model.has_verdict
    assert not hostile.has_verdict  # five minutes do not suffice
    page, text = Path("r.html").read_text(), Path("r.md").read_text()
    assert "cost of a month" in page
    assert "cost of a month" in text
    assert "<img" not in page

    # Finished deployments are not simulated again.
    ran = run("replay", *given, "--json", "again.json")
    assert "2 of 2 runs are finished already" in ran.stderr
    assert read_results(Path("again.json")).results == found

    # The same page from the results, without another simulation.
    ran = run("report", "r.json", "--to-file", "again.html", "--markdown", "again.md")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[1:] == ["written: again.html", "written: again.md"]
    assert Path("again.md").read_text().count("\n") == text.count("\n")


def test_without_a_file_it_is_the_recording_of_the_configuration(recorded, monkeypatch):
    monkeypatch.delenv("AUTOSCALER_STATE", raising=False)
    monkeypatch.chdir(recorded.parents[1])
    elasticsearch = '[elasticsearch]\nhosts = ["http://es:9200"]\n'
    Path("config.toml").write_text(f'state_dir = "state"\n{CONFIG}{elasticsearch}')
    ran = run("replay", "--workers", "1", "--json", "r.json")
    assert ran.exit_code == 0, ran.output
    assert ran.stderr.splitlines() == ["reading, cycles: 6 of 6", "replay: 1 of 1"]
    (found,) = read_results(Path("r.json")).results.deployments
    assert (found.deployment, found.requests) == ("elser", 50)
    assert "the record is 50 s long" in found.refusals[0]
    ran = run("calibrate")
    assert "CONTRADICTED: the record is 50 s long" in ran.stdout
    assert "reading, cycles: 6 of 6" in ran.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", ["replay", "report", "calibrate"])
def test_a_load_of_which_nothing_can_be_replayed_is_a_failure(command):
    Path("config.toml").write_text(CONFIG.replace('"*"', '"other-*"'))
    ran = run(command, "--intervals", "load.jsonl.zst")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "no deployment of load.jsonl.zst can be replayed: " in ran.stderr
    assert "model: no rule of config.toml selects it" in ran.stderr
    assert not Path("report.html").exists()


def test_of_many_deployments_that_cannot_be_replayed_the_first_are_named():
    source = LoadSource(path=Path("load.jsonl"), is_recording=False)
    text = source.nothing([f"model-{number}: no requests" for number in range(1_005)])
    assert text.endswith("; model-4: no requests; and 1,000 more")


@pytest.mark.usefixtures("folder")
def test_a_simulation_that_fails_is_a_failure_and_the_others_are_written(monkeypatch):
    """The workers are processes that have been forked, so they have the damage too."""

    def failing(task):
        if task.name == HOSTILE:
            raise ZeroDivisionError
        return real(task)

    real = resuming.replay_deployment
    monkeypatch.setattr(resuming, "replay_deployment", failing)
    given = ("--intervals", "load.jsonl.zst", "--policy", "hpa", "--workers", "1")
    ran = run("replay", *given, "--json", "r.json")
    assert ran.exit_code == 1
    assert "the simulation of one deployment failed" in ran.stderr
    found = read_results(Path("r.json")).results
    assert ([each.deployment for each in found.deployments], found.failed) == (["model"], 1)
    assert "ZeroDivisionError" in found.left_out[0]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--intervals", "load.jsonl.zst", "--deployment", "x"], "has no intervals of x"),
        (["--intervals", "absent.jsonl"], "absent.jsonl: cannot be read"),
        (["--recording", "absent.db"], "absent.db"),
        (["--intervals", "a.jsonl", "--recording", "b"], "exclude each other"),
        (["--intervals", "load.jsonl.zst", "--policy", "hpaa"], "there is no policy 'hpaa'"),
        (["--from", "yesterday"], "a time ago such as 24h"),
        (["--from", "1h", "--to", "2h", "--recording", "b"], "--from must be earlier than --to"),
        (["--intervals", "load.jsonl.zst", "--json", "/proc/none/x"], "cannot write /proc/none/x"),
        (["--executor", "cloud", "--intervals", "load.jsonl.zst"], "'cloud' is neither local"),
    ],
)
def test_an_error_is_a_sentence(words, sentence):
    ran = run("replay", *words)
    assert ran.exit_code in (1, 2, 78)
    assert sentence in ran.stderr
    assert "Traceback" not in ran.output


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["replay", "--json", "./load.jsonl.zst"], "--json: load.jsonl.zst is read too"),
        (["replay", "--markdown", "config.toml"], "--markdown: config.toml is read too"),
        (["replay", "--resume", "load.jsonl.zst"], "--resume: load.jsonl.zst is read too"),
        (["replay", "--json", "x", "--report", "x"], "--report: x is the file of --json too"),
        (["replay", "--json", "x", "--resume", "x"], "--resume: x is the file of --json too"),
        (["report", "--to-file", "load.jsonl.zst"], "--to-file: load.jsonl.zst is read too"),
    ],
)
def test_results_replace_neither_their_load_nor_their_rules_nor_each_other(words, sentence):
    before = {path: path.read_bytes() for path in Path().iterdir()}
    ran = run(*words, "--intervals", "load.jsonl.zst")
    assert ran.exit_code == 2
    assert sentence in ran.stderr
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.usefixtures("folder")
def test_a_page_does_not_replace_its_results():
    Path("r.json").write_text("results")
    ran = run("report", "r.json", "--markdown", "r.json")
    assert ran.exit_code == 2
    assert "--markdown: r.json is read too" in ran.stderr
    assert Path("r.json").read_text() == "results"


@pytest.mark.usefixtures("folder")
def test_links_in_a_circle_are_a_sentence():
    Path("r.json").symlink_to("r.json")
    ran = run("replay", "--intervals", "load.jsonl.zst", "--json", "r.json")
    assert ran.exit_code == 1
    assert "cannot write r.json: too many levels of symbolic links" in ran.stderr


def interval(at, length_s=60.0, **given):
    """Ten requests per second, of a tenth of a second each."""
    figures = {"arrivals": 600, "completed": 600, "failed": 0, "busy_s": 60.0, "in_flight": 1}
    figures |= {"requested": 2, "running": 2}
    return LoadInterval(deployment="m", at=at, interval_s=length_s, **(figures | given))


MONDAY = 1_762_128_000.0
HEADER = IntervalsHeader(source="csv", program="somebody")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", ["replay", "calibrate"])
@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            [interval(MONDAY), interval(MONDAY + 3650 * 86_400.0)],
            "m: its record is 3650 d long, and at most 366 d are replayed",
        ),
        (
            [interval(MONDAY, 1e9)],
            "1 interval is longer than an hour, in which it is not known when the requests arrived",
        ),
        ([interval(MONDAY, arrivals=10**12)], "m: it has 1,000,000,000,000 requests"),
        (
            [interval(MONDAY + gap + 60.0 * n) for gap in (0.0, 300 * 86_400.0) for n in range(5)],
            "m: its load is known for <0.1% of 300 d only; choose a time without gaps",
        ),
    ],
)
def test_a_load_that_cannot_be_simulated_is_refused_at_once(command, found, sentence):
    write_intervals(Path("absurd.jsonl"), [HEADER, *found])
    ran = run(command, "--intervals", "absurd.jsonl")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert sentence in ran.stderr


@pytest.mark.usefixtures("folder")
def test_service_times_of_days_have_no_verdict():
    slow = [interval(MONDAY + 60.0 * n, completed=10, arrivals=10, busy_s=1e7) for n in range(180)]
    write_intervals(Path("slow.jsonl"), [HEADER, *slow])
    ran = run("replay", "--intervals", "slow.jsonl", "--workers", "1")
    assert ran.exit_code == 0, ran.output
    assert "No verdict" in ran.stdout


@pytest.mark.usefixtures("folder")
def test_intervals_of_an_hour_are_replayed_also_where_their_ends_are_rounded():
    ends = [MONDAY + 3_600.9 * n for n in range(1, 8)]
    long = [interval(at, 3_600.0, arrivals=9_000, completed=9_000, busy_s=900.0) for at in ends]
    write_intervals(Path("hours.jsonl"), [HEADER, *long])
    ran = run("replay", "--intervals", "hours.jsonl", "--workers", "1", "--policy", "hpa")
    assert ran.exit_code == 0, ran.output


@pytest.mark.usefixtures("folder")
def test_after_an_interruption_nothing_is_half_written(monkeypatch):
    def interrupted(task):
        if task.name == HOSTILE:
            raise KeyboardInterrupt
        return real(task)

    real = resuming.replay_deployment
    monkeypatch.setattr(resuming, "replay_deployment", interrupted)
    given = ("--intervals", "load.jsonl.zst", "--policy", "hpa", "--workers", "1")
    files = ("--json", "r.json", "--report", "r.html", "--markdown", "r.md")
    ran = run("replay", *given, *files, "--resume", "finished")
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert "interrupted; no results were written; finished deployments are in" in ran.stderr
    assert not any(Path(name).exists() for name in ("r.json", "r.html", "r.md"))


@pytest.mark.usefixtures("folder")
def test_a_damaged_file_of_finished_deployments_is_not_lost():
    Path("finished").write_bytes(b"\x00damaged")
    given = ("--intervals", "load.jsonl.zst", "--policy", "hpa", "--workers", "1")
    ran = run("replay", *given, "--resume", "finished")
    assert ran.exit_code == 0, ran.output
    assert "finished is damaged or no file of finished runs, and was set aside as" in ran.stderr
    (aside,) = (path for path in Path().glob("finished*") if path.name != "finished")
    assert aside.read_bytes() == b"\x00damaged"


def test_without_a_configuration_there_are_no_rules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOSCALER_STATE", raising=False)
    ran = CliRunner().invoke(main, ["replay", "--intervals", "x.jsonl"])
    assert ran.exit_code == 78
    assert "whose rules are to be replayed" in ran.stderr


def test_a_report_needs_no_configuration_if_there_are_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.json").write_text(to_json(results(), "2025-11-04T09:00:00+00:00"))
    ran = CliRunner().invoke(main, ["report", "r.json"])
    assert ran.exit_code == 0, ran.output
    assert "<svg" in (tmp_path / "report.html").read_text()
    for option in (["--deployment", "x"], ["--resume", "x"], ["--executor", "dask://x:1"]):
        ran = CliRunner().invoke(main, ["report", "r.json", *option])
        assert ran.exit_code == 2
        assert "RESULTS excludes the options of another replay" in ran.stderr


def test_results_are_the_same_after_a_file(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(to_json(results(), "2025-11-04T09:00:00+00:00"))
    assert read_results(path).results == results()


@pytest.mark.parametrize(
    ("of", "changed", "sentence"),
    [
        ("hours", {"at": 1e300}, "a time is outside the years 1970 to 9999"),
        ("hours", {"at": -1.0}, "a time is outside the years 1970 to 9999"),
        ("moments", {"at": 1e12}, "a time is outside the years 1970 to 9999"),
        ("moments", {"deployment": "x"}, "has a moment of another deployment"),
    ],
)
def test_results_that_no_replay_has_are_damaged(tmp_path, monkeypatch, of, changed, sentence):
    monkeypatch.chdir(tmp_path)
    document = json.loads(to_json(results(), "2025-11-04T09:00:00+00:00"))
    document["results"]["deployments"][0][of][0].update(changed)
    (tmp_path / "r.json").write_text(json.dumps(document))
    ran = CliRunner().invoke(main, ["report", "r.json"])
    assert ran.exit_code == 78, ran.output
    assert "r.json is damaged: " in ran.stderr
    assert sentence in ran.stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{}", "has no results"),
        ("\xff", "has no results"),
        ("[" * 100_000, "has no results"),
    ],
)
def test_a_file_without_results_is_refused(tmp_path, monkeypatch, content, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.json").write_text(content, encoding="latin-1")
    ran = CliRunner().invoke(main, ["report", "r.json"])
    assert ran.exit_code == 78
    assert sentence in ran.stderr


def test_times_without_a_date_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = json.loads(to_json(results(), ""))
    odd["results"]["deployments"][0]["since"] = 1e300
    (tmp_path / "r.json").write_text(json.dumps(odd))
    ran = CliRunner().invoke(main, ["report", "r.json"])
    assert ran.exit_code == 78
    assert "r.json is damaged: a time is outside" in ran.stderr


def test_results_of_a_later_version_are_refused_whatever_is_in_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    later = {"format": "autoscaler-replay", "version": 2, "content": []}
    (tmp_path / "r.json").write_text(json.dumps(later))
    ran = CliRunner().invoke(main, ["report", "r.json"])
    assert "use a later release" in ran.stderr


def test_a_file_that_cannot_be_written_does_not_lose_the_others(tmp_path):
    """Each file is checked before the replay; a disk may become full or read-only during it."""
    (tmp_path / "r.json").mkdir()
    outputs = Outputs(
        json=tmp_path / "r.json", report=tmp_path / "r.html", markdown=tmp_path / "r.md"
    )
    with pytest.raises(UserError, match=r"cannot write .*r\.json"):
        outputs.write(results(), ReportSettings(), datetime(2025, 11, 4, tzinfo=UTC))
    assert "What autoscaler would have done" in (tmp_path / "r.md").read_text()
    assert "<svg" in (tmp_path / "r.html").read_text()


def test_results_of_a_later_version_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    later = json.loads(to_json(results(), "")) | {"version": 2}
    (tmp_path / "r.json").write_text(json.dumps(later))
    ran = CliRunner().invoke(main, ["report", "r.json"])
    assert "use a later release" in ran.stderr
