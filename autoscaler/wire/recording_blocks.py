"""Frames of a recording compressed: each by itself while a block is open, and all of a closed block
column by column, which takes less than half.

Compressed data has a checksum, so that a changed byte is noticed.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from autoscaler.wire.recording import VERSION, Frame, RecordingDamaged, decoded_frame, encoded_frame

FRAME_LEVEL = 1
"""Level of compression of single frames. 1, since they are soon compressed again in a block."""

BLOCK_LEVEL = 6
"""Level of compression of blocks. 6: higher ones take several times as long, for a percent."""

MAX_DECOMPRESSED_BYTES = 256 * 2**20
"""Bytes of a decompressed frame or block at most; more is damage. 256 MiB: a block is closed at a
few MiB, and the largest observation has less than twenty."""


class _Run(Struct, frozen=True, array_like=True):
    """One column in all frames of a block."""

    widths: bytes  # of each frame; 0: its numbers are zeros
    planes: tuple[bytes, ...]  # the first bytes of all frames, their second ones, and so on


class _Block(Struct, frozen=True, array_like=True):
    """The frames of a block, without their columns, and the columns."""

    version: int
    frames: tuple[Frame, ...]
    counts: dict[str, tuple[int, ...]]  # numbers in a column of each frame, by the kind of column
    columns: dict[str, _Run]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Block)


def compressed_frame(frame: Frame) -> bytes:
    """One frame, with the version of its format before it."""
    return bytes((VERSION,)) + _compressed(encoded_frame(frame), FRAME_LEVEL)


def decompressed_frame(data: bytes) -> Frame:
    """
    Raises:
        RecordingDamaged: this is no frame, or one of a later version.
    """
    _check_version(data[0] if data else 0)
    return decoded_frame(_decompressed(data[1:]))


def compressed_block(frames: Sequence[Frame]) -> bytes:
    """Frames column by column, with the version of their format before them."""
    runs: dict[str, tuple[bytearray, list[list[bytes]]]] = {}
    for place, frame in enumerate(frames):
        for name, data in frame.columns.items():
            widths, planes = runs.setdefault(name, (bytearray(len(frames)), []))
            widths[place] = width = data[0]
            count = (len(data) - 1) // width
            while len(planes) < width:
                planes.append([])
            for number in range(width):
                planes[number].append(data[1 + number * count : 1 + (number + 1) * count])
    block = _Block(
        VERSION,
        tuple([replace(frame, columns={}) for frame in frames]),
        _counts(frames),
        {
            name: _Run(bytes(widths), tuple([b"".join(plane) for plane in planes]))
            for name, (widths, planes) in sorted(runs.items())
        },
    )
    return bytes((VERSION,)) + _compressed(_encoder.encode(block), BLOCK_LEVEL)


def _counts(frames: Sequence[Frame]) -> dict[str, tuple[int, ...]]:
    nodes, deployments = [], []
    layout = None
    for frame in frames:
        layout = frame.layout or layout
        nodes.append(0 if layout is None else len(layout.nodes))
        deployments.append(0 if layout is None else len(layout.deployments))
    return {"node": tuple(nodes), "deployment": tuple(deployments)}


def decompressed_block(data: bytes) -> Iterator[Frame]:
    """The frames of a block, in their order.

    Raises:
        RecordingDamaged: this is no block, or one of a later version.
    """
    _check_version(data[0] if data else 0)
    try:
        block = _decoder.decode(_decompressed(data[1:]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingDamaged(f"a block is damaged: {error}") from error
    try:
        columns = _columns_by_frame(block)
    except (KeyError, IndexError, ValueError) as error:
        raise RecordingDamaged("the parts of a block contradict each other") from error
    return (
        replace(frame, columns=found) for frame, found in zip(block.frames, columns, strict=True)
    )


def _columns_by_frame(block: _Block) -> list[dict[str, bytes]]:
    """The columns of each frame.

    Raises:
        KeyError, IndexError, ValueError: the parts of the block contradict each other.
    """
    columns: list[dict[str, bytes]] = [{} for _ in block.frames]
    for name, run in block.columns.items():
        counts = block.counts["node" if name.startswith("node.") else "deployment"]
        begins = [0] * len(run.planes)
        for place, (width, count) in enumerate(zip(run.widths, counts, strict=True)):
            if not width:
                continue
            parts = [bytes((width,))]
            for number in range(width):
                begin = begins[number]
                parts.append(run.planes[number][begin : begin + count])
                begins[number] = begin + count
            columns[place][name] = b"".join(parts)
    return columns


def _check_version(version: int) -> None:
    if version > VERSION:
        raise RecordingDamaged(
            f"version {version} of its frames is later than {VERSION}, the last one that this "
            "program reads; use a later release"
        )
    if not version:
        raise RecordingDamaged("a frame is empty")


def _compressed(data: bytes, level: int) -> bytes:
    import zstandard  # noqa: PLC0415 - when the first frame is written

    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)


def _decompressed(data: bytes) -> bytes:
    import zstandard  # noqa: PLC0415 - when the first frame is read

    try:
        if zstandard.frame_content_size(data) > MAX_DECOMPRESSED_BYTES:
            raise RecordingDamaged("a frame is larger than any")
        return zstandard.ZstdDecompressor().decompress(data, MAX_DECOMPRESSED_BYTES)
    except zstandard.ZstdError as error:
        raise RecordingDamaged(f"it cannot be decompressed: {error}") from error
