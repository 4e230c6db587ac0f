"""Intervals of a deployment in few bytes, so that weeks of many deployments fit into the memory."""

from collections.abc import Iterator

import zstandard
from msgspec import Struct, field, json

from autoscaler.wire.intervals import LoadInterval

BLOCK_BYTES = 32 * 2**10
"""Bytes of lines that are compressed together. 32 KiB: with four times as many, the memory would be
a tenth smaller, and a thousand deployments would have 100 MiB of lines that are not compressed yet.
"""

_LEVEL = 1
"""Level of compression. Higher ones take twice as long, for a few percent."""

_encoder = json.Encoder()
_decoder = json.Decoder(LoadInterval)


class PackedIntervals(Struct, kw_only=True):
    """Intervals as the lines of a file have them, compressed."""

    blocks: list[bytes] = []
    latest: bytearray = field(default_factory=bytearray)  # lines that are not compressed yet

    def add(self, interval: LoadInterval) -> None:
        self.latest += _encoder.encode(interval) + b"\n"
        if len(self.latest) >= BLOCK_BYTES:
            block = zstandard.ZstdCompressor(level=_LEVEL).compress(self.latest)
            # A copy: the memory of what the compressor returns is as large as that of the lines.
            self.blocks.append(bytes(memoryview(block)))
            self.latest.clear()

    def __iter__(self) -> Iterator[LoadInterval]:
        """Intervals that equal those that were added, in their order."""
        for block in self.blocks:
            yield from _decoder.decode_lines(zstandard.ZstdDecompressor().decompress(block))
        yield from _decoder.decode_lines(self.latest)
