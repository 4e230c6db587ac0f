"""A document of the saved state as JSON, for an index.

    {"autoscaler_state": 1, "name": "deployment:elser", "writer": "host-1-42-a1b2c3",
     "written_at": "2026-01-01T00:00:00.000000Z", "content": "eJwr..."}

The content is compressed with zlib, which includes a checksum, and encoded in Base64.
"""

import base64
import binascii
import zlib

import msgspec
from msgspec import Struct, field

from autoscaler.wire.bounds import DESCRIPTION, Name
from autoscaler.wire.lease import micro_time

RECORD_VERSION = 1
"""Version of this form. The content has a version of its own."""

MAX_CONTENT_BYTES = 64 * 2**20
"""Largest content. It bounds what a few compressed bytes may become. Ten thousand stopped
deployments on ten nodes each need 40 MiB."""

MAX_RECORD_BYTES = DESCRIPTION.max_bytes // 2
"""Largest document: half of the largest response, because several documents are read at once."""

_FAST = 1


class RecordTooLarge(Exception):
    """The document could not be read again."""


class RecordUnreadable(Exception):
    """A document that this program did not write, or a later release. The message says which."""


class Record(Struct, frozen=True, kw_only=True):
    name: str
    writer: str
    written_at: float  # Unix seconds
    content: bytes


class _RecordDocument(Struct, kw_only=True):
    version: int = field(name="autoscaler_state")
    name: str = ""
    writer: Name = ""
    written_at: str = ""
    content: str = ""


def encode_record(record: Record) -> bytes:
    """On one line.

    Raises:
        RecordTooLarge: it must not be written.
    """
    encoded = msgspec.json.encode(
        _RecordDocument(
            version=RECORD_VERSION,
            name=record.name,
            writer=record.writer,
            written_at=micro_time(record.written_at),
            content=base64.b64encode(zlib.compress(record.content, _FAST)).decode(),
        )
    )
    if len(record.content) > MAX_CONTENT_BYTES or len(encoded) > MAX_RECORD_BYTES:
        raise RecordTooLarge(
            f"{record.name} is too large to be read again: {len(record.content) / 1e6:.1f} MB, and "
            f"compressed {len(encoded) / 1e6:.1f} MB"
        )
    return encoded


def decode_record(body: bytes | msgspec.Raw) -> tuple[str, bytes]:
    """The writer and the content.

    Raises:
        RecordUnreadable: it must be left alone.
    """
    try:
        document = msgspec.json.decode(body, type=_RecordDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordUnreadable("is of another program") from error
    if document.version != RECORD_VERSION:
        raise RecordUnreadable(
            f"is of version {document.version}, and this program reads version {RECORD_VERSION}"
        )
    try:
        return document.writer, _decompressed(base64.b64decode(document.content, validate=True))
    except (binascii.Error, ValueError, zlib.error) as error:
        raise RecordUnreadable(f"is damaged: {error}") from error


def _decompressed(content: bytes) -> bytes:
    """
    Raises:
        ValueError: it is incomplete or too large.
        zlib.error: it is damaged.
    """
    stream = zlib.decompressobj()
    decompressed = stream.decompress(content, MAX_CONTENT_BYTES)
    if not stream.eof:
        raise ValueError(f"it is incomplete, or larger than {MAX_CONTENT_BYTES} bytes")
    return decompressed
