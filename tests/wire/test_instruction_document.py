"""The stored form of instructions."""

import pytest

from autoscaler.core.instructions import Instructions, Override, Pause, PausedChanges
from autoscaler.wire.instruction_document import decode_instructions, encode_instructions
from autoscaler.wire.state import Damaged, UnknownVersion

VERSION_1 = (
    b'{"document":"autoscaler instructions","version":1,"pause":{"changes":"everything",'
    b'"since":1.0,"until":2.5,"by":"alice","reason":"why"},"pauses":{"e5":{"changes":"decreases",'
    b'"since":1.0,"until":3.0,"by":"bob","reason":""}},"overrides":{"elser":{"allocations":4,'
    b'"since":1.0,"until":4.0,"by":"carol","reason":""}}}'
)
INSTRUCTIONS = Instructions(
    pause=Pause(changes=PausedChanges.EVERYTHING, since=1.0, until=2.5, by="alice", reason="why"),
    pauses={"e5": Pause(changes=PausedChanges.DECREASES, since=1.0, until=3.0, by="bob")},
    overrides={"elser": Override(allocations=4, since=1.0, until=4.0, by="carol")},
)


def test_a_document_of_version_1_is_read_and_written():
    assert decode_instructions(VERSION_1) == INSTRUCTIONS
    assert encode_instructions(INSTRUCTIONS) == VERSION_1


def test_one_of_a_later_version_is_not():
    with pytest.raises(UnknownVersion):
        decode_instructions(VERSION_1.replace(b'"version":1', b'"version":2'))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", VERSION_1[:-9], b"[" * 5_000])
def test_a_damaged_one_is_an_error_of_one_kind(content):
    with pytest.raises(Damaged):
        decode_instructions(content)
