"""Small pools of nodes, and an exhaustive search for a plan: what the planner is held against."""

import random
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from autoscaler.simulation.memory import MIB, NATIVE_CODE_OVERHEAD_BYTES
from autoscaler.simulation.placement import AssignmentPlan, plan
from autoscaler.simulation.planner_board import LOW_PRIORITY_CORES
from autoscaler.simulation.planner_values import PlannerDeployment, PlannerNode


def pool(rng: random.Random) -> tuple[list[PlannerNode], list[PlannerDeployment]]:
    """A cluster on which something runs, after one change: a start, an increase, or a lost node."""
    nodes = [
        PlannerNode(
            node_id=f"n{i}",
            zone=rng.choice(["", "", "a", "b"]),
            cores=rng.randint(1, 8),
            memory_bytes=rng.choice([400, 700, 1000, 2000, 4000]) * MIB,
        )
        for i in range(rng.randint(1, 3))
    ]
    running: list[PlannerDeployment] = []
    for index in range(rng.randint(1, 3)):
        running = after(nodes, [*running, _deployment(rng, index)])
    change = rng.random()
    if change < 0.4 or not running:
        return nodes, [*running, _deployment(rng, 3)]
    if change < 0.9:
        grown = rng.randrange(len(running))
        more = running[grown].allocations + rng.randint(1, 4)
        running[grown] = replace(running[grown], allocations=more)
        return nodes, running
    return without(rng.choice(nodes).node_id, nodes, running)


def pool_in_any_state(
    rng: random.Random,
) -> tuple[list[PlannerNode], list[PlannerDeployment]]:
    """A cluster on which anything runs anywhere: some is short, and some has lost its node."""
    nodes = [
        PlannerNode(
            node_id=f"n{i}",
            zone=rng.choice(["", "", "a", "b", "c"]),
            cores=rng.randint(1, 8),
            memory_bytes=rng.choice([250, 400, 700, 1000, 2000, 4000]) * MIB,
        )
        for i in range(rng.randint(1, 3))
    ]
    low_share = rng.choice([0, 0, 0.3, 0.7])
    rooms = rooms_of(nodes)
    deployments = []
    for index in range(rng.randint(1, 3)):
        wanted = replace(_deployment(rng, index), low=rng.random() < low_share)
        split = [0] * len(nodes)
        for _ in range(rng.randint(0, wanted.allocations)):
            more = list(split)
            more[rng.randrange(len(nodes))] += 1
            split = split if taken(rooms, wanted, more) is None else more
        rooms = taken(rooms, wanted, split)
        satisfied = sum(split) > 0 and rng.random() < 0.5
        deployments.append(
            replace(
                wanted,
                allocations=sum(split) if satisfied else wanted.allocations,
                current={node.node_id: n for node, n in zip(nodes, split, strict=True) if n},
                previously_assigned=sum(split) > 0 or rng.random() < 0.3,
            )
        )
    rng.shuffle(deployments)
    if len(nodes) > 1 and rng.random() < 0.3:
        nodes, deployments = without(rng.choice(nodes).node_id, nodes, deployments)
    return nodes, deployments


def without(
    node_id: str, nodes: Sequence[PlannerNode], deployments: Sequence[PlannerDeployment]
) -> tuple[list[PlannerNode], list[PlannerDeployment]]:
    """The cluster after the loss of a node."""
    left = [
        replace(each, current={id_: n for id_, n in each.current.items() if id_ != node_id})
        for each in deployments
    ]
    return [node for node in nodes if node.node_id != node_id], left


def after(nodes: Sequence[PlannerNode], wanted: list[PlannerDeployment]) -> list[PlannerDeployment]:
    """The deployments as they run after a plan; what does not fit was refused."""
    made = plan(nodes, wanted)
    if wanted[-1].deployment_id in made.reasons:
        return wanted[:-1]
    return [
        replace(
            each,
            current=made.placed[each.deployment_id],
            previously_assigned=made.allocations_of(each.deployment_id) > 0,
        )
        for each in wanted
    ]


def _deployment(rng: random.Random, index: int) -> PlannerDeployment:
    return PlannerDeployment(
        deployment_id=f"d{index}",
        allocations=rng.randint(1, 5),
        threads=rng.choice([1, 1, 2, 4]),
        memory_bytes=rng.choice([100, 300, 500, 900]) * MIB,
        low=rng.random() < 0.1,
    )


def plan_exists(
    nodes: Sequence[PlannerNode], deployments: Sequence[PlannerDeployment], *, keeping: bool
) -> bool:
    """Whether all requested allocations of normal priority fit, found by trying everything.

    Args:
        keeping: what runs stays where it is.
    """
    normal = [each for each in deployments if not each.low]
    least = currently(nodes, normal) if keeping else nowhere(nodes, normal)
    return fit(rooms_of(nodes), normal, [each.allocations for each in normal], least)


Room = tuple[int, int, bool]
"""Of a node: its free processors, its free memory, and whether anything runs there."""


def rooms_of(nodes: Sequence[PlannerNode]) -> list[Room]:
    return [(node.cores, node.memory_bytes, False) for node in nodes]


def currently(
    nodes: Sequence[PlannerNode], deployments: Sequence[PlannerDeployment]
) -> list[list[int]]:
    return [[each.current.get(node.node_id, 0) for node in nodes] for each in deployments]


def nowhere(
    nodes: Sequence[PlannerNode], deployments: Sequence[PlannerDeployment]
) -> list[list[int]]:
    return [[0] * len(nodes) for _ in deployments]


def fit(
    rooms: Sequence[Room],
    deployments: Sequence[PlannerDeployment],
    allocations: Sequence[int],
    least: Sequence[Sequence[int]],
) -> bool:
    """Whether so many allocations of each deployment fit, no less than `least` on each node.

    Every combination is tried.
    """
    if not deployments:
        return True
    for split in _splits(allocations[0], least[0]):
        left = taken(rooms, deployments[0], split)
        if left is not None and fit(left, deployments[1:], allocations[1:], least[1:]):
            return True
    return False


def taken(
    rooms: Sequence[Room], deployment: PlannerDeployment, split: Sequence[int]
) -> list[Room] | None:
    """The rooms after placing some allocations on each node; None where they do not fit."""
    left = []
    for (cores, memory, running), allocations in zip(rooms, split, strict=True):
        if not allocations:
            left.append((cores, memory, running))
            continue
        cores_left = cores - (0 if deployment.low else allocations * deployment.threads)
        overhead = 0 if running else NATIVE_CODE_OVERHEAD_BYTES
        memory_left = memory - deployment.memory_bytes - overhead
        if cores_left < 0 or memory_left < 0:
            return None
        left.append((cores_left, memory_left, True))
    return left


def _splits(allocations: int, least: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every division among nodes, with no less than `least` on each."""
    if not least:
        if allocations == 0:
            yield ()
        return
    for here in range(least[0], allocations + 1):
        for others in _splits(allocations - here, least[1:]):
            yield (here, *others)


def keeps(made: AssignmentPlan, deployments: Sequence[PlannerDeployment]) -> bool:
    """Whether all of normal priority that runs stays where it runs."""
    return all(
        made.placed[each.deployment_id].get(node_id, 0) >= n
        for each in deployments
        if not each.low
        for node_id, n in each.current.items()
    )


def satisfies(made: AssignmentPlan, deployments: Sequence[PlannerDeployment]) -> bool:
    return not any(each.deployment_id in made.reasons for each in deployments if not each.low)


def check_limits(
    nodes: Sequence[PlannerNode], deployments: Sequence[PlannerDeployment], made: AssignmentPlan
) -> None:
    """No node has more than it can, and no deployment more than was requested."""
    for node in nodes:
        here = [
            (each, made.placed[each.deployment_id].get(node.node_id, 0)) for each in deployments
        ]
        here = [(each, n) for each, n in here if n]
        normal = sum(each.threads * n for each, n in here if not each.low)
        low = sum(each.threads * n for each, n in here if each.low)
        memory = sum(each.memory_bytes for each, _ in here)
        assert normal <= node.cores
        assert low <= LOW_PRIORITY_CORES
        assert not here or memory + NATIVE_CODE_OVERHEAD_BYTES <= node.memory_bytes
    for each in deployments:
        assert made.allocations_of(each.deployment_id) <= each.allocations
