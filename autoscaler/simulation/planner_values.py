"""What the planner places, and where."""

from collections.abc import Mapping

from msgspec import Struct, field


class PlannerNode(Struct, frozen=True, kw_only=True):
    """The processors and memory of a node for deployments."""

    node_id: str
    zone: str
    cores: int
    memory_bytes: int  # for machine learning, without the memory of draining processes


class PlannerDeployment(Struct, frozen=True, kw_only=True):
    """The requested and current allocations of a deployment."""

    deployment_id: str
    allocations: int
    threads: int
    memory_bytes: int  # on each node that it runs on
    low: bool = False
    previously_assigned: bool = False
    current: Mapping[str, int] = field(default_factory=dict)  # node id -> allocations

    @property
    def current_allocations(self) -> int:
        """No more than are requested."""
        return min(self.allocations, sum(self.current.values()))
