"""The arithmetic of the clairvoyant, compiled: levels, one a slot, that cost least.

A level is a number of allocations, filled up node by node; a slot is a stretch of time in which it
is held. What one slot leaves to the next is the work that is still to be done. Its measure, the
delay, is that work over the offered load (plus one) of the next slot, in seconds.
"""

import numpy as np
from numba import njit

_ENOUGH = 2
"""Levels in a row without a miss after which no higher one is looked at."""

_ALL = np.iinfo(np.int64).max
"""Misses: as many as there are."""


@njit(cache=True)
def _replace_least(heap, begin, end, value):
    """Put another value in the place of the least, which is the first, of heap[begin:end]."""
    parent, count = 0, end - begin
    while True:
        child = 2 * parent + 1
        if child >= count:
            break
        if child + 1 < count and heap[begin + child + 1] < heap[begin + child]:
            child += 1
        if value <= heap[begin + child]:
            break
        heap[begin + parent] = heap[begin + child]
        parent = child
    heap[begin + parent] = value


@njit(cache=True)
def _serve(at, work, where, first, last, workers, free_at, limit_s, timeout_s, most):
    """Serve the requests [first, last), first come, first served; how many waited too long.

    `workers` are those of each node, in order; `free_at` says when each is free, a heap a node, and
    is kept. It ends as soon as more than `most` have.
    """
    total = 0
    for count in workers:
        total += count
    violations = 0
    for request in range(first, last):
        spot = where[request] * total
        begin, end, node = 0, workers[0], 0
        while spot >= end:
            node += 1
            begin = end
            end += workers[node]
        waited = free_at[begin] - at[request]
        if waited > limit_s:
            violations += 1
            if violations > most:
                break
        if waited < timeout_s:
            _replace_least(free_at, begin, end, max(at[request], free_at[begin]) + work[request])
    return violations


@njit(cache=True)
def _left(free_at, total, now):
    """Allocation-seconds of work still to be done."""
    left = 0.0
    for worker in range(total):
        left += max(0.0, free_at[worker] - now)
    return left


@njit(cache=True)
def _resized(free_at, before, after, now):
    """The workers of each node, in the order in which they become free, once their numbers have
    changed.

    Where all are busy there may be a queue, which all that are left share. Else those that go are
    the first to become free, since work in service is finished.
    """
    changed = np.empty(after.sum())
    old, new = 0, 0
    for node in range(len(after)):
        had, has = before[node], after[node]
        kept = free_at[old : old + had]
        if has > 0 and had > 0 and has != had and kept[0] > now:
            changed[new : new + has] = now + _left(kept, had, now) / has
        elif has <= had:
            changed[new : new + has] = kept[had - has :]
        else:
            free, busy = np.searchsorted(kept, now), new + has - had
            changed[new : new + free] = kept[:free]
            changed[new + free : busy + free] = now
            changed[busy + free : new + has] = kept[free:]
        old += had
        new += has
    return changed


@njit(cache=True)
def tabulate(
    at, work, where, slots, edges, split, lowest, delays_s, loads, limit_s, timeout_s, count
):
    """What holding a level for a slot does, by slot, level and the delay it begins with.

    Args:
        at, work, where: of each request: arrival, allocation-seconds, place among the workers.
        slots, edges: index of the first request of each slot, and when it begins; and the end.
        split: a row a level: allocations on each node.
        lowest: the first of `count` levels that are looked at, a slot each.
        delays_s: the delays that are looked at, from 0 upwards.
        loads: offered load of each slot, erlangs, and a last one for what follows.

    Returns:
        How many of the slot's requests miss, and the delay that is left to the next slot.
    """
    shape = (len(slots) - 1, count, len(delays_s))
    violations = np.zeros(shape, np.int32)
    left = np.zeros(shape, np.float32)
    free_at = np.zeros(len(split))
    for slot in range(shape[0]):
        for index in range(len(delays_s)):
            free = 0  # levels in a row without a miss
            for offset in range(count):
                # More do no better, or there are no more.
                if free >= _ENOUGH or (offset > 0 and lowest[slot] + offset >= len(split)):
                    violations[slot, offset, index] = violations[slot, offset - 1, index]
                    left[slot, offset, index] = left[slot, offset - 1, index]
                    continue
                level = lowest[slot] + offset
                free_at[:level] = edges[slot] + delays_s[index] * (loads[slot] + 1.0) / level
                violations[slot, offset, index] = _serve(
                    at, work, where, slots[slot], slots[slot + 1], split[level], free_at,
                    limit_s, timeout_s, _ALL,
                )  # fmt: skip
                work_left = _left(free_at, level, edges[slot + 1])
                left[slot, offset, index] = work_left / (loads[slot + 1] + 1.0)
                free = free + 1 if violations[slot, offset, index] == 0 else 0
    return violations, left


@njit(cache=True)
def _interpolated(values, delays_s, delay_s):
    for index in range(1, len(delays_s)):
        if delay_s <= delays_s[index]:
            share = (delay_s - delays_s[index - 1]) / (delays_s[index] - delays_s[index - 1])
            return values[index - 1] + share * (values[index] - values[index - 1])
    return values[-1]


@njit(cache=True)
def costs_to_go(violations, left, lowest, delays_s, nodes, processors, slot_s, lead_s, weight):
    """The least that is still to be paid from each slot on, by nodes in use and delay.

    Dynamic programming, from the last slot to the first. An allocation costs a second a second,
    and a miss `price`. Levels may change freely from slot to slot, but what does not fit on the
    nodes in use is paid for `lead_s` before it serves.
    """
    slots, offsets, buckets = violations.shape
    most_nodes = nodes[-1]
    highest = len(nodes) - 1
    cost = np.zeros((slots + 1, most_nodes + 1, buckets))
    # Of each level, but for what another node costs.
    totals = np.empty(offsets)
    for slot in range(slots - 1, -1, -1):
        tried = min(offsets, highest + 1 - lowest[slot])
        for index in range(buckets):
            for offset in range(tried):
                level = lowest[slot] + offset
                totals[offset] = slot_s * level + weight * violations[slot, offset, index]
                totals[offset] += _interpolated(
                    cost[slot + 1, nodes[level]], delays_s, left[slot, offset, index]
                )
            for used in range(1, most_nodes + 1):
                best = np.inf
                for offset in range(tried):
                    beyond = max(0, lowest[slot] + offset - used * processors)
                    best = min(best, totals[offset] + lead_s * beyond)
                cost[slot, used, index] = best
    return cost


@njit(cache=True)
def roll_out(
    cost, at, work, where, slots, edges, split, lowest, count, delays_s, loads, nodes, processors,
    slot_s, lead_s, weight, limit_s, timeout_s,
):  # fmt: skip
    """The levels chosen, slot after slot, by what each choice really leads to."""
    total_slots = len(slots) - 1
    highest = len(split) - 1
    path = np.empty(total_slots, np.int64)
    level = min(lowest[0], highest)
    free_at = np.full(level, edges[0])
    for slot in range(total_slots):
        used = nodes[level]
        begin = 0
        for workers in split[level]:
            free_at[begin : begin + workers].sort()
            begin += workers
        first, end = lowest[slot], min(lowest[slot] + count, highest + 1)
        last = min(max(level, first), end - 1)
        best, chosen, best_free = np.inf, level, free_at
        for number in range(first, end):
            # That of the last slot comes first, so that most others are soon seen to be dearer.
            candidate = last if number == first else first if number == last else number
            total = slot_s * candidate
            if slot > 0:
                total += lead_s * max(0, candidate - used * processors)
            to_go = cost[slot + 1, nodes[candidate]]
            worth = (best - total - to_go.min()) / weight  # misses
            if worth < 0.0:
                continue
            tried = _resized(free_at, split[level], split[candidate], edges[slot])
            violations = _serve(
                at, work, where, slots[slot], slots[slot + 1], split[candidate], tried,
                limit_s, timeout_s, worth,
            )  # fmt: skip
            delay_s = _left(tried, candidate, edges[slot + 1]) / (loads[slot + 1] + 1.0)
            total += weight * violations + _interpolated(to_go, delays_s, delay_s)
            if total < best:
                best, chosen, best_free = total, candidate, tried
        level, free_at = chosen, best_free
        path[slot] = level
    return path
