"""The recording of cycles: what is in the file afterwards, and what happens on bad days."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from autoscaler.adapters.recording import (
    FILE_NAME,
    CycleRecorder,
    RecordingLimits,
    RecordingUnreadable,
    database,
    described_recording,
    recorded_cycles,
    recorded_intervals,
    writer,
)
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from autoscaler.core.values import Cluster, NodeCapacity
from autoscaler.ports import CycleTimes
from autoscaler.wire.recording import RecordedNode, RecordedNodes
from tests.fakes import FakeClock
from tests.observations import deployment, node, observation, outcome, policy

LIMITS = RecordingLimits(14 * 86_400.0, 100_000_000)
TOOK = CycleTimes(observe_s=0.1, plan_s=0.1, act_s=0.0)


@asynccontextmanager
async def recording(
    directory,
    limits=LIMITS,
    *,
    in_thread=False,
    cluster_uuid=lambda: "",
    clock_agrees=lambda: True,
    begins_at=1_000.0,
):
    recorder = CycleRecorder(
        directory,
        limits,
        FakeClock(begins_at),
        structlog.get_logger(),
        poll_interval_s=lambda: 10.0,
        cluster_uuid=cluster_uuid,
        clock_agrees=clock_agrees,
        in_thread=in_thread,
    )
    async with recorder:
        yield recorder


def record(recorder, at, completed=None, **given):
    stats = deployment(node(completed=int(at) if completed is None else completed))
    observed = observation(at, stats, **given)
    planned, _ = plan(State(), observed, policy())
    outcomes = tuple(outcome(each, OutcomeKind.UNCHANGED) for each in planned.decisions)
    recorder.planned(observed, planned, outcomes, TOOK)


def cycles(directory, since=0.0, until=1e12, **given):
    return list(recorded_cycles(directory / FILE_NAME, since, until, **given))


def instants(directory):
    return [cycle.at for cycle in cycles(directory)]


async def test_it_has_what_was_observed_and_decided(tmp_path):
    nodes = Cluster(
        nodes=(
            NodeCapacity(node_id="n1", name="a", version="9.10.0", ml_memory_bytes=2**30),
            NodeCapacity(node_id="n2", name="b", version="9.9.1", processors=4.0),
        )
    )
    async with recording(tmp_path) as recorder:
        record(recorder, 1_000.0, cluster=nodes)
        record(recorder, 1_010.0, cluster=nodes)
    first, second = cycles(tmp_path)
    assert first.missed
    assert not second.missed
    assert second.poll_interval_s == 10.0
    assert second.hardware == RecordedNodes(
        (RecordedNode("n1", None, 2**30), RecordedNode("n2", 4.0, None)), "9.9.1"
    )
    assert second.deployments["elser"].nodes[0].completed == 1_010
    decision = second.decisions["elser"]
    assert (decision.desired, decision.outcome) == (1, "unchanged")


async def test_a_daemon_goes_on_with_the_file_of_the_one_before(tmp_path):
    for begin in (1_000.0, 1_100.0, 1_200.0):
        async with recording(tmp_path) as recorder:
            for place in range(3):
                record(recorder, begin + 10.0 * place)
    found = cycles(tmp_path)
    assert [cycle.at for cycle in found] == [
        begin + each for begin in (1_000.0, 1_100.0, 1_200.0) for each in (0.0, 10.0, 20.0)
    ]
    assert [cycle.missed for cycle in found] == [True, False, False] * 3


async def test_a_block_is_closed_after_an_hour_and_reads_the_same(tmp_path):
    async with recording(tmp_path) as recorder:
        for place in range(800):
            record(recorder, 1_000.0 + 10.0 * place)
    assert instants(tmp_path) == [1_000.0 + 10.0 * place for place in range(800)]
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        assert connection.execute("SELECT cycles FROM blocks").fetchall() == [(361,), (361,)]


async def test_a_block_is_closed_earlier_where_it_becomes_large(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "MAX_BLOCK_BYTES", 100)
    async with recording(tmp_path) as recorder:
        for place in range(100):
            record(recorder, 1_000.0 + 10.0 * place, completed=place * 1_000_000)
    assert len(cycles(tmp_path)) == 100
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        (blocks,) = connection.execute("SELECT count(*) FROM blocks").fetchone()
    assert blocks > 3


async def test_old_cycles_are_removed_by_age(tmp_path):
    async with recording(tmp_path, RecordingLimits(7_200.0, 10**9)) as recorder:
        for place in range(2_000):
            record(recorder, 1_000.0 + 10.0 * place)
    first, *_, last = instants(tmp_path)
    assert last == 20_990.0
    assert 7_200.0 <= last - first <= 7_200.0 + 2 * writer.BLOCK_S


async def test_a_clock_that_is_wrong_for_a_while_removes_nothing(tmp_path):
    limits = RecordingLimits(30 * 86_400.0, 10**9)
    hours = [3_600.0 * hour for hour in range(24 * 20)]

    async def process(times):
        async with recording(tmp_path, limits, begins_at=1_000.0 + times[0]) as recorder:
            for at in times:
                record(recorder, 1_000.0 + at)

    await process(hours)
    ahead = 31 * 86_400.0
    for began in (hours[-1], hours[-1] + 7_200.0):  # a restart while it is wrong
        await process([began + ahead + 600.0 * place for place in range(12)])
    await process([hours[-1] + 3_600.0 * (5 + hour) for hour in range(48)])
    found = instants(tmp_path)
    assert set(found) >= {1_000.0 + at for at in hours}


async def test_old_cycles_are_removed_after_a_long_interruption(tmp_path):
    limits = RecordingLimits(30 * 86_400.0, 10**9)
    async with recording(tmp_path, limits) as recorder:
        for hour in range(48):
            record(recorder, 1_000.0 + 3_600.0 * hour)
    later = 1_000.0 + 60 * 86_400.0
    for day in range(3):  # a new process each day
        began_at = later + 86_400.0 * day
        async with recording(tmp_path, limits, begins_at=began_at) as recorder:
            for hour in range(24):
                record(recorder, began_at + 3_600.0 * hour)
    assert instants(tmp_path)[0] >= later


async def test_cycles_are_not_removed_by_a_clock_that_the_host_contradicts(tmp_path):
    limits, agrees = RecordingLimits(7_200.0, 10**9), [False]
    async with recording(tmp_path, limits, clock_agrees=lambda: agrees[0]) as recorder:
        for place in range(1_500):
            record(recorder, 1_000.0 + 10.0 * place)
        assert instants(tmp_path)[0] == 1_000.0
        agrees[0] = True
        for place in range(1_500, 2_000):
            record(recorder, 1_000.0 + 10.0 * place)
    assert instants(tmp_path)[0] > 1_000.0


async def test_old_cycles_are_removed_by_size(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "MAX_BLOCK_BYTES", 3_000)
    limits = RecordingLimits(1e9, 200_000)
    async with recording(tmp_path, limits) as recorder:
        for place in range(1_500):
            noise = int.from_bytes(os.urandom(5), "big")  # nothing compresses it
            record(recorder, 1_000.0 + 10.0 * place, completed=noise)
        assert recorder.failed_cycles == 0
    assert instants(tmp_path)[-1] == 15_990.0
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        used = sum(size for (size,) in connection.execute("SELECT length(content) FROM blocks"))
    assert used < limits.max_bytes


async def test_it_is_read_while_it_is_written(tmp_path):
    async with recording(tmp_path) as recorder:
        record(recorder, 1_000.0)
        reading = recorded_cycles(tmp_path / FILE_NAME, 0.0, 1e12)
        assert next(reading).at == 1_000.0
        for place in range(1, 500):
            record(recorder, 1_000.0 + 10.0 * place)
        assert recorder.failed_cycles == 0
        assert instants(tmp_path) == [1_000.0 + 10.0 * place for place in range(500)]
        reading.close()


async def test_intervals_are_those_of_the_requested_time(tmp_path):
    async with recording(tmp_path) as recorder:
        for place in range(5):
            record(recorder, 1_000.0 + 10.0 * place)
    found = list(recorded_intervals(tmp_path / FILE_NAME, 1_010.0, 1_030.0))
    assert [(line.at, line.arrivals) for line in found] == [(1_020.0, 10), (1_030.0, 10)]


async def test_a_reader_learns_how_many_cycles_were_read(tmp_path):
    for begin, count in ((1_000.0, 3), (1_100.0, 2)):  # a closed block, and the open one
        async with recording(tmp_path) as recorder:
            for place in range(count):
                record(recorder, begin + 10.0 * place)
    seen = []
    cycles(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 5), (3, 5), (5, 5)]


async def test_a_thread_writes(tmp_path):
    async with recording(tmp_path, in_thread=True) as recorder:
        for place in range(3):
            record(recorder, 1_000.0 + 10.0 * place)
    assert instants(tmp_path) == [1_000.0, 1_010.0, 1_020.0]
    assert recorder.written_at == 1_020.0
    assert recorder.size_bytes > 0


async def test_cycles_that_the_disk_is_too_slow_for_are_left_out(tmp_path):
    with capture_logs() as logs:
        async with recording(tmp_path, in_thread=True) as recorder:
            for place in range(10):  # the thread cannot report before the loop runs again
                record(recorder, 1_000.0 + 10.0 * place)
    found = cycles(tmp_path)
    assert [cycle.at for cycle in found] == [1_070.0, 1_080.0, 1_090.0]
    assert [cycle.missed for cycle in found] == [True, False, False]
    assert recorder.failed_cycles == 7
    assert [log["event"] for log in logs].count("recording.failed") == 1


async def test_another_process_has_the_file(tmp_path):
    async with recording(tmp_path) as first:
        with capture_logs() as logs:
            async with recording(tmp_path) as second:
                record(second, 1_000.0)
                record(first, 1_000.0)
                record(second, 1_010.0)
                assert second.failed_cycles == 0
                await first.__aexit__(None, None, None)
                record(second, 1_020.0)
    assert instants(tmp_path) == [1_000.0, 1_020.0]
    (message,) = [log["message"] for log in logs if log["event"] == "recording.in_use"]
    assert "another process writes" in message


class Broken(database.RecordingDatabase):
    """A disk on which nothing can be written while it is full."""

    full = False
    full_for_blocks = False

    def append(self, frame):
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().append(frame)

    def close_block(self, *given, **named):
        if self.full or self.full_for_blocks:
            raise sqlite3.OperationalError("database or disk is full")
        super().close_block(*given, **named)


async def test_a_full_disk_costs_the_cycles_in_which_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "RecordingDatabase", Broken)
    with capture_logs() as logs:
        async with recording(tmp_path) as recorder:
            record(recorder, 1_000.0)
            monkeypatch.setattr(Broken, "full", True)
            record(recorder, 1_010.0)
            record(recorder, 1_020.0)
            assert recorder.failed_cycles == 2
            monkeypatch.setattr(Broken, "full", False)
            record(recorder, 1_030.0)
            record(recorder, 1_040.0)
    found = cycles(tmp_path)
    assert [cycle.at for cycle in found] == [1_000.0, 1_030.0, 1_040.0]
    assert [cycle.missed for cycle in found] == [True, True, False]
    assert [cycle.deployments["elser"].nodes[0].completed for cycle in found] == [1000, 1030, 1040]
    (failed,) = [log["message"] for log in logs if log["event"] == "recording.failed"]
    assert "cannot be written: database or disk is full; use a disk with free space" in failed
    assert [log["event"] for log in logs].count("recording.resumed") == 1


async def test_a_cycle_is_recorded_although_the_block_cannot_be_closed_after_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(database, "RecordingDatabase", Broken)
    monkeypatch.setattr(writer, "MAX_BLOCK_BYTES", 1)
    with capture_logs() as logs:
        async with recording(tmp_path) as recorder:
            monkeypatch.setattr(Broken, "full_for_blocks", True)
            for at in (1_000.0, 1_010.0, 1_020.0):
                record(recorder, at)
            assert recorder.failed_cycles == 0
            assert recorder.written_at == 1_020.0
            monkeypatch.setattr(Broken, "full_for_blocks", False)
            record(recorder, 1_030.0)
    assert [cycle.missed for cycle in cycles(tmp_path)] == [True, False, False, False]
    assert [log["event"] for log in logs] == ["recording.opened"]
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        assert connection.execute("SELECT cycles FROM blocks").fetchall() == [(4,)]


async def test_a_damaged_file_is_set_aside_and_a_new_one_begins(tmp_path):
    path = tmp_path / FILE_NAME
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    with capture_logs() as logs:
        async with recording(tmp_path) as recorder:
            record(recorder, 1_000.0)
    assert instants(tmp_path) == [1_000.0]
    (aside,) = tmp_path.glob(f"{FILE_NAME}.damaged-*")
    (message,) = [log["message"] for log in logs if log["event"] == "recording.damaged"]
    assert aside.name in message


async def test_a_damaged_frame_costs_the_rest_of_its_block(tmp_path):
    async with recording(tmp_path) as recorder:
        for place in range(5):
            record(recorder, 1_000.0 + 10.0 * place)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        connection.execute("UPDATE frames SET content = x'0102030405' WHERE id = 4")
    connection.close()
    warnings = []
    assert [cycle.at for cycle in cycles(tmp_path, warn=warnings.append)] == [1_000, 1_010, 1_020]
    assert len(warnings) == 1
    with capture_logs() as logs:
        async with recording(tmp_path) as recorder:
            record(recorder, 1_100.0)
    assert instants(tmp_path) == [1_000.0, 1_010.0, 1_020.0, 1_100.0]
    (message,) = [log["message"] for log in logs if log["event"] == "recording.damaged"]
    assert "the last 2 cycles are lost" in message


async def test_a_file_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    before = path.read_bytes()
    with capture_logs() as logs:
        async with recording(tmp_path) as recorder:
            record(recorder, 1_000.0)
            record(recorder, 1_010.0)
    assert path.read_bytes() == before
    assert recorder.failed_cycles == 2
    (message,) = [log["message"] for log in logs if log["event"] == "recording.failed"]
    assert "is the database of another program; move it" in message
    with pytest.raises(RecordingUnreadable, match="is the database of another program"):
        cycles(tmp_path)


async def test_a_file_of_a_later_release_is_left_alone(tmp_path):
    async with recording(tmp_path) as recorder:
        record(recorder, 1_000.0)
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with capture_logs() as logs:
        async with recording(tmp_path) as recorder:
            record(recorder, 1_010.0)
    (message,) = [log["message"] for log in logs if log["event"] == "recording.failed"]
    assert "is of version 2, and this program reads version 1" in message
    with pytest.raises(RecordingUnreadable, match="version 2"):
        cycles(tmp_path)


async def test_a_file_that_is_removed_begins_again(tmp_path):
    async with recording(tmp_path) as recorder:
        record(recorder, 1_000.0)
        for path in tmp_path.glob(f"{FILE_NAME}*"):
            path.unlink()
        record(recorder, 1_010.0)
        record(recorder, 1_020.0)
    assert instants(tmp_path) == [1_010.0, 1_020.0]


async def test_a_file_that_is_emptied_begins_again(tmp_path):
    async with recording(tmp_path) as recorder:
        record(recorder, 1_010.0)
        os.truncate(tmp_path / FILE_NAME, 0)
        with pytest.raises(RecordingUnreadable, match="it is empty"):
            instants(tmp_path)
        record(recorder, 1_020.0)
        record(recorder, 1_030.0)
        assert instants(tmp_path)[-2:] == [1_020.0, 1_030.0]
    assert instants(tmp_path)[-2:] == [1_020.0, 1_030.0]


async def test_the_cycles_of_two_clusters_are_not_in_one_recording(tmp_path):
    cluster = "Aq-1"
    with capture_logs() as logs:
        async with recording(tmp_path, cluster_uuid=lambda: cluster) as recorder:
            record(recorder, 1_000.0)
            record(recorder, 1_010.0)
        async with recording(tmp_path, cluster_uuid=lambda: cluster) as recorder:
            record(recorder, 1_020.0)
            cluster = "Bq/2"  # the address leads to another cluster, in the same process
            record(recorder, 1_030.0)
            record(recorder, 1_040.0)
    assert instants(tmp_path) == [1_030.0, 1_040.0]
    (aside,) = tmp_path.glob(f"{FILE_NAME}.cluster-*-Aq-1")
    assert [cycle.at for cycle in recorded_cycles(aside, 0.0, 1e12)] == [1_000.0, 1_010.0, 1_020.0]
    (message,) = [log["message"] for log in logs if log["event"] == "recording.other_cluster"]
    assert message == (
        f"{tmp_path / FILE_NAME} is of another cluster, Aq-1; it is now {aside.name}, a new one "
        "begins"
    )


async def test_a_recording_of_an_unknown_cluster_goes_on(tmp_path):
    async with recording(tmp_path) as recorder:
        record(recorder, 1_000.0)  # an earlier release, or one without the privilege
    uuids = iter(["Aq-1", "", "Aq-1"])
    async with recording(tmp_path, cluster_uuid=lambda: next(uuids)) as recorder:
        for at in (1_010.0, 1_020.0, 1_030.0):
            record(recorder, at)
    assert instants(tmp_path) == [1_000.0, 1_010.0, 1_020.0, 1_030.0]
    assert not list(tmp_path.glob("*cluster*"))


async def test_the_latest_recordings_of_other_clusters_are_kept(tmp_path):
    for number in range(5):
        (tmp_path / f"{FILE_NAME}.cluster-20260{number}").write_bytes(b"")
    for cluster in ("Aq-1", "Bq-2"):
        async with recording(tmp_path, cluster_uuid=lambda uuid=cluster: uuid) as recorder:
            record(recorder, 1_000.0)
    names = sorted(path.name for path in tmp_path.glob("*cluster-*"))
    assert names[:2] == [f"{FILE_NAME}.cluster-20260{number}" for number in (3, 4)]
    assert len(names) == 3


async def test_a_fifo_in_its_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / FILE_NAME)
    with capture_logs() as logs:
        async with recording(tmp_path) as recorder:
            record(recorder, 1_000.0)
    (message,) = [log["message"] for log in logs if log["event"] == "recording.failed"]
    assert "is no regular file" in message


async def test_a_directory_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with capture_logs() as logs:
        async with recording(tmp_path / "file" / "state") as recorder:
            record(recorder, 1_000.0)
    assert recorder.failed_cycles == 1
    (message,) = [log["message"] for log in logs if log["event"] == "recording.failed"]
    assert os.strerror(errno.ENOTDIR) in message
    assert "set directory in [recording] to another" in message


async def test_the_log_says_where_it_is_and_since_when(tmp_path):
    async with recording(tmp_path) as recorder:
        record(recorder, 86_400.0)
    with capture_logs() as logs:
        async with recording(tmp_path):
            pass
    (message,) = [log["message"] for log in logs if log["event"] == "recording.opened"]
    assert message.startswith(f"cycles are recorded in {tmp_path / FILE_NAME}, 0.")
    assert message.endswith("MB since 1970-01-02 00:00 UTC")


async def test_where_it_is_in_a_few_words(tmp_path):
    assert described_recording(None) == "off"
    assert described_recording(tmp_path) == f"{tmp_path / FILE_NAME}, not written yet"
    async with recording(tmp_path) as recorder:
        record(recorder, 1_000.0)
    assert described_recording(tmp_path).startswith(f"{tmp_path / FILE_NAME}, 0.")


def foreign(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA application_id = 7")
        database.commit()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda path: None, ""),
        (lambda path: path.write_bytes(b""), ""),
        (lambda path: path.write_bytes(b"no database" * 500), "; it is damaged: "),
        (foreign, "; it is the database of another program; move it, or "),
    ],
    ids=["whole", "empty", "damaged", "foreign"],
)
async def test_what_is_wrong_with_it_in_a_few_words(tmp_path, change, problem):
    async with recording(tmp_path) as recorder:
        record(recorder, 1_000.0)
    change(tmp_path / FILE_NAME)
    found = sorted(tmp_path.iterdir())
    described = described_recording(tmp_path)
    assert problem in described
    assert described.endswith(" MB") is not bool(problem)
    assert sorted(tmp_path.iterdir()) == found


async def test_while_it_is_written_it_is_described_as_well(tmp_path):
    async with recording(tmp_path) as recorder:
        record(recorder, 1_000.0)
        assert described_recording(tmp_path).endswith(" MB")


async def test_a_recording_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(RecordingUnreadable, match="does not exist"):
        cycles(tmp_path)


async def test_a_copy_that_cannot_be_read_has_a_remedy(tmp_path):
    """Half of a file, as a copy of one that is written may be."""
    async with recording(tmp_path) as recorder:
        for place in range(40):
            record(recorder, 1_000.0 + 10.0 * place)
    content = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(content[: len(content) // 2])
    remedy = r"cannot be read: .*; if it is a copy, export the recording with `autoscaler export`"
    with pytest.raises(RecordingUnreadable, match=remedy):
        cycles(tmp_path)


async def test_the_loop_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    """The thread is stuck in the disk while cycles go on, and the daemon ends all the same."""
    released = threading.Event()

    class Stuck(database.RecordingDatabase):
        def append(self, frame):
            released.wait(60.0)
            super().append(frame)

    monkeypatch.setattr(database, "RecordingDatabase", Stuck)
    monkeypatch.setattr("autoscaler.adapters.recording.recorder.CLOSE_TIMEOUT_S", 0.01)
    before = set(threading.enumerate())
    async with recording(tmp_path, in_thread=True) as recorder:
        for place in range(6):
            record(recorder, 1_000.0 + 10.0 * place)
        (stuck,) = set(threading.enumerate()) - before
    written_at = recorder.written_at
    released.set()
    stuck.join()  # and gives the file up
    assert written_at is None


KILLS = int(os.environ.get("RECORDING_KILLS", "10"))
"""`RECORDING_KILLS=500 python -m pytest --timeout 0 tests/adapters/test_recording.py` for more."""


def test_a_process_that_is_killed_loses_at_most_the_cycle_that_it_writes():
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.recording_kills", "--count", str(KILLS)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.startswith(f"{KILLS} processes were killed")


@pytest.fixture
def disk(monkeypatch):
    """A disk of 10 GB; `free` is what other files leave, and the recording is part of that."""
    disk = SimpleNamespace(free=10**9)
    statvfs = os.statvfs

    def measured(path):
        block = statvfs(path).f_frsize
        available = disk.free - database.size_of(path / FILE_NAME)
        return SimpleNamespace(
            f_blocks=10**10 // block, f_bavail=max(0, available) // block, f_frsize=block
        )

    monkeypatch.setattr(os, "statvfs", measured)
    return disk


async def test_the_rest_of_a_disk_is_left_to_the_state(tmp_path, disk):
    with capture_logs() as logs:
        async with recording(tmp_path) as recorder:
            record(recorder, 1_000.0)
            disk.free = writer.RESERVED_BYTES
            record(recorder, 1_010.0)
            disk.free = 10**9
            record(recorder, 1_020.0)
    assert instants(tmp_path)[-1] == 1_020.0
    assert recorder.failed_cycles == 1
    (message,) = [log["message"] for log in logs if log["event"] == "recording.failed"]
    assert "is almost full, and the rest is left to the saved state" in message


async def test_on_a_small_disk_the_oldest_cycles_are_removed_earlier(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(writer, "MAX_BLOCK_BYTES", 3_000)
    disk.free = writer.RESERVED_BYTES + 70_000
    async with recording(tmp_path) as recorder:
        for place in range(1_000):
            noise = int.from_bytes(os.urandom(6), "big")
            record(recorder, 1_000.0 + 10.0 * place, completed=noise)
        assert recorder.failed_cycles == 0
    found = instants(tmp_path)
    assert found[-1] == 10_990.0
    assert found[0] > 1_000.0
    assert found == [found[0] + 10.0 * place for place in range(len(found))]


async def test_a_file_that_is_found_damaged_while_room_is_made_is_set_aside(tmp_path, disk):
    with capture_logs() as logs:
        async with recording(tmp_path) as recorder:
            record(recorder, 1_000.0)
            disk.free = writer.RESERVED_BYTES
            damaged = sqlite3.connect(tmp_path / FILE_NAME)
            damaged.execute("PRAGMA writable_schema = ON")
            damaged.execute("UPDATE sqlite_master SET rootpage = 999 WHERE name = 'frames'")
            damaged.execute("PRAGMA schema_version = 99")
            damaged.commit()
            damaged.close()
            record(recorder, 1_010.0)
            assert len(list(tmp_path.glob(f"{FILE_NAME}.damaged-*"))) == 1
            disk.free = 10**9
            record(recorder, 1_020.0)
    assert instants(tmp_path)[-1] == 1_020.0
    (message,) = [log["message"] for log in logs if log["event"] == "recording.damaged"]
    assert "is damaged" in message


async def test_a_defect_is_named_as_one_without_advice_about_the_disk(tmp_path, monkeypatch):
    def defect(*_):
        raise ValueError("a figure too many")

    monkeypatch.setattr(writer.RecordingFile, "write", defect)
    with capture_logs() as logs:
        async with recording(tmp_path, in_thread=True) as recorder:
            record(recorder, 1_000.0)
    (message,) = [log["message"] for log in logs if log["event"] == "recording.failed"]
    assert "a figure too many" in message
    assert "report it" in message
    assert "disk" not in message


async def test_a_recording_that_no_process_writes_is_read_where_nothing_can_be_written(
    tmp_path, monkeypatch
):
    async with recording(tmp_path) as recorder:
        record(recorder, 1_000.0)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert instants(tmp_path) == [1_000.0]
    assert not list(tmp_path.glob("*-shm"))
