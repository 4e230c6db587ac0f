"""The documents of the saved state, in the form that an index has."""

import random

import pytest

from autoscaler.wire.state_records import (
    MAX_CONTENT_BYTES,
    MAX_RECORD_BYTES,
    Record,
    RecordTooLarge,
    RecordUnreadable,
    decode_record,
    encode_record,
)


def record(content):
    return Record(name="stopped", writer="one", written_at=5.0, content=content)


@pytest.mark.parametrize(
    "content",
    [b"", b"content", bytes(MAX_CONTENT_BYTES), random.Random(1).randbytes(MAX_RECORD_BYTES // 2)],
    ids=["empty", "small", "long", "incompressible"],
)
def test_what_is_written_can_be_read(content):
    encoded = encode_record(record(content))
    assert b"\n" not in encoded
    assert len(encoded) <= MAX_RECORD_BYTES
    assert decode_record(encoded) == ("one", content)


@pytest.mark.parametrize(
    "content",
    [bytes(MAX_CONTENT_BYTES + 1), random.Random(1).randbytes(MAX_RECORD_BYTES)],
    ids=["long", "incompressible"],
)
def test_what_could_not_be_read_is_not_written(content):
    with pytest.raises(RecordTooLarge, match="stopped is too large to be read again"):
        encode_record(record(content))


def test_a_cut_document_is_damaged():
    encoded = encode_record(record(b"content"))
    with pytest.raises(RecordUnreadable):
        decode_record(encoded[:-8] + encoded[-2:])
