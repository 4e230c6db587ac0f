"""Arrival counts of the last hours, in slots of ten seconds."""

import math
from collections.abc import Iterable
from itertools import pairwise
from struct import Struct as Layout

from msgspec.structs import replace

from autoscaler.core.values import Value

SLOT_S = 10.0
"""Seconds of a slot: one poll interval, and short in comparison with any job that recurs."""

SLOTS = 1_500
"""Slots that are kept: a little more than two of the longest periods, which are two hours."""

MAX_INTERVAL_S = 2.0 * SLOT_S
"""The longest interval that shows in which slots its requests arrived. A longer one would look as
if the same rate recurred in each of its slots."""

UNKNOWN = math.nan
"""The rate of a slot that was not observed."""

MAX_RATE_PER_S = 65_000.0
"""About the largest number that a 16-bit float represents."""

BLOCK_SLOTS = 150
"""Slots of a block, a multiple of six. 150: a slot that ends changes 300 bytes and not all 3,000 of
a deployment, while the states of earlier cycles are still being written."""

_ENTRY = Layout("<e")
_MINUTE = Layout("<6e")  # a block is a multiple of six
_NOTHING = (_ENTRY.pack(UNKNOWN) * BLOCK_SLOTS,) * (SLOTS // BLOCK_SLOTS)  # shared by all without


class Lookback:
    """Reads the rates of a slot and of certain slots before it at once, which is much faster than
    one by one.

    >>> known = with_count(with_count(CountHistory(), 20, 10.0, 10.0), 30, 20.0, 10.0)
    >>> Lookback((0, 1)).rates(known, 1)
    (2.0, 3.0)
    """

    __slots__ = ("_layout", "_slots", "_span")

    def __init__(self, slots_before: Iterable[int]) -> None:
        self._slots = sorted({0, *slots_before}, reverse=True)
        self._span = self._slots[0]
        skipped = [(one - other - 1) * _ENTRY.size for one, other in pairwise(self._slots)]
        self._layout = Layout("<e" + "".join([f"{each}xe" for each in skipped]))

    def index(self, slots_before: int) -> int:
        """Where the rate of the slot so many before is among the rates."""
        return self._slots.index(slots_before)

    def rates(self, history: "CountHistory", slot: int) -> tuple[float, ...]:
        """The rates of the slots, the earliest first, each as `CountHistory.rate` returns it."""
        first = (slot - self._span) % SLOTS
        if first + self._span < SLOTS and history.slot - SLOTS + self._span <= slot < history.slot:
            return self._layout.unpack_from(history.rates, first * _ENTRY.size)
        return tuple([history.rate(slot - each) for each in self._slots])


class CountHistory(Value, frozen=True, kw_only=True):
    """The arrival rates of the slots before `slot`. Slot numbers count from 1970."""

    slot: int = 0  # the slot that has not ended
    # Requests per second by slot number modulo `SLOTS`, as 16-bit floats.
    blocks: tuple[bytes, ...] = _NOTHING
    count: float = 0.0  # requests since that slot began
    observed_s: float = 0.0  # seconds of it that were observed

    @property
    def rates(self) -> bytes:
        """Those of all slots."""
        return b"".join(self.blocks)

    def rate(self, slot: int) -> float:
        """Requests per second in a slot that has ended; nan if it is not known."""
        if not self.slot - SLOTS <= slot < self.slot:
            return UNKNOWN
        block, place = divmod(slot % SLOTS, BLOCK_SLOTS)
        rate: float = _ENTRY.unpack_from(self.blocks[block], place * _ENTRY.size)[0]
        return rate

    def minute_rate(self, slot: int) -> float:
        """The mean rate of the minute that begins with a slot, whose number is a multiple of six;
        nan if it is not known."""
        if not self.slot - SLOTS <= slot <= self.slot - 6:
            return UNKNOWN
        block, place = divmod(slot % SLOTS, BLOCK_SLOTS)
        total: float = sum(_MINUTE.unpack_from(self.blocks[block], place * _ENTRY.size))
        return total / 6.0

    def mean_rate(self, since: float, until: float) -> float:
        """Requests per second between two instants, in Unix seconds; nan if it is not known."""
        first, last = math.floor(since / SLOT_S), math.floor(until / SLOT_S)
        if first == last:
            return self.rate(first)
        total = self.rate(first) * ((first + 1) * SLOT_S - since)
        for slot in range(first + 1, last):
            total += self.rate(slot) * SLOT_S
        left_s = until - last * SLOT_S
        if left_s > 0.0:
            total += self.rate(last) * left_s
        return total / (until - since)


def with_count(known: CountHistory, requests: int, until: float, interval_s: float) -> CountHistory:
    """The history after an interval, whose requests are divided evenly between its seconds.

    Args:
        until: Unix seconds of its end.
    """
    if interval_s > MAX_INTERVAL_S:
        return _at_slot(known, math.floor(until / SLOT_S))
    since, rate = until - interval_s, requests / interval_s
    first, last = math.floor(since / SLOT_S), math.floor(until / SLOT_S)
    if first != known.slot:
        known = _at_slot(known, first)
    if first == last:
        return replace(
            known, count=known.count + requests, observed_s=known.observed_s + interval_s
        )
    begun_s = (first + 1) * SLOT_S - since
    ended = (known.count + rate * begun_s) / (known.observed_s + begun_s)
    between = [(slot, rate) for slot in range(max(first + 1, last - SLOTS), last)]
    blocks, open_s = _changed(known.blocks, [(first, ended), *between]), until - last * SLOT_S
    return CountHistory(slot=last, blocks=blocks, count=rate * open_s, observed_s=open_s)


def _at_slot(known: CountHistory, slot: int) -> CountHistory:
    """The history with nothing known between its last slot and another one, which is earlier if the
    clock was set back."""
    if abs(slot - known.slot) >= SLOTS:
        return CountHistory(slot=slot)
    skipped = range(min(known.slot, slot), max(known.slot, slot))
    blocks = _changed(known.blocks, [(each, UNKNOWN) for each in skipped])
    return CountHistory(slot=slot, blocks=blocks)


def blocks_of(rates: bytes) -> tuple[bytes, ...]:
    """The blocks of the rates of all slots."""
    size = BLOCK_SLOTS * _ENTRY.size
    return tuple([rates[first : first + size] for first in range(0, len(rates), size)])


def _changed(blocks: tuple[bytes, ...], rates: Iterable[tuple[int, float]]) -> tuple[bytes, ...]:
    """The blocks with other rates, by slot; those that have none of the slots are the same."""
    changed: dict[int, bytearray] = {}
    for slot, rate in rates:
        number, place = divmod(slot % SLOTS, BLOCK_SLOTS)
        if number not in changed:
            changed[number] = bytearray(blocks[number])
        _ENTRY.pack_into(changed[number], place * _ENTRY.size, min(rate, MAX_RATE_PER_S))
    return tuple(
        [
            bytes(changed[number]) if number in changed else each
            for number, each in enumerate(blocks)
        ]
    )
