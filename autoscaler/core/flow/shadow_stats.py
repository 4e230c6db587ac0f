"""The statistics that a deployment would have with the allocations of a dry run's shadow."""

from collections.abc import Mapping

from msgspec.structs import replace

from autoscaler.core.values import STARTED, DeploymentStats, NodeStats

UNLIMITED = 1_000_000
"""Free threads of a node whose processors are not reported."""


class FreeThreads:
    """The free threads by node id, while deployments are placed one after the other.

    Args:
        free_threads: as observed; empty: not reported.
    """

    def __init__(self, free_threads: Mapping[str, int]) -> None:
        self._reported = bool(free_threads)
        self._free = dict(free_threads)

    def slots(self, node_id: str, threads: int) -> int:
        """The allocations that fit on a node."""
        return self._free.get(node_id, 0) // threads if self._reported else UNLIMITED

    def take(self, node_id: str, threads: int) -> None:
        """A negative number gives threads back."""
        if node_id in self._free:
            self._free[node_id] -= threads

    def others(self, but: Mapping[str, int]) -> list[str]:
        """The other nodes, the one with the most free threads first."""
        return sorted(set(self._free) - but.keys(), key=lambda each: (-self._free[each], each))


def placed(stats: DeploymentStats, running: int, free: FreeThreads) -> dict[str, int]:
    """The allocations by node id, with `running` of them instead of those that run.

    As `autoscaler.core.slo.placement` expects it of the cluster: a decrease takes them from the
    node with the fewest; an increase fills the nodes in use first, those with the most free slots
    before the others. What fits nowhere is left out.
    """
    threads = stats.threads_per_allocation or 1
    found = {
        node.node_id: node.allocations
        for node in stats.nodes
        if node.routing_state == STARTED and node.allocations
    }
    for node_id in sorted(found, key=lambda each: (found[each], each)):
        surplus = min(found[node_id], sum(found.values()) - running)
        if surplus > 0:
            found[node_id] -= surplus
            free.take(node_id, -surplus * threads)
    missing = running - sum(found.values())
    if missing > 0:
        found = {node_id: count for node_id, count in found.items() if count}
        in_use = sorted(found, key=lambda each: (-free.slots(each, threads), each))
        for node_id in [*in_use, *free.others(found)] or [""]:
            more = min(missing, max(0, free.slots(node_id, threads)))
            if more:
                found[node_id] = found.get(node_id, 0) + more
                free.take(node_id, more * threads)
                missing -= more
    return {node_id: count for node_id, count in found.items() if count}


def shadow_stats(
    stats: DeploymentStats, requested: int, by_node: Mapping[str, int], in_flight: int
) -> DeploymentStats:
    """The statistics with these allocations. Their counters are meaningless.

    Args:
        by_node: running allocations by node id.
        in_flight: requests, which are distributed like the allocations.
    """
    known = {node.node_id: node for node in stats.nodes}
    running, nodes = sum(by_node.values()), []
    for node_id, allocations in by_node.items():
        node = known.get(node_id)
        if node is None or node.routing_state != STARTED:
            node = NodeStats(node_id=node_id, routing_state=STARTED)
        pending = round(in_flight * allocations / running)
        nodes.append(replace(node, allocations=allocations, pending=pending))
    return replace(
        stats,
        allocations=requested,
        target_allocations=requested,
        running_allocations=running,
        adaptive=None,
        nodes=tuple(nodes),
    )


def slots_in_use(stats: DeploymentStats, free_threads: Mapping[str, int]) -> int:
    """The most allocations that need no new node."""
    if not free_threads:
        return UNLIMITED
    threads = stats.threads_per_allocation or 1
    return sum(
        [
            (node.allocations or 0) + max(0, free_threads.get(node.node_id, 0)) // threads
            for node in stats.nodes
        ]
    )
