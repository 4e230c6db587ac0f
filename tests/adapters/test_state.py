"""The state in a SQLite file, on good days and bad ones."""

import asyncio
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.adapters.state import (
    FILE_NAME,
    FormerFile,
    FormerFileUnreadable,
    HistoryLimits,
    SqliteStore,
    described,
)
from autoscaler.adapters.state.opening import KEPT_DAMAGED_FILES
from autoscaler.adapters.state.session import DEFAULT_LIMITS, Session
from autoscaler.adapters.state.store import MAX_WAITING_EVENTS
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.flow.planning import plan
from autoscaler.core.shadow import ShadowAccount, ShadowTotals
from autoscaler.core.state import DeploymentState, Shadow, State, StoppedDeployment
from autoscaler.ports import StateInUse, StateNotSaved
from autoscaler.wire.history import Event, HistoryQuery
from autoscaler.wire.state import encode_stopped
from tests.fakes import FakeClock
from tests.observations import deployment, node, observation, outcome, policy, rule

NOW = 1_760_000_000.0
STOPPED = {"e5": StoppedDeployment(stats=deployment(node(), deployment_id="e5"), since=NOW - 60.0)}


def state_of(*names, at=NOW - 10.0):
    return State(
        deployments={
            name: DeploymentState(
                seen_at=at, baseline=deployment(deployment_id=name), baseline_at=at
            )
            for name in names
        },
        seen_at=at,
    )


class Store:
    """A store, and what it has logged."""

    def __init__(
        self,
        directory,
        now=NOW,
        former=None,
        limits=DEFAULT_LIMITS,
        lasts=True,
        in_thread=False,
    ):
        self.log = structlog.testing.CapturingLogger()
        logger = structlog.wrap_logger(self.log, processors=[])
        self.port = SqliteStore(
            directory,
            FakeClock(now),
            logger,
            limits=limits,
            former=former,
            outlives=lambda _directory: lasts,
            in_thread=in_thread,
        )

    async def open(self):
        return await self.port.open(())

    def messages(self, event):
        return [call.kwargs["message"] for call in self.log.calls if call.kwargs["event"] == event]

    @property
    def problems(self):
        events = ("state.unusable", "state.not_restored", "state.not_saved")
        return [message for event in events for message in self.messages(event)]


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def path(directory):
    return directory / FILE_NAME


@pytest.fixture
def begin(directory):
    """Open a store, as the process does at its start."""
    opened = []

    async def begun(**options):
        store = Store(directory, **options)
        state = await store.open()
        opened.append(store)
        return store, state

    yield begun
    for store in opened:
        store.port._session.give_up()


@pytest.fixture
async def written(begin):
    """A file with a deployment and a stopped one, after the end of its process."""
    store, _ = await begin()
    await store.port.save_stopped(STOPPED)
    store.port.checkpoint(state_of("a"))
    await store.port.close()


async def test_where_it_is_and_how_large(begin, path, written):
    store, _ = await begin()
    assert store.messages("state.opened") == [
        f"the state is in {path}, 0.0 MB, from 10 s ago: 1 deployment, and 1 stopped"
    ]
    assert store.port.status.path == path
    assert store.port.status.size_bytes >= path.stat().st_size > 0
    assert store.problems == []


async def test_what_comes_while_it_is_given_up_is_no_problem(begin):
    """Of a leader that has been suspended, the cycle and the loss of the lease end together."""
    store, _ = await begin(in_thread=True)
    closing = asyncio.ensure_future(store.port.close())
    await asyncio.sleep(0)
    store.port.checkpoint(state_of("a"))
    await store.port.save_before_updates(state_of("a"), {"a"})
    await closing
    other, _ = await begin()
    assert store.problems == other.problems == []


async def test_a_disk_that_responds_after_the_end_gets_the_last_state(begin, monkeypatch):
    """The end does not wait for it. The thread gives the file up, for another process to have."""
    responds = threading.Event()

    class Slow(Session):
        def write(self, state, *, complete):
            responds.wait()
            super().write(state, complete=complete)

    monkeypatch.setattr("autoscaler.adapters.state.store.Session", Slow)
    monkeypatch.setattr("autoscaler.adapters.state.store.SAVE_TIMEOUT_S", 0.01)
    before = set(threading.enumerate())
    store, _ = await begin(in_thread=True)
    (thread,) = set(threading.enumerate()) - before
    store.port.checkpoint(state_of("a"))
    store.port.checkpoint(state_of("a", "b"))
    await store.port.close()
    responds.set()
    thread.join()
    other, state = await begin()
    assert state.deployments.keys() == {"a", "b"}
    assert other.problems == []


async def test_writing_takes_no_memory_for_the_rows(begin):
    """One row is in memory at a time: all of them are as large as the state itself."""
    names = [f"d-{number}" for number in range(400)]
    known = deployment(*[node(f"n{number}") for number in range(20)])
    state = State(
        deployments={
            name: DeploymentState(seen_at=NOW, baseline=known, baseline_at=NOW, usage=bytes(5_000))
            for name in names
        },
        seen_at=NOW,
    )
    store, _ = await begin()
    tracemalloc.start()
    store.port.checkpoint(state)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert store.port.status.size_bytes > 400 * 5_000
    assert peak < 400 * 5_000 / 5


async def test_only_its_owner_may_read_it(written, directory):
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for file in directory.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@settings(max_examples=30)
@given(name=st.text(max_size=20), reason=st.text(max_size=20), since=st.floats(allow_nan=False))
async def test_any_name_reason_and_instant(tmp_path_factory, name, reason, since):
    store = Store(tmp_path_factory.mktemp("state"))
    await store.open()
    stats = deployment(deployment_id=name, reason=reason)
    stopped = {name: StoppedDeployment(stats=stats, since=since)}
    await store.port.save_stopped(stopped)
    store.port.checkpoint(state_of(name))
    await store.port.close()
    found = await store.open()
    await store.port.close()
    assert (found.stopped, set(found.deployments)) == (stopped, {name})


class TestTheFirstStart:
    """A gradual rollout begins at once only if it cannot have been reverted before."""

    async def test_a_directory_that_outlives_the_process_and_is_empty_shows_it(self, begin):
        _, state = await begin()
        assert state == State(is_first_start=True)

    async def test_a_directory_that_ends_with_the_process_is_always_empty(self, begin):
        _, state = await begin(lasts=False)
        assert state == State()

    async def test_a_file_that_was_set_aside_is_a_state(self, begin, path, written):
        path.write_bytes(b"not a database" * 100)
        for _ in range(2):
            store, state = await begin()
            assert not state.is_first_start
            store.port._session.give_up()
            path.unlink()


class TestTheAge:
    @pytest.mark.parametrize("later_s", [-60.0, 0.0, 86_380.0])
    async def test_a_recent_state_is_continued(self, begin, written, later_s):
        store, state = await begin(now=NOW + later_s)
        assert set(state.deployments) == {"a"}
        assert store.problems == []

    @pytest.mark.parametrize(
        ("later_s", "problem"),
        [
            (86_401.0, "starting without the stored state: it is 24 h old"),
            (-100.0, "starting without the stored state: it is 90 s ahead of the host's clock"),
        ],
    )
    async def test_any_other_is_not_but_the_stopped_deployments_are_kept(
        self, begin, written, later_s, problem
    ):
        store, state = await begin(now=NOW + later_s)
        assert state == State(stopped=STOPPED)
        assert store.problems == [problem]

    @pytest.mark.parametrize("later_s", [31 * 86_400.0, -31 * 86_400.0])
    async def test_the_totals_of_a_dry_run_are_kept_by_a_clock_that_is_wrong(self, begin, later_s):
        store, _ = await begin()
        state = state_of("a")
        account = ShadowAccount().after(NOW, ShadowTotals(known_s=3_600.0))
        shadow = Shadow(seen_at=NOW, account=account)
        known = replace(state.deployments["a"], shadow=shadow)
        store.port.checkpoint(replace(state, deployments={"a": known}))
        await store.port.close()
        _, state = await begin(now=NOW + later_s)
        assert state.deployments["a"].shadow == shadow
        assert state.deployments["a"].memory is None
        assert NOW + later_s - state.deployments["a"].seen_at >= 86_400.0


class TestOneProcess:
    async def test_a_second_one_is_told_which_has_it(self, begin, directory):
        await begin()
        with pytest.raises(StateInUse) as caught:
            await Store(directory).open()
        assert str(caught.value) == (
            f"process {os.getpid()} uses the state in {directory}; stop it, or set state_dir to "
            "another directory"
        )

    async def test_a_link_leads_to_the_same_file(self, begin, directory, path, written, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        (other / FILE_NAME).symlink_to(path)
        store = Store(other)
        assert set((await store.open()).deployments) == {"a"}
        with pytest.raises(StateInUse):
            await begin()
        await store.port.save_stopped({})
        await store.port.close()
        assert (other / FILE_NAME).is_symlink()
        assert (await begin())[1].stopped == {}

    async def test_a_killed_process_leaves_the_lock_free_and_no_files_behind(
        self, directory, begin
    ):
        for count in range(3):
            killed(directory, count)
        _, state = await begin()
        assert set(state.stopped) == {"2"}
        assert len(list(directory.iterdir())) <= 4


WRITER = """
import asyncio, os, signal, sys
from pathlib import Path
import structlog
from autoscaler.adapters.clock import HostClock
from autoscaler.adapters.state import SqliteStore
from autoscaler.core.shadow import ShadowAccount, ShadowTotals
from autoscaler.core.state import Shadow, StoppedDeployment
from tests.observations import deployment

async def main():
    log = structlog.wrap_logger(structlog.ReturnLogger())
    store = SqliteStore(Path(sys.argv[1]), HostClock(), log)
    await store.open(())
    name = sys.argv[2]
    stats = deployment(deployment_id=name)
    await store.save_stopped({name: StoppedDeployment(stats=stats, since=0.0)})
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def killed(directory, name):
    """A process that is killed after it has saved a stopped deployment."""
    ended = subprocess.run(
        [sys.executable, "-c", WRITER, directory, str(name)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "."},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL


def damaged_at(content, start, length=64):
    return content[:start] + b"\xa5" * length + content[start + length :]


DAMAGE = {
    "no database": lambda content: b"not a database, but text" * 40,
    "the header": lambda content: damaged_at(content, 0),
    "a page": lambda content: damaged_at(content, 4096, 4096),
    "the last page": lambda content: damaged_at(content, len(content) - 4096, 4096),
    "half of it": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
}


class TestADamagedFile:
    @pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
    async def test_is_set_aside_and_no_stopped_deployment_is_lost(
        self, begin, path, written, damage
    ):
        content = damage(path.read_bytes())
        path.write_bytes(content)
        store, state = await begin()
        assert state.stopped == STOPPED
        if content:
            (problem,) = store.problems
            assert problem.startswith(f"{path} is damaged: ")
            assert problem.endswith("a new one begins; the stopped deployments were kept")
            (aside,) = path.parent.glob("*.damaged-*Z")
            assert aside.read_bytes() == content
            assert aside.name in problem
        store.port.checkpoint(state_of("b"))
        await store.port.close()
        store, state = await begin()
        assert (state.stopped, set(state.deployments)) == (STOPPED, {"b"})
        assert store.problems == []

    async def test_any_byte(self, begin, path, written):
        """Nothing that is damaged ends the program or loses a stopped deployment."""
        whole = path.read_bytes()
        for start in range(0, len(whole), 509):
            path.write_bytes(damaged_at(whole, start, 8))
            store, state = await begin()
            assert state.stopped == STOPPED
            await store.port.close()
        damaged = list(path.parent.glob("*.damaged-*Z"))
        assert 0 < len(damaged) <= KEPT_DAMAGED_FILES

    @pytest.mark.parametrize(
        "statement",
        [
            "DROP TABLE history",
            "DROP INDEX history_by_time",
            "ALTER TABLE documents ADD author TEXT",
        ],
    )
    async def test_tables_that_are_not_those_of_its_version(self, begin, path, written, statement):
        changed(statement)(path)
        store, state = await begin()
        assert state.stopped == STOPPED
        (problem,) = store.problems
        assert "a table or an index is missing or has other columns" in problem

    async def test_with_something_else_in_the_place_of_the_copy(self, begin, path, written):
        path.write_bytes(damaged_at(path.read_bytes(), 0))
        path.with_suffix(".stopped-new").mkdir()
        store, state = await begin()
        assert state.stopped == STOPPED
        (problem,) = store.problems
        assert "is damaged" in problem
        assert "Is a directory" in problem
        with pytest.raises(StateNotSaved):
            await store.port.save_stopped({})

    async def test_without_any_record_the_message_says_so(self, begin, path, written):
        path.write_bytes(b"not a database" * 100)
        path.with_suffix(".stopped").unlink()
        store, state = await begin()
        assert state == State()
        (problem,) = store.problems
        assert problem.endswith("if it recorded stopped deployments, start them by hand")

    async def test_while_it_is_used(self, begin, path, written):
        store, _ = await begin()
        store.port._session._database._connection.execute("PRAGMA cache_size = 0")
        for suffix in ("", "-wal"):
            file = path.with_name(path.name + suffix)
            file.write_bytes(b"\xa5" * file.stat().st_size)
        store.port.checkpoint(state_of("b"))
        await store.port.save_stopped(STOPPED)
        store.port.checkpoint(state_of("c"))
        await store.port.close()
        _, state = await begin()
        assert (state.stopped, set(state.deployments)) == (STOPPED, {"c"})

    @pytest.mark.parametrize("away", [Path.unlink, lambda path: path.rename(f"{path}-elsewhere")])
    async def test_a_file_that_was_moved_away_is_written_again(self, begin, path, written, away):
        store, _ = await begin()
        away(path)
        store.port.checkpoint(state_of("b"))
        await store.port.close()
        _, state = await begin()
        assert (state.stopped, set(state.deployments)) == (STOPPED, {"b"})

    @pytest.mark.parametrize(
        "away", [shutil.rmtree, lambda path: path.rename(f"{path}-elsewhere")], ids=["rm", "mv"]
    )
    async def test_with_its_directory(self, begin, directory, path, written, away):
        store, _ = await begin()
        away(directory)
        store.port.checkpoint(state_of("b"))
        assert store.problems == []
        with pytest.raises(StateInUse):
            await begin()
        path.unlink()
        store.port._session.give_up()  # the process ends here
        _, state = await begin()
        assert state.stopped == STOPPED

    async def test_unless_another_process_has_begun_there(self, begin, directory, written):
        """That of a directory that was deleted begins without its stopped deployments."""
        store, _ = await begin()
        shutil.rmtree(directory)
        other, _ = await begin()
        for _ in range(2):
            store.port.checkpoint(state_of("b"))
            with pytest.raises(StateNotSaved, match=f"process {os.getpid()} uses the state in"):
                await store.port.save_stopped(STOPPED)
        (problem,) = store.problems
        assert problem.startswith(f"process {os.getpid()} uses the state in {directory}")
        await other.port.close()
        await store.port.save_stopped(STOPPED)
        store.port.checkpoint(state_of("c"))
        assert store.messages("state.saved")


class TestAFileThatIsLeftAlone:
    @pytest.fixture
    def unusable(self, begin, path):
        """What is logged with a file that was changed, and which has to stay as it is."""

        async def begun(change):
            change(path)
            before = path.read_bytes() if path.is_file() else None
            store, state = await begin()
            with pytest.raises(StateNotSaved) as caught:
                await store.port.save_stopped({})
            store.port.checkpoint(state_of("b"))
            await store.port.close()
            assert before is None or path.read_bytes() == before
            (problem,) = store.problems
            # A file of which nothing was read is not said to be the one with the state.
            assert bool(store.messages("state.opened")) is (state != State())
            assert problem.startswith(str(caught.value))
            assert problem.endswith(
                ", and restart the autoscaler; until then, nothing is saved, and no deployment is "
                "stopped"
            )
            return state, problem

        return begun

    async def test_a_later_release_wrote_it(self, unusable, path, written):
        state, problem = await unusable(changed("PRAGMA user_version = 9"))
        assert state == State(stopped=STOPPED)
        assert problem.startswith(
            f"{path} is of version 9, and this program reads version 1; use the program that wrote "
            "it, or set state_dir to another directory"
        )

    async def test_another_program_wrote_it(self, unusable, path, written):
        _, problem = await unusable(changed("PRAGMA application_id = 7"))
        assert f"{path} is the database of another program; move it" in problem

    async def test_a_database_without_a_name(self, unusable, directory):
        directory.mkdir()
        _, problem = await unusable(changed("CREATE TABLE accounts (name TEXT)"))
        assert "is the database of another program" in problem

    @pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
    async def test_it_is_no_file(self, unusable, directory, path, make):
        directory.mkdir()
        _, problem = await unusable(make)
        assert problem.startswith(f"{path} is no regular file; move it")

    @pytest.mark.parametrize("side", ["-wal", "-shm", "-journal"])
    @pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
    async def test_what_is_beside_it_is_no_file(self, unusable, directory, path, make, side):
        beside = path.with_name(path.name + side)
        directory.mkdir()
        _, problem = await unusable(lambda _path: make(beside))
        assert problem.startswith(f"{beside} is no regular file; move it")

    @pytest.mark.parametrize(
        "make", [os.mkfifo, lambda path: path.symlink_to(path.parent.parent / "other")]
    )
    async def test_the_lock_is_no_file(self, unusable, directory, path, make):
        directory.mkdir()
        other = directory.parent / "other"
        other.write_text("of somebody else")
        _, problem = await unusable(lambda path: make(path.with_name(f"{path.name}.lock")))
        assert problem.startswith(f"{directory} cannot be used: ")
        assert "not a regular file" in problem
        assert other.read_text() == "of somebody else"

    async def test_the_directory_is_a_file(self, unusable, directory):
        _, problem = await unusable(lambda _path: directory.write_text("text"))
        assert problem.startswith(f"{directory} cannot be used: File exists; give the autoscaler")

    async def test_its_disk_is_full(self, unusable, directory, monkeypatch):
        monkeypatch.setattr(os, "open", read_only(directory, errno.ENOSPC))
        _, problem = await unusable(lambda _path: None)
        assert problem.startswith(
            f"{directory} cannot be used: No space left on device; free space on its disk, and"
        )

    async def test_links_that_lead_nowhere(self, unusable, directory, path):
        directory.mkdir()
        _, problem = await unusable(lambda path: path.symlink_to(path))
        assert "Too many levels of symbolic links" in problem

    @pytest.mark.parametrize("in_the_log", [False, True])
    async def test_it_cannot_be_written_but_read(
        self, unusable, begin, directory, monkeypatch, in_the_log, written
    ):
        if in_the_log:
            store, _ = await begin()
            store.port.checkpoint(state_of("b"))
            kept = killed_connection(store)
        monkeypatch.setattr(os, "open", read_only(directory))
        state, problem = await unusable(lambda _path: None)
        assert set(state.deployments) == {"b" if in_the_log else "a"}
        assert state.stopped == STOPPED
        assert problem.startswith(f"{directory} cannot be used: Read-only file system; ")
        if in_the_log:
            kept.close()


def changed(statement):
    def change(path):
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()

    return change


def read_only(directory, code=errno.EROFS):
    """`os.open` on a file system that cannot be written."""
    real = os.open

    def opened(path, flags, *arguments, **options):
        if flags & (os.O_RDWR | os.O_WRONLY) and Path(path).parent == directory:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *arguments, **options)

    return opened


def killed_connection(store):
    """Leave the write-ahead log as it is when a process is killed.

    Returns:
        The connection. When the last reference to it is gone, it is closed, at any time after.
    """
    session = store.port._session
    database = session._database
    session._lock.release()
    session._lock = session._database = None
    return database


class TestAFullDisk:
    @pytest.fixture
    def full(self):
        """Files of this process cannot grow beyond a size."""
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)

        def limited(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

        yield limited
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    async def test_what_was_saved_before_is_kept_and_saving_goes_on_later(
        self, begin, written, full
    ):
        store, _ = await begin()
        full(1)
        with pytest.raises(StateNotSaved, match=r"cannot be written: .*; use a disk with free"):
            await store.port.save_stopped({})
        for _ in range(3):
            store.port.checkpoint(state_of("b"))
        full(resource.RLIM_INFINITY)
        assert len(store.messages("state.not_saved")) == 1
        store.port.checkpoint(state_of("c"))
        assert len(store.messages("state.saved")) == 1
        await store.port.close()
        _, state = await begin()
        assert (state.stopped, set(state.deployments)) == (STOPPED, {"c"})

    async def test_the_history_of_that_time_is_written_later(self, begin, full):
        store, _ = await begin()
        store.port.record([event(NOW)])
        full(1)
        store.port.record([event(NOW + 1.0)])
        store.port.record([event(NOW + 2.0)])
        store.port.checkpoint(state_of("a"))
        full(resource.RLIM_INFINITY)
        assert store.port.problem
        store.port.checkpoint(state_of("a"))
        found = store.port.read_history(HistoryQuery())
        assert [each.at - NOW for each in found] == [2.0, 1.0, 0.0]

    async def test_the_store_is_given_up_although_the_rest_cannot_be_written(self, begin, full):
        store, _ = await begin()
        full(1)
        store.port.record([event(NOW)])
        await store.port.close()
        other, _ = await begin()
        assert other.port.is_open

    async def test_at_the_start(self, begin, written, full):
        full(1)
        store, state = await begin()
        assert (state.stopped, set(state.deployments)) == (STOPPED, {"a"})
        full(resource.RLIM_INFINITY)
        await store.port.save_stopped({})

    @pytest.mark.parametrize("size", [1, 20_480, 40_960])
    async def test_with_a_damaged_file(self, begin, path, written, full, size):
        """Wherever the new file ends."""
        path.write_bytes(damaged_at(path.read_bytes(), 4096, 4096))
        full(size)
        store, state = await begin()
        full(resource.RLIM_INFINITY)
        assert state.stopped == STOPPED
        assert f"{path} is damaged: " in " ".join(store.problems)
        await store.port.close()
        _, state = await begin()
        assert state.stopped == STOPPED

    @pytest.mark.parametrize("size", [1, 20_480, 40_960])
    async def test_with_a_file_that_is_damaged_while_it_is_used(
        self, begin, path, written, full, size
    ):
        """A new one begins as soon as the disk has space."""
        store, _ = await begin()
        store.port._session._database._connection.execute("PRAGMA cache_size = 0")
        for suffix in ("", "-wal"):
            file = path.with_name(path.name + suffix)
            file.write_bytes(b"\xa5" * file.stat().st_size)
        full(size)
        for _ in range(3):
            store.port.checkpoint(state_of("b"))
        with pytest.raises(StateNotSaved, match=r"cannot be (written|opened): "):
            await store.port.save_stopped({})
        full(resource.RLIM_INFINITY)
        store.port.checkpoint(state_of("c"))
        assert store.port.problem == ""
        await store.port.close()
        _, state = await begin()
        assert (state.stopped, set(state.deployments)) == (STOPPED, {"c"})

    async def test_when_it_begins(self, begin, full):
        full(1)
        store, state = await begin()
        assert state == State()
        assert store.problems
        with pytest.raises(StateNotSaved):
            await store.port.save_stopped(STOPPED)


class TestTheFormerFile:
    @pytest.fixture
    def former(self, tmp_path):
        path = tmp_path / "stopped"
        path.write_bytes(encode_stopped(STOPPED))
        return FormerFile(path)

    async def test_is_taken_over_once_and_left_alone(self, begin, former, tmp_path):
        store, state = await begin(former=former)
        assert state.stopped == STOPPED
        await store.port.save_stopped({})
        await store.port.close()
        store, state = await begin(former=former)
        assert state.stopped == {}
        assert FormerFile(tmp_path / "stopped").load() == STOPPED

    async def test_not_taken_over_again_after_the_loss_of_the_database(self, begin, former, path):
        store, _ = await begin(former=former)
        await store.port.save_stopped({})
        await store.port.close()
        path.unlink()
        _, state = await begin(former=former)
        assert state.stopped == {}

    async def test_that_cannot_be_read_ends_the_start_and_is_tried_again(
        self, begin, former, tmp_path
    ):
        (tmp_path / "stopped").write_bytes(b"\xc1")
        with pytest.raises(FormerFileUnreadable):
            await begin(former=former)
        (tmp_path / "stopped").write_bytes(encode_stopped(STOPPED))
        _, state = await begin(former=former)
        assert state.stopped == STOPPED


class TestTheDescription:
    def test_of_no_state(self):
        assert described(None) == "not saved"

    async def test_while_a_process_has_it(self, begin, directory, path, written):
        await begin()
        assert described(directory) == f"{path}, 0.0 MB"

    def test_of_a_damaged_file(self, directory, path, written):
        path.write_bytes(b"no database" * 1_000)
        assert described(directory) == (
            f"{path}, 0.0 MB; it is damaged: file is not a database; "
            "the daemon sets it aside, and begins a new one"
        )
        assert path.read_bytes() == b"no database" * 1_000

    def test_of_a_file_of_another_program(self, directory, path):
        directory.mkdir()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE other (name TEXT)")
        assert described(directory).startswith(
            f"{path}, 0.0 MB; it is the database of another program; move it, or set state_dir "
        )

    def test_before_it_is_written(self, directory, path):
        assert described(directory) == f"{path}, not written yet"
        assert not directory.exists()

    def test_of_a_directory_that_cannot_be_written(self, tmp_path, directory, path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda _path, _mode: False)
        assert described(directory) == (
            f"{path}, not written yet; the directory {tmp_path} is not writable"
        )

    @pytest.mark.parametrize(
        ("blocks", "free", "full"), [(1000, 10, True), (1000, 16, False), (0, 0, False)]
    )
    def test_on_a_full_disk(self, directory, path, monkeypatch, blocks, free, full):
        disk = SimpleNamespace(f_blocks=blocks, f_bavail=free, f_frsize=4096)
        monkeypatch.setattr(os, "statvfs", lambda _path: disk)
        because = "; its disk is full, so that it may not be saved" if full else ""
        assert described(directory) == f"{path}, not written yet{because}"


def event(at, name="a", allocations=3, kind=OutcomeKind.ACCEPTED):
    """An update of a deployment, as the recorder hands it over."""
    stats = deployment(node(allocations=2), deployment_id=name)
    planned, _ = plan(State(), observation(at, stats), policy(rule(min_allocations=allocations)))
    (decision,) = planned.decisions
    return Event(at, name, "update", outcome(decision, kind, at=at))


class TestTheHistory:
    async def test_it_outlives_the_process_and_is_read_newest_first(self, begin):
        store, _ = await begin()
        store.port.record([event(NOW + 1.0), event(NOW + 2.0, "b"), event(NOW + 3.0)])
        await store.port.close()
        store, _ = await begin()
        found = store.port.read_history(HistoryQuery())
        assert [(each.at - NOW, each.deployment_id) for each in found] == [
            (3.0, "a"),
            (2.0, "b"),
            (1.0, "a"),
        ]
        assert [each.at - NOW for each in store.port.read_history(HistoryQuery("a"))] == [3.0, 1.0]
        assert [each.at - NOW for each in store.port.read_history(HistoryQuery("a", limit=1))] == [
            3.0
        ]
        assert [
            each.at - NOW for each in store.port.read_history(HistoryQuery(since=NOW + 2.0))
        ] == [3.0, 2.0]
        content = json.loads(found[0].content)
        assert (content["deployment"], content["outcome"]["kind"]) == ("a", "accepted")

    async def test_what_is_too_old_goes(self, begin):
        store, _ = await begin(limits=HistoryLimits(3600.0, 10_000_000))
        store.port.record([event(NOW - 3601.0), event(NOW - 3599.0)])
        assert [each.at - NOW for each in store.port.read_history(HistoryQuery())] == [-3599.0]

    async def test_a_clock_that_is_wrong_for_a_while_removes_nothing(self, begin):
        limits = HistoryLimits(30 * 86_400.0, 10_000_000)
        days = [NOW + 86_400.0 * day for day in range(20)]
        ahead = days[-1] + 31 * 86_400.0
        for now in (days[-1], ahead, ahead + 3_600.0, days[-1] + 7_200.0):
            store, _ = await begin(now=now, limits=limits)
            store.port.record([event(at) for at in days] if now == days[-1] else [event(now)])
            found = {each.at for each in store.port.read_history(HistoryQuery())}
            await store.port.close()
            assert found >= set(days)

    async def test_the_oldest_go_if_there_is_too_much(self, begin):
        size = len(event(NOW).entry().content)
        store, _ = await begin(limits=HistoryLimits(3600.0, 20 * size))
        for second in range(100):
            store.port.record([event(NOW + second)])
            found = store.port.read_history(HistoryQuery())
            assert sum(len(each.content) for each in found) <= 20 * size
            assert found[0].at == NOW + second
        assert len(found) >= 15

    async def test_on_a_disk_that_is_full_it_is_bounded(self, begin, monkeypatch):
        store, _ = await begin()
        monkeypatch.setattr(store.port, "_busy", True)
        for _ in range(3):
            store.port.record([event(NOW)] * (MAX_WAITING_EVENTS // 2))
        assert len(store.port._events) == MAX_WAITING_EVENTS


class ClockOfOneThread(FakeClock):
    """A clock that only the thread of the loop may read, as one of a virtual loop."""

    def __init__(self, now):
        super().__init__(now)
        self._thread = threading.get_ident()

    def now(self):
        assert threading.get_ident() == self._thread, "read in another thread"
        return super().now()


async def test_only_the_thread_of_the_loop_reads_the_clock(directory):
    logger = structlog.wrap_logger(structlog.ReturnLogger())
    store = SqliteStore(directory, ClockOfOneThread(NOW), logger)
    await store.open(())
    store.record([event(NOW)])
    store.checkpoint(state_of("a"))
    await store.close()
    assert set((await store.open(())).deployments) == {"a"}
    assert [each.at for each in store.read_history(HistoryQuery())] == [NOW]
    await store.close()
