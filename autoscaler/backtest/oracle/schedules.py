"""The arithmetic of the oracle, compiled: the cheapest sequence of levels, one for each slot.

A level is an allocation count, placed node by node; a slot is the time for which it stays the same.
A slot passes unfinished work on to the next one, measured as the delay: that work over the scale of
the next slot, which is 1 erlang plus the larger of its offered load and that of the slot before.
"""

import numpy as np
from numba import njit

_MAX_CLEAN_LEVELS = 2
"""Consecutive levels without a violation after which higher levels are not computed."""

_UNLIMITED = np.iinfo(np.int64).max
"""A limit on violations that no slot reaches."""


@njit(cache=True)
def _replace_smallest(heap, begin, end, value):
    """Replace the smallest value, which is the first, of heap[begin:end]."""
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
def _serve(at, work, where, first, last, workers, free_at, limit_s, timeout_s, max_violations):
    """Serve the requests [first, last), first come, first served; count late requests.

    `workers` are the workers of each node, in order; `free_at` is when each becomes free, a heap
    for each node, and is updated. It ends once the count exceeds `max_violations`.
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
            if violations > max_violations:
                break
        if waited < timeout_s:
            _replace_smallest(free_at, begin, end, max(at[request], free_at[begin]) + work[request])
    return violations


@njit(cache=True)
def _left(free_at, total, now):
    """Allocation-seconds of unfinished work."""
    left = 0.0
    for worker in range(total):
        left += max(0.0, free_at[worker] - now)
    return left


@njit(cache=True)
def _resized(free_at, before, after, now):
    """When the workers of each node become free, in order, after their allocations have changed.

    If all are busy, there may be a queue, which the remaining workers share. Otherwise the removed
    workers are those that become free first, because requests in service are finished.
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
def _late_in_queue(left, before, after, mean_work, limit_s):
    """Queued requests that become late because their allocations change from `before` to `after`.

    `_serve` has counted those that are late with the allocations at their arrival. Fewer
    allocations take longer to serve the queue. Requests in service are finished in any case.

    Args:
        left: allocation-seconds of unfinished work at the time of the change.
    """
    queued = left - before * mean_work
    if after >= before or queued <= 0.0:
        return 0.0
    late = max(0.0, queued - after * limit_s) - max(0.0, queued - before * limit_s)
    return late / mean_work


@njit(cache=True)
def tabulate(
    at, work, where, slots, edges, placements, lowest, delays_s, scales, limit_s, timeout_s, count
):
    """The effect of a level on a slot, by slot, level and the delay at its beginning.

    Args:
        at, work, where: arrival, allocation-seconds and place among the workers of each request.
        slots, edges: index of the first request of each slot, and when it begins; then the end.
        placements: a row for each level, with the allocations on each node.
        lowest: the first of the `count` levels that are computed, for each slot.
        delays_s: the delays that are computed, from 0 upwards.
        scales: erlangs for each slot, and one more for the time after the last.

    Returns:
        The violations among the slot's requests, and the delay at the start of the next slot.
    """
    shape = (len(slots) - 1, count, len(delays_s))
    violations = np.zeros(shape, np.int32)
    left = np.zeros(shape, np.float32)
    free_at = np.zeros(len(placements))
    for slot in range(shape[0]):
        for index in range(len(delays_s)):
            clean = 0  # consecutive levels without a violation
            for offset in range(count):
                # Higher levels are no better, or there are none.
                if clean >= _MAX_CLEAN_LEVELS or (
                    offset > 0 and lowest[slot] + offset >= len(placements)
                ):
                    violations[slot, offset, index] = violations[slot, offset - 1, index]
                    left[slot, offset, index] = left[slot, offset - 1, index]
                    continue
                level = lowest[slot] + offset
                free_at[:level] = edges[slot] + delays_s[index] * scales[slot] / level
                violations[slot, offset, index] = _serve(
                    at, work, where, slots[slot], slots[slot + 1], placements[level], free_at,
                    limit_s, timeout_s, _UNLIMITED,
                )  # fmt: skip
                left[slot, offset, index] = (
                    _left(free_at, level, edges[slot + 1]) / scales[slot + 1]
                )
                clean = clean + 1 if violations[slot, offset, index] == 0 else 0
    return violations, left


@njit(cache=True)
def _interpolated(values, delays_s, delay_s):
    for index in range(1, len(delays_s)):
        if delay_s <= delays_s[index]:
            share = (delay_s - delays_s[index - 1]) / (delays_s[index] - delays_s[index - 1])
            return values[index - 1] + share * (values[index] - values[index - 1])
    return values[-1]


@njit(cache=True)
def costs_to_go(
    violations, left, lowest, delays_s, scales, loads, mean_work, nodes, processors, slot_s, lead_s,
    weight, limit_s,
):  # fmt: skip
    """The lowest cost from each slot to the end, by nodes in use and delay.

    Dynamic programming, from the last slot to the first. The cost of a level is its
    allocation-seconds, and `weight` for each violation. Levels may change freely from slot to slot,
    but allocations on another node are also paid for during `lead_s` before they run. The level
    before a slot is not known here; for the queue that it leaves, it is taken as the offered load
    of that time.
    """
    slots, offsets, buckets = violations.shape
    most_nodes = nodes[-1]
    highest = len(nodes) - 1
    cost = np.zeros((slots + 1, most_nodes + 1, buckets))
    # Costs of each level, except those of another node.
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
                if slot > 0:
                    totals[offset] += weight * _late_in_queue(
                        delays_s[index] * scales[slot], loads[slot - 1], level, mean_work, limit_s
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
    cost, at, work, where, slots, edges, placements, lowest, count, delays_s, scales, mean_work,
    nodes, processors, slot_s, lead_s, weight, limit_s, timeout_s,
):  # fmt: skip
    """Choose the levels slot after slot, simulating the effect of each."""
    total_slots = len(slots) - 1
    highest = len(placements) - 1
    path = np.empty(total_slots, np.int64)
    level = min(lowest[0], highest)
    free_at = np.full(level, edges[0])
    for slot in range(total_slots):
        used = nodes[level]
        begin = 0
        for workers in placements[level]:
            free_at[begin : begin + workers].sort()
            begin += workers
        left = _left(free_at, level, edges[slot])
        first, end = lowest[slot], min(lowest[slot] + count, highest + 1)
        last = min(max(level, first), end - 1)
        best, chosen, best_free = np.inf, level, free_at
        for position in range(first, end):
            # The level of the last slot is first, so most others are soon found to cost more.
            candidate = last if position == first else first if position == last else position
            total = slot_s * candidate
            if slot > 0:
                total += lead_s * max(0, candidate - used * processors)
            total += weight * _late_in_queue(left, level, candidate, mean_work, limit_s)
            to_go = cost[slot + 1, nodes[candidate]]
            affordable = (best - total - to_go.min()) / weight  # violations
            if affordable < 0.0:
                continue
            tried = _resized(free_at, placements[level], placements[candidate], edges[slot])
            violations = _serve(
                at, work, where, slots[slot], slots[slot + 1], placements[candidate], tried,
                limit_s, timeout_s, affordable,
            )  # fmt: skip
            delay_s = _left(tried, candidate, edges[slot + 1]) / scales[slot + 1]
            total += weight * violations + _interpolated(to_go, delays_s, delay_s)
            if total < best:
                best, chosen, best_free = total, candidate, tried
        level, free_at = chosen, best_free
        path[slot] = level
    return path
