"""What all decisions of one plan share."""

from collections.abc import Mapping

from autoscaler.core.capacity import FreeCapacity, free_capacity_of
from autoscaler.core.scale_to_zero import Version, version_of
from autoscaler.core.state import BackOff, ClusterCapacity, State, capacity_of
from autoscaler.core.values import Cluster, Observation, Value


class PlanContext(Value, frozen=True, kw_only=True):
    """What all decisions of one plan share."""

    at: float
    capacity: ClusterCapacity
    free_capacity: FreeCapacity
    maintenance: str  # why the cluster must not be changed now; empty: it may be
    forbidden: BackOff | None  # after a response that concerns every deployment
    version: Version | None  # of the ML nodes
    owned: Mapping[str, str]  # deployment id -> inference endpoint that it belongs to


def plan_context_of(state: State, observation: Observation) -> PlanContext:
    """The context of a plan for this observation."""
    return PlanContext(
        at=observation.at,
        capacity=capacity_of(observation),
        free_capacity=free_capacity_of(observation),
        maintenance=_maintenance(observation.cluster),
        forbidden=state.cluster_back_off,
        version=version_of(observation.cluster),
        owned=observation.owned,
    )


def _maintenance(cluster: Cluster | None) -> str:
    if cluster is None:
        return ""
    if cluster.upgrade_mode:
        return "machine-learning upgrade mode is on"
    return "nodes run different versions" if cluster.mixed_versions else ""
