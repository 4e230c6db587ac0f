"""The compiled processes of one deployment, as the life cycle of the simulation sees them."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.world import kernel
from autoscaler.backtest.world.workload import Workload
from autoscaler.simulation.deployment import SimulatedDeployment
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.route import Route
from autoscaler.simulation.statistics import MINUTE_S, Counters


class CallerSettings(Struct, frozen=True, kw_only=True):
    """How those behave who ask."""

    timeout_s: float
    retry_share: float  # of those whose first try failed
    retry_after_s: float


class FleetTotals(Struct, frozen=True):
    """What a deployment has seen since the beginning, whatever its processes forget."""

    tries: int
    completed: int
    failed: int
    pending: int
    busy_s: float  # allocation-seconds worked


class Fleet:
    """All processes of a deployment, and the requests on their way to them."""

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
    ) -> None:
        """At most `processes` at a time, of at most so many `workers` each."""
        self._warm_up_s = warm_up_s
        self._slots = np.zeros(processes, kernel.SLOT)
        self._servers = np.zeros((processes, workers), kernel.TRY)
        self._queues = np.zeros((processes, queue_capacity), kernel.TRY)
        self._shared = np.zeros(1, kernel.FLEET)
        self._shared["timeout_s"] = callers.timeout_s
        self._shared["retry_share"] = callers.retry_share
        self._shared["retry_after_s"] = callers.retry_after_s
        self._shared["warm_up_factor"] = warm_up_factor
        self._shared["next_expiry"] = np.inf
        # Room for all; memory that is never written to is never taken.
        self._retries = np.empty(len(workload.at) + 1, kernel.TRY)
        self._routes = np.zeros(processes, np.int64)
        self._bounds = np.zeros(processes)
        self.waits_s = np.full(len(workload.at), np.nan)
        """Seconds that each request's first try waited for an allocation; nan: never served."""
        self.outcomes: NDArray[np.int8] = np.zeros(len(workload.at), np.int8)
        self._retry_draw = workload.retry_draw
        self._world = (
            self._slots, self._servers, self._queues, self._shared, self._retries, self._routes,
            self._bounds, workload.at, workload.work_s, workload.routing, workload.retry_draw, self.waits_s,
            self.outcomes,
        )  # fmt: skip
        self._free = list(range(processes))
        self._in_flight = np.empty(0, np.int64)
        self.now = now

    def start_process(
        self, _: SimulatedDeployment, _node_id: str, allocations: int, threads: int
    ) -> "FleetProcess":
        """A process that is ready now."""
        return self.start(allocations, threads)

    def start(self, allocations: int, threads: int = 1) -> "FleetProcess":
        """A process that is ready now."""
        index = self._free.pop(0)
        slot = np.zeros(1, kernel.SLOT)
        slot["allocations"], slot["slow_down"], slot["now"] = allocations, 1.0, self.now
        slot["warm_until"] = self.now + self._warm_up_s
        slot["minute_ends"] = self.now + MINUTE_S
        self._slots[index] = slot[0]
        return FleetProcess(self, index, self.now, threads)

    def route(self, routes: Sequence[Route]) -> None:
        """From now on requests go there, weighted by current allocations."""
        total = 0
        for place, route in enumerate(routes):
            process = route.process
            assert isinstance(process, FleetProcess), "a route that serves has a process of ours"
            total += route.current_allocations
            self._routes[place] = process.index
            self._bounds[place] = total
        self._shared["routes"] = len(routes)

    def run(self, until: float) -> None:
        """Let everything happen up to and including the instant `until`."""
        kernel.run(until, *self._world)
        self.now = until

    def run_sampled(self, until: float, steps: int) -> list[int]:
        """The same in equal steps; how many requests are under way at the end of each."""
        if len(self._in_flight) != steps:
            self._in_flight = np.empty(steps, np.int64)
        kernel.run_sampled(self.now, (until - self.now) / steps, self._in_flight, *self._world)
        self.now = until
        counts: list[int] = self._in_flight.tolist()
        return counts

    def run_levels(
        self, path: NDArray[np.int64], split: NDArray[np.int64], edges: NDArray[np.float64]
    ) -> None:
        """From edge to edge with a level of allocations, which has its row in `split`.

        A process for each column must have been started.
        """
        kernel.run_levels(path, split, edges, *self._world)
        self.now = float(edges[-1])

    def totals(self) -> FleetTotals:
        """As of the last instant that it was run until."""
        (
            _, _, _, _, _, _, _, _, _,
            arrived, completed, rejected, timed_out, lost, pending, will_time_out, started_s, ahead_s,
        ) = self._shared.item()  # fmt: skip
        failed = rejected + timed_out + lost - will_time_out
        return FleetTotals(arrived, completed, failed, pending, started_s - ahead_s)

    @property
    def second_tries(self) -> int:
        return int(self._shared[0]["retried"])

    def slot(self, index: int) -> np.void:
        slot: np.void = self._slots[index]
        return slot

    def last_finish_at(self, index: int) -> float:
        """When all that is in service in a process now will be finished."""
        busy = int(self._slots[index]["busy"])
        return float(self._servers[index]["finish"][:busy].max(initial=self.now))

    def end(self, index: int) -> None:
        kernel.end(
            self.now, index, self._slots, self._servers, self._queues, self._shared,
            self._retries, self._retry_draw, self.outcomes,
        )  # fmt: skip
        self._free.append(index)


class FleetProcess:
    """One process, from being ready to its end."""

    def __init__(self, fleet: Fleet, index: int, now: float, threads: int) -> None:
        self.index = index
        self._fleet = fleet
        self._start_time = now
        self._threads = threads

    @property
    def allocations(self) -> int:
        return int(self._fleet.slot(self.index)["allocations"])

    @property
    def slow_down(self) -> float:
        return float(self._fleet.slot(self.index)["slow_down"])

    @slow_down.setter
    def slow_down(self, factor: float) -> None:
        self._fleet.slot(self.index)["slow_down"] = factor

    @property
    def idle(self) -> bool:
        slot = self._fleet.slot(self.index)
        return not slot["busy"] and not slot["queued"]

    @property
    def last_finish_at(self) -> float:
        return self._fleet.last_finish_at(self.index)

    def resize(self, now: float, allocations: int) -> None:
        """Use so many workers from now on. Work in service is never interrupted."""
        self._fleet.run(now)
        self._fleet.slot(self.index)["allocations"] = allocations
        self._fleet.run(now)

    def end(self, now: float, *, queued: SimulatedApiError) -> None:
        """Die; what waits is refused."""
        self._fleet.run(now)
        self._fleet.end(self.index)

    def counters(self, now: float) -> Counters:
        """What the process reports, having been run until `now`."""
        assert now == self._fleet.now, "it has not been run until then"
        (
            allocations, _, _, _, busy, _, queued, told, late, completed, inference_ms, rejections,
            timeouts, last_access, _, _, _, last_completed, last_ms, peak,
        ) = self._fleet.slot(self.index).item()  # fmt: skip
        return Counters(
            start_time=self._start_time,
            allocations=allocations,
            threads_per_allocation=self._threads,
            completed=completed,
            cache_hits=0,
            errors=0,
            rejections=rejections,
            timeouts=timeouts + late + told,
            pending=queued + busy - late,
            inference_ms=inference_ms,
            last_access=last_access if completed else None,
            peak_per_minute=peak,
            completed_last_minute=last_completed,
            inference_ms_last_minute=last_ms,
            cache_hits_last_minute=0,
        )
