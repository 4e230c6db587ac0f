"""The arrival counts of the last hours, in blocks."""

import math
from struct import pack, unpack

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.slo.count_history import (
    BLOCK_SLOTS,
    SLOT_S,
    SLOTS,
    CountHistory,
    blocks_of,
    with_count,
)

START = 6_000_000 * SLOT_S


def after(counts):
    known = CountHistory()
    for number, count in enumerate(counts):
        known = with_count(known, count, START + (number + 1) * SLOT_S, SLOT_S)
    return known


def test_blocks_divide_all_slots_and_have_whole_minutes():
    assert SLOTS % BLOCK_SLOTS == 0
    assert BLOCK_SLOTS % 6 == 0


def test_a_slot_that_ends_changes_one_block():
    """The states of earlier cycles, which are still being written, share the others."""
    before = after([7] * (2 * BLOCK_SLOTS))
    later = with_count(before, 9, START + (2 * BLOCK_SLOTS + 1) * SLOT_S, SLOT_S)
    same = [one is other for one, other in zip(before.blocks, later.blocks, strict=True)]
    assert same.count(False) == 1


def test_histories_without_data_share_their_blocks():
    assert len({id(block) for block in CountHistory().blocks}) == 1


@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=400))
def test_the_rates_of_all_slots_are_those_of_each(counts):
    known = after(counts)
    last = known.slot - 1
    for back, count in enumerate(reversed(counts[: SLOTS - 1])):
        assert known.rate(last - back) == float_of(count / SLOT_S)
    assert blocks_of(known.rates) == known.blocks


def test_a_gap_is_unknown():
    known = with_count(after([10, 10]), 10, START + 2_000 * SLOT_S, SLOT_S)
    assert math.isnan(known.rate(known.slot - 2))


def float_of(value):
    """With the precision of 16 bits."""
    return unpack("<e", pack("<e", value))[0]
