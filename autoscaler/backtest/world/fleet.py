"""The compiled processes of one deployment, with the interface of the simulation's processes."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.world import kernel
from autoscaler.backtest.world.workload import Workload
from autoscaler.simulation.deployment import SimulatedDeployment
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.route import Route
from autoscaler.simulation.statistics import MINUTE_S, Counters
from autoscaler.simulation.zero_queue import MAX_WAITING


class CallerSettings(Struct, frozen=True, kw_only=True):
    """How callers behave."""

    timeout_s: float
    retry_share: float  # fraction of failed first attempts that are retried
    retry_after_s: float


class FleetTotals(Struct, frozen=True):
    """Counters of a deployment since the beginning, over all of its processes."""

    attempts: int
    completed: int
    failed: int
    in_flight: int
    busy_s: float  # allocation-seconds worked


class Fleet:
    """All processes of a deployment, and the requests that they receive."""

    def __init__(
        self,
        workload: Workload,
        callers: CallerSettings,
        *,
        processes: int,
        workers: int,
        queue_capacity: int,
        warm_up_s: float,
        warm_up_factor: float,
        now: float,
        contention: float = 0.0,
        node_slowdowns: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """At most `processes` at a time, each with at most `workers` workers.

        Args:
            contention: fraction by which service times are longer while all workers are busy.
            node_slowdowns: factors of the service times on nodes that are slower.
        """
        self._node_slowdowns = node_slowdowns
        self._warm_up_s = warm_up_s
        self._slots = np.zeros(processes, kernel.SLOT)
        self._servers = np.zeros((processes, workers), kernel.TRY)
        self._queues = np.zeros((processes, queue_capacity), kernel.TRY)
        self._shared = np.zeros(1, kernel.FLEET)
        self._shared["timeout_s"] = callers.timeout_s
        self._shared["retry_share"] = callers.retry_share
        self._shared["retry_after_s"] = callers.retry_after_s
        self._shared["warm_up_factor"] = warm_up_factor
        self._shared["contention"] = contention / workers
        self._shared["next_expiry"] = np.inf
        # Large enough for all requests; pages that are never written take no memory.
        self._retries = np.empty(len(workload.at) + 1, kernel.TRY)
        self._routes = np.zeros(processes, np.int64)
        self._bounds = np.zeros(processes)
        self.waits_s = np.full(len(workload.at), np.nan)
        """Queue wait of each request's first attempt, in seconds; nan: never served."""
        self.outcomes: NDArray[np.int8] = np.zeros(len(workload.at), np.int8)
        self._retry_draw = workload.retry_draw
        self._arguments = (
            self._slots, self._servers, self._queues, self._shared, self._retries, self._routes,
            self._bounds, workload.at, workload.work_s, workload.routing, workload.retry_draw,
            self.waits_s, self.outcomes,
        )  # fmt: skip
        self._at = workload.at
        self._free = list(range(processes))
        self._waiting: int | None = None  # the slot in which requests wait for the first process
        self._in_flight = np.empty(0, np.int64)
        self.now = now

    def start_process(
        self, _: SimulatedDeployment, node_id: str, allocations: int, threads: int
    ) -> "FleetProcess":
        """Start a process that is ready now."""
        return self.start(allocations, threads, self._node_slowdowns.get(node_id, 1.0))

    def start(self, allocations: int, threads: int = 1, slowdown: float = 1.0) -> "FleetProcess":
        """Start a process that is ready now. It takes the requests that wait for the first one."""
        slot = np.zeros(1, kernel.SLOT)
        if self._waiting is None:
            index = self._free.pop(0)
        else:
            index, self._waiting = self._waiting, None
            before = self._slots[index]
            # Those who gave up are no longer in the queue of Elasticsearch.
            slot["head"] = (before["head"] + before["reported"]) % self._queues.shape[1]
            slot["queued"] = before["queued"] - before["reported"]
            self._begin_time_outs(index, int(slot["head"][0]), int(slot["queued"][0]))
        slot["allocations"], slot["slow_down"], slot["now"] = allocations, slowdown, self.now
        slot["warm_until"] = self.now + self._warm_up_s
        slot["capacity"] = self._queues.shape[1]
        slot["minute_ends"] = self.now + MINUTE_S
        self._slots[index] = slot[0]
        return FleetProcess(self, index, self.now, threads, slowdown)

    def _begin_time_outs(self, index: int, head: int, queued: int) -> None:
        """Begin the time-outs of the requests in a queue again, as when they are routed."""
        queue = self._queues[index]
        places = (head + np.arange(queued)) % len(queue)
        queue["waited"][places] += self.now - queue["at"][places]
        queue["at"][places] = self.now

    def wait_for_process(self) -> None:
        """From now on requests wait for the first process, at most 99 of them."""
        if self._waiting is None:
            self._waiting = self._free.pop(0)
            slot = np.zeros(1, kernel.SLOT)
            slot["slow_down"], slot["now"] = 1.0, self.now
            slot["minute_ends"] = self.now + MINUTE_S
            slot["capacity"] = min(MAX_WAITING, self._queues.shape[1])
            self._slots[self._waiting] = slot[0]
        self._routes[0], self._bounds[0] = self._waiting, 1.0
        self._shared["routes"] = 1

    @property
    def requests_wait(self) -> bool:
        """Whether a request waits for the first process."""
        if self._waiting is None:
            return False
        slot = self._slots[self._waiting]
        return bool(slot["queued"] > slot["reported"])

    @property
    def next_request_at(self) -> float:
        """The instant of the next request, retries included; infinity if there is none."""
        shared = self._shared[0]
        first = float(self._at[shared["next"]]) if shared["next"] < len(self._at) else np.inf
        return min(first, float(self._retries[0]["at"])) if shared["retries"] else first

    def route(self, routes: Sequence[Route]) -> None:
        """From now on, send requests to these routes, weighted by current allocations."""
        total = 0
        for place, route in enumerate(routes):
            process = route.process
            assert isinstance(process, FleetProcess), (
                "each usable route has a process of this fleet"
            )
            total += route.current_allocations
            self._routes[place] = process.index
            self._bounds[place] = total
        self._shared["routes"] = len(routes)

    def run(self, until: float) -> None:
        """Simulate up to and including the instant `until`."""
        kernel.run(until, *self._arguments)
        self.now = until

    def run_sampled(self, until: float, steps: int) -> list[int]:
        """The same in equal steps; the in-flight requests at the end of each."""
        if len(self._in_flight) != steps:
            self._in_flight = np.empty(steps, np.int64)
        kernel.run_sampled(self.now, (until - self.now) / steps, self._in_flight, *self._arguments)
        self.now = until
        counts: list[int] = self._in_flight.tolist()
        return counts

    def run_levels(
        self, path: NDArray[np.int64], placements: NDArray[np.int64], edges: NDArray[np.float64]
    ) -> None:
        """Run from edge to edge, each time with one level, a row of `placements`.

        A process must have been started for each of its columns.
        """
        kernel.run_levels(path, placements, edges, *self._arguments)
        self.now = float(edges[-1])

    def totals(self) -> FleetTotals:
        """Counters at the present instant."""
        (
            _, _, _, _, _, _, _, _, _, _,
            arrived, completed, rejected, timed_out, lost, in_flight, will_time_out, started_s,
            remaining_s,
        ) = self._shared.item()  # fmt: skip
        failed = rejected + timed_out + lost - will_time_out
        return FleetTotals(arrived, completed, failed, in_flight, started_s - remaining_s)

    @property
    def retries(self) -> int:
        """Retries that have arrived."""
        return int(self._shared[0]["retried"])

    def slot(self, index: int) -> np.void:
        slot: np.void = self._slots[index]
        return slot

    def last_finish_at(self, index: int) -> float:
        """The instant at which all requests in service in a process now will be finished."""
        busy = int(self._slots[index]["busy"])
        return float(self._servers[index]["finish"][:busy].max(initial=self.now))

    def end(self, index: int) -> None:
        kernel.end(
            self.now, index, self._slots, self._servers, self._queues, self._shared,
            self._retries, self._retry_draw, self.outcomes,
        )  # fmt: skip
        self._free.append(index)


class FleetProcess:
    """One process, from its start to its end."""

    def __init__(self, fleet: Fleet, index: int, now: float, threads: int, slowdown: float) -> None:
        self.index = index
        self._fleet = fleet
        self._start_time = now
        self._threads = threads
        self._slowdown = slowdown  # of its node

    @property
    def allocations(self) -> int:
        return int(self._fleet.slot(self.index)["allocations"])

    @property
    def slow_down(self) -> float:
        return float(self._fleet.slot(self.index)["slow_down"]) / self._slowdown

    @slow_down.setter
    def slow_down(self, factor: float) -> None:
        self._fleet.slot(self.index)["slow_down"] = factor * self._slowdown

    @property
    def idle(self) -> bool:
        slot = self._fleet.slot(self.index)
        return not slot["busy"] and not slot["queued"]

    @property
    def last_finish_at(self) -> float:
        return self._fleet.last_finish_at(self.index)

    def resize(self, now: float, allocations: int) -> None:
        """Change the workers from now on. Service is never interrupted."""
        self._fleet.run(now)
        self._fleet.slot(self.index)["allocations"] = allocations
        self._fleet.run(now)

    def end(self, now: float, *, queued: SimulatedApiError) -> None:
        """End the process; queued requests are rejected."""
        self._fleet.run(now)
        self._fleet.end(self.index)

    def counters(self, now: float) -> Counters:
        """The counters that the process reports; it must have been run until `now`."""
        assert now == self._fleet.now, "the fleet must have been run until `now`"
        (
            allocations, _, _, _, busy, _, queued, reported, overdue, completed, inference_ms,
            rejections, timeouts, last_access, _, _, _, last_completed, last_ms, peak, _,
        ) = self._fleet.slot(self.index).item()  # fmt: skip
        return Counters(
            start_time=self._start_time,
            allocations=allocations,
            threads_per_allocation=self._threads,
            completed=completed,
            cache_hits=0,
            errors=0,
            rejections=rejections,
            timeouts=timeouts + overdue + reported,
            pending=queued + busy - overdue,
            inference_ms=inference_ms,
            last_access=last_access if completed else None,
            peak_per_minute=peak,
            completed_last_minute=last_completed,
            inference_ms_last_minute=last_ms,
            cache_hits_last_minute=0,
        )
