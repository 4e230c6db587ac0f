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
    lost = rng.choice(nodes).node_id
    left = [
        replace(each, current={id_: n for id_, n in each.current.items() if id_ != lost})
        for each in running
    ]
    return [node for node in nodes if node.node_id != lost], left


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
    return _fits([(n.cores, n.memory_bytes, False) for n in nodes], nodes, normal, keeping=keeping)


def _fits(
    free: Sequence[tuple[int, int, bool]],
    nodes: Sequence[PlannerNode],
    deployments: Sequence[PlannerDeployment],
    *,
    keeping: bool,
) -> bool:
    if not deployments:
        return True
    first, *rest = deployments
    least = [first.current.get(node.node_id, 0) if keeping else 0 for node in nodes]
    for split in _splits(first.allocations, least):
        left = [_taken(room, first, n) for room, n in zip(free, split, strict=True)]
        if None not in left and _fits(left, nodes, rest, keeping=keeping):
            return True
    return False


def _taken(
    room: tuple[int, int, bool], deployment: PlannerDeployment, allocations: int
) -> tuple[int, int, bool] | None:
    cores, memory, running = room
    if not allocations:
        return room
    overhead = 0 if running else NATIVE_CODE_OVERHEAD_BYTES
    cores -= allocations * deployment.threads
    memory -= deployment.memory_bytes + overhead
    return None if cores < 0 or memory < 0 else (cores, memory, True)


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
