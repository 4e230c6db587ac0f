"""A deployment: its settings, its allocations per node, and its state.

Source: elastic/elasticsearch, core/inference/assignment/TrainedModelAssignment.java,
AllocationStatus.java and AdaptiveAllocationsSettings.java.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from msgspec import UNSET, Struct, UnsetType, field

from autoscaler.simulation.ledger import Ledger
from autoscaler.simulation.route import FAILED, STARTED, STARTING, STOPPING, Route
from autoscaler.simulation.specs import ModelSpec

__all__ = ["FAILED", "STARTED", "STARTING", "STOPPING", "UNSET"]

_T = TypeVar("_T")


_NULL = -1


class AdaptiveSettings(Struct, frozen=True, kw_only=True):
    """Settings of adaptive allocations. `enabled` None: never set, which counts as false."""

    enabled: bool | None = None
    min_number_of_allocations: int | None = None
    max_number_of_allocations: int | None = None

    @property
    def scales_to_zero(self) -> bool:
        return bool(self.enabled) and not self.min_number_of_allocations


class AdaptivePatch(Struct, frozen=True, kw_only=True):
    """A change of those settings, per field: UNSET keeps the stored value, None clears it."""

    enabled: bool | UnsetType | None = UNSET
    min_number_of_allocations: int | UnsetType | None = UNSET
    max_number_of_allocations: int | UnsetType | None = UNSET

    def applied_to(self, stored: AdaptiveSettings | None) -> AdaptiveSettings:
        """The settings after the change. The API itself writes minus one for an explicit null."""
        base = stored or AdaptiveSettings()
        return AdaptiveSettings(
            enabled=_patched(self.enabled, base.enabled),
            min_number_of_allocations=_bound(
                self.min_number_of_allocations, base.min_number_of_allocations
            ),
            max_number_of_allocations=_bound(
                self.max_number_of_allocations, base.max_number_of_allocations
            ),
        )


def _patched(change: _T | UnsetType, stored: _T) -> _T:
    return stored if isinstance(change, UnsetType) else change


def _bound(change: int | UnsetType | None, stored: int | None) -> int | None:
    return None if change == _NULL else _patched(change, stored)


class Parameters(Struct, frozen=True, kw_only=True):
    """The parameters of a start; only the number of allocations can change."""

    deployment_id: str
    model_id: str
    model_bytes: int
    number_of_allocations: int
    threads_per_allocation: int
    queue_capacity: int
    cache_bytes: int
    priority: str  # normal or low


class SimulatedDeployment(Struct, kw_only=True, eq=False):
    """One deployment in the state of the cluster. Only the cluster changes it."""

    parameters: Parameters
    model: ModelSpec
    ledger: Ledger
    zero_is_fully_allocated: bool
    adaptive: AdaptiveSettings | None = None  # None: never set, or removed
    state: str = STARTING  # starting, started, stopping
    reason: str | None = None  # why some allocations could not be placed
    start_time: float  # of the assignment, not of readiness; Unix seconds
    max_assigned_allocations: int = 0  # the most that there have been, loading ones included
    routes: dict[str, Route] = field(default_factory=dict)  # by node id

    @property
    def deployment_id(self) -> str:
        return self.parameters.deployment_id

    @property
    def model_id(self) -> str:
        return self.parameters.model_id

    @property
    def requested(self) -> int:
        """The target number of allocations."""
        return self.parameters.number_of_allocations

    @property
    def low(self) -> bool:
        return self.parameters.priority == "low"

    @property
    def running(self) -> int:
        """Current allocations of started routes."""
        return sum(route.running_allocations for route in self.routes.values())

    @property
    def targets(self) -> Mapping[str, int]:
        """Target allocations by node id, without routes that are being removed."""
        return {route.node_id: route.target_allocations for route in self.kept_routes()}

    @property
    def loading(self) -> bool:
        """Whether any node still has to become ready for this deployment."""
        return any(route.state == STARTING for route in self.routes.values())

    def kept_routes(self) -> Iterator[Route]:
        return (route for route in self.routes.values() if route.state != STOPPING)

    def recalculate_state(self) -> None:
        """Set the state after a rebalance, or after the change of a route.

        It is `starting` again when no route is started any more. Nothing has to start for zero
        allocations (#115824).
        """
        if self.state == STOPPING:
            return
        started = any(route.state == STARTED for route in self.routes.values())
        self.state = STARTED if started or self.requested == 0 else STARTING

    def allocation_state(self) -> str:
        """starting, started or fully_allocated, as `allocation_status.state` of the statistics."""
        running = self.running
        if running >= self.requested and (running > 0 or self.zero_is_fully_allocated):
            return "fully_allocated"
        return STARTED if running else STARTING

    def reported_state(self) -> str:
        """The state in the statistics: failed if there are routes and all have failed."""
        return FAILED if self.all_failed else self.state

    def reported_reason(self) -> str | None:
        """The reason in the statistics."""
        if self.all_failed:
            return f"All node routes are failed; node ids {sorted(self.routes)}"
        return self.reason

    @property
    def all_failed(self) -> bool:
        """Whether there are routes, and each has failed."""
        return bool(self.routes) and all(r.state == FAILED for r in self.routes.values())
