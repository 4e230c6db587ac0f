"""Requests on their way to processes, and their deadlines.

Source: elastic/elasticsearch, ml/action/TransportInternalInferModelAction.java,
ml/inference/InferenceWaitForAllocation.java and
core/inference/assignment/TrainedModelAssignment.java.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from zlib import crc32

import numpy as np

from autoscaler.simulation.deployment import STOPPING, SimulatedDeployment
from autoscaler.simulation.errors import conflict
from autoscaler.simulation.memory import ResidentMemory
from autoscaler.simulation.process import Offer, Process
from autoscaler.simulation.requests import InferenceRequest
from autoscaler.simulation.route import STARTED, Route
from autoscaler.simulation.service_times import ServiceTimes
from autoscaler.simulation.state import ClusterState
from autoscaler.simulation.workload import HIGH, Arrival
from autoscaler.simulation.zero_queue import ZeroQueue, not_allocated, refuse


class _Source:
    """A driven load, consumed as time passes."""

    def __init__(self, arrivals: Iterator[Arrival], timeout_s: float) -> None:
        self._arrivals = arrivals
        self._timeout_s = timeout_s
        self._next = next(arrivals, None)

    @property
    def next_at(self) -> float | None:
        return self._next.at if self._next else None

    def take(self, until: float) -> list[Offer]:
        """The arrivals up to and including `until`."""
        taken: list[Offer] = []
        if self._next is None or self._next.at > until:
            return taken
        timeout_s, append = self._timeout_s, taken.append
        at, size, priority = self._next
        append((at, at + timeout_s, size, priority == HIGH, None))
        for arrival in self._arrivals:
            at, size, priority = arrival
            if at > until:
                self._next = arrival
                return taken
            append((at, at + timeout_s, size, priority == HIGH, None))
        self._next = None
        return taken


class Traffic:
    """Routes requests: each to a node at random, weighted by current allocations."""

    def __init__(self, state: ClusterState, zero_queue: ZeroQueue) -> None:
        self._state = state
        self._zero_queue = zero_queue
        self._sources: dict[str, list[_Source]] = {}
        self._deadlines: list[tuple[float, int, InferenceRequest]] = []
        self._serial = count()
        self._choices: dict[str, np.random.Generator] = {}
        self._processes: Counter[tuple[str, str]] = Counter()  # started so far, for their seeds

    def start_process(
        self, deployment: SimulatedDeployment, node_id: str, allocations: int, threads: int
    ) -> Process:
        """A process of the deployment, ready now."""
        key = (deployment.deployment_id, node_id)
        self._processes[key] += 1
        model = deployment.model
        memory = None
        if model.process_bytes is not None:
            memory = ResidentMemory(model.process_bytes, model.allocation_bytes)
        seed = [self._state.seed, *(crc32(name.encode()) for name in key), self._processes[key]]
        return Process(
            self._state.now,
            allocations=allocations,
            threads_per_allocation=threads,
            queue_capacity=deployment.parameters.queue_capacity,
            service_times=ServiceTimes(model, threads, np.random.default_rng(seed)),
            ledger=deployment.ledger,
            memory=memory,
        )

    def drive(self, deployment_id: str, arrivals: Iterator[Arrival], timeout_s: float) -> None:
        self._sources.setdefault(deployment_id, []).append(_Source(arrivals, timeout_s))

    def run(self, until: float) -> None:
        """Route the arrivals up to `until`, and run all processes until then.

        The caller guarantees that no route changes before `until`.
        """
        for deployment_id, sources in self._sources.items():
            offers = sources[0].take(until)
            for source in sources[1:]:
                offers += source.take(until)
            if len(sources) > 1:
                offers.sort(key=lambda offer: offer[0])
            deployment = self._state.deployments.get(deployment_id)
            if deployment is not None and offers:
                self._route(deployment, offers, until)
        for deployment in self._state.deployments.values():
            for route in deployment.routes.values():
                process = _process(route)
                if process is not None:
                    process.offer((), until)

    def infer(
        self, deployment: SimulatedDeployment, documents: int, *, timeout_s: float, priority: str
    ) -> list[InferenceRequest]:
        """One request per document.

        Raises:
            SimulatedApiError: no process can serve it.
        """
        now = self._state.now
        if not usable_routes(deployment) and not self._zero_queue.admits(deployment):
            raise not_allocated(deployment)
        requests = [
            InferenceRequest(arrived=now, deadline=now + timeout_s) for _ in range(documents)
        ]
        for request in requests:
            heappush(self._deadlines, (request.deadline, next(self._serial), request))
        high = priority == HIGH
        self._route(
            deployment, [(now, now + timeout_s, 1.0, high, request) for request in requests], now
        )
        return requests

    def release(self, deployment: SimulatedDeployment) -> None:
        """Route the requests that waited for the first allocation."""
        offers = self._zero_queue.take_all(deployment)
        for _, deadline, _, _, request in offers:
            if request is not None:
                request.deadline = deadline
                heappush(self._deadlines, (deadline, next(self._serial), request))
        if offers:
            self._route(deployment, offers, self._state.now)

    def expire(self) -> None:
        """Fail the requests whose deadline has passed. Processes still complete them."""
        while self._deadlines:
            deadline, _, request = self._deadlines[0]
            if not request.done and deadline > self._state.now:
                return
            heappop(self._deadlines)
            if not request.done and request.deadline <= deadline:  # otherwise it began again
                request.time_out()

    def next_resume_at(self) -> float | None:
        """The next driven request to a deployment scaled to zero, which scales it up."""
        return min(
            (
                source.next_at
                for deployment_id, sources in self._sources.items()
                if (deployment := self._state.deployments.get(deployment_id))
                and deployment.requested == 0
                and self._zero_queue.admits(deployment)
                for source in sources
                if source.next_at is not None
            ),
            default=None,
        )

    def next_response_at(self) -> float | None:
        """The next instant at which a caller that waits may get a response."""
        candidates = [
            at
            for deployment in self._state.deployments.values()
            for route in deployment.routes.values()
            if (process := _process(route)) and (at := process.next_watched_at()) is not None
        ]
        candidates += [deadline for deadline, _, request in self._deadlines[:1] if not request.done]
        return min(candidates, default=None)

    def let_pending_drift(
        self, deployment: SimulatedDeployment, node_id: str, per_request: float
    ) -> None:
        """A defect of one process, until it ends: its count of pending requests drifts."""
        process = _process(deployment.routes[node_id])
        if process is not None:
            process.let_pending_drift(per_request)

    def resident_memory(self, node_id: str) -> list[tuple[ResidentMemory, SimulatedDeployment]]:
        """The memory of each process on a node for which it is simulated."""
        return [
            (process.memory, deployment)
            for deployment in self._state.deployments.values()
            if (route := deployment.routes.get(node_id)) is not None
            and (process := _process(route)) is not None
            and process.memory is not None
        ]

    def _route(
        self, deployment: SimulatedDeployment, offers: Sequence[Offer], until: float
    ) -> None:
        usable = usable_routes(deployment)
        # Drawn for any routes, so that the draws of later requests do not depend on them.
        draws = self._choice(deployment).random(len(offers))
        if not usable:
            # The documents of one request wait together; each arrival of a load is a request.
            together = offers[0][4] is not None
            for request in [offers] if together else [[offer] for offer in offers]:
                self._zero_queue.take(deployment, request)
            return
        if len(usable) == 1:
            self._offer(deployment, usable[0], offers, until)
            return
        shares: list[list[Offer]] = [[] for _ in usable]
        bounds = np.cumsum([route.current_allocations for route in usable])
        drawn = draws * bounds[-1]
        for offer, index in zip(
            offers, np.searchsorted(bounds, drawn, side="right").tolist(), strict=True
        ):
            shares[index].append(offer)
        for route, share in zip(usable, shares, strict=True):
            if share:
                self._offer(deployment, route, share, until)

    def _offer(
        self, deployment: SimulatedDeployment, route: Route, offers: Sequence[Offer], until: float
    ) -> None:
        process = _process(route)
        if process is not None:
            process.offer(offers, until)
            return
        for offer in offers:  # the process is being restarted; the routing table does not show that
            refuse(deployment, offer, conflict("inference process is not running"))

    def _choice(self, deployment: SimulatedDeployment) -> np.random.Generator:
        name = deployment.deployment_id
        if name not in self._choices:
            self._choices[name] = np.random.default_rng([self._state.seed, crc32(name.encode())])
        return self._choices[name]


def _process(route: Route) -> Process | None:
    process = route.process
    assert process is None or isinstance(process, Process), "a process of another simulation"
    return process


def usable_routes(deployment: SimulatedDeployment) -> list[Route]:
    """The routes for requests: started routes, or stopping ones if there are none."""
    for state in (STARTED, STOPPING):
        routes = [
            route
            for route in deployment.routes.values()
            if route.state == state and route.current_allocations > 0
        ]
        if routes:
            return routes
    return []
