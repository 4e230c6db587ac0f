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
from autoscaler.simulation.planner_search import Search
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

    In either round, what runs stays where it runs, if all requested allocations fit then.
    Otherwise some of it moves, if more fit then: first between the nodes of its deployment, then to
    others. No deployment has fewer allocations than before, with one exception: where another one
    lost all of its own, and gets one again.
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
    best = _pinned(board, deployments, _everything)
    for keep in (_everything, _one_on_each_node, _nothing):
        filled = _filled(best, Search(_pinned(board, deployments, keep), deployments), deployments)
        best = max(best, filled, key=lambda each: each.quality(deployments))
        if all(best.count(each) >= each.allocations for each in deployments):
            return best
    if all(best.count(each) > 0 for each in deployments if each.previously_assigned):
        return best
    # #88855: a deployment that had allocations gets one again, at the cost of others.
    free = _filled(board, Search(board, deployments), deployments)
    return max(best, free, key=lambda each: each.quality(deployments)[0])


def _pinned(board: Board, deployments: Sequence[PlannerDeployment], keep: _Kept) -> Board:
    """The board with the allocations that stay."""
    pinned = board.copy()
    for deployment in deployments:
        for node_id, allocations in sorted(keep(deployment).items()):
            missing = deployment.allocations - pinned.count(deployment)
            room = min(allocations, missing, pinned.room(deployment, node_id))
            if room > 0:
                pinned.place(deployment, node_id, room)
    return pinned


def _filled(board: Board, search: Search, deployments: Sequence[PlannerDeployment]) -> Board:
    """The board after placing one allocation at a time, as long as any fits.

    Where none fits, the search may find room by placing others elsewhere.
    """
    filled = board.copy()
    stuck = set[str]()  # ids of deployments for which there is no room, however others are placed
    # Every deployment gets a first allocation before any gets a second; new ones come last.
    for goal in (_one_of_now, _first_again, _as_now, _first, _all):
        for deployment in deployments:
            wanted = min(deployment.allocations, goal(deployment))
            filled.fill(deployment, wanted)
            while filled.count(deployment) < wanted and deployment.deployment_id not in stuck:
                if (better := search.with_one_more(filled, deployment)) is None:
                    stuck.add(deployment.deployment_id)
                else:
                    filled = better
                    filled.fill(deployment, wanted)
    return filled


def _one_of_now(deployment: PlannerDeployment) -> int:
    return min(1, deployment.current_allocations)


def _first_again(deployment: PlannerDeployment) -> int:
    return int(deployment.previously_assigned)


def _as_now(deployment: PlannerDeployment) -> int:
    return deployment.current_allocations


def _first(deployment: PlannerDeployment) -> int:
    return 1


def _all(deployment: PlannerDeployment) -> int:
    return deployment.allocations
