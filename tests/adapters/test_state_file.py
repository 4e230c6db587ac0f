"""The file of those asleep: never half, never silently empty, for nobody else's eyes."""

import errno
import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.state_file import StateFile, StateFileUnreadable
from autoscaler.core.state import BackOff, StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations
from autoscaler.ports import StateNotSaved
from tests.observations import deployment, node

SLEEPER = StoppedDeployment(
    stats=deployment(
        node(completed=7, name="ml-1"),
        deployment_id=".elser-2",
        adaptive=AdaptiveAllocations(enabled=True, minimum=0, maximum=4),
        cache_bytes=0,
        priority="low",
    ),
    since=1_000.25,
    usage=bytes(range(256)),
    back_off=BackOff(times=2, until=1_060.0, reason="no"),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "asleep.json"


@pytest.fixture
def bedside(path):
    return StateFile(path)


def test_it_outlives_the_program(bedside, path):
    bedside.save({".elser-2": SLEEPER})
    assert StateFile(path).load() == {".elser-2": SLEEPER}


@given(
    name=st.text(max_size=20),
    reason=st.text(max_size=20),
    since=st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_name_and_any_reason(tmp_path_factory, name, reason, since):
    bedside = StateFile(tmp_path_factory.getbasetemp() / "any.json")
    sleeper = StoppedDeployment(stats=deployment(deployment_id=name, reason=reason), since=since)
    bedside.save({name: sleeper})
    assert bedside.load() == {name: sleeper}


def test_it_says_of_which_version_it_is(bedside, path):
    bedside.save({})
    assert json.loads(path.read_bytes()) == {"version": 1, "asleep": {}}


def test_only_its_owner_may_read_it(bedside, path):
    for _ in range(2):
        bedside.save({".elser-2": SLEEPER})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_else_is_left_behind(bedside, path):
    for _ in range(3):
        bedside.save({".elser-2": SLEEPER})
    assert os.listdir(path.parent) == [path.name]


class Broken:
    """Stands in for a call of the operating system that fails."""

    def __init__(self, number):
        self.number = number

    def __call__(self, *_):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_fails_leaves_the_old_file(bedside, path, monkeypatch, call, number):
    bedside.save({".elser-2": SLEEPER})
    with monkeypatch.context() as patched:
        patched.setattr(os, call, Broken(number))
        with pytest.raises(StateNotSaved, match=os.strerror(number)) as caught:
            bedside.save({})
    assert str(path) in str(caught.value)
    assert bedside.load() == {".elser-2": SLEEPER}
    assert os.listdir(path.parent) == [path.name]


def test_a_directory_that_is_not_there_is_told(tmp_path):
    bedside = StateFile(tmp_path / "none" / "asleep.json")
    assert bedside.load() == {}
    with pytest.raises(StateNotSaved, match="No such file or directory"):
        bedside.save({})


DAMAGED = {
    "empty": b"",
    "not JSON": b"{",
    "not text": b"\xff\xfe",
    "no version": b'{"asleep": {}}',
    "nobody": b'{"version": 1}',
    "a list": b"[]",
    "no statistics": b'{"version": 1, "asleep": {"a": {"since": 1.0}}}',
    "too deep": b'{"version": 1, "asleep": ' + b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_told_and_not_taken_for_nobody(bedside, path, content):
    path.write_bytes(content)
    with pytest.raises(
        StateFileUnreadable, match=r"damaged.*restore it, or start by hand"
    ) as caught:
        bedside.load()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_half_a_file_is_damage(bedside, path):
    bedside.save({".elser-2": SLEEPER})
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(StateFileUnreadable):
            bedside.load()


def test_another_version_is_told(bedside, path):
    path.write_bytes(b'{"version": 2, "sleeping": []}')
    with pytest.raises(StateFileUnreadable, match="is of version 2, and this program reads"):
        bedside.load()


def test_a_file_that_is_none_is_told(path):
    path.mkdir()
    with pytest.raises(StateFileUnreadable, match="cannot be read: Is a directory"):
        StateFile(path).load()
