"""Allocations per node: how a change of the allocation count affects each node.

An increase first fills the nodes that run the model already, those with the most free slots first;
then it takes new nodes. A decrease removes allocations from the node with the fewest, and gives up
the whole node as soon as possible. Where several nodes are equally good, the planner's choice is
not predicted.

The statistics do not contain availability zones, between which Elasticsearch balances allocations:
it keeps a node that is the only one of its zone. So the placements that the cluster has chosen
count more than this prediction, and decreases that keep nodes are expected to do so again.

Source: elastic/elasticsearch, ml/inference/assignment/planning, AllocationReducer.java among them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import le
from typing import TypeVar

from autoscaler.core.capacity import STARTING
from autoscaler.core.values import STARTED, NodeStats, Value

Node = TypeVar("Node")


MAX_NODES = 32
"""Nodes of either kind up to which each is placed by itself. 32, so that a placement takes
microseconds on any cluster."""

MAX_SIZES = 4
"""Different numbers of allocations per node up to which each has its own queue in the model. Nodes
of more sizes are divided into this many classes of similar ones."""


MAX_OBSERVED = 16
"""Allocation counts whose last placement is kept. 16, so that a load which varies by a factor of
two finds all counts that it needs."""


class ObservedPlacements(Value, frozen=True):
    """The placements that the cluster has chosen for one deployment."""

    # (allocations, allocations of each node, fewest first) when the deployment last had that many;
    # the latest last.
    latest: tuple[tuple[int, tuple[int, ...]], ...] = ()
    # Whether the last decrease that could give up a node kept it, because it is the only one of its
    # availability zone.
    keeps_nodes: bool = False
    # Whether the last increase that could have done without took a further node, because no node of
    # its availability zone was in use.
    takes_nodes: bool = False

    def after(self, node_slots: "NodeSlots") -> "ObservedPlacements":
        """The observed placements, with the present one."""
        per_node = tuple([allocations for allocations, _ in node_slots.used])
        if node_slots.scale > 1 or not per_node:
            return self
        present = (sum(per_node), per_node)
        if self.latest and self.latest[-1] == present:
            return self
        others = [each for each in self.latest if each[0] != present[0]]
        return ObservedPlacements(
            (*others[1 - MAX_OBSERVED :], present),
            self._keeps_nodes_after(*present),
            self._takes_nodes_after(*present, node_slots),
        )

    def _keeps_nodes_after(self, allocations: int, per_node: tuple[int, ...]) -> bool:
        if not self.latest or allocations >= self.latest[-1][0]:
            return self.keeps_nodes
        _, before = self.latest[-1]
        if len(per_node) > len(_without_nodes([(each, 0) for each in before], allocations)):
            return True
        return self.keeps_nodes and len(per_node) == min(len(before), allocations)

    def _takes_nodes_after(
        self, allocations: int, per_node: tuple[int, ...], now: "NodeSlots"
    ) -> bool:
        if not self.latest or allocations <= self.latest[-1][0]:
            return self.takes_nodes
        further = len(per_node) - len(self.latest[-1][1])
        if further <= 0:
            return self.takes_nodes and not now.free
        with_room = len([more for _, more in now.used if more > 0])
        return self.takes_nodes or with_room > further


NOTHING_OBSERVED = ObservedPlacements()


class NodeSlots(Value, frozen=True):
    """The nodes, as one deployment sees them: allocations, and slots for more."""

    # (allocations, free slots) of each node that runs the deployment, fewest first.
    used: tuple[tuple[int, int], ...]
    free: tuple[int, ...]  # free slots of each other node, most first
    # Nodes that each of these stands for, a power of 4. With a fraction of the load and of the
    # allocations, a fraction of the nodes has the same queues as all of them.
    scale: int = 1
    observed: ObservedPlacements = ObservedPlacements()

    @property
    def max_without_new_node(self) -> int:
        """The most allocations that need no new node."""
        return self.scale * sum([allocations + more for allocations, more in self.used])

    @property
    def sizes(self) -> int:
        """Different numbers of allocations per node that the queue model distinguishes."""
        return max(1, min(MAX_SIZES, len({allocations for allocations, _ in self.used})))


UNLIMITED = 1_000_000
"""Free slots of a node whose processors are not reported: more than any deployment needs."""


def node_slots_of(
    nodes: tuple[NodeStats, ...],
    threads: int,
    free_threads: Mapping[str, int],
    observed: ObservedPlacements = NOTHING_OBSERVED,
    missing: int = 0,
) -> NodeSlots:
    """The slots of the nodes that a policy sees.

    Args:
        threads: of each allocation.
        free_threads: of each node by its id; empty if not reported.
        missing: requested allocations that do not run, of which nodes that load the model keep the
            slots free.
    """
    used = []
    for node in nodes:
        allocations = node.allocations or 0
        if node.routing_state == STARTED and allocations > 0:
            more = free_threads.get(node.node_id, 0) // threads if free_threads else UNLIMITED
            used.append((allocations, more))
    in_use = {node.node_id for node in nodes}
    free = [free // threads for node_id, free in free_threads.items() if node_id not in in_use]
    loading = [node.node_id for node in nodes if node.routing_state == STARTING]
    if loading and free_threads:
        kept = math.ceil(missing / len(loading))
        free += [kept + free_threads.get(node_id, 0) // threads for node_id in loading]
    used.sort()
    free = sorted([slots for slots in free if slots], reverse=True)
    scale = 1
    while max(len(used), len(free)) > MAX_NODES * scale:
        scale *= 4
    if scale > 1:
        used = [
            (_mean([allocations for allocations, _ in part]), _mean([more for _, more in part]))
            for part in _parts(used, scale)
        ]
        free = [_mean(part) for part in _parts(free, scale)]
    return NodeSlots(tuple(used), tuple(free), scale, observed)


def _parts(nodes: list[Node], size: int) -> list[list[Node]]:
    """Nodes in groups of this size; the last one may be smaller."""
    return [nodes[first : first + size] for first in range(0, len(nodes), size)]


def _mean(counts: list[int]) -> int:
    return sum(counts) // len(counts)


class Placement(Value, frozen=True):
    """Allocations per node."""

    per_node: tuple[int, ...]  # allocations of each node, fewest first
    max_on_these_nodes: int  # allocations that these nodes could have
    scale: int = 1  # nodes that each of them stands for; see `NodeSlots`

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(allocations, nodes) of the nodes with as many allocations, fewest first. At most
        `MAX_SIZES`: of more, similar nodes count as equal.

        >>> Placement((2, 2, 3), 9).sizes
        ((2, 2), (3, 1))
        >>> Placement((1, 2, 3, 4, 5, 6, 7, 8), 40).sizes
        ((2, 2), (4, 2), (6, 2), (8, 2))
        """
        sizes = Counter(self.per_node)
        if len(sizes) <= MAX_SIZES:
            return tuple(sizes.items())
        parts = _parts(list(self.per_node), math.ceil(len(self.per_node) / MAX_SIZES))
        return tuple([(round(sum(part) / len(part)), len(part)) for part in parts])


@lru_cache(maxsize=16_384)
def placement_of(node_slots: NodeSlots, allocations: int) -> Placement:
    """The allocations on each node, which are at least 1. The last node gets the remainder if
    they do not fit.

    >>> slots = NodeSlots(used=((2, 1), (3, 0)), free=(4, 4))
    >>> [placement_of(slots, allocations).per_node for allocations in (2, 4, 5, 6, 8)]
    [(2,), (1, 3), (2, 3), (3, 3), (2, 3, 3)]
    >>> placement_of(slots, 3).max_on_these_nodes, placement_of(slots, 7).max_on_these_nodes
    (3, 10)
    """
    nodes = list(node_slots.used)
    missing = max(1, allocations // node_slots.scale) - sum([allocated for allocated, _ in nodes])
    if missing and (known := _observed_placement(node_slots, allocations)) is not None:
        return known
    if missing < 0:
        reduced = _with_all_nodes if node_slots.observed.keeps_nodes else _without_nodes
        nodes = reduced(nodes, sum([allocated for allocated, _ in nodes]) + missing)
    else:
        free = node_slots.free
        if missing and free and node_slots.observed.takes_nodes:
            nodes.append((1, free[0] - 1))
            missing, free = missing - 1, free[1:]
        missing = _fill(nodes, missing)
        for slots in free:
            if missing:
                placed = min(missing, slots)
                nodes.append((placed, slots - placed))
                missing -= placed
        if missing:
            last = nodes.pop()[0] if nodes else 0
            nodes.append((last + missing, 0))
    per_node = tuple(sorted([allocated for allocated, _ in nodes]))
    most = sum([allocated + more for allocated, more in nodes])
    return Placement(per_node, node_slots.scale * most, node_slots.scale)


def _observed_placement(node_slots: NodeSlots, allocations: int) -> Placement | None:
    """The placement when the deployment last had that many allocations; None: it had not, or it
    cannot come back. No node loses allocations in an increase, or gets more in a decrease."""
    per_node = dict(node_slots.observed.latest).get(allocations)
    if per_node is None or node_slots.scale > 1:
        return None
    used = [allocated for allocated, _ in node_slots.used]
    slots = [allocated + more for allocated, more in reversed(node_slots.used)]
    slots += node_slots.free
    fewer, more = (used, per_node) if allocations > sum(used) else (per_node, used)
    if not (_fit(fewer, more) and _fit(per_node, sorted(slots))):
        return None
    return Placement(per_node, sum(slots[: len(per_node)]))


def _fit(counts: Sequence[int], into: Sequence[int]) -> bool:
    """Whether nodes with these counts can be paired with nodes that have at least as many. Both
    fewest first."""
    return len(counts) <= len(into) and all(map(le, reversed(counts), reversed(into)))


def _fill(nodes: list[tuple[int, int]], missing: int) -> int:
    """Places as many allocations as fit, on the node with the most free slots first. Returns the
    rest.

    One by one, this fills the roomiest node down to the next, these two down to the third, and so
    on. So only the level is computed to which the free slots of the roomiest nodes fall.
    """
    roomy = sorted([(more, index) for index, (_, more) in enumerate(nodes) if more > 0])
    roomy.reverse()
    available = sum([more for more, _ in roomy])
    if missing >= available:
        for more, index in roomy:
            nodes[index] = (nodes[index][0] + more, 0)
        return missing - available
    level, filled, left = 0, 0, missing
    for filled, (more, _) in enumerate(roomy, 1):
        level = more
        below = roomy[filled][0] if filled < len(roomy) else 0
        if left < filled * (level - below):
            break
        left -= filled * (level - below)
    each, further = divmod(left, filled)
    level -= each
    # Of equally roomy nodes, the last ones get the remainder.
    chosen = sorted([index for _, index in roomy[:filled]], reverse=True)
    for position, index in enumerate(chosen):
        allocated, more = nodes[index]
        after = level - (position < further)
        nodes[index] = (allocated + more - after, after)
    return 0


def _without_nodes(nodes: list[tuple[int, int]], allocations: int) -> list[tuple[int, int]]:
    """The nodes of one zone after a decrease: from the node with the fewest allocations first.

    Args:
        nodes: those with the fewest allocations first.
        allocations: that remain.
    """
    surplus = sum([allocated for allocated, _ in nodes]) - allocations
    given_up = 0
    while surplus >= nodes[given_up][0]:
        surplus -= nodes[given_up][0]
        given_up += 1
    allocated, more = nodes[given_up]
    return [(allocated - surplus, more + surplus), *nodes[given_up + 1 :]]


def _with_all_nodes(nodes: list[tuple[int, int]], allocations: int) -> list[tuple[int, int]]:
    """The nodes after a decrease if each is the only one of its zone: from the node with the most
    allocations first.

    Args:
        nodes: those with the fewest allocations first.
        allocations: that remain.

    >>> _with_all_nodes([(1, 0), (2, 1), (5, 0)], 6)
    [(1, 0), (2, 1), (3, 2)]
    """
    kept, left = [], allocations
    for place, (allocated, more) in enumerate(nodes):
        remaining = min(allocated, left // (len(nodes) - place))
        left -= remaining
        if remaining:
            kept.append((remaining, more + allocated - remaining))
    return kept
