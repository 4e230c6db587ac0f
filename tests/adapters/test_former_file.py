"""The file in which earlier releases recorded stopped deployments: never silently empty."""

from pathlib import Path

import pytest

from autoscaler.adapters.state import FormerFile, FormerFileUnreadable
from autoscaler.core.state import BackOff, State, StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations
from autoscaler.wire.state import encode_state, encode_stopped
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
def former(path):
    return FormerFile(path)


def test_it_is_read(former, path):
    path.write_bytes(encode_stopped({".elser-2": STOPPED}))
    assert former.load() == {".elser-2": STOPPED}


def test_a_missing_file_has_no_deployments(former):
    assert former.load() == {}


class TestVersion1:
    """JSON, with the field names of that time."""

    def test_it_is_read(self, path):
        path.write_bytes((DATA / "stopped-1.json").read_bytes())
        other = StoppedDeployment(stats=deployment(deployment_id="e5"), since=2_000.0)
        assert FormerFile(path).load() == {".elser-2": STOPPED, "e5": other}


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
def test_damage_is_reported_and_not_read_as_an_empty_file(former, path, content):
    path.write_bytes(content)
    with pytest.raises(FormerFileUnreadable, match=r"damaged.*restore it, or start") as caught:
        former.load()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_a_truncated_file_is_damaged(former, path):
    whole = encode_stopped({".elser-2": STOPPED})
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(FormerFileUnreadable):
            former.load()


def test_another_document_is_reported(former, path):
    path.write_bytes(encode_state(State()).content)
    said = "stopped is another document, 'autoscaler state' instead of .*; check its path"
    with pytest.raises(FormerFileUnreadable, match=said):
        former.load()


@pytest.mark.parametrize(
    "content", [b'{"version": 4, "sleeping": []}', b"\x82\xa7version\x04\xa1x\x00"]
)
def test_another_version_is_reported(former, path, content):
    path.write_bytes(content)
    said = (
        "is of version 4, and this program reads versions 1, 2 and 3; "
        "use the program that wrote it, or"
    )
    with pytest.raises(FormerFileUnreadable, match=said):
        former.load()


def test_a_directory_in_its_place_is_reported(path):
    path.mkdir()
    with pytest.raises(FormerFileUnreadable, match="cannot be read: Is a directory"):
        FormerFile(path).load()
