"""Placement of allocations: a deterministic planner.

The constraints and the order of preference are those of the planner of Elasticsearch. The method is
simpler: Elasticsearch compares a linear program with bin packing, and clients cannot predict its
choice among equal plans.

Source: elastic/elasticsearch, ml/inference/assignment/planning/AssignmentPlanner.java and
ml/inference/assignment/TrainedModelAssignmentRebalancer.java.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from autoscaler.simulation.planner_board import Board
from autoscaler.simulation.planner_search import completed
from autoscaler.simulation.planner_values import PlannerDeployment, PlannerNode

_Kept = Callable[[PlannerDeployment], Mapping[str, int]]  # allocations that stay, by node id


class AssignmentPlan(Struct, frozen=True, kw_only=True):
    """Allocations by deployment id and node id, and why some have fewer than requested."""

    placed: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, str]  # only of deployments that are short

    def allocations_of(self, deployment_id: str) -> int:
        return sum(self.placed.get(deployment_id, {}).values())


def plan(nodes: Sequence[PlannerNode], deployments: Sequence[PlannerDeployment]) -> AssignmentPlan:
    """Place all deployments; if some do not fit, earlier ones take precedence.

    Normal priority never oversubscribes the cores of a node; no deployment oversubscribes its
    memory. Low priority is planned in a second round, in the memory that is left.

    In either round, a plan that keeps what runs where it runs is preferred, then one that moves it.
    Only a plan for all requested allocations may move what runs; where there is none, no deployment
    has fewer than it has now, unless another one lost all of its own.
    """
    board = Board(nodes)
    for low in (False, True):
        board = _settled(board, [each for each in deployments if each.low == low])
    return AssignmentPlan(
        placed={
            deployment.deployment_id: board.placed.get(deployment.deployment_id, {})
            for deployment in deployments
        },
        reasons={
            deployment.deployment_id: board.why_short(deployment)
            for deployment in deployments
            if board.count(deployment) < deployment.allocations
        },
    )


def _everything(deployment: PlannerDeployment) -> Mapping[str, int]:
    return deployment.current


def _one_on_each_node(deployment: PlannerDeployment) -> Mapping[str, int]:
    """No model has to be loaded, but allocations may move between its nodes."""
    return dict.fromkeys(deployment.current, 1)


def _nothing(deployment: PlannerDeployment) -> Mapping[str, int]:
    return {}


def _settled(board: Board, deployments: Sequence[PlannerDeployment]) -> Board:
    """The board with the deployments of one priority."""
    partial = []
    for keep in (_everything, _one_on_each_node, _nothing):
        pinned = _pinned(board, deployments, keep)
        greedy = _filled(pinned, deployments)
        if _satisfies_all(greedy, deployments):
            return greedy
        if (complete := completed(pinned, deployments)) is not None:
            return complete
        partial.append(greedy)
    keeping, moving, free = partial
    candidates = [keeping] + [moving] * _keeps_counts(moving, deployments)
    best = max(candidates, key=lambda each: each.quality(deployments))
    # Then #88855: a deployment that had allocations gets one again, at the cost of others.
    return max(best, free, key=lambda each: each.quality(deployments)[0])


def _pinned(board: Board, deployments: Sequence[PlannerDeployment], keep: _Kept) -> Board:
    """The board with the allocations that stay."""
    pinned = board.copy()
    for deployment in deployments:
        for node_id, allocations in sorted(keep(deployment).items()):
            for _ in range(allocations):
                if pinned.fits(deployment, node_id):
                    pinned.place(deployment, node_id)
    return pinned


def _filled(pinned: Board, deployments: Sequence[PlannerDeployment]) -> Board:
    """The board after placing one allocation at a time, as long as any fits."""
    board = pinned.copy()
    # Every deployment gets a first allocation before any gets a second; new ones come last.
    for deployment in deployments:
        board.fill(deployment, int(deployment.previously_assigned))
    for deployment in deployments:
        board.fill(deployment, sum(deployment.current.values()))
    for deployment in deployments:
        board.fill(deployment, 1)
    for deployment in deployments:
        board.fill(deployment, deployment.allocations)
    return board


def _satisfies_all(board: Board, deployments: Sequence[PlannerDeployment]) -> bool:
    return all(board.count(each) >= each.allocations for each in deployments)


def _keeps_counts(board: Board, deployments: Sequence[PlannerDeployment]) -> bool:
    """Whether no deployment has fewer allocations than now, wherever they are."""
    return all(
        board.count(each) >= min(each.allocations, sum(each.current.values()))
        for each in deployments
    )
