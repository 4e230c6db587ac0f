"""The state in which deployments are released when the daemon ends."""

from msgspec.structs import replace

from autoscaler.core.decision import Change, SetAllocations, SetBounds, Start
from autoscaler.core.flow.memory_ledger import MemoryLedger
from autoscaler.core.scale_to_zero import start_change
from autoscaler.core.selection import OnExit, Rule
from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, DeploymentStats


def release_change(
    rule: Rule,
    stats: DeploymentStats,
    to: OnExit,
    memory: MemoryLedger | None = None,
    *,
    starting: bool = False,
) -> Change | None:
    """The change that leaves a deployment in a safe state; None if it is in one already.

    Allocations that have to be at least `safe_allocations` are never lowered, because nothing would
    raise them again.

    Args:
        memory: of the nodes, which the released deployment must not exceed; None: not reported.
        starting: the deployment does not run.
    """

    def fitting(allocations: int) -> int:
        limit = None if memory is None else memory.maximum(stats, allocations, starting=starting)
        present = 0 if starting else stats.allocations or 0
        return allocations if limit is None else max(limit.allocations, present, 1)

    adaptive = stats.adaptive if stats.adaptive is not None and stats.adaptive.enabled else None
    if to is OnExit.KEEP:
        return None
    if to is OnExit.ADAPTIVE:
        maximum = min(rule.max_allocations, fitting(rule.max_allocations))
        bounds = SetBounds(min(rule.min_allocations, maximum), maximum)
        in_force = adaptive is not None and (adaptive.minimum, adaptive.maximum) == (
            bounds.minimum,
            bounds.maximum,
        )
        return None if in_force else bounds
    safe = fitting(max(stats.allocations or 0, rule.safe_allocations or rule.max_allocations))
    if adaptive is None and safe == stats.allocations:
        return None
    return SetAllocations(safe, take_over=adaptive is not None)


def released_start(
    stopped_deployment: StoppedDeployment,
    rule: Rule | None,
    to: OnExit,
    memory: MemoryLedger | None = None,
) -> Start:
    """The start of a stopped deployment in the state in which it is to be released."""
    start = start_change(stopped_deployment, rule)
    if rule is None:
        return start
    stats = replace(stopped_deployment.stats, allocations=start.allocations)
    match release_change(rule, stats, to, memory, starting=True):
        case SetBounds(minimum=minimum, maximum=maximum):
            adaptive = AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)
            return replace(start, adaptive=adaptive)
        case SetAllocations(allocations=allocations):
            return replace(start, allocations=allocations, adaptive=None)
    return start
