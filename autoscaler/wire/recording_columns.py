"""Columns of integers as bytes, as few as possible once they are compressed.

A column has one width for all its numbers, and then all first bytes, all second ones, and so on:
bytes of one kind side by side compress better. Of a column of zeros, nothing is left.
"""

import sys
from array import array
from collections.abc import Sequence

_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
"""Type codes of `array`, by the bytes of a number."""

MAX_NUMBER = 2**62
"""The largest number of a column, so that differences fit into 64 bits. Counts of a cluster are
below 2**53; times that damage has made larger are cut to it."""


class ColumnDamaged(ValueError):
    """The bytes are no column of that many numbers."""


def encoded_column(numbers: Sequence[int]) -> bytes:
    """The width and the bytes of the numbers; empty if all are 0."""
    if not any(numbers):
        return b""
    for code in _CODES.values():
        try:
            packed = array(code, numbers)
        except OverflowError:
            continue
        break
    width = packed.itemsize
    if sys.byteorder == "big":
        packed.byteswap()
    if width == 1:
        return b"\1" + packed.tobytes()
    data = packed.tobytes()
    return b"".join((bytes((width,)), *(data[place::width] for place in range(width))))


def decoded_column(data: bytes, count: int) -> Sequence[int]:
    """The numbers of `encoded_column`.

    Raises:
        ColumnDamaged: these are not so many numbers.
    """
    if not data:
        return [0] * count
    width = data[0]
    if width not in _CODES or len(data) != 1 + width * count:
        raise ColumnDamaged(f"{len(data)} bytes are no column of {count} numbers")
    mixed = bytearray(width * count)
    for place in range(width):
        mixed[place::width] = data[1 + place * count : 1 + (place + 1) * count]
    numbers = array(_CODES[width])
    numbers.frombytes(mixed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
