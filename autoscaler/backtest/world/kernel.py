"""The processes of one deployment, compiled: every request, from its arrival to its outcome.

The rules are those of `autoscaler.simulation.process`: a bounded queue before one worker for each
allocation, first come, first served; expired requests are skipped when their turn comes; service
is never interrupted. In addition, callers may retry a failed request once. A test compares the
counters of both implementations.

State is kept in arrays, which can be compiled: a slot is a process, and request i has the attempts
2i and, if it is retried, 2i + 1.
"""

import numpy as np
from numba import njit

UNFINISHED, COMPLETED, REJECTED, TIMED_OUT, LOST = range(5)
"""Outcomes of a request's first attempt. LOST: no process was running, or its process ended."""

SLOT = np.dtype(
    [
        ("allocations", np.int64),
        ("slow_down", np.float64),
        ("warm_until", np.float64),
        ("now", np.float64),  # the instant up to which the process has been run
        ("busy", np.int64),  # workers in use
        ("head", np.int64),  # index of the first queued request in its ring buffer
        ("queued", np.int64),
        ("reported", np.int64),  # queued requests whose callers have given up
        ("overdue", np.int64),  # the same for those in service, at the last refresh
        ("completed", np.int64),
        ("inference_ms", np.int64),
        ("rejections", np.int64),
        ("timeouts", np.int64),  # of requests that have left the process
        ("last_access", np.float64),
        ("minute_ends", np.float64),
        ("minute_completed", np.int64),  # totals at the start of the current minute
        ("minute_ms", np.int64),
        ("last_completed", np.int64),  # in the last complete minute
        ("last_ms", np.int64),
        ("peak", np.int64),
        ("capacity", np.int64),  # requests that may be queued
    ],
    align=True,
)

FLEET = np.dtype(
    [
        ("timeout_s", np.float64),
        ("retry_share", np.float64),
        ("retry_after_s", np.float64),
        ("warm_up_factor", np.float64),
        ("contention", np.float64),  # by which a busy worker makes others of its process slower
        ("next", np.int64),  # index of the first request that has not arrived
        ("retries", np.int64),  # retries that have not arrived yet
        ("retried", np.int64),  # total of retries that have arrived
        ("next_expiry", np.float64),  # no queued request expires before this instant
        ("routes", np.int64),
        ("arrived", np.int64),  # attempts, and their outcomes, over all processes ever started
        ("completed", np.int64),
        ("rejected", np.int64),
        ("timed_out", np.int64),
        ("lost", np.int64),
        ("in_flight", np.int64),  # at the last refresh
        ("will_time_out", np.int64),  # in service then, certain to finish after their timeout
        ("started_s", np.float64),  # allocation-seconds of all attempts whose service began
        ("remaining_s", np.float64),  # of those, not yet worked at the last refresh
    ],
    align=True,
)

TRY = np.dtype(
    [
        ("at", np.float64),  # instant of arrival, also if it is still to come; time-outs begin here
        ("waited", np.float64),  # if queued: before `at`, for the first process
        ("finish", np.float64),
        ("seconds", np.float64),  # of service
        ("attempt", np.int64),  # twice the request's index, plus 1 for a retry
    ],
    align=True,
)

_compiled = njit(cache=True)
_inlined = njit(cache=True, inline="always")
"""For functions that run for every request: passing arrays to a function that is not inlined counts
references, which would take half of the time."""

_MINUTE_S = 60.0
_GOLDEN = 0.6180339887498949  # sends most retries to another process than the first attempt


@_inlined
def _push(heap, size, at, finish, seconds, attempt):
    """Add to a heap of `size` attempts, ordered by finish."""
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
    heap[child].attempt = attempt


@_inlined
def _pop(heap, size):
    """Remove the root of a heap of `size` attempts."""
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
def _fail(fleet, retries, retry_draw, outcome, attempt, why, at):
    """Report a failed attempt to its caller at `at`; some callers retry."""
    if why == REJECTED:
        fleet.rejected += 1
    elif why == TIMED_OUT:
        fleet.timed_out += 1
    else:
        fleet.lost += 1
    if attempt & 1:
        return
    request = attempt >> 1
    outcome[request] = why
    if retry_draw[request] < fleet.retry_share:
        back = at + fleet.retry_after_s
        _push(retries, fleet.retries, back, back, 0.0, attempt + 1)
        fleet.retries += 1


@_inlined
def _begin(slot, servers, fleet, retries, retry_draw, outcome, work, wait, attempt, at, prior, now):
    """Let a free worker take a request that was routed at `at`, after a `prior` wait."""
    seconds = work[attempt >> 1] * slot.slow_down * (1.0 + fleet.contention * slot.busy)
    if now < slot.warm_until:
        seconds *= fleet.warm_up_factor
    fleet.started_s += seconds
    _push(servers, slot.busy, at, now + seconds, seconds, attempt)
    slot.busy += 1
    if attempt & 1 == 0:
        wait[attempt >> 1] = now - at + prior
    if now + seconds > at + fleet.timeout_s:
        _fail(fleet, retries, retry_draw, outcome, attempt, TIMED_OUT, at + fleet.timeout_s)


@_inlined
def _advance(slot, servers, queue, fleet, retries, retry_draw, outcome, work, wait, until):
    """Run one process until `until`: workers finish and take queued requests."""
    now = slot.now
    capacity = len(queue)
    while True:
        while slot.queued > 0 and slot.busy < slot.allocations:
            attempt, at = queue[slot.head].attempt, queue[slot.head].at
            waited = queue[slot.head].waited
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
                    _fail(fleet, retries, retry_draw, outcome, attempt, TIMED_OUT, deadline)
                continue
            _begin(
                slot, servers, fleet, retries, retry_draw, outcome, work, wait, attempt, at,
                waited, now,
            )  # fmt: skip
        if slot.busy == 0 or servers[0].finish > until:
            break
        now = servers[0].finish
        if now >= slot.minute_ends:
            _close_minute(slot, now)
        if now <= servers[0].at + fleet.timeout_s:
            attempt = servers[0].attempt
            slot.completed += 1
            slot.inference_ms += np.int64(servers[0].seconds * 1000.0)
            slot.last_access = now
            fleet.completed += 1
            if attempt & 1 == 0:
                outcome[attempt >> 1] = COMPLETED
        else:
            slot.timeouts += 1
        _pop(servers, slot.busy)
        slot.busy -= 1
    slot.now = until


@_compiled
def _close_minute(slot, now):
    """Record a minute when the next begins. Minutes count from the start of the process."""
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
    """Report timeouts to callers of queued requests; the requests keep their places."""
    while slot.reported < slot.queued:
        index = (slot.head + slot.reported) % len(queue)
        deadline = queue[index].at + fleet.timeout_s
        if deadline > now:
            return deadline
        _fail(fleet, retries, retry_draw, outcome, queue[index].attempt, TIMED_OUT, deadline)
        slot.reported += 1
    return np.inf


@_compiled
def _expire(slots, servers, queues, fleet, retries, retry_draw, outcome, work, wait):
    """Advance to the next instant at which a queued request may time out, and report those."""
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
    """Run all processes until the same instant and count the requests in flight."""
    fleet.in_flight = 0
    fleet.will_time_out = 0
    fleet.remaining_s = 0.0
    for index in range(len(slots)):
        slot, server, queue = slots[index], servers[index], queues[index]
        _advance(slot, server, queue, fleet, retries, retry_draw, outcome, work, wait, until)
        slot.overdue = 0
        for place in range(slot.busy):
            deadline = server[place].at + fleet.timeout_s
            slot.overdue += deadline <= until
            fleet.will_time_out += until < deadline < server[place].finish
            fleet.remaining_s += server[place].finish - until
        fleet.in_flight += slot.queued + slot.busy - slot.overdue
        if until >= slot.minute_ends:
            _close_minute(slot, until)


@_inlined
def _route(where, routes, bounds, count):
    """The slot whose part of [0, 1) contains `where`."""
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
    """Simulate up to and including the instant `until`.

    Args:
        until: Unix seconds of virtual time.
        slots, servers, queues: counters, workers and queued requests of each process.
        fleets: shared state, one entry.
        retries: heap of the retries that have not arrived yet.
        routes, bounds: slots that receive requests, and the running sums of their weights.
        at, work, routing, retry_draw: the requests, see `autoscaler.backtest.world.workload`.
        wait, outcome: of each request, filled in.
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
            attempt = retries[0].attempt
            _pop(retries, fleet.retries)
            fleet.retries -= 1
            fleet.retried += 1
            where = (routing[attempt >> 1] + _GOLDEN) % 1.0
        else:
            attempt = 2 * fleet.next
            where = routing[fleet.next]
            fleet.next += 1
        fleet.arrived += 1
        if fleet.routes == 0:
            _fail(fleet, retries, retry_draw, outcome, attempt, LOST, comes)
            continue
        index = _route(where, routes, bounds, fleet.routes)
        slot, server, queue = slots[index], servers[index], queues[index]
        _advance(slot, server, queue, fleet, retries, retry_draw, outcome, work, wait, comes)
        if slot.allocations == 0:  # these wait for the first process, and leave when they give up
            slot.head = (slot.head + slot.reported) % len(queue)
            slot.queued -= slot.reported
            slot.reported = 0
        if slot.busy < slot.allocations:
            _begin(
                slot, server, fleet, retries, retry_draw, outcome, work, wait, attempt, comes, 0.0,
                comes,
            )  # fmt: skip
        elif slot.queued < slot.capacity:
            place = (slot.head + slot.queued) % len(queue)
            queue[place].attempt = attempt
            queue[place].at = comes
            queue[place].waited = 0.0
            slot.queued += 1
            fleet.next_expiry = min(fleet.next_expiry, comes + fleet.timeout_s)
        else:
            slot.rejections += 1
            _fail(fleet, retries, retry_draw, outcome, attempt, REJECTED, comes)
    _refresh_totals(until, slots, servers, queues, fleet, retries, retry_draw, outcome, work, wait)


@_compiled
def run_sampled(
    since, step_s, in_flight, slots, servers, queues, fleets, retries, routes, bounds,
    at, work, routing, retry_draw, wait, outcome,
):  # fmt: skip
    """Run for `len(in_flight)` steps and record the in-flight requests at the end of each."""
    for step in range(len(in_flight)):
        run(
            since + (step + 1) * step_s, slots, servers, queues, fleets, retries, routes, bounds,
            at, work, routing, retry_draw, wait, outcome,
        )  # fmt: skip
        in_flight[step] = fleets[0].in_flight


@_compiled
def run_levels(
    path, placements, edges, slots, servers, queues, fleets, retries, routes, bounds,
    at, work, routing, retry_draw, wait, outcome,
):  # fmt: skip
    """Run from edge to edge, with the placement of a level in force at once.

    Args:
        path: the level between each edge and the next.
        placements: a row for each level, with the allocations of each slot.
    """
    fleet = fleets[0]
    for step in range(len(path)):
        total = 0
        fleet.routes = 0
        for index in range(len(slots)):
            slots[index].allocations = placements[path[step], index]
            total += placements[path[step], index]
            if placements[path[step], index] > 0:
                routes[fleet.routes] = index
                bounds[fleet.routes] = total
                fleet.routes += 1
        run(
            edges[step + 1], slots, servers, queues, fleets, retries, routes, bounds,
            at, work, routing, retry_draw, wait, outcome,
        )  # fmt: skip


@_compiled
def end(now, slot_index, slots, servers, queues, fleets, retries, retry_draw, outcome):
    """End a process: its queued requests are rejected, those in service are lost."""
    fleet, slot = fleets[0], slots[slot_index]
    queue, server = queues[slot_index], servers[slot_index]
    for place in range(slot.reported, slot.queued):
        attempt = queue[(slot.head + place) % len(queue)].attempt
        _fail(fleet, retries, retry_draw, outcome, attempt, REJECTED, now)
    for place in range(slot.busy):
        # Timeouts of these attempts were recorded when their service began.
        if server[place].finish <= server[place].at + fleet.timeout_s:
            _fail(fleet, retries, retry_draw, outcome, server[place].attempt, LOST, now)
        fleet.started_s -= server[place].finish - now
    slot.queued = 0
    slot.reported = 0
    slot.busy = 0
    slot.allocations = 0
