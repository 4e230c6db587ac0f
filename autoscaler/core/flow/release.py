"""The state in which deployments are released when the daemon ends."""

from collections.abc import Collection, Iterable, Iterator

from msgspec.structs import replace

from autoscaler.core.decision import Change, Plan, SetAllocations, SetBounds, Start
from autoscaler.core.flow.guard import limits_of, within_limits
from autoscaler.core.flow.instructed import holding_pause
from autoscaler.core.flow.memory_ledger import MemoryLedger, memory_ledger
from autoscaler.core.flow.sampling import find_issues
from autoscaler.core.scale_to_zero import start_change
from autoscaler.core.selection import OnExit, Rule
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, DeploymentStats, Observation


def releases(
    rules: Iterable[Rule], observation: Observation, planned: Plan, state: State
) -> Iterator[tuple[str, Rule, Change]]:
    """The changes that release all deployments of the last plan, stopped ones included."""
    by_name = {rule.name: rule for rule in rules}
    memory = memory_ledger(observation, state.deployments, state.stopped)
    for decision in planned.decisions:
        name, rule = decision.deployment_id, by_name.get(decision.rule)
        if (
            rule is None
            or not (rule.sends and decision.sends)
            or rule.on_exit is OnExit.KEEP
            or decision.externally_controlled
        ):
            continue
        change: Change | None = None
        if name in state.stopped:
            change = released_start(state.stopped[name], rule, rule.on_exit, memory)
        elif (stats := observation.deployments.get(name)) is not None:
            certain = not decision.sample.issues
            change = release_change(rule, stats, rule.on_exit, memory, certain=certain)
        pauses = state.instructions.pauses_of(name, observation.at)
        running = None if name in state.stopped else observation.deployments.get(name)
        if change is not None and holding_pause(change, running, pauses) is None:
            yield name, rule, change


def without_expectations(state: State, deployment_ids: Collection[str]) -> State:
    """The state for deployments that are released: what they will be set to, and in which mode, is
    neither the daemon's last update nor the change of another client."""
    return replace(
        state,
        deployments={
            name: replace(
                known,
                setting=None,
                request=None,
                external_change=None,
                rollout=None,
                mode_seen=None,
            )
            if name in deployment_ids
            else known
            for name, known in state.deployments.items()
        },
    )


def release_change(
    rule: Rule,
    stats: DeploymentStats,
    to: OnExit,
    memory: MemoryLedger | None = None,
    *,
    certain: bool = True,
) -> Change | None:
    """The change that leaves a deployment in a safe state; None if it is in one already, or if
    nothing that the rule allows can be sent now.

    Args:
        memory: of the nodes, which the released deployment must not exceed; None: not reported.
        certain: whether the last decision had no data-quality issue.
    """
    change = _released(rule, stats, to, memory)
    if change is None:
        return None
    certain = certain and not find_issues(stats)
    limits = limits_of(_without_schedules(rule), certain=certain, scarce=memory is not None)
    return within_limits(change, limits, stats)


def _released(
    rule: Rule,
    stats: DeploymentStats,
    to: OnExit,
    memory: MemoryLedger | None,
    *,
    starting: bool = False,
) -> SetAllocations | SetBounds | None:
    """The change to a safe state.

    Allocations that have to be at least `safe_allocations` are never lowered, because nothing would
    raise them again.

    Args:
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
    if rule is None:
        return start_change(stopped_deployment, None)
    start = start_change(stopped_deployment, _without_schedules(rule))
    stats = replace(stopped_deployment.stats, allocations=start.allocations)
    match _released(rule, stats, to, memory, starting=True):
        case SetBounds(minimum=minimum, maximum=maximum):
            adaptive = AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)
            start = replace(start, adaptive=adaptive)
        case SetAllocations(allocations=allocations):
            start = replace(start, allocations=allocations, adaptive=None)
    limits = limits_of(_without_schedules(rule), certain=True, scarce=memory is not None)
    checked = within_limits(start, limits, stats)
    return checked if isinstance(checked, Start) else start


def _without_schedules(rule: Rule) -> Rule:
    """The rule after the release, when nothing applies its schedules."""
    return replace(rule, schedules=()) if rule.schedules else rule
