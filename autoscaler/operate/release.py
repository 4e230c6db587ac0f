"""Leave deployments safe without a daemon, and start again what it has stopped.

It does by hand what `on_exit` has the daemon do at its end: for one that has ended some other way,
or that is not to come back.
"""

from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace

from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.adapters.state_file import StateFile
from autoscaler.config import Config
from autoscaler.core.flow.control_mode import active_adaptive
from autoscaler.core.flow.release import release_change, released_start
from autoscaler.core.selection import OnExit, Rule, select
from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import (
    AdaptiveAllocations,
    Change,
    DeploymentStats,
    Mode,
    Observation,
    SetAllocations,
    SetBounds,
    Start,
    Unmanaged,
    Value,
)
from autoscaler.errors import UserError
from autoscaler.operate.session import api_session
from autoscaler.ports import Actuator, Clock, ObservationFailed, StateNotSaved, UpdateFailed


class DeploymentsUnreadable(UserError):
    """The deployments cannot be read, so nothing was changed."""


class ReleaseOptions(Value, frozen=True, kw_only=True):
    """What is to be released, and how."""

    names: tuple[str, ...] = ()  # deployment ids; none: all that are scaled
    to: OnExit | None = None  # None: as `on_exit` of the rule says
    dry_run: bool = False


class ReleaseLine(Value, frozen=True):
    """What became of one deployment."""

    deployment_id: str
    sentence: str  # what is said of it, without its id
    failed: bool = False


class _ReleaseStep(Value, frozen=True, kw_only=True):
    """One deployment, and what is to be done about it."""

    deployment_id: str
    change: Change | None = None
    because: str = ""  # why there is nothing to do
    failed: bool = False  # there would have been, but it cannot be done
    remove_from_state: bool = False  # it is written down as asleep, and need no longer be


async def release(
    config: Config, options: ReleaseOptions, clock: Clock, tell: Callable[[ReleaseLine], None]
) -> int:
    """Hand back what the rules govern; how many could not be. `tell` hears of each when it is done.

    Raises:
        NotObserved: the deployments cannot be read.
        BedsideUnreadable: the state file cannot be understood.
        ConnectionSettingsError: the connection cannot be made as configured.
    """
    bedside = StateFile(config.state_file) if config.state_file is not None else None
    stopped = bedside.load() if bedside is not None else {}
    failures = 0
    async with api_session(config, clock) as api:
        cluster = ElasticsearchCluster(api, clock)
        try:
            observation = await cluster.observe()
        except ObservationFailed as failure:
            raise DeploymentsUnreadable(str(failure)) from failure
        for step in _steps(config.rules, options, observation, stopped):
            line = await _take(step, cluster, dry_run=options.dry_run)
            if (
                step.remove_from_state
                and bedside is not None
                and not (line.failed or options.dry_run)
            ):
                del stopped[step.deployment_id]
                line = _written_down(line, bedside, stopped)
            failures += line.failed
            tell(line)
    return failures


def _steps(
    rules: tuple[Rule, ...],
    options: ReleaseOptions,
    observation: Observation,
    stopped: Mapping[str, StoppedDeployment],
) -> Iterator[_ReleaseStep]:
    """What to do, in the order of the ids."""
    known = {*observation.deployments, *observation.unreadable, *stopped}
    for deployment_id in sorted({*options.names} or known):
        named = deployment_id in options.names
        if (stats := observation.deployments.get(deployment_id)) is not None:
            step = _of_one_that_runs(rules, options, stats, named=named)
            if deployment_id in stopped:
                step = step or _ReleaseStep(
                    deployment_id=deployment_id, because="runs again already"
                )
                step = replace(step, remove_from_state=True)
            if step is not None:
                yield step
        elif (problem := observation.unreadable.get(deployment_id)) is not None:
            yield _ReleaseStep(
                deployment_id=deployment_id,
                because=f"is left as it is, since its statistics cannot be read: {problem}",
                failed=True,
            )
        elif (stopped_deployment := stopped.get(deployment_id)) is not None:
            yield _of_stopped(rules, options, deployment_id, stopped_deployment)
        else:
            yield _ReleaseStep(
                deployment_id=deployment_id,
                because="is not there: the cluster reports no such deployment, and none sleeps",
                failed=True,
            )


def _of_one_that_runs(
    rules: tuple[Rule, ...], options: ReleaseOptions, stats: DeploymentStats, *, named: bool
) -> _ReleaseStep | None:
    """None: nobody has asked for it, and it was never ours."""
    name = stats.deployment_id
    rule = _rule_of(rules, stats)
    if rule is None:
        because = "is left as it is, since no rule governs it"
        return _ReleaseStep(deployment_id=name, because=because, failed=True) if named else None
    if _is_the_clusters(rule, stats) and not named:
        because = "is left as it is, since Elasticsearch's own scaler has it; name it to include it"
        return _ReleaseStep(deployment_id=name, because=because)
    if rule.dry_run and not named:
        because = (
            f"is left as it is, since the rule {rule.name} only observes; name it to include it"
        )
        return _ReleaseStep(deployment_id=name, because=because)
    to = options.to or rule.on_exit
    change = release_change(rule, stats, to)
    if change is not None:
        return _ReleaseStep(deployment_id=name, change=change)
    if to is OnExit.KEEP:
        because = (
            f"is left as it is, since on_exit of the rule {rule.name} is keep; "
            "say --to native or --to floor to change that"
        )
    else:
        because = "is safe as it is"
    return _ReleaseStep(deployment_id=name, because=because)


def _of_stopped(
    rules: tuple[Rule, ...],
    options: ReleaseOptions,
    deployment_id: str,
    stopped_deployment: StoppedDeployment,
) -> _ReleaseStep:
    """It is started as what it would be handed back as."""
    rule = _rule_of(rules, stopped_deployment.stats)
    start = released_start(
        stopped_deployment, rule, options.to or (rule.on_exit if rule else OnExit.KEEP)
    )
    return _ReleaseStep(deployment_id=deployment_id, change=start, remove_from_state=True)


def _is_the_clusters(rule: Rule, stats: DeploymentStats) -> bool:
    """Whether the daemon leaves it to Elasticsearch's own scaler, and always has."""
    return rule.mode is Mode.DIRECT and not rule.take_over and active_adaptive(stats) is not None


def _rule_of(rules: tuple[Rule, ...], stats: DeploymentStats) -> Rule | None:
    selected = select(rules, stats)
    return None if isinstance(selected, Unmanaged) else selected


async def _take(step: _ReleaseStep, actuator: Actuator, *, dry_run: bool) -> ReleaseLine:
    name, change = step.deployment_id, step.change
    if change is None:
        return ReleaseLine(name, step.because, step.failed)
    if dry_run:
        return ReleaseLine(name, f"would be {_done(change)}")
    try:
        await actuator.carry_out(name, change)
    except UpdateFailed as refused:
        return ReleaseLine(name, f"was not {_done(change)}: {refused}", failed=True)
    return ReleaseLine(name, f"was {_done(change)}")


def _done(change: Change) -> str:
    """What was done, as a participle."""
    match change:
        case SetBounds(minimum, maximum):
            return (
                f"left to Elasticsearch's own scaler, between {minimum} and {maximum} allocations"
            )
        case SetAllocations(allocations, take_over):
            off = ", and taken from Elasticsearch's own scaler" if take_over else ""
            return f"given {_allocations(allocations)}{off}"
        case Start(adaptive=AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)):
            return f"started again, with Elasticsearch's own scaler between {minimum} and {maximum}"
        case Start(allocations=allocations):
            return f"started again, with {_allocations(allocations)}"
    return "stopped"


def _allocations(number: int) -> str:
    return f"{number} allocation{'s' if number != 1 else ''}"


def _written_down(
    line: ReleaseLine, bedside: StateFile, stopped: Mapping[str, StoppedDeployment]
) -> ReleaseLine:
    try:
        bedside.save(stopped)
    except StateNotSaved as reason:
        told = f"{line.sentence}, but is still written down as asleep: {reason}"
        return ReleaseLine(line.deployment_id, told, failed=True)
    return line
