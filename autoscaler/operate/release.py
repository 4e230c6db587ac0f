"""Leave deployments in a state that is safe without a daemon, and start the stopped ones again.

It does what `on_exit` makes the daemon do when it ends: for a daemon that ended in another way, or
that is not to run again.
"""

from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.cluster_connection import transport_to
from autoscaler.config import Config
from autoscaler.core.decision import Change, Mode, SetAllocations, SetBounds, Start, Unmanaged
from autoscaler.core.flow.control_mode import active_adaptive
from autoscaler.core.flow.memory_ledger import MemoryLedger, memory_ledger
from autoscaler.core.flow.release import release_change, released_start
from autoscaler.core.selection import OnExit, Rule, select
from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, DeploymentStats, Observation, Value
from autoscaler.errors import UserError
from autoscaler.operate.record import StoppedRecord, stopped_record
from autoscaler.operate.session import uncertain
from autoscaler.ports import Actuator, Clock, ObservationFailed, StateNotSaved, UpdateFailed


class DeploymentsUnreadable(UserError):
    """The deployments cannot be read, so nothing was changed."""


class ReleaseOptions(Value, frozen=True, kw_only=True):
    """What to release, and how."""

    names: tuple[str, ...] = ()  # deployment ids; empty: all that are scaled
    to: OnExit | None = None  # None: `on_exit` of the rule
    dry_run: bool = False


class ReleaseLine(Value, frozen=True):
    """The result for one deployment."""

    message: str
    failed: bool = False


class _ReleaseStep(Value, frozen=True, kw_only=True):
    """What to do with one deployment."""

    deployment_id: str
    change: Change | None = None
    message: str = ""  # why there is no change
    failed: bool = False  # a change is needed, but is not possible
    remove_from_state: bool = False  # once the step is done, the deployment is not stopped


async def release(
    config: Config, options: ReleaseOptions, clock: Clock, show: Callable[[ReleaseLine], None]
) -> int:
    """Release the deployments, and return how many could not be released. Those that the daemon
    has stopped count as one if they are not known.

    `show` is called for each deployment when it is done.

    Raises:
        DeploymentsUnreadable: the deployments cannot be read.
        FormerFileUnreadable: the file of an earlier release cannot be read.
        ConnectionSettingsError: the connection settings are not usable.
    """
    failures = 0
    async with (
        transport_to(config, clock) as transport,
        stopped_record(config, clock, transport, changes=not options.dry_run) as record,
    ):
        cluster = ElasticsearchCluster(ElasticsearchApi(transport), clock)
        try:
            observation = await cluster.observe()
        except ObservationFailed as failure:
            raise DeploymentsUnreadable(str(failure)) from failure
        if record.unreadable:
            failures += 1
            message = f"deployments that the autoscaler stopped are not known: {record.unreadable}"
            show(ReleaseLine(message, failed=True))
        for step in _steps(config, options, observation, record.stopped):
            if step.change is not None and not options.dry_run:
                await record.expect_nothing(step.deployment_id)
            line = await _carry_out(step, cluster, dry_run=options.dry_run)
            done = not (line.failed or options.dry_run)
            if step.remove_from_state and done:
                line = await _removed(line, record, step.deployment_id)
            failures += line.failed
            show(line)
    return failures


def _steps(
    config: Config,
    options: ReleaseOptions,
    observation: Observation,
    stopped: Mapping[str, StoppedDeployment],
) -> Iterator[_ReleaseStep]:
    """What to do, in the order of the ids."""
    rules = config.rules
    known = {*observation.deployments, *observation.unreadable, *stopped}
    memory = memory_ledger(observation, {}, stopped)
    for deployment_id in sorted({*options.names} or known):
        named = deployment_id in options.names
        if (stats := observation.deployments.get(deployment_id)) is not None:
            step = _step_of_running(config, options, stats, memory, named=named)
            if deployment_id in stopped:
                step = step or _unchanged(deployment_id, "is already running")
                step = replace(step, remove_from_state=True)
            if step is not None:
                yield step
        elif (problem := observation.unreadable.get(deployment_id)) is not None:
            because = f"is unchanged: its statistics cannot be read: {problem}"
            yield _unchanged(deployment_id, because, failed=True)
        elif (stopped_deployment := stopped.get(deployment_id)) is not None:
            yield _step_of_stopped(rules, options, deployment_id, stopped_deployment, memory)
        else:
            message = f"{deployment_id}: not found in the cluster or in the saved state"
            yield _ReleaseStep(deployment_id=deployment_id, message=message, failed=True)


def _unchanged(deployment_id: str, because: str, *, failed: bool = False) -> _ReleaseStep:
    message = f"{deployment_id} {because}"
    return _ReleaseStep(deployment_id=deployment_id, message=message, failed=failed)


def _step_of_running(
    config: Config,
    options: ReleaseOptions,
    stats: DeploymentStats,
    memory: MemoryLedger | None,
    *,
    named: bool,
) -> _ReleaseStep | None:
    """None: the deployment is neither named nor managed."""
    name = stats.deployment_id
    rule = _rule_of(config.rules, stats)
    if rule is None:
        because = "is unchanged: no rule manages it"
        return _unchanged(name, because, failed=True) if named else None
    if _is_externally_controlled(rule, stats) and not named:
        return _unchanged(
            name, "is unchanged: its adaptive allocations are enabled; name it to include it"
        )
    if rule.dry_run and not named:
        dry = "dry_run is set for all" if config.dry_run else f"rule {rule.name} is a dry run"
        return _unchanged(name, f"is unchanged: {dry}; name it to include it")
    to = options.to or rule.on_exit
    change = release_change(rule, stats, to, memory)
    if change is not None:
        return _ReleaseStep(deployment_id=name, change=change)
    if to is OnExit.KEEP:
        return _unchanged(
            name,
            f"is unchanged: on_exit of rule {rule.name} is keep; use --to adaptive or --to floor",
        )
    return _unchanged(name, "needs no change")


def _step_of_stopped(
    rules: tuple[Rule, ...],
    options: ReleaseOptions,
    deployment_id: str,
    stopped_deployment: StoppedDeployment,
    memory: MemoryLedger | None,
) -> _ReleaseStep:
    """Start the deployment in the state in which it is to be released."""
    rule = _rule_of(rules, stopped_deployment.stats)
    start = released_start(
        stopped_deployment, rule, options.to or (rule.on_exit if rule else OnExit.KEEP), memory
    )
    return _ReleaseStep(deployment_id=deployment_id, change=start, remove_from_state=True)


def _is_externally_controlled(rule: Rule, stats: DeploymentStats) -> bool:
    """Whether the daemon has always left the deployment to its adaptive allocations."""
    return rule.mode is Mode.DIRECT and not rule.take_over and active_adaptive(stats) is not None


def _rule_of(rules: tuple[Rule, ...], stats: DeploymentStats) -> Rule | None:
    selected = select(rules, stats)
    return None if isinstance(selected, Unmanaged) else selected


async def _carry_out(step: _ReleaseStep, actuator: Actuator, *, dry_run: bool) -> ReleaseLine:
    name, change = step.deployment_id, step.change
    if change is None:
        return ReleaseLine(step.message, step.failed)
    if dry_run:
        return ReleaseLine(f"{name} would be {_participle(change)}")
    try:
        await actuator.carry_out(name, change)
    except UpdateFailed as refused:
        was = "may have been" if uncertain(refused.kind) else "was not"
        return ReleaseLine(f"{name} {was} {_participle(change)}: {refused}", failed=True)
    return ReleaseLine(f"{name} was {_participle(change)}")


def _participle(change: Change) -> str:
    """What was done, as a participle."""
    match change:
        case SetBounds(minimum, maximum):
            return f"given adaptive allocations between {minimum} and {maximum}"
        case SetAllocations(allocations, take_over):
            disabled = " and its adaptive allocations disabled" if take_over else ""
            return f"given {_allocations(allocations)}{disabled}"
        case Start(adaptive=AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)):
            return f"started again, with adaptive allocations between {minimum} and {maximum}"
        case Start(allocations=allocations):
            return f"started again, with {_allocations(allocations)}"
    return "stopped"


def _allocations(count: int) -> str:
    return f"{count} allocation{'s' if count != 1 else ''}"


async def _removed(line: ReleaseLine, record: StoppedRecord, deployment_id: str) -> ReleaseLine:
    try:
        await record.remove(deployment_id)
    except StateNotSaved as reason:
        message = f"{line.message}, but is still recorded as stopped: {reason}"
        return ReleaseLine(message, failed=True)
    return line
