"""`history`: from a running daemon, and from the file of one that does not run."""

import asyncio
import json
import math
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest
import structlog
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from autoscaler.adapters.admin_http import (
    AdminServer,
    ClusterPages,
    DecisionRecorder,
    Health,
)
from autoscaler.adapters.history import History
from autoscaler.adapters.state import FILE_NAME, FileHistory, HistoryUnreadable, SqliteStore
from autoscaler.cli import main
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.state import State
from autoscaler.wire.history import Event, HistoryQuery, Note, view_of
from tests.adapters.recorded import cycle, decision, outcome
from tests.fakes import FakeClock

NOW = 1_760_000_000.0
STRANGE = "e5\x1b[2J\n\u202e[bold]"


def note(at, name="elser", message="elser is paused", **more):
    return Event(at, name, "instruction", Note(message, **more))


def update(at, kind=OutcomeKind.NO_CAPACITY):
    return Event(at, "elser", "update", outcome(decision("elser"), kind))


async def written(directory, *events):
    """A store in the directory, with these events."""
    logger = structlog.wrap_logger(structlog.ReturnLogger())
    store = SqliteStore(directory, FakeClock(NOW), logger, in_thread=False)
    await store.open(())
    store.record(list(events))
    return store


class TestTheFile:
    async def test_of_a_daemon_that_has_ended(self, tmp_path):
        await (await written(tmp_path, note(NOW), note(NOW, "b"))).close()
        found = FileHistory(tmp_path).read(HistoryQuery("elser"))
        assert [each.deployment_id for each in found] == ["elser"]

    async def test_of_a_daemon_that_runs_and_is_not_disturbed(self, tmp_path):
        store = await written(tmp_path, note(NOW))
        before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert len(FileHistory(tmp_path).read(HistoryQuery())) == 1
        assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
        store.checkpoint(State())
        store.record([note(NOW + 1.0)])
        assert store.problem == ""
        assert len(FileHistory(tmp_path).read(HistoryQuery())) == 2
        await store.close()

    async def test_that_cannot_be_written_is_read(self, tmp_path):
        await (await written(tmp_path, note(NOW))).close()
        (tmp_path / FILE_NAME).chmod(0o400)
        tmp_path.chmod(0o500)
        assert len(FileHistory(tmp_path).read(HistoryQuery())) == 1

    @pytest.mark.parametrize(
        ("at", "kind", "content", "kinds"),
        [
            (1e300, "update", b"{}", []),
            (-1e18, "update", b"{}", []),
            (math.inf, "update", b"{}", []),
            ("\x7f", "update", b"{}", []),
            (NOW + 1.0, b"upd\xffte", b"{}", ["upd\ufffdte"]),
            (NOW + 1.0, "update", "{}", ["update"]),
            (NOW + 1.0, "update", b"\xff", ["update"]),
        ],
    )
    async def test_a_damaged_entry_does_not_keep_the_others_from_being_read(
        self, tmp_path, at, kind, content, kinds
    ):
        await (await written(tmp_path, note(NOW))).close()
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
            row = (at, b"\xff" if kinds else "elser", kind, content)
            connection.execute("INSERT INTO history VALUES (?, ?, ?, ?)", row)
        found = [view_of(each, whole=True) for each in FileHistory(tmp_path).read(HistoryQuery())]
        assert [each.kind for each in found] == [*kinds, "instruction"]
        assert all(datetime.fromtimestamp(each.at, UTC) for each in found)

    def test_that_does_not_exist(self, tmp_path):
        with pytest.raises(HistoryUnreadable, match=f"{FILE_NAME} does not exist"):
            FileHistory(tmp_path).read(HistoryQuery())
        assert list(tmp_path.iterdir()) == []

    async def test_that_is_damaged(self, tmp_path):
        (tmp_path / FILE_NAME).write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
        with pytest.raises(HistoryUnreadable, match="is damaged"):
            FileHistory(tmp_path).read(HistoryQuery())

    def test_of_another_program(self, tmp_path):
        (tmp_path / FILE_NAME).mkdir()
        with pytest.raises(HistoryUnreadable, match="is no regular file"):
            FileHistory(tmp_path).read(HistoryQuery())


@contextmanager
def served(*events, observed=True):
    """The URL of a daemon with this history."""
    clock = FakeClock(NOW)
    started, ended = threading.Event(), threading.Event()
    url = []

    async def serve():
        history = History(clock, None)
        decisions = DecisionRecorder(clock, "1.2.3")
        if observed:
            decisions.planned(*cycle(outcome(decision("observed"), OutcomeKind.UNCHANGED)))
        pages = ClusterPages(
            Health(clock, 10.0),
            decisions,
            read_history=history.read,
        )
        server = AdminServer(CollectorRegistry(), pages, host="127.0.0.1", port=0, version="1.2.3")
        async with server:
            history.record(list(events))
            url.append(f"http://127.0.0.1:{server.port}")
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield url[0]
    finally:
        ended.set()
        thread.join()


def history(*arguments, code=0):
    result = CliRunner().invoke(main, ["history", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration whose daemon does not run. Port 1 is reserved, and nothing listens there."""
    monkeypatch.delenv("AUTOSCALER_STATE")
    path = tmp_path / "autoscaler.toml"
    path.write_text(
        f"""
state_dir = "{tmp_path}/state"
[elasticsearch]
hosts = ["http://127.0.0.1:9"]
[server]
port = 1
"""
    )
    return path


class TestTheCommand:
    def test_shows_the_latest_last(self):
        now = time.time()
        first, second = update(now - 60.0), note(now, by="alice", stated_reason="reindexing")
        with served(first, second) as url:
            lines = history("--url", url).splitlines()
        assert "update: no capacity" in lines[0]
        assert "elser 3 -> 6" in lines[0]
        assert lines[1].endswith("elser is paused, by alice: reindexing")
        assert lines[2] == "From the memory of the daemon, until it ends."

    def test_shows_one_deployment_with_what_concerns_all(self):
        now = time.time()
        events = note(now, "", "statistics are available again"), note(now), note(now, "e5", "no")
        with served(*events) as url:
            found = json.loads(history("elser", "--json", "--url", url))
        assert [each.get("deployment", "") for each in found["entries"]] == ["elser", ""]

    def test_goes_back_as_far_as_it_is_asked_to(self):
        now = time.time()
        with served(note(now - 7_200.0), note(now - 60.0)) as url:
            assert len(json.loads(history("--since", "1h", "--json", "--url", url))["entries"]) == 1
            assert len(json.loads(history("--since", "3h", "--json", "--url", url))["entries"]) == 2

    def test_reads_as_many_pages_as_it_needs(self, monkeypatch):
        monkeypatch.setattr("autoscaler.explain.history.PAGE", 3)
        now = time.time()
        with served(*(note(now, message=str(number)) for number in range(10))) as url:
            found = json.loads(history("--json", "--limit", "8", "--url", url))
            shown = history("--limit", "8", "--url", url)
        assert [int(each["message"]) for each in found["entries"]] == list(range(9, 1, -1))
        assert shown.startswith("The latest 8; --limit shows more.")

    def test_has_the_steps_of_decisions_as_json(self):
        with served(update(time.time())) as url:
            (entry,) = json.loads(history("--json", "--url", url))["entries"]
        assert entry["decision"]["steps"]

    def test_escapes_hostile_text(self):
        event = note(time.time(), STRANGE, f"{STRANGE} is paused", by=STRANGE)
        with served(event) as url:
            for output in (history("--url", url), history("--json", "--url", url)):
                assert all(line.isprintable() for line in output.splitlines())
                assert "[bold]" in output

    def test_says_that_nothing_has_happened(self):
        with served() as url:
            assert history("--url", url).startswith("Nothing is recorded since 20")

    def test_of_a_deployment_that_never_was(self):
        with served(note(time.time(), "", "statistics are available again")) as url:
            shown = history("nosuch", "--url", url, code=1)
        assert "nosuch: not found in the cluster, and nothing is recorded of it" in shown

    def test_of_a_deployment_that_is_gone(self):
        with served(note(time.time(), "gone", "gone is paused")) as url:
            assert "gone is paused" in history("gone", "--url", url)

    def test_before_the_first_observation_no_deployment_is_unknown(self):
        with served(observed=False) as url:
            assert "Nothing is recorded" in history("elser", "--url", url)

    def test_reads_the_file_if_no_daemon_runs(self, tmp_path, config):
        now = time.time()
        asyncio.run(written_and_closed(tmp_path / "state", update(now)))
        shown = history("--config", str(config))
        assert "warning: cannot connect to the daemon at http://127.0.0.1:1" in shown
        assert "update: no capacity" in shown
        assert f"From {tmp_path}/state/{FILE_NAME}." in shown

    def test_warns_of_a_deployment_of_which_the_file_has_nothing(self, tmp_path, config):
        asyncio.run(written_and_closed(tmp_path / "state", update(time.time())))
        assert "nothing is recorded of nosuch" in history("nosuch", "--config", str(config))
        assert "nothing is recorded of" not in history("elser", "--config", str(config))

    def test_without_a_file_either(self, tmp_path, config):
        assert "does not exist" in history("--config", str(config), code=1)
        assert not (tmp_path / "state").exists()

    def test_without_a_file_because_of_the_configuration(self, config):
        config.write_text('state = "none"\n' + config.read_text().replace("state_dir", "#"))
        shown = history("--config", str(config), code=1)
        assert "the state is not in a file, so only the daemon has the history" in shown

    def test_of_a_daemon_at_another_address_is_not_read_from_a_file(self, tmp_path, config):
        asyncio.run(written_and_closed(tmp_path / "state", update(time.time())))
        shown = history("--config", str(config), "--url", "http://127.0.0.1:1", code=1)
        assert "cannot connect to the daemon" in shown

    @pytest.mark.parametrize(
        "arguments", [("--since", "yesterday"), ("--since", "0s"), ("--limit", "0")]
    )
    def test_rejects_what_cannot_be_meant(self, arguments):
        history(*arguments, code=2)


async def written_and_closed(directory, *events):
    await (await written(directory, *events)).close()
