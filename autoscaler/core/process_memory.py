"""The memory that the native processes of a deployment use, and that more allocations would use.

Elasticsearch reserves memory by a formula. For ELSER it reserves the same for any number of
allocations, so that nothing is refused before the host is out of memory
(elastic/elasticsearch#156335). The newest versions report the memory of processes. It gives an
estimate for each allocation, as in Elasticsearch's own estimator: the memory of the busiest
process, divided by its allocations (elastic/elasticsearch#156891).

A process also has a fixed part, the weights of the model above all. It is not known, but it is not
negative, so the estimate is never below what a further allocation of the same process takes.
"""

import math
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from autoscaler.core.values import STARTED, DeploymentStats, NodeCapacity, NodeStats, Value

FALL = 0.1
"""Fraction of the gap by which the estimate falls in one observation. A tenth, as in
Elasticsearch."""

SEASONED_REQUESTS = 30
"""Requests for each allocation after which the memory of a process has shown. 30, because a process
grows with the largest of its first requests. Before, the planner's figure is the least estimate."""

MIN_PROCESS_BYTES = 16 * 2**20
"""Bytes below which a reported figure is in the wrong unit. 16 MiB: the native code alone takes
more."""

MAX_PROCESS_BYTES = 2**44
"""Bytes above which a reported figure is damage, where the memory of the node is not known."""

MIN_ML_FRACTION = 0.05
"""The least fraction of a machine that can be set for machine learning, so that a process is not
larger than 20 times the memory for machine learning."""


class SeenProcess(Value, frozen=True):
    """The process of a deployment on one node."""

    node_id: str
    server_started_at: float
    max_allocations: int  # it has had, as far as it was observed
    completed: int
    completed_before: int  # it had its last further allocations

    @property
    def seasoned(self) -> bool:
        """Whether all its allocations have served enough requests to show their memory."""
        served = self.completed - self.completed_before
        return served >= SEASONED_REQUESTS * self.max_allocations


class MemoryUse(Value, frozen=True, kw_only=True):
    """What the processes of a deployment have been observed to use."""

    allocation_bytes: float  # estimate for each allocation
    seasoned: bool  # whether it comes from a process that has served enough requests
    processes: tuple[SeenProcess, ...] = ()

    def process_of(self, node: NodeStats) -> SeenProcess | None:
        """The process of the deployment on this node, if it has been observed."""
        for process in self.processes:
            if (
                process.node_id == node.node_id
                and process.server_started_at == node.server_started_at
            ):
                return process
        return None


def plausible_bytes(reported: int | None, node: NodeCapacity | None) -> int | None:
    """A figure for one process on this node; None if it is not reported, or cannot be true."""
    if reported is None or reported < MIN_PROCESS_BYTES:
        return None
    most: float = MAX_PROCESS_BYTES
    if node is not None and node.machine_memory_bytes:
        most = node.machine_memory_bytes
    elif node is not None and node.ml_memory_bytes:
        most = node.ml_memory_bytes / MIN_ML_FRACTION
    return reported if reported <= most else None


def observed_memory(
    before: MemoryUse | None,
    stats: DeploymentStats,
    nodes: Mapping[str, NodeCapacity],
    model_allocations: int = 0,
) -> MemoryUse | None:
    """The estimate after an observation: it follows a rise at once, a fall by `FALL` of the gap.

    Memory that a process keeps after a decrease belongs to the allocations that it has had. A fall
    counts only while the allocations are at work: an idle process shows nothing.

    Args:
        before: None: nothing has been measured yet.
        nodes: by id, as far as they are known.
        model_allocations: of the busiest process of the model, over all its deployments.

    Returns:
        None if nothing was ever reported.
    """
    if before is None and not _reports_memory(stats):
        return None
    processes = [
        _measured(before, node, nodes.get(node.node_id))
        for node in stats.nodes
        if node.routing_state == STARTED and node.allocations and node.reports
    ]
    if not processes:
        return before
    seen = tuple([process.seen for process in processes])
    busiest = _with_model_figures(stats, processes, model_allocations)
    if before is None:
        if busiest.used_bytes <= 0.0:
            return None
        return MemoryUse(
            allocation_bytes=busiest.lowest, seasoned=busiest.seen.seasoned, processes=seen
        )
    estimate, seasoned = before.allocation_bytes, before.seasoned
    if busiest.used_bytes > 0.0:
        seasoned = seasoned or busiest.seen.seasoned
        if estimate < busiest.lowest:
            estimate = busiest.lowest
        elif busiest.at_work:
            estimate -= FALL * max(0.0, estimate - busiest.highest)
    return MemoryUse(allocation_bytes=estimate, seasoned=seasoned, processes=seen)


class _Measured(Value, frozen=True, kw_only=True):
    """What one process uses, and the allocations that share it."""

    seen: SeenProcess
    allocations: int  # now
    used_bytes: float  # 0: not reported
    capacity: NodeCapacity | None
    served: int  # requests since the last observation

    @property
    def lowest(self) -> float:
        """The least that an allocation uses."""
        return self.used_bytes / self.seen.max_allocations

    @property
    def highest(self) -> float:
        """The most that an allocation uses, if nothing was kept from earlier ones."""
        return self.used_bytes / self.allocations

    @property
    def at_work(self) -> bool:
        """Whether its present use shows what its allocations need."""
        return self.seen.seasoned and self.served >= self.seen.max_allocations


def _measured(
    before: MemoryUse | None, node: NodeStats, capacity: NodeCapacity | None
) -> _Measured:
    started_at, allocations = node.server_started_at, node.allocations
    assert started_at is not None, "it reports"
    assert allocations is not None, "it has allocations"
    most, served, grown_at = allocations, node.completed, 0
    process = None if before is None else before.process_of(node)
    if process is not None:
        served -= process.completed
        grown_at = process.completed_before
        if allocations > process.max_allocations:
            grown_at = process.completed
        most = max(allocations, process.max_allocations)
    return _Measured(
        seen=SeenProcess(node.node_id, started_at, most, node.completed, grown_at),
        allocations=allocations,
        used_bytes=float(plausible_bytes(node.memory_bytes, capacity) or 0),
        capacity=capacity,
        served=served,
    )


def _with_model_figures(
    stats: DeploymentStats, processes: Sequence[_Measured], model_allocations: int
) -> _Measured:
    """The busiest process, with the most that it has used.

    The figures of the model are those of one process where there is only one. With several
    processes, their meaning is not documented. If the processes report their memory, only the
    ratio of the figures is used. Otherwise they are taken for those of the busiest process, or for
    the sum of all where they exceed the memory of its node.
    """
    busiest = max(
        processes,
        key=lambda each: (each.used_bytes > 0.0, each.seen.max_allocations, each.used_bytes),
    )
    used, alone = busiest.used_bytes, len(processes) == 1
    now, peak = stats.runtime_memory_bytes or 0, stats.peak_runtime_memory_bytes or 0
    most = max(now, peak)
    if not MIN_PROCESS_BYTES <= most <= MAX_PROCESS_BYTES:
        return busiest
    if used > 0.0 and not alone:
        return replace(busiest, used_bytes=used * max(1.0, peak / max(now, MIN_PROCESS_BYTES)))
    if plausible_bytes(most, busiest.capacity) is not None:
        if used > 0.0:
            return replace(busiest, used_bytes=max(used, float(most)))
        return _shared_by(busiest, most, model_allocations)
    if alone:
        return busiest
    return _shared_by(busiest, most, sum([each.allocations for each in processes]))


def _shared_by(process: _Measured, used_bytes: int, allocations: int) -> _Measured:
    """The process with a figure that at least this many allocations share."""
    seen = process.seen
    return replace(
        process,
        seen=replace(seen, max_allocations=max(seen.max_allocations, allocations)),
        allocations=max(process.allocations, allocations),
        used_bytes=float(used_bytes),
    )


def _reports_memory(stats: DeploymentStats) -> bool:
    if stats.runtime_memory_bytes is not None or stats.peak_runtime_memory_bytes is not None:
        return True
    for node in stats.nodes:
        if node.memory_bytes is not None:
            return True
    return False


class ProcessCost(Value, frozen=True):
    """What the process of a deployment on one node uses with more allocations."""

    allocation_bytes: float  # estimate, from the busiest process
    used_bytes: float  # now; 0: a new process, or not reported
    allocations: int  # now
    busiest_allocations: int  # of the busiest process
    fixed_bytes: float | None = None  # upper bound of the fixed part; None: unknown

    @property
    def now(self) -> float:
        """Bytes that the present allocations may use."""
        return self.with_more(0)

    def with_more(self, more: int) -> float:
        """Bytes with this many further allocations, at most.

        They may use again what the process has kept from allocations that it had before.
        """
        each, allocations = self.allocation_bytes, self.allocations + more
        if allocations <= 0:
            return 0.0
        # What the busiest process uses contains a whole fixed part.
        most = each * max(self.busiest_allocations, allocations)
        if self.fixed_bytes is not None:
            most = min(most, self.fixed_bytes + each * allocations)
        if self.used_bytes <= 0.0:
            return most
        return max(self.used_bytes, min(self._grown_bytes + each * more, most))

    @property
    def _grown_bytes(self) -> float:
        """Bytes now, once all present allocations have shown their memory."""
        return max(self.used_bytes, self.allocation_bytes * self.allocations)

    def most_more(self, limit_bytes: float) -> float:
        """How many further allocations fit into this many bytes; may be infinite."""
        if self.with_more(1) > limit_bytes:
            return 0
        each = self.allocation_bytes
        if limit_bytes == math.inf or each <= 0.0:
            return math.inf
        # Each upper bound of `with_more` may fit.
        totals = [self.allocations + 1]
        if each * self.busiest_allocations <= limit_bytes:
            totals.append(_count(limit_bytes, each))
        if self.fixed_bytes is not None:
            totals.append(_count(limit_bytes - self.fixed_bytes, each))
        if self.used_bytes > 0.0:
            totals.append(self.allocations + _count(limit_bytes - self._grown_bytes, each))
        return max(totals) - self.allocations


def _count(free_bytes: float, each_bytes: float) -> int:
    """How many fit, in spite of rounding."""
    return math.floor(free_bytes / each_bytes + 1e-9)
