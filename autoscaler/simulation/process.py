"""One native process: a bounded priority queue, and one worker per allocation.

An M/G/c/K queue with two non-preemptive priorities, run in virtual time from one finishing time
to the next. Source of its rules: elastic/elasticsearch,
ml/inference/pytorch/PriorityProcessWorkerExecutorService.java and
ml/inference/deployment/AbstractPyTorchAction.java.
"""

from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush

from autoscaler.simulation.errors import SimulatedApiError, conflict
from autoscaler.simulation.ledger import Ledger
from autoscaler.simulation.memory import ResidentMemory
from autoscaler.simulation.requests import InferenceRequest
from autoscaler.simulation.service_times import HIT_S, ServiceTimes
from autoscaler.simulation.statistics import Counters, MinuteBuckets, ProcessTotals

Offer = tuple[float, float, float, bool, InferenceRequest | None]
"""One document for a process: arrival, deadline, size (a factor of the service time), whether its
priority is high, and the request if a caller waits for it.

A plain tuple, because there are hundreds of thousands per second.
"""


class Process:
    """The process of one deployment on one node, from the time it is ready until it ends."""

    def __init__(
        self,
        now: float,
        *,
        allocations: int,
        threads_per_allocation: int,
        queue_capacity: int,
        service_times: ServiceTimes,
        ledger: Ledger,
        memory: ResidentMemory | None = None,
    ) -> None:
        self.memory = memory
        self.start_time = now
        self.allocations = allocations
        self.slow_down = 1.0  # of the node, where threads outnumber cores
        self._threads = threads_per_allocation
        self._capacity = queue_capacity
        self._service_times = service_times
        self._warm_at = now + service_times.warm_up_s
        self._ledger = ledger
        self._now = now
        self._high: deque[Offer] = deque()
        self._normal: deque[Offer] = deque()
        # (finish, serial number, deadline, milliseconds, cache hit, request), soonest first
        self._in_service: list[tuple[float, int, float, int, bool, InferenceRequest | None]] = []
        self._watched = 0  # requests here whose callers wait
        self._begun = 0
        self._completed = 0
        self._cache_hits = 0
        self._inference_ms = 0
        self._rejections = 0
        self._timeouts = 0
        self._expired_in_queue = 0
        self._last_access: float | None = None
        self._drift, self._drifts_from = 0.0, 0
        self._minutes = MinuteBuckets(now)
        self._waits: list[float] = []
        self._booked = (0, 0, 0, 0, 0)

    @property
    def idle(self) -> bool:
        return not self._in_service and not self._high and not self._normal

    @property
    def last_finish_at(self) -> float:
        """The instant at which all requests in service will be finished."""
        return max((entry[0] for entry in self._in_service), default=self._now)

    def next_watched_at(self) -> float | None:
        """A lower bound of the instant at which a watched request completes or fails here."""
        return self._in_service[0][0] if self._watched and self._in_service else None

    def offer(self, offers: Iterable[Offer], until: float) -> None:  # noqa: PLR0915
        """Accept `offers`, in order of time and none after `until`, and run until `until`.

        Each iteration of the loop is one event: a worker finishes, or a request arrives. Almost all
        of the run time is spent here, hence the plain tuples and the local names.
        """
        in_service, high_queue, normal_queue = self._in_service, self._high, self._normal
        drawn, slow_down, allocations = self._service_times.drawn, self.slow_down, self.allocations
        arrivals = iter(offers)
        arrival = next(arrivals, None)
        now, offered, warm_at = self._now, 0, self._warm_at
        while True:
            while (normal_queue or high_queue) and len(in_service) < allocations:
                offer = (high_queue or normal_queue).popleft()
                at, deadline, size, _, request = offer
                if deadline <= now:
                    self._timeouts += 1
                    self._expired_in_queue += 1
                    if request is not None:
                        self._watched -= 1
                    continue
                if not drawn:
                    self._service_times.draw()
                seconds = drawn.pop() * size * slow_down
                if now < warm_at:
                    seconds *= self._service_times.warm_up_factor
                finish = now + (seconds or HIT_S)
                self._begun += 1
                heappush(
                    in_service,
                    (finish, self._begun, deadline, int(seconds * 1000.0), seconds == 0.0, request),
                )
                if now > at:
                    self._waits.append(now - at)
            horizon = until if arrival is None else arrival[0]
            if in_service and in_service[0][0] <= horizon:
                now, _, deadline, milliseconds, hit, request = heappop(in_service)
                if now >= self._minutes.ends_at:
                    self._minutes.close(now, self._totals())
                if now <= deadline:
                    self._completed += 1
                    self._inference_ms += milliseconds
                    self._cache_hits += hit
                    self._last_access = now
                    if request is not None:
                        request.complete(now)
                else:
                    self._timeouts += 1
                if request is not None:
                    self._watched -= 1
            elif arrival is not None:
                now = max(now, horizon)  # it may have waited for the start of this process
                offered += 1
                if len(high_queue) + len(normal_queue) < self._capacity:
                    # A free worker takes it from the queue at the same instant.
                    (high_queue if arrival[3] else normal_queue).append(arrival)
                    if arrival[4] is not None:
                        self._watched += 1
                else:
                    self._reject(arrival, now)
                arrival = next(arrivals, None)
            else:
                break
        self._now = until
        self._book(offered)

    def resize(self, now: float, allocations: int) -> None:
        """Set the workers. Requests in service are never interrupted."""
        self.offer((), now)
        self.allocations = allocations
        self.offer((), now)

    def let_pending_drift(self, per_request: float) -> None:
        """From now on, each completed request changes the reported pending requests by this."""
        self._drift, self._drifts_from = per_request, self._completed

    def end(self, now: float, *, queued: SimulatedApiError) -> None:
        """End the process: queued requests fail with `queued`, those in service with a conflict."""
        self.offer((), now)
        waiting = [*self._high, *self._normal]
        expired = sum(1 for offer in waiting if offer[1] <= now)
        lost = conflict("[pytorch_inference] process stopped while the request was in service")
        overdue = sum(1 for entry in self._in_service if entry[2] <= now)
        rejected = len(waiting) - expired if queued.status == 429 else 0
        self._ledger.book(
            timed_out=expired + overdue,
            rejected=rejected,
            failed=len(waiting) - expired - rejected + len(self._in_service) - overdue,
            never_served=len(waiting),
        )
        for offer in waiting:
            if offer[4] is not None:
                offer[4].fail(now, queued)
        for entry in self._in_service:
            if entry[5] is not None:
                entry[5].fail(now, lost)
        self._high.clear()
        self._normal.clear()
        self._in_service.clear()
        self._watched = 0

    def counters(self, now: float) -> Counters:
        """The counters that the process reports, after it was run until `now`.

        Requests that expired in the queue are pending until they are popped; requests that expired
        in service are not. Both have timed out.
        """
        self._minutes.close(now, self._totals())
        waiting = [*self._high, *self._normal]
        overdue = sum(1 for entry in self._in_service if entry[2] <= now)
        expired = sum(1 for offer in waiting if offer[1] <= now)
        last = self._minutes.last
        drifted = int(self._drift * (self._completed - self._drifts_from))
        return Counters(
            start_time=self.start_time,
            allocations=self.allocations,
            threads_per_allocation=self._threads,
            completed=self._completed,
            cache_hits=self._cache_hits,
            errors=0,
            rejections=self._rejections,
            timeouts=self._timeouts + overdue + expired,
            pending=len(waiting) + len(self._in_service) - overdue + drifted,
            inference_ms=self._inference_ms,
            last_access=self._last_access,
            peak_per_minute=self._minutes.peak,
            completed_last_minute=last.completed,
            inference_ms_last_minute=last.inference_ms,
            cache_hits_last_minute=last.cache_hits,
            resident_bytes=None if self.memory is None else self.memory.bytes_used,
        )

    def _reject(self, offer: Offer, now: float) -> None:
        self._rejections += 1
        if offer[4] is not None:
            reason = "inference process queue is full. Unable to execute command"
            offer[4].fail(now, SimulatedApiError(429, "es_rejected_execution_exception", reason))

    def _totals(self) -> ProcessTotals:
        return ProcessTotals(self._completed, self._inference_ms, self._cache_hits)

    def _book(self, offered: int) -> None:
        booked = (
            self._completed,
            self._rejections,
            self._timeouts,
            self._expired_in_queue,
            self._begun,
        )
        completed, rejected, timed_out, expired, begun = (
            new - old for new, old in zip(booked, self._booked, strict=True)
        )
        self._booked = booked
        if self.memory is not None:
            self.memory.serve(completed, self.allocations)
        self._ledger.book(
            requests=offered,
            completed=completed,
            rejected=rejected,
            timed_out=timed_out,
            never_served=rejected + expired,
            served_at_once=begun - len(self._waits),
            waits_s=self._waits,
        )
        self._waits.clear()
