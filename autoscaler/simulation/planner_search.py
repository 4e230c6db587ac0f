"""A search for room where placing one allocation at a time finds none.

That happens where deployments differ in threads or memory is scarce. The planner of Elasticsearch
solves a linear program and finds such plans.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from autoscaler.simulation.planner_board import Board
from autoscaler.simulation.planner_values import PlannerDeployment

_MAX_STEPS = 3000
"""Placements that a search tries at most; small pools need a few hundred."""


class _Missing(NamedTuple):
    """What remains to be placed: some allocations of the first deployment, and the others."""

    deployments: Sequence[tuple[PlannerDeployment, int]]
    allocations: int  # of the first one
    node_ids: Sequence[str]  # that it may still use


class Search:
    """Searches depth first, deployment by deployment and node by node, for a limited time."""

    def __init__(self, pinned: Board, deployments: Sequence[PlannerDeployment]) -> None:
        """
        Args:
            pinned: with the allocations that stay where they are; it is not changed.
            deployments: all of one priority.
        """
        self._pinned = pinned
        self._wide_first = sorted(
            deployments, key=lambda each: (-each.threads, -each.memory_bytes, each.deployment_id)
        )
        self._steps_left = _MAX_STEPS

    def with_one_more(self, board: Board, growing: PlannerDeployment) -> Board | None:
        """A board with one more allocation of a deployment, and as many of the others as `board`.

        Returns:
            None where there is no such board, and where finding it takes too long.
        """
        if self._steps_left <= 0 or growing.threads > board.cores_left(growing):
            return None
        wanted = [(each, board.count(each) + (each is growing)) for each in self._wide_first]
        missing = [
            (each, more)
            for each, allocations in wanted
            if (more := allocations - self._pinned.count(each)) > 0
        ]
        self._steps_left -= sum(more for _, more in missing)
        packed = self._pinned.copy()
        for each, allocations in wanted:
            packed.fill(each, allocations)
        if all(packed.count(each) >= allocations for each, allocations in wanted):
            return packed
        return self._completed(missing)

    def _completed(self, missing: Sequence[tuple[PlannerDeployment, int]]) -> Board | None:
        board = self._pinned.copy()
        failed = set[Hashable]()
        path = [self._placements(board, _whole(board, missing), failed)]
        while path and self._steps_left > 0:
            left = next(path[-1], None)
            if left is None:
                path.pop()
                continue
            self._steps_left -= 1
            if left.allocations == 0:
                left = _whole(board, left.deployments[1:])
            if not left.deployments:
                return board
            path.append(self._placements(board, left, failed))
        return None

    def _placements(
        self, board: Board, missing: _Missing, failed: set[Hashable]
    ) -> Iterator[_Missing]:
        """What remains after each way to use one node; each is undone before the next.

        First the nodes where the deployment runs now, then those with the least room.
        """
        deployment, _ = missing.deployments[0]
        state = (len(missing.deployments), missing.allocations, missing.node_ids, board.state())
        rooms = {each: board.room(deployment, each) for each in missing.node_ids}
        if sum(rooms.values()) < missing.allocations or state in failed:
            return
        node_id = min(
            [each for each in rooms if rooms[each]],
            key=lambda each: (each not in deployment.current, rooms[each], each),
        )
        others = tuple(each for each in rooms if each != node_id)
        for here in range(min(missing.allocations, rooms[node_id]), -1, -1):
            if here:
                board.place(deployment, node_id, here)
            yield _Missing(missing.deployments, missing.allocations - here, others)
            if here:
                board.remove(deployment, node_id, here)
        failed.add(state)


def _whole(board: Board, deployments: Sequence[tuple[PlannerDeployment, int]]) -> _Missing:
    allocations = deployments[0][1] if deployments else 0
    return _Missing(deployments, allocations, tuple(board.node_ids))
