"""The threads that deployments have, or can be expected to have without a further request."""

import math
from collections.abc import Collection

from autoscaler.core.values import STARTED, DeploymentStats, Observation


def expected_threads(observation: Observation, stuck: Collection[str]) -> dict[str, int]:
    """By deployment id: the threads of the allocations that run, and of those that are requested
    and can be expected to start. These are all while nodes load the model, since the cluster has
    placed them, or else those that fit next to what runs and what loads.

    Args:
        stuck: deployments whose missing allocations are not expected any more.
    """
    counted = {
        name: stats for name, stats in observation.deployments.items() if stats.priority != "low"
    }
    free = _free_threads(observation, counted.values())
    expected = {}
    for name, stats in sorted(counted.items(), key=lambda each: not _is_loading(each[1])):
        threads, requested = stats.threads_per_allocation or 1, stats.allocations or 0
        running = requested if stats.running_allocations is None else stats.running_allocations
        missing = max(0, requested - running)
        if name in stuck:
            missing = 0
        fitting = _placed(missing, threads, free)
        if not _is_loading(stats):
            missing = fitting
        expected[name] = (min(requested, running) + missing) * threads
    return expected


def _is_loading(stats: DeploymentStats) -> bool:
    return any(node.routing_state != STARTED for node in stats.nodes)


def _free_threads(
    observation: Observation, deployments: Collection[DeploymentStats]
) -> dict[str, int]:
    """The threads of each known node that no allocation runs on. Those that run, and that no node
    reports, run where they fit."""
    nodes = () if observation.cluster is None else observation.cluster.nodes
    free = {node.node_id: math.ceil(node.processors or 0.0) for node in nodes}
    unreported = []
    for stats in deployments:
        threads, reported = stats.threads_per_allocation or 1, 0
        for node in stats.nodes:
            reported += node.allocations or 0
            if node.node_id in free:
                free[node.node_id] -= (node.allocations or 0) * threads
        unreported.append((max(0, (stats.running_allocations or 0) - reported), threads))
    for allocations, threads in unreported:
        _placed(allocations, threads, free)
    return free


def _placed(missing: int, threads: int, free: dict[str, int]) -> int:
    """How many allocations fit on the nodes, of which they take the threads."""
    for placed in range(missing):
        node_id = max(free, key=lambda each: free[each], default="")
        if not node_id or free[node_id] < threads:
            return placed
        free[node_id] -= threads
    return missing
