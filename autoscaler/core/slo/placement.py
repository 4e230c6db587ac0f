"""Where a number of allocations would be: what a change of it does to the split over nodes.

An increase first fills the nodes that run the model already, the one with most room first; then it
takes further nodes. A decrease takes from the node with the fewest, and gives the whole node up as
soon as it can. Where several nodes are equally good, the planner's choice is not foreseen.

Source: elastic/elasticsearch, ml/inference/assignment/planning, AllocationReducer.java among them;
availability zones are left out.
"""

from collections.abc import Mapping
from functools import lru_cache

from autoscaler.core.values import STARTED, NodeStats, Value


class NodeSlots(Value, frozen=True):
    """The nodes as far as they matter to one deployment."""

    # (allocations, how many more fit) of each node that runs the deployment.
    used: tuple[tuple[int, int], ...]
    free: tuple[int, ...]  # how many fit on each of the others, most first

    @property
    def max_without_new_node(self) -> int:
        """The most allocations that need no further node."""
        return sum([allocations + more for allocations, more in self.used])


UNLIMITED = 1_000_000
"""Room on a node whose processors are not known."""


def node_slots_of(
    nodes: tuple[NodeStats, ...], threads: int, free_threads: Mapping[str, int]
) -> NodeSlots:
    """From what a policy sees of the nodes.

    Args:
        threads: of each allocation.
        free_threads: of each node by its id; empty if not known.
    """
    used = []
    for node in nodes:
        allocations = node.allocations or 0
        if node.routing_state == STARTED and allocations > 0:
            more = free_threads.get(node.node_id, 0) // threads if free_threads else UNLIMITED
            used.append((allocations, more))
    ours = {node.node_id for node in nodes}
    free = [free // threads for node_id, free in free_threads.items() if node_id not in ours]
    return NodeSlots(
        tuple(sorted(used)), tuple(sorted([room for room in free if room], reverse=True))
    )


class Placement(Value, frozen=True):
    """Allocations spread over nodes."""

    per_node: tuple[int, ...]  # allocations of each node, fewest first
    max_on_these_nodes: int  # the most that these nodes could take


@lru_cache(maxsize=16_384)
def placement_of(node_slots: NodeSlots, allocations: int) -> Placement:
    """The allocations on each node. More than fit are put on the last one.

    >>> ground = Ground(used=((2, 1), (3, 0)), free=(4, 4))
    >>> [split_of(ground, number).on_nodes for number in (2, 4, 5, 6, 8)]
    [(2,), (1, 3), (2, 3), (3, 3), (2, 3, 3)]
    >>> split_of(ground, 3).reach, split_of(ground, 7).reach
    (3, 10)
    """
    nodes = list(node_slots.used)
    missing = allocations - sum([here for here, _ in nodes])
    if missing <= 0:
        _take(nodes, -missing)
    else:
        missing = _fill(nodes, missing)
        for room in node_slots.free:
            if missing:
                placed = min(missing, room)
                nodes.append((placed, room - placed))
                missing -= placed
        if missing:
            last = nodes.pop()[0] if nodes else 0
            nodes.append((last + missing, 0))
    split = tuple(sorted([here for here, _ in nodes]))
    return Placement(split, sum([here + more for here, more in nodes]))


def _fill(nodes: list[tuple[int, int]], missing: int) -> int:
    """Place as many as fit, the roomiest node first; how many do not."""
    while missing:
        room, roomiest = max(
            [(more, index) for index, (_, more) in enumerate(nodes)], default=(0, 0)
        )
        if room == 0:
            break
        # All at once where no other node has room, which is the usual case.
        alone = sum([more > 0 for _, more in nodes]) == 1
        placed = min(missing, room) if alone else 1
        nodes[roomiest] = (nodes[roomiest][0] + placed, room - placed)
        missing -= placed
    return missing


def _take(nodes: list[tuple[int, int]], surplus: int) -> None:
    """Take so many away, from the node with the fewest first."""
    while surplus > 0:
        here, fewest = min([(here, index) for index, (here, _) in enumerate(nodes)])
        if here == 1 or here <= surplus:
            surplus -= here
            del nodes[fewest]
        else:
            nodes[fewest] = (here - 1, nodes[fewest][1] + 1)
            surplus -= 1
