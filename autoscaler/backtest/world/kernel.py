"""The processes of one deployment, compiled: every request, from its arrival to its fate.

The same rules as `autoscaler.simulation.process`, whose twin this is: a bounded queue before as
many workers as a process has allocations, first come, first served; expired requests are skipped
when their turn comes, work in service is never interrupted. In addition, callers who fail may try
once more. A test holds the two against each other, count by count.

State lives in arrays, since that is what compiles: a slot is a process, a try is a request's first
(2i) or second (2i + 1) attempt.
"""

import numpy as np
from numba import njit

PENDING, COMPLETED, REJECTED, TIMED_OUT, LOST = range(5)
"""What became of a request's first try. LOST: refused or dropped for want of a process."""

SLOT = np.dtype(
    [
        ("allocations", np.int64),
        ("slow_down", np.float64),
        ("warm_until", np.float64),
        ("now", np.float64),  # until when it has been run
        ("busy", np.int64),  # workers in use
        ("head", np.int64),  # of the ring that is its queue
        ("queued", np.int64),
        ("reported", np.int64),  # of those queued, how many callers have given up
        ("late", np.int64),  # of those in service, the same, when last looked at
        ("completed", np.int64),
        ("inference_ms", np.int64),
        ("rejections", np.int64),
        ("timeouts", np.int64),  # of those that have left
        ("last_access", np.float64),
        ("minute_ends", np.float64),
        ("minute_completed", np.int64),  # totals when the open minute began
        ("minute_ms", np.int64),
        ("last_completed", np.int64),  # in the last complete minute
        ("last_ms", np.int64),
        ("peak", np.int64),
    ],
    align=True,
)

FLEET = np.dtype(
    [
        ("timeout_s", np.float64),
        ("retry_share", np.float64),
        ("retry_after_s", np.float64),
        ("warm_up_factor", np.float64),
        ("next", np.int64),  # the first request that has not arrived
        ("retries", np.int64),  # waiting to come back
        ("retried", np.int64),  # second tries in all
        ("next_expiry", np.float64),  # no queued request expires before
        ("routes", np.int64),
        ("arrived", np.int64),  # tries, and what became of them, all processes ever together
        ("completed", np.int64),
        ("rejected", np.int64),
        ("timed_out", np.int64),
        ("lost", np.int64),
        ("pending", np.int64),  # when last looked at
        (
            "will_time_out",
            np.int64,
        ),  # in service then, of whom it is only known that they will be late
        ("started_s", np.float64),  # allocation-seconds of all that was ever begun
        ("ahead_s", np.float64),  # of those, still to be worked, when last looked at
    ],
    align=True,
)

TRY = np.dtype(
    [
        ("at", np.float64),  # when it arrived; where that is still to come, when it will
        ("finish", np.float64),
        ("seconds", np.float64),  # that it occupies its worker
        ("number", np.int64),  # twice the request's index, and one more if it is the second try
    ],
    align=True,
)

_compiled = njit(cache=True)
_inlined = njit(cache=True, inline="always")
"""For what runs for every request: arrays that are handed to a function are counted as references,
and that alone would take half of the time."""

_MINUTE_S = 60.0
_GOLDEN = 0.6180339887498949  # sends most second tries elsewhere than the first


@_inlined
def _push(heap, size, at, finish, seconds, allocations):
    """Add to the heap of `size` tries, the first to finish at its root."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if heap[parent].finish <= finish:
            break
        heap[child] = heap[parent]
        child = parent
    heap[child].at = at
    heap[child].finish = finish
    heap[child].seconds = seconds
    heap[child].number = allocations


@_inlined
def _pop(heap, size):
    """Take the root of the heap of `size` tries away."""
    last = size - 1
    finish = heap[last].finish
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= last:
            break
        if child + 1 < last and heap[child + 1].finish < heap[child].finish:
            child += 1
        if finish <= heap[child].finish:
            break
        heap[parent] = heap[child]
        parent = child
    heap[parent] = heap[last]


@_compiled
def _fail(fleet, retries, retry_draw, outcome, allocations, why, at):
    """A caller learns at the instant `at` that its try has failed; some come back."""
    if why == REJECTED:
        fleet.rejected += 1
    elif why == TIMED_OUT:
        fleet.timed_out += 1
    else:
        fleet.lost += 1
    if allocations & 1:
        return
    request = allocations >> 1
    outcome[request] = why
    if retry_draw[request] < fleet.retry_share:
        back = at + fleet.retry_after_s
        _push(retries, fleet.retries, back, back, 0.0, allocations + 1)
        fleet.retries += 1


@_inlined
def _begin(slot, servers, fleet, retries, retry_draw, outcome, work, wait, allocations, at, now):
    """A free worker takes a request that arrived at `at`."""
    seconds = work[allocations >> 1] * slot.slow_down
    if now < slot.warm_until:
        seconds *= fleet.warm_up_factor
    fleet.started_s += seconds
    _push(servers, slot.busy, at, now + seconds, seconds, allocations)
    slot.busy += 1
    if allocations & 1 == 0:
        wait[allocations >> 1] = now - at
    if now + seconds > at + fleet.timeout_s:
        _fail(fleet, retries, retry_draw, outcome, allocations, TIMED_OUT, at + fleet.timeout_s)


@_inlined
def _advance(slot, servers, queue, fleet, retries, retry_draw, outcome, work, wait, until):
    """Run one process until `until`: workers finish, and take what waits."""
    now = slot.now
    capacity = len(queue)
    while True:
        while slot.queued > 0 and slot.busy < slot.allocations:
            allocations, at = queue[slot.head].number, queue[slot.head].at
            slot.head += 1
            if slot.head == capacity:
                slot.head = 0
            slot.queued -= 1
            deadline = at + fleet.timeout_s
            if deadline <= now:
                slot.timeouts += 1
                if slot.reported > 0:
                    slot.reported -= 1
                else:
                    _fail(fleet, retries, retry_draw, outcome, allocations, TIMED_OUT, deadline)
                continue
            _begin(
                slot, servers, fleet, retries, retry_draw, outcome, work, wait, allocations, at, now
            )
        if slot.busy == 0 or servers[0].finish > until:
            break
        now = servers[0].finish
        if now >= slot.minute_ends:
            _close_minute(slot, now)
        if now <= servers[0].at + fleet.timeout_s:
            allocations = servers[0].number
            slot.completed += 1
            slot.inference_ms += np.int64(servers[0].seconds * 1000.0)
            slot.last_access = now
            fleet.completed += 1
            if allocations & 1 == 0:
                outcome[allocations >> 1] = COMPLETED
        else:
            slot.timeouts += 1
        _pop(servers, slot.busy)
        slot.busy -= 1
    slot.now = until


@_compiled
def _close_minute(slot, now):
    """Minutes are counted from the start of the process; one is closed when the next begins."""
    slot.last_completed = slot.completed - slot.minute_completed
    slot.last_ms = slot.inference_ms - slot.minute_ms
    slot.peak = max(slot.peak, slot.last_completed)
    slot.minute_completed = slot.completed
    slot.minute_ms = slot.inference_ms
    elapsed = 1 + np.int64((now - slot.minute_ends) // _MINUTE_S)
    if elapsed > 1:
        slot.last_completed = 0
        slot.last_ms = 0
    slot.minute_ends += elapsed * _MINUTE_S


@_compiled
def _give_up(slot, queue, fleet, retries, retry_draw, outcome, now):
    """Callers whose time is up in the queue learn it; their requests keep their places."""
    while slot.reported < slot.queued:
        index = (slot.head + slot.reported) % len(queue)
        deadline = queue[index].at + fleet.timeout_s
        if deadline > now:
            return deadline
        _fail(fleet, retries, retry_draw, outcome, queue[index].number, TIMED_OUT, deadline)
        slot.reported += 1
    return np.inf


@_compiled
def _expire(slots, servers, queues, fleet, retries, retry_draw, outcome, work, wait):
    """Go to the instant at which the next caller may give up in a queue, and see who does."""
    expiry = fleet.next_expiry
    fleet.next_expiry = np.inf
    for index in range(len(slots)):
        slot, queue = slots[index], queues[index]
        _advance(
            slot, servers[index], queue, fleet, retries, retry_draw, outcome, work, wait, expiry
        )
        following = _give_up(slot, queue, fleet, retries, retry_draw, outcome, expiry)
        fleet.next_expiry = min(fleet.next_expiry, following)


@_compiled
def _refresh_totals(until, slots, servers, queues, fleet, retries, retry_draw, outcome, work, wait):
    """Run all processes until the same instant, and note what is under way there."""
    fleet.pending = 0
    fleet.will_time_out = 0
    fleet.ahead_s = 0.0
    for index in range(len(slots)):
        slot, server, queue = slots[index], servers[index], queues[index]
        _advance(slot, server, queue, fleet, retries, retry_draw, outcome, work, wait, until)
        slot.late = 0
        for place in range(slot.busy):
            deadline = server[place].at + fleet.timeout_s
            slot.late += deadline <= until
            fleet.will_time_out += until < deadline < server[place].finish
            fleet.ahead_s += server[place].finish - until
        fleet.pending += slot.queued + slot.busy - slot.late
        if until >= slot.minute_ends:
            _close_minute(slot, until)


@_inlined
def _route(where, routes, bounds, count):
    """The slot whose share of [0, 1) the number `where` lies in."""
    where *= bounds[count - 1]
    route = 0
    while bounds[route] <= where:
        route += 1
    return routes[route]


@_compiled
def run(
    until, slots, servers, queues, fleets, retries, routes, bounds,
    at, work, routing, retry_draw, wait, outcome,
):  # fmt: skip
    """Let everything happen up to and including the instant `until`.

    Args:
        until: Unix seconds of virtual time.
        slots, servers, queues: the processes: their counters, workers and waiting requests.
        fleets: what they share, one entry.
        retries: heap of second tries still to come.
        routes, bounds: slots that requests go to, and the running sums of their weights.
        at, work, routing, chance: the requests, see `autoscaler.backtest.world.workload`.
        wait, fate: what they met, filled in.
    """
    fleet = fleets[0]
    while True:
        comes = at[fleet.next] if fleet.next < len(at) else np.inf
        again = fleet.retries > 0 and retries[0].at < comes
        if again:
            comes = retries[0].at
        if fleet.next_expiry <= min(comes, until):
            _expire(slots, servers, queues, fleet, retries, retry_draw, outcome, work, wait)
            continue
        if comes > until:
            break
        if again:
            allocations = retries[0].number
            _pop(retries, fleet.retries)
            fleet.retries -= 1
            fleet.retried += 1
            where = (routing[allocations >> 1] + _GOLDEN) % 1.0
        else:
            allocations = 2 * fleet.next
            where = routing[fleet.next]
            fleet.next += 1
        fleet.arrived += 1
        if fleet.routes == 0:
            _fail(fleet, retries, retry_draw, outcome, allocations, LOST, comes)
            continue
        index = _route(where, routes, bounds, fleet.routes)
        slot, server, queue = slots[index], servers[index], queues[index]
        _advance(slot, server, queue, fleet, retries, retry_draw, outcome, work, wait, comes)
        if slot.busy < slot.allocations:
            _begin(
                slot,
                server,
                fleet,
                retries,
                retry_draw,
                outcome,
                work,
                wait,
                allocations,
                comes,
                comes,
            )
        elif slot.queued < len(queue):
            place = (slot.head + slot.queued) % len(queue)
            queue[place].number = allocations
            queue[place].at = comes
            slot.queued += 1
            fleet.next_expiry = min(fleet.next_expiry, comes + fleet.timeout_s)
        else:
            slot.rejections += 1
            _fail(fleet, retries, retry_draw, outcome, allocations, REJECTED, comes)
    _refresh_totals(until, slots, servers, queues, fleet, retries, retry_draw, outcome, work, wait)


@_compiled
def run_sampled(
    since, step_s, in_flight, slots, servers, queues, fleets, retries, routes, bounds,
    at, work, routing, retry_draw, wait, outcome,
):  # fmt: skip
    """Run for `len(in_flight)` steps, noting at the end of each how many requests are under way."""
    for step in range(len(in_flight)):
        run(
            since + (step + 1) * step_s, slots, servers, queues, fleets, retries, routes, bounds,
            at, work, routing, retry_draw, wait, outcome,
        )  # fmt: skip
        in_flight[step] = fleets[0].pending


@_compiled
def run_levels(
    path, split, edges, slots, servers, queues, fleets, retries, routes, bounds,
    at, work, routing, retry_draw, wait, outcome,
):  # fmt: skip
    """Run from edge to edge with the allocations of a level on each node, without any delay.

    Args:
        path: the level between each edge and the next.
        split: a row a level: allocations of each slot.
    """
    fleet = fleets[0]
    for step in range(len(path)):
        total = 0
        fleet.routes = 0
        for index in range(len(slots)):
            slots[index].allocations = split[path[step], index]
            total += split[path[step], index]
            if split[path[step], index] > 0:
                routes[fleet.routes] = index
                bounds[fleet.routes] = total
                fleet.routes += 1
        run(
            edges[step + 1], slots, servers, queues, fleets, retries, routes, bounds,
            at, work, routing, retry_draw, wait, outcome,
        )  # fmt: skip


@_compiled
def end(now, slot_index, slots, servers, queues, fleets, retries, retry_draw, outcome):
    """A process dies: what waits there is refused, what is in service is lost."""
    fleet, slot = fleets[0], slots[slot_index]
    queue, server = queues[slot_index], servers[slot_index]
    for place in range(slot.reported, slot.queued):
        allocations = queue[(slot.head + place) % len(queue)].number
        _fail(fleet, retries, retry_draw, outcome, allocations, REJECTED, now)
    for place in range(slot.busy):
        # Those that would have been too late were booked as that when they began.
        if server[place].finish <= server[place].at + fleet.timeout_s:
            _fail(fleet, retries, retry_draw, outcome, server[place].number, LOST, now)
        fleet.started_s -= server[place].finish - now
    slot.queued = 0
    slot.reported = 0
    slot.busy = 0
    slot.allocations = 0
