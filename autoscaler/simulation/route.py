"""A route: one deployment on one node, as the cluster's state has it, with the process behind it.

Source: elastic/elasticsearch, core/inference/assignment/{RoutingInfo,RoutingState}.java.
"""

from typing import Protocol

from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.statistics import Counters

STARTING, STARTED, STOPPING, FAILED = "starting", "started", "stopping", "failed"


class ServingProcess(Protocol):
    """What the life cycle asks of a process, whoever simulates its requests."""

    slow_down: float

    @property
    def allocations(self) -> int:
        """Workers in use, or free to be."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits or is in service."""

    @property
    def last_finish_at(self) -> float:
        """When all that is in service now will be finished."""

    def resize(self, now: float, allocations: int) -> None:
        """Use so many workers from now on."""

    def end(self, now: float, *, queued: SimulatedApiError) -> None:
        """Die; what waits fails as `queued` says."""

    def counters(self, now: float) -> Counters:
        """What it reports, having been run until `now`."""


class Route:
    """Read freely; only the cluster changes it."""

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
        """As the statistics show it: `stopped` while a crashed process is restarted in place."""
        return "stopped" if self.state == STARTED and self.process is None else self.state

    def counters(self, now: float) -> Counters | None:
        """What the process reports, having been run until `now`; None unless it is running."""
        return self.process.counters(now) if self.process else None
