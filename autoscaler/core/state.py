"""What the next plan depends on besides its arguments. Plain data; losing it is safe.

A planner that starts without state measures for one interval before it has an opinion. Then its
policy learns anew, and where a stabilisation window is set, nothing is scaled down before it is
over.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from msgspec import UNSET

from autoscaler.core.values import Cluster, DeploymentStats, Mode, Observation, Sample, Value


class ClusterCapacity(Value, frozen=True):
    """What decides whether an increase fits, as far as it can be seen from outside."""

    nodes: frozenset[str] = frozenset()
    processors: float = 0.0
    threads: int = 0  # requested by all deployments together

    def exceeds(self, other: "ClusterCapacity") -> bool:
        """Whether something may fit now that did not fit then."""
        return (
            self.threads < other.threads
            or self.processors > other.processors
            or not self.nodes <= other.nodes
        )


class CapacityRefusal(Value, frozen=True, kw_only=True):
    """A number that was refused for lack of capacity."""

    allocations: int
    capacity: ClusterCapacity  # then, without what the deployment itself had
    hold_s: float  # how long the refusal is believed if no change of capacity is seen
    until: float


class Rollout(Value, frozen=True, kw_only=True):
    """An accepted update that is not yet carried out."""

    allocations: int
    accepted_at: float
    nodes: frozenset[str]  # that served when it was asked
    at_least: bool = False  # the cluster's own scaler may choose more


class BackOff(Value, frozen=True, kw_only=True):
    """Refusals in a row that trying again would not change."""

    times: int
    until: float
    reason: str


class DeploymentState(Value, frozen=True, kw_only=True):
    seen_at: float
    baseline: DeploymentStats  # the last answer that later ones can be compared with
    baseline_at: float
    samples: tuple[Sample, ...] = ()  # trusted, within the load window, oldest first
    service_time_s: float | None = None  # last measured
    # (at, allocations): the recommendations that may yet be the highest of a window, which are
    # those that no later one has reached; so their numbers fall from the oldest to the newest.
    peaks: tuple[tuple[float, int], ...] = ()
    policy: str = ""  # the name of the policy whose memory follows
    memory: Any = UNSET  # until it was asked for the first time
    above_burst_s: float | None = None  # how long more than the burst ceiling has been wanted
    stalled_since: float | None = None
    unsettled_since: float | None = None
    infeasible: CapacityRefusal | None = None
    rollout: Rollout | None = None
    new_node_s: float | None = None  # that updates took which needed a further node, lately
    back_off: BackOff | None = None
    bounds_moved_at: float | None = None  # those of the cluster's own scaler, by us
    mode_seen: Mode | None = None  # of the rule's mode, once it has been found in place
    idle_since: float | None = None
    usage: bytes = b""  # at which times of the week it is used; see `autoscaler.core.usage`


class StoppedDeployment(Value, frozen=True, kw_only=True):
    """A deployment that was stopped because it was idle."""

    stats: DeploymentStats  # its last ones, from which it can be started again
    since: float
    usage: bytes = b""  # see `autoscaler.core.usage`
    back_off: BackOff | None = None  # to be started again


class State(Value, frozen=True, kw_only=True):
    deployments: Mapping[str, DeploymentState] = {}
    capacity: ClusterCapacity = ClusterCapacity()
    cluster_back_off: BackOff | None = None  # by credentials or licence: concerns every deployment
    # By id. These are not lost without harm, since nobody else would start them again.
    stopped: Mapping[str, StoppedDeployment] = {}


def capacity_of(observation: Observation) -> ClusterCapacity:
    """The ML nodes, from their own report or else as far as deployments use them, and the load on
    them."""
    threads = sum(
        [
            (stats.allocations or 0) * (stats.threads_per_allocation or 1)
            for stats in observation.deployments.values()
        ]
    )
    cluster = observation.cluster
    if cluster is not None:
        return ClusterCapacity(*_nodes_and_processors(cluster), threads)
    nodes = {node.node_id for stats in observation.deployments.values() for node in stats.nodes}
    return ClusterCapacity(frozenset(nodes), 0.0, threads)


@lru_cache(maxsize=1)  # it is the same from cycle to cycle
def _nodes_and_processors(cluster: Cluster) -> tuple[frozenset[str], float]:
    """The ids of the nodes, and their processors together."""
    processors = sum([node.processors or 0.0 for node in cluster.nodes])
    return frozenset([node.node_id for node in cluster.nodes]), processors


def excluding(capacity: ClusterCapacity, stats: DeploymentStats) -> ClusterCapacity:
    """`capacity` with the deployment's own threads left out."""
    own = (stats.allocations or 0) * (stats.threads_per_allocation or 1)
    return ClusterCapacity(capacity.nodes, capacity.processors, capacity.threads - own)
