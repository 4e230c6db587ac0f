"""A search for a plan that gives every deployment all of its allocations.

Placing one allocation at a time can miss such a plan where deployments differ in threads or memory
is scarce. The planner of Elasticsearch solves a linear program and finds it.
"""

from collections.abc import Hashable, Iterator, Sequence

from autoscaler.simulation.planner_board import Board
from autoscaler.simulation.planner_values import PlannerDeployment

_MAX_STEPS = 3000
"""Placements that a search tries at most; small pools need a few hundred."""


def completed(board: Board, deployments: Sequence[PlannerDeployment]) -> Board | None:
    """The board with all that is missing, or None where that is impossible or takes too long.

    Args:
        board: with allocations that must stay; it is not changed.
        deployments: all of one priority.
    """
    missing = [
        (deployment, deployment.allocations - board.count(deployment)) for deployment in deployments
    ]
    wide_first = sorted(
        [(deployment, n) for deployment, n in missing if n > 0],
        key=lambda item: (-item[0].threads, -item[0].memory_bytes, item[0].deployment_id),
    )
    try:
        return _Search().run(board, wide_first)
    except _TooLong:
        return None


class _TooLong(Exception):
    pass


class _Search:
    """One search, depth first, deployment by deployment."""

    def __init__(self) -> None:
        self._steps = 0
        self._failed: set[Hashable] = set()

    def run(self, board: Board, missing: Sequence[tuple[PlannerDeployment, int]]) -> Board | None:
        if not missing:
            return board
        (deployment, allocations), *rest = missing
        needed = sum(n * each.threads for each, n in missing)
        dead_end = (len(missing), board.state())
        if needed > board.cores_left(deployment) or dead_end in self._failed:
            return None
        for filled in self._splits(board, deployment, allocations, board.node_ids):
            if (found := self.run(filled, rest)) is not None:
                return found
        self._failed.add(dead_end)
        return None

    def _splits(
        self, board: Board, deployment: PlannerDeployment, allocations: int, nodes: Sequence[str]
    ) -> Iterator[Board]:
        """Every way to place so many allocations on some nodes.

        First where the deployment runs now, then where there is the least room.
        """
        if allocations == 0:
            yield board
            return
        rooms = {node_id: board.room(deployment, node_id) for node_id in nodes}
        if sum(rooms.values()) < allocations:
            return
        node_id = min(
            [each for each in nodes if rooms[each]],
            key=lambda each: (each not in deployment.current, rooms[each], each),
        )
        others = [each for each in nodes if each != node_id]
        for here in range(min(allocations, rooms[node_id]), -1, -1):
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise _TooLong
            filled = board
            if here:
                filled = board.copy()
                filled.place(deployment, node_id, here)
            yield from self._splits(filled, deployment, allocations - here, others)
