"""Allocations that are requested and do not run yet: the cluster starts them as soon as it can, so
that what they need is free for no other deployment."""

from autoscaler.core.capacity import STARTING
from autoscaler.core.flow.constraints import SETTLING_LIMIT_S
from autoscaler.core.flow.plan_context import left_out_of, unmanaged_left_out_of
from autoscaler.core.state import DeploymentState, State
from autoscaler.core.values import STARTED, DeploymentStats, Observation


def awaited_allocations(stats: DeploymentStats, known: DeploymentState, at: float) -> int:
    """The allocations that earlier cycles have requested; 0 if nothing is missing, or no longer
    expected."""
    since, rollout = known.unsettled_since, known.rollout
    requested = 0
    if since is not None and at - since <= SETTLING_LIMIT_S:
        requested = stats.allocations or 0
    if rollout is not None and rollout.at_least:  # adaptive allocations may not have run since
        requested = max(requested, rollout.allocations)
    return requested


def requested_of_left_out(
    state: State, observation: Observation
) -> list[tuple[DeploymentStats, int]]:
    """The deployments that the response leaves out, as they were before, and the allocations that
    they have with the last update, which they may not have shown yet."""
    unmanaged = unmanaged_left_out_of(state, observation).values()
    found = [requested_of_unmanaged(stats) for stats in unmanaged]
    for name, stats in left_out_of(state, observation).items():
        known = state.deployments[name]
        requested = awaited_allocations(stats, known, observation.at)
        if known.request is not None:
            setting = known.request.setting
            last = setting.minimum if setting.allocations is None else setting.allocations
            requested = max(requested, last)
        found.append((stats, requested))
    return found


def requested_of_unmanaged(stats: DeploymentStats) -> tuple[DeploymentStats, int]:
    """The allocations of an unmanaged deployment that the cluster places as soon as it can; 0 if
    nothing is missing, or its model fails to load."""
    states = {node.routing_state for node in stats.nodes}
    if stats.state not in (STARTED, STARTING) or "failed" in states:
        return stats, 0
    requested, running = stats.allocations or 0, stats.running_allocations
    return stats, requested if running is not None and running < requested else 0
