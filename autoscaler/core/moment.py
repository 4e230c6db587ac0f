"""What all decisions of one plan share."""

from collections.abc import Mapping

from autoscaler.core.capacity import Room, room_of
from autoscaler.core.idleness import Version, version_of
from autoscaler.core.state import Capacity, Refused, State, capacity_of
from autoscaler.core.values import Cluster, Observation, Value


class Moment(Value, frozen=True, kw_only=True):
    """What all decisions of one plan share."""

    at: float
    capacity: Capacity
    room: Room
    maintenance: str  # what goes on in the cluster; empty: nothing
    forbidden: Refused | None
    version: Version | None  # of the machine-learning nodes
    owned: Mapping[str, str]  # deployment id -> inference endpoint that it belongs to


def moment_of(state: State, observation: Observation) -> Moment:
    """The circumstances under which is decided."""
    return Moment(
        at=observation.at,
        capacity=capacity_of(observation),
        room=room_of(observation),
        maintenance=_maintenance(observation.cluster),
        forbidden=state.forbidden,
        version=version_of(observation.cluster),
        owned=observation.owned,
    )


def _maintenance(cluster: Cluster | None) -> str:
    if cluster is None:
        return ""
    if cluster.upgrade_mode:
        return "machine-learning upgrade mode is on"
    return "nodes run different versions" if cluster.mixed_versions else ""
