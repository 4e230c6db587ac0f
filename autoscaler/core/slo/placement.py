"""Allocations per node: how a change of the allocation count affects each node.

An increase first fills the nodes that run the model already, those with the most free slots first;
then it takes new nodes. A decrease removes allocations from the node with the fewest, and gives up
the whole node as soon as possible. Where several nodes are equally good, the planner's choice is
not predicted.

Source: elastic/elasticsearch, ml/inference/assignment/planning, AllocationReducer.java among them;
availability zones are left out.
"""

import heapq
from collections.abc import Mapping
from functools import lru_cache

from autoscaler.core.values import STARTED, NodeStats, Value


class NodeSlots(Value, frozen=True):
    """The nodes, as one deployment sees them: allocations, and slots for more."""

    # (allocations, free slots) of each node that runs the deployment.
    used: tuple[tuple[int, int], ...]
    free: tuple[int, ...]  # free slots of each other node, most first

    @property
    def max_without_new_node(self) -> int:
        """The most allocations that need no new node."""
        return sum([allocations + more for allocations, more in self.used])


UNLIMITED = 1_000_000
"""Free slots of a node whose processors are not reported: more than any deployment needs."""


def node_slots_of(
    nodes: tuple[NodeStats, ...], threads: int, free_threads: Mapping[str, int]
) -> NodeSlots:
    """The slots of the nodes that a policy sees.

    Args:
        threads: of each allocation.
        free_threads: of each node by its id; empty if not reported.
    """
    used = []
    for node in nodes:
        allocations = node.allocations or 0
        if node.routing_state == STARTED and allocations > 0:
            more = free_threads.get(node.node_id, 0) // threads if free_threads else UNLIMITED
            used.append((allocations, more))
    in_use = {node.node_id for node in nodes}
    free = [free // threads for node_id, free in free_threads.items() if node_id not in in_use]
    return NodeSlots(
        tuple(sorted(used)), tuple(sorted([slots for slots in free if slots], reverse=True))
    )


class Placement(Value, frozen=True):
    """Allocations per node."""

    per_node: tuple[int, ...]  # allocations of each node, fewest first
    max_on_these_nodes: int  # allocations that these nodes could have


@lru_cache(maxsize=16_384)
def placement_of(node_slots: NodeSlots, allocations: int) -> Placement:
    """The allocations on each node. The last node gets the rest if they do not fit.

    >>> slots = NodeSlots(used=((2, 1), (3, 0)), free=(4, 4))
    >>> [placement_of(slots, allocations).per_node for allocations in (2, 4, 5, 6, 8)]
    [(2,), (1, 3), (2, 3), (3, 3), (2, 3, 3)]
    >>> placement_of(slots, 3).max_on_these_nodes, placement_of(slots, 7).max_on_these_nodes
    (3, 10)
    """
    nodes = list(node_slots.used)
    missing = allocations - sum([allocated for allocated, _ in nodes])
    if missing <= 0:
        _take(nodes, -missing)
    else:
        missing = _fill(nodes, missing)
        for slots in node_slots.free:
            if missing:
                placed = min(missing, slots)
                nodes.append((placed, slots - placed))
                missing -= placed
        if missing:
            last = nodes.pop()[0] if nodes else 0
            nodes.append((last + missing, 0))
    per_node = tuple(sorted([allocated for allocated, _ in nodes]))
    return Placement(per_node, sum([allocated + more for allocated, more in nodes]))


def _fill(nodes: list[tuple[int, int]], missing: int) -> int:
    """Places as many allocations as fit, on the node with the most free slots first. Returns the
    rest."""
    roomy = [(-more, -index) for index, (_, more) in enumerate(nodes) if more > 0]
    heapq.heapify(roomy)
    while missing and roomy:
        slots, roomiest = -roomy[0][0], -roomy[0][1]
        # All at once if no other node has free slots, which is the usual case.
        placed = min(missing, slots) if len(roomy) == 1 else 1
        nodes[roomiest] = (nodes[roomiest][0] + placed, slots - placed)
        missing -= placed
        if placed < slots:
            heapq.heapreplace(roomy, (placed - slots, -roomiest))
        else:
            heapq.heappop(roomy)
    return missing


def _take(nodes: list[tuple[int, int]], surplus: int) -> None:
    """Removes allocations, from the node with the fewest first."""
    while surplus > 0:
        allocated, fewest = min([(allocated, index) for index, (allocated, _) in enumerate(nodes)])
        if allocated == 1 or allocated <= surplus:
            surplus -= allocated
            del nodes[fewest]
        else:
            nodes[fewest] = (allocated - 1, nodes[fewest][1] + 1)
            surplus -= 1
