"""The state between cycles: what the next plan depends on besides its arguments. Plain data.

Losing it is safe, except for `State.stopped`. A planner without state measures for one interval
before it recommends anything. The memory of the policies starts again, and where a stabilisation
window is set, nothing is scaled down before it has passed.

`autoscaler.wire.state` defines the stored form, with separate field names.
"""

from collections.abc import Mapping
from functools import lru_cache

from autoscaler.core.decision import ExternalChange, Mode, Setting
from autoscaler.core.gradual_rollout import GradualRollout
from autoscaler.core.instructions import Instructions
from autoscaler.core.process_memory import MemoryUse
from autoscaler.core.shadow import ShadowAccount
from autoscaler.core.shortfall import Shortfall
from autoscaler.core.values import Cluster, DeploymentStats, Observation, Sample, Value

FORGET_AFTER_S = 900.0
"""Seconds after which everything about a deployment that is no longer reported is dropped: its
state, its counters, its last update. 15 min, because single responses may leave a deployment out,
and a deployment may be stopped and started again."""


class ClusterCapacity(Value, frozen=True):
    """What determines whether an increase fits, as far as the cluster reports it."""

    nodes: frozenset[str] = frozenset()
    processors: float = 0.0
    threads: int = 0  # requested by all deployments together

    def exceeds(self, other: "ClusterCapacity") -> bool:
        """Whether an increase may fit now that did not fit with `other`."""
        return (
            self.threads < other.threads
            or self.processors > other.processors
            or not self.nodes <= other.nodes
        )


class CapacityRefusal(Value, frozen=True, kw_only=True):
    """An allocation count that was refused for lack of capacity."""

    allocations: int
    capacity: ClusterCapacity  # at that time, without the deployment's own threads
    hold_s: float  # time until the next attempt, if the capacity does not change
    until: float
    at: float = 0.0
    early: int = 0  # attempts before the end of a hold, in a row, because the capacity had changed


class Rollout(Value, frozen=True, kw_only=True):
    """An accepted update that is not complete yet."""

    allocations: int
    accepted_at: float
    nodes: frozenset[str]  # with running allocations when it was accepted
    at_least: bool = False  # adaptive allocations may choose more


class BackOff(Value, frozen=True, kw_only=True):
    """Consecutive refusals that would be repeated, and the time until the next attempt."""

    times: int
    until: float
    reason: str


class Circumstances(Value, frozen=True, kw_only=True):
    """What was visible when a change was refused. If it changes, the next attempt is made early."""

    at: float
    state: str  # of the deployment
    setting: Setting | None
    capacity: ClusterCapacity  # without the deployment's own threads
    early: int = 0  # early attempts in a row


class Request(Value, frozen=True, kw_only=True):
    """The last update or stop that was sent, until it has been visible for long enough."""

    setting: Setting  # 0 allocations: a stop
    at: float
    accepted: bool  # False: the response was lost
    # Settings that an outdated observation, or a lost update, may still show: oldest first.
    earlier: tuple[Setting, ...]
    shown: bool = False  # by an observation since
    visible: bool = False  # in the last observation


class StartAttempt(Value, frozen=True, kw_only=True):
    """The last start that was sent of a stopped deployment."""

    at: float
    accepted: bool
    capacity: ClusterCapacity
    early: int = 0  # early attempts in a row


class PolicyMemory(Value, frozen=True):
    """A policy's memory of one deployment. Only that policy reads the value."""

    policy: str  # its name
    version: int | None  # of the stored form of the value; None: it is not stored
    value: object


class Disagreement(Value, frozen=True, kw_only=True):
    """Counts of one response that differ, and since when."""

    unacknowledged: int  # running allocations that no process acknowledges
    since: float  # when they reached this count
    awaited: frozenset[str]  # nodes that responded before, and are missing since then
    contradictory_since: float | None  # the target or the sums; None: they agree


class DeploymentState(Value, frozen=True, kw_only=True):
    """The state of one deployment."""

    seen_at: float
    baseline: DeploymentStats  # the last statistics that later ones can be compared with
    baseline_at: float
    baseline_span_s: float = 0.0  # from the request for the baseline to its arrival at that time
    samples: tuple[Sample, ...] = ()  # without issues, within the load window, oldest first
    service_time_s: float | None = None  # last measured
    # (at, allocations) of the recommendations that can still become the highest of a stabilisation
    # window: the ones above all later ones. So the allocations fall from oldest to newest.
    peaks: tuple[tuple[float, int], ...] = ()
    memory: PolicyMemory | None = None  # None: the policy has not recommended anything yet
    above_burst_s: float | None = None  # time for which the burst ceiling has been exceeded
    # Since when no request completes, although some are queued or the last minute had some.
    stalled_since: float | None = None
    unsettled_since: float | None = None
    infeasible: CapacityRefusal | None = None
    rollout: Rollout | None = None
    new_node_s: float | None = None  # mean lead time of recent updates that needed a new node
    back_off: BackOff | None = None
    bounds_moved_at: float | None = None  # the adaptive bounds, by the daemon
    recent_updates: int = 0  # bit n: whether one was sent n cycles ago
    mode_seen: Mode | None = None  # the rule's mode, once it was in effect
    idle_since: float | None = None
    usage: bytes = b""  # by time of the week; see `autoscaler.core.scale_to_zero`
    ran: int | None = None  # running allocations, when they were last known
    shortfall: Shortfall | None = None  # then; None: all that were requested ran
    memory_use: MemoryUse | None = None  # None: the memory of its processes is not reported
    refused_in: Circumstances | None = None  # those of `back_off`
    setting: Setting | None = None  # as requested last, or as found; None: not known
    request: Request | None = None
    external_change: ExternalChange | None = None  # the last one, as long as it counts
    disagreement: Disagreement | None = None  # in the last response
    shadow: "Shadow | None" = None  # None: it has not been in dry run for a year


class ShadowPath(Value, frozen=True, kw_only=True):
    """Where the decisions of a dry run would have led to by now, had they been carried out."""

    at: float  # of the last observation
    requested: int  # allocations
    running: int  # of these
    ready_at: float | None = None  # when the others run; None: all do
    per_node: tuple[int, ...] = ()  # running allocations by node
    recorded_per_node: tuple[int, ...] = ()  # those that really ran
    # Queued requests that would be waiting, by the model: with these allocations, and with those
    # that really ran.
    backlog: float = 0.0
    recorded_backlog: float = 0.0
    # The state of the deployment, as if it had these allocations. It is not saved: after a restart,
    # it begins as that of the deployment itself.
    known: DeploymentState | None = None


class Shadow(Value, frozen=True, kw_only=True):
    """What a dry run would have done with one deployment."""

    seen_at: float  # in dry run
    account: ShadowAccount = ShadowAccount()
    path: ShadowPath | None = None  # None: it is not in dry run now


class StoppedDeployment(Value, frozen=True, kw_only=True):
    """A deployment that the daemon stopped because it was idle."""

    stats: DeploymentStats  # the last ones; the start parameters come from them
    since: float
    usage: bytes = b""  # as in `DeploymentState`
    back_off: BackOff | None = None  # of the start


class UnmanagedState(Value, frozen=True):
    """A deployment that no rule selects, when it was seen last."""

    seen_at: float
    stats: DeploymentStats


class State(Value, frozen=True, kw_only=True):
    """The state of the planner. The mappings are by deployment id."""

    deployments: Mapping[str, DeploymentState] = {}
    # Not saved: it matters for a minute after a response that leaves one out.
    unmanaged: Mapping[str, UnmanagedState] = {}
    capacity: ClusterCapacity = ClusterCapacity()
    cluster_back_off: BackOff | None = None  # credentials or licence: for all deployments
    # Losing these does harm: only the daemon starts them again.
    stopped: Mapping[str, StoppedDeployment] = {}
    resume_requested: frozenset[str] = frozenset()  # of the stopped deployments
    starts: Mapping[str, StartAttempt] = {}  # of the stopped deployments
    seen_at: float | None = None  # the last observation
    instructions: Instructions = Instructions()  # of operators
    rollouts: Mapping[str, GradualRollout] = {}  # of rules that act in some hours only
    # For how long a daemon that began without a saved state has observed; None: for long enough, or
    # there was a state.
    cold_start_s: float | None = None
    is_first_start: bool = False  # no state had ever been saved, so that none was lost


def capacity_of(observation: Observation) -> ClusterCapacity:
    """The ML nodes, and the threads that are requested on them.

    Without a report about the nodes, the nodes in use by deployments.
    """
    threads = sum([threads_of(stats) for stats in observation.deployments.values()])
    cluster = observation.cluster
    if cluster is not None:
        return ClusterCapacity(*_nodes_and_processors(cluster), threads)
    nodes = {node.node_id for stats in observation.deployments.values() for node in stats.nodes}
    return ClusterCapacity(frozenset(nodes), 0.0, threads)


@lru_cache(maxsize=1)  # the cluster is the same object in most cycles
def _nodes_and_processors(cluster: Cluster) -> tuple[frozenset[str], float]:
    """The ids of the nodes, and the sum of their processors."""
    processors = sum([node.processors or 0.0 for node in cluster.nodes])
    return frozenset([node.node_id for node in cluster.nodes]), processors


def excluding(capacity: ClusterCapacity, stats: DeploymentStats) -> ClusterCapacity:
    """The capacity without the deployment's own threads."""
    return ClusterCapacity(
        capacity.nodes, capacity.processors, capacity.threads - threads_of(stats)
    )


def threads_of(stats: DeploymentStats) -> int:
    """The threads that are requested, as far as they are reported."""
    return (stats.allocations or 0) * (stats.threads_per_allocation or 1)
