"""A route: one deployment on one node, with its process.

Source: elastic/elasticsearch, core/inference/assignment/{RoutingInfo,RoutingState}.java.
"""

from typing import Protocol

from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.statistics import Counters

STARTING, STARTED, STOPPING, FAILED = "starting", "started", "stopping", "failed"


class ServingProcess(Protocol):
    """The process that the life cycle controls, with any simulation of requests."""

    slow_down: float

    @property
    def allocations(self) -> int:
        """Workers, busy and free."""

    @property
    def idle(self) -> bool:
        """Whether it has no requests, queued or in service."""

    @property
    def last_finish_at(self) -> float:
        """The instant at which all requests in service will be finished."""

    def resize(self, now: float, allocations: int) -> None:
        """Set the workers."""

    def end(self, now: float, *, queued: SimulatedApiError) -> None:
        """End the process; queued requests fail with `queued`."""

    def counters(self, now: float) -> Counters:
        """The counters that it reports, after it was run until `now`."""


class Route:
    """One route. Only the cluster changes it."""

    def __init__(self, node_id: str, target: int) -> None:
        self.node_id = node_id
        self.state = STARTING
        self.reason = ""
        self.current_allocations = target
        self.target_allocations = target
        self.process: ServingProcess | None = None
        self.crashes: list[float] = []  # instants, of the last 24 hours

    @property
    def running_allocations(self) -> int:
        return self.current_allocations if self.state == STARTED else 0

    @property
    def reported_state(self) -> str:
        """The state in the statistics: `stopped` while a crashed process is restarted in place."""
        return "stopped" if self.state == STARTED and self.process is None else self.state

    def counters(self, now: float) -> Counters | None:
        """The counters of the process, after it was run until `now`; None unless it runs."""
        return self.process.counters(now) if self.process else None
