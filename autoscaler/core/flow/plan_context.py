"""What all decisions of one plan share."""

from collections.abc import Collection, Mapping
from functools import lru_cache

from msgspec.structs import replace

from autoscaler.core.capacity import FreeCapacity, free_capacity_of
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.flow.cold_start import observed_s
from autoscaler.core.instructions import Instructions
from autoscaler.core.next_poll import Polling
from autoscaler.core.scale_to_zero import Version, version_of
from autoscaler.core.state import (
    BackOff,
    ClusterCapacity,
    State,
    UnmanagedState,
    capacity_of,
    threads_of,
)
from autoscaler.core.values import (
    Callers,
    Cluster,
    DeploymentStats,
    NodeCapacity,
    Observation,
    Value,
)

LEFT_OUT_S = 60.0
"""Seconds for which a deployment that is not reported counts as left out by the response. 60 s, six
polls: one that has really gone delays an attempt by no more."""


class PlanContext(Value, frozen=True, kw_only=True):
    """What all decisions of one plan share."""

    at: float
    span_s: float  # from the request for the statistics to their arrival
    ml_nodes: frozenset[str] | None  # ids; None: not reported
    capacity: ClusterCapacity
    free_capacity: FreeCapacity
    maintenance: str  # why the cluster must not be changed now; empty: it may be
    forbidden: BackOff | None  # after a response that concerns every deployment
    version: Version | None  # of the ML nodes
    owned: Mapping[str, str]  # deployment id -> inference endpoint that it belongs to
    nodes: Mapping[str, NodeCapacity]  # by id
    model_allocations: Mapping[str, int]  # of the busiest process of a model that reports memory
    unknown_figures: Mapping[str, tuple[str, ...]]  # of the decision, by deployment id
    in_use: Mapping[str, str]  # deployment id -> why it must not be stopped
    callers: Mapping[str, Callers]  # by deployment id
    polling: Polling  # how often the cluster may be polled
    instructions: Instructions = Instructions()  # of operators
    cold_start_s: float | None = None  # see `State`, with this observation
    is_first_start: bool = False  # see `State`
    blind_s: Mapping[str, float] = {}  # since the last measurement, by deployment id
    utc_offsets_s: Mapping[str, float] = {}  # of local time now, by time zone


def plan_context_of(
    state: State,
    observation: Observation,
    polling: Polling,
    blind_s: Mapping[str, float],
    max_interval_s: float,
    utc_offsets_s: Mapping[str, float],
) -> PlanContext:
    """The context of a plan for this observation."""
    return PlanContext(
        at=observation.at,
        span_s=observation.span_s,
        ml_nodes=_node_ids(observation.cluster),
        capacity=_capacity(state, observation),
        free_capacity=free_capacity_of(with_left_out(state, observation)),
        maintenance=_maintenance(observation.cluster),
        forbidden=state.cluster_back_off,
        version=version_of(observation.cluster),
        owned=observation.owned,
        nodes=_by_id(observation.cluster),
        model_allocations=_busiest_of_models(observation),
        unknown_figures=observation.unknown_figures,
        in_use=observation.in_use,
        callers=observation.callers,
        polling=polling,
        blind_s=blind_s,
        utc_offsets_s=utc_offsets_s,
        instructions=state.instructions,
        cold_start_s=observed_s(state, observation.at, max_interval_s),
        is_first_start=state.is_first_start,
    )


def _capacity(state: State, observation: Observation) -> ClusterCapacity:
    """The capacity, with the threads of deployments that a response leaves out, or of which it does
    not say how many they have: a refused increase does not fit because of that."""
    capacity, oldest, missing = capacity_of(observation), observation.at - LEFT_OUT_S, 0
    for name, known in state.deployments.items():
        stats = observation.deployments.get(name)
        if stats is None:
            counts = name not in state.stopped and known.seen_at >= oldest
        else:
            counts = stats.allocations is None or stats.threads_per_allocation is None
        if counts:
            missing += threads_of(known.baseline) - (0 if stats is None else threads_of(stats))
    missing += sum(
        [threads_of(stats) for stats in unmanaged_left_out_of(state, observation).values()]
    )
    return replace(capacity, threads=capacity.threads + missing) if missing > 0 else capacity


def with_left_out(state: State, observation: Observation) -> Observation:
    """The observation with the deployments that the response leaves out: what they need is not free
    because of that."""
    left_out = left_out_of(state, observation) | unmanaged_left_out_of(state, observation)
    if not left_out:
        return observation
    return replace(observation, deployments={**observation.deployments, **left_out})


def left_out_of(state: State, observation: Observation) -> dict[str, DeploymentStats]:
    """The managed deployments that the response leaves out, as they were before."""
    oldest = observation.at - LEFT_OUT_S
    return {
        name: _on_known_nodes(known.baseline, observation.cluster)
        for name, known in state.deployments.items()
        if name not in observation.deployments
        and name not in state.stopped
        and known.seen_at >= oldest
        and (known.back_off is None or known.back_off.reason != OutcomeKind.GONE)
    }


def unmanaged_left_out_of(state: State, observation: Observation) -> dict[str, DeploymentStats]:
    """The unmanaged deployments that the response leaves out, as they were before."""
    oldest = observation.at - LEFT_OUT_S
    return {
        name: _on_known_nodes(known.stats, observation.cluster)
        for name, known in state.unmanaged.items()
        if name not in observation.deployments and known.seen_at >= oldest
    }


def unmanaged_after(
    state: State, observation: Observation, unmanaged: Collection[str]
) -> dict[str, UnmanagedState]:
    """The unmanaged deployments of the observation, and those that may be left out by it."""
    oldest = observation.at - LEFT_OUT_S
    before = {
        name: known
        for name, known in state.unmanaged.items()
        if name not in observation.deployments and known.seen_at >= oldest
    }
    seen = {
        name: UnmanagedState(observation.at, observation.deployments[name]) for name in unmanaged
    }
    return before | seen


def _on_known_nodes(stats: DeploymentStats, cluster: Cluster | None) -> DeploymentStats:
    """The statistics without the nodes that have left meanwhile."""
    known = _by_id(cluster)
    nodes = tuple([node for node in stats.nodes if node.node_id in known])
    return stats if len(nodes) == len(stats.nodes) else replace(stats, nodes=nodes)


@lru_cache(maxsize=1)  # the cluster is the same object in most cycles
def _by_id(cluster: Cluster | None) -> Mapping[str, NodeCapacity]:
    return {node.node_id: node for node in cluster.nodes} if cluster is not None else {}


def _busiest_of_models(observation: Observation) -> dict[str, int]:
    """The allocations of the busiest process of each model whose memory the cluster reports."""
    busiest: dict[str, int] = {}
    for stats in observation.deployments.values():
        if stats.runtime_memory_bytes is None and stats.peak_runtime_memory_bytes is None:
            continue
        allocations = [node.allocations or 0 for node in stats.nodes]
        busiest[stats.model_id] = max([busiest.get(stats.model_id, 0), *allocations])
    return busiest


def _maintenance(cluster: Cluster | None) -> str:
    if cluster is None:
        return ""
    if cluster.upgrade_mode:
        return "machine-learning upgrade mode is on"
    if cluster.upgrade_mode_odd:
        return (
            "whether machine-learning upgrade mode is on is unknown, because the response of "
            "_ml/info lacks upgrade_mode"
        )
    return "nodes run different versions" if cluster.mixed_versions else ""


def _node_ids(cluster: Cluster | None) -> frozenset[str] | None:
    if cluster is None or not cluster.nodes:
        return None
    return frozenset([node.node_id for node in cluster.nodes])
