"""The file of the stopped deployments: always complete, never silently empty, private."""

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.state_file import StateFile, StateFileUnreadable
from autoscaler.core.state import BackOff, State, StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations
from autoscaler.ports import StateNotSaved
from autoscaler.wire.state import encode_state
from tests.observations import deployment, node

DATA = Path(__file__).parents[1] / "data"

STOPPED = StoppedDeployment(
    stats=deployment(
        node(completed=7, name="ml-1"),
        deployment_id=".elser-2",
        adaptive=AdaptiveAllocations(enabled=True, minimum=0, maximum=4),
        cache_bytes=0,
        priority="low",
    ),
    since=1_000.25,
    usage=bytes(range(84)),
    back_off=BackOff(times=2, until=1_060.0, reason="no capacity"),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stopped"


@pytest.fixture
def state_file(path):
    return StateFile(path)


def test_it_outlives_the_process(state_file, path):
    state_file.save({".elser-2": STOPPED})
    assert StateFile(path).load() == {".elser-2": STOPPED}


@given(name=st.text(max_size=20), reason=st.text(max_size=20), since=st.floats(allow_nan=False))
def test_any_name_reason_and_instant(tmp_path_factory, name, reason, since):
    state_file = StateFile(tmp_path_factory.getbasetemp() / "any")
    stopped = StoppedDeployment(stats=deployment(deployment_id=name, reason=reason), since=since)
    state_file.save({name: stopped})
    assert state_file.load() == {name: stopped}


def test_only_its_owner_may_read_it(state_file, path):
    for _ in range(2):
        state_file.save({".elser-2": STOPPED})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_temporary_file_remains(state_file, path):
    for _ in range(3):
        state_file.save({".elser-2": STOPPED})
    assert os.listdir(path.parent) == [path.name]


class Broken:
    """Stands in for a call of the operating system that fails."""

    def __init__(self, code):
        self.code = code

    def __call__(self, *_):
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_fails_leaves_the_old_file(state_file, path, monkeypatch, call, code):
    state_file.save({".elser-2": STOPPED})
    with monkeypatch.context() as patched:
        patched.setattr(os, call, Broken(code))
        with pytest.raises(StateNotSaved, match=os.strerror(code)) as caught:
            state_file.save({})
    assert str(path) in str(caught.value)
    assert state_file.load() == {".elser-2": STOPPED}
    assert os.listdir(path.parent) == [path.name]


def test_a_missing_directory_is_reported(tmp_path):
    state_file = StateFile(tmp_path / "none" / "stopped")
    assert state_file.load() == {}
    with pytest.raises(StateNotSaved, match="No such file or directory"):
        state_file.save({})


class TestVersion1:
    """JSON, with the field names of that time."""

    def test_it_is_read(self, path):
        path.write_bytes((DATA / "stopped-1.json").read_bytes())
        other = StoppedDeployment(stats=deployment(deployment_id="e5"), since=2_000.0)
        assert StateFile(path).load() == {".elser-2": STOPPED, "e5": other}

    def test_the_next_save_writes_the_present_version(self, state_file, path):
        path.write_bytes((DATA / "stopped-1.json").read_bytes())
        stopped = state_file.load()
        state_file.save(stopped)
        assert not path.read_bytes().startswith(b"{")
        assert state_file.load() == stopped


DAMAGED = {
    "empty": b"",
    "not JSON": b"{",
    "not MessagePack": b"\xc1",
    "not text": b"\xff\xfe",
    "no version in JSON": b'{"asleep": {}}',
    "no version": b"\x80",
    "no deployments in JSON": b'{"version": 1}',
    "no deployments": b"\x81\xa7version\x02",
    "a list": b"[]",
    "no statistics": b'{"version": 1, "asleep": {"a": {"since": 1.0}}}',
    "too deep": b'{"version": 1, "asleep": ' + b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_reported_and_not_read_as_an_empty_file(state_file, path, content):
    path.write_bytes(content)
    with pytest.raises(StateFileUnreadable, match=r"damaged.*restore it, or start") as caught:
        state_file.load()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_a_truncated_file_is_damaged(state_file, path):
    state_file.save({".elser-2": STOPPED})
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(StateFileUnreadable):
            state_file.load()


def test_another_document_is_reported(state_file, path):
    path.write_bytes(encode_state(State()).content)
    said = "stopped is another document, 'autoscaler state' instead of .*; check its path"
    with pytest.raises(StateFileUnreadable, match=said):
        state_file.load()


@pytest.mark.parametrize(
    "content", [b'{"version": 4, "sleeping": []}', b"\x82\xa7version\x04\xa1x\x00"]
)
def test_another_version_is_reported(state_file, path, content):
    path.write_bytes(content)
    said = (
        "is of version 4, and this program reads versions 1, 2 and 3; "
        "use the program that wrote it, or"
    )
    with pytest.raises(StateFileUnreadable, match=said):
        state_file.load()


def test_a_directory_in_its_place_is_reported(path):
    path.mkdir()
    with pytest.raises(StateFileUnreadable, match="cannot be read: Is a directory"):
        StateFile(path).load()
