"""`replay`: the recorded load of each deployment through the operator's rules and other policies.

Each deployment is a task of its own, which a worker process can run: `tasks_of` and
`replay_deployment`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from msgspec import Struct

from autoscaler import __version__
from autoscaler.backtest.configured_rule import ConfiguredRule
from autoscaler.backtest.policy_specs import PolicySpec, policy_spec, rule_spec
from autoscaler.backtest.results.scoring import RequestSlo
from autoscaler.config.loader import Written, rules_of
from autoscaler.core.selection import Rule, bounds_of, matches
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.replay.checks import service_times as service_time_checks
from autoscaler.replay.checks import sufficiency
from autoscaler.replay.comparison import compared, misses
from autoscaler.replay.judge import LATE_INFLATION, Judge
from autoscaler.replay.load import load_model
from autoscaler.replay.record import DeploymentRecord, record_of, recording_of
from autoscaler.replay.recorded_run import QueueGauge, has_nodes, recorded_statistics
from autoscaler.replay.results import DeploymentReplay, PolicyResult, ReplayResults
from autoscaler.replay.runs import DrawOutcome, DrawRunner
from autoscaler.replay.service_times import MeasuredServiceTimes, service_times_of
from autoscaler.replay.setting import ReplaySetting, setting_of
from autoscaler.simulation.versions import behaviour_of
from autoscaler.wire.intervals import Line

DEFAULT_DRAWS = 16
"""Draws of the requests. 16, so that the intervals are at most a tenth wider than with many."""

DEFAULT_POLL_INTERVAL_S = 10.0


class ReplayOptions(Struct, frozen=True, kw_only=True):
    """What to replay, and how."""

    source: str = ""  # the file, or where the load is from
    since: float | None = None  # Unix seconds; None: from the beginning
    until: float | None = None
    policies: tuple[str, ...] | None = None  # beside the rule; None: the default ones
    oracles: bool = False  # also the oracle, which takes longest
    draws: int = DEFAULT_DRAWS
    seed: int = 1
    timeout_s: float | None = None  # of the callers; None: unknown


class ReplayTask(Struct, frozen=True, kw_only=True):
    """One deployment."""

    record: DeploymentRecord
    rule: ConfiguredRule
    options: ReplayOptions

    @property
    def name(self) -> str:
        return self.record.deployment


class Planned(Struct, frozen=True, kw_only=True):
    """The tasks, and why there are none for the other deployments."""

    tasks: tuple[ReplayTask, ...]
    left_out: tuple[str, ...]
    unknown: tuple[str, ...]


Runs = Callable[
    [Callable[[ReplayTask], DeploymentReplay], Sequence[ReplayTask]], Iterable[DeploymentReplay]
]
"""Applies a function to all tasks, such as `map`, or in other processes."""


def replay(
    config: Written, lines: Iterable[Line], options: ReplayOptions, runs: Runs = map
) -> ReplayResults:
    """Replay all deployments of a file.

    Args:
        config: the configuration as it is written; its rules are those that are replayed.
        lines: of a file of intervals, in any order of deployments.
        runs: how the tasks are run; results in the order of the tasks.

    Raises:
        ConfigError: a rule is invalid.
    """
    planned = tasks_of(config, lines, options)
    return results_of(planned, tuple(runs(replay_deployment, planned.tasks)), options)


def tasks_of(config: Written, lines: Iterable[Line], options: ReplayOptions) -> Planned:
    """A task for each deployment that a rule selects.

    Raises:
        ConfigError: a rule is invalid.
    """
    recording = recording_of(lines, options.since, options.until)
    tasks, left_out = [], []
    for deployment, intervals in sorted(recording.intervals.items()):
        record = record_of(deployment, intervals, recording.hardware)
        if record is None:
            left_out.append(f"{deployment}: no arrivals or no allocations are known")
            continue
        rule = _rule_for(config, record)
        if rule is None:
            left_out.append(f"{deployment}: no rule of {config.file} selects it")
        elif service_times_of(record) is None:
            left_out.append(f"{deployment}: no request was timed, so service times are unknown")
        else:
            tasks.append(
                ReplayTask(
                    record=record,
                    rule=ConfiguredRule(written=config, name=rule.name),
                    options=options,
                )
            )
    unknown = () if recording.header is None else recording.header.unknown
    return Planned(tasks=tuple(tasks), left_out=tuple(left_out), unknown=unknown)


def results_of(
    planned: Planned, deployments: tuple[DeploymentReplay, ...], options: ReplayOptions
) -> ReplayResults:
    return ReplayResults(
        program=f"autoscaler {__version__}",
        source=options.source,
        since=min((task.record.since for task in planned.tasks), default=options.since or 0.0),
        until=max((task.record.until for task in planned.tasks), default=options.until or 0.0),
        deployments=deployments,
        left_out=planned.left_out,
        unknown=planned.unknown,
    )


def replay_deployment(task: ReplayTask) -> DeploymentReplay:
    """Replay one deployment."""
    record, options = task.record, task.options
    times = service_times_of(record)
    assert times is not None, "a task has service times"
    setting, slo = setting_for(task, times)
    refusals = list(sufficiency(record))
    assumptions = list(setting.assumptions)
    gauge = QueueGauge(
        service_time_s=times.mean_s,
        scv=times.scv,
        max_wait_s=slo.max_queue_wait_s,
        by_node=has_nodes(record),
    )
    if np.isnan(record.in_flight).all():
        assumptions.append("the queue is unknown: the late requests of what really ran are not")
    model = load_model(record, times)
    runners = [
        DrawRunner(model, setting.scenario, slo, gauge, options.seed, draw)
        for draw in range(options.draws)
    ]
    ran = [runner.recorded() for runner in runners]
    outcomes = [outcome for outcome, _ in ran]
    found = compared(record, recorded_statistics(record, gauge), [each for _, each in ran])
    requests = float(outcomes[0].requests.sum())
    refusals += service_time_checks(record, times)
    refusals += misses(found, slo.allowed(requests), LATE_INFLATION)
    judged = Judge(record=record, found=found, recorded=outcomes, seed=options.seed)
    results: list[PolicyResult] = []
    rule_outcomes: list[DrawOutcome] = []
    if not refusals:
        for name, spec in _policies(task.rule, setting, options):
            tried = [runner.policy(name, spec) for runner in runners]
            rule_outcomes = rule_outcomes or tried
            results.append(judged.policy(name, spec.title, tried))
    return DeploymentReplay(
        deployment=record.deployment,
        rule=task.rule.name,
        since=record.since,
        until=record.until,
        requests=round(requests),
        slo_target=slo.target,
        slo_wait_s=slo.max_queue_wait_s,
        observed=judged.observed(),
        simulated=judged.simulated(),
        policies=tuple(results),
        refusals=tuple(refusals),
        assumptions=tuple(assumptions),
        hours=judged.hours(rule_outcomes, times),
    )


def _rule_for(config: Written, record: DeploymentRecord) -> Rule | None:
    """The first rule whose patterns match. Where the id of the model is unknown, it is taken to be
    that of the deployment, as it is unless one is given."""
    largest = max(1, int(record.requested.max()))
    _, rules = rules_of(
        config,
        environ={},
        poll_interval_s=DEFAULT_POLL_INTERVAL_S,
        min_allocations=1,
        max_allocations=largest,
    )
    for rule in rules:
        if matches(rule, record.deployment, record.model or record.deployment):
            return None if rule.exclude else rule
    return None


def setting_for(task: ReplayTask, times: MeasuredServiceTimes) -> tuple[ReplaySetting, RequestSlo]:
    """The scenario of a task, and the SLO of its rule."""
    rule = _rule_for(task.rule.written, task.record)
    assert rule is not None, "a task has a rule"
    policy = rule.policy
    objective = policy.objective if isinstance(policy, SloPolicy) else SloObjective()
    wait_s = objective.max_queue_wait_s(times.mean_s, times.scv**0.5) or 0.0
    slo = RequestSlo(wait_s, objective.target)
    lengths_s = task.record.lengths_s[task.record.known]
    setting = setting_of(
        task.record,
        times,
        bounds=bounds_of(rule),
        slo=(slo.max_queue_wait_s, slo.target),
        poll_interval_s=min(DEFAULT_POLL_INTERVAL_S, float(np.median(lengths_s))),
        timeout_s=task.options.timeout_s
        or (policy.caller_timeout_s if isinstance(policy, SloPolicy) else None),
    )
    return setting, slo


def _policies(
    rule: ConfiguredRule, setting: ReplaySetting, options: ReplayOptions
) -> Iterator[tuple[str, PolicySpec]]:
    """The operator's rule, and those beside it."""
    yield rule.policy, rule_spec(rule)
    names = options.policies
    if names is None:
        major = behaviour_of(setting.scenario.version).release.major
        names = ("adaptive-9" if major >= 9 else "adaptive-8.16", "hpa", "keda", "static-peak")
    for name in (*names, *(("oracle",) if options.oracles else ())):
        yield name, policy_spec(name)
