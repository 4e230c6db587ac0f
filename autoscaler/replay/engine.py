"""`replay`: the recorded load of each deployment through the operator's rules and other policies.

Each deployment is a task of its own, which a worker process can run: `tasks_of` and
`replay_deployment`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from msgspec import Struct

from autoscaler import __version__
from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.backtest.baselines.static import AT_PEAK, Static, for_load
from autoscaler.backtest.configured_rule import ConfiguredRule
from autoscaler.backtest.policy_specs import PolicySpec, policy_spec, rule_spec
from autoscaler.backtest.results.scoring import RequestSlo
from autoscaler.config.loader import Written, rules_of
from autoscaler.core.selection import Rule, bounds_of, matches
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.units import duration_text, percent_text
from autoscaler.replay.checks import gaps, sufficiency
from autoscaler.replay.checks import service_times as service_time_checks
from autoscaler.replay.comparison import compared, misses
from autoscaler.replay.dispersion import dispersion_of
from autoscaler.replay.judge import Judge
from autoscaler.replay.load import LoadModel
from autoscaler.replay.matching import matched
from autoscaler.replay.packed_intervals import PackedIntervals
from autoscaler.replay.record import HOUR_S, DeploymentRecord, Floats, record_of, recording_of
from autoscaler.replay.recorded_run import QueueGauge, has_nodes, recorded_statistics
from autoscaler.replay.results import DeploymentReplay, ReplayResults
from autoscaler.replay.runs import (
    DrawOutcome,
    DrawRunner,
    DrawSetting,
    Quantiles,
    spread_quantiles,
)
from autoscaler.replay.service_times import MeasuredServiceTimes, service_times_of
from autoscaler.replay.setting import ReplaySetting, setting_of
from autoscaler.simulation.versions import behaviour_of
from autoscaler.wire.intervals import Hardware, Line

MAX_DRAWS, MIN_DRAWS = 16, 4
"""Draws of the requests of a record. With 16, the intervals are a tenth wider than with many."""

DRAWN_HOURS = 16 * 48.0
"""Hours that are drawn of one deployment: 48 with all draws, and more with fewer of them, because
what is drawn averages out over many hours."""

MAX_REQUESTS = 100_000_000
"""Requests of a deployment at most. Each takes about a hundred bytes of memory."""

MAX_RECORD_S = 366.0 * 86_400.0
"""Seconds of a record at most, with its gaps: all of it is simulated, poll by poll."""

MIN_SIMULATED_FRACTION = 0.5
"""Fraction of the time of a record in which the load must be known at least. With less, there is no
verdict whatever is simulated, and a gap of months would take the memory and the time of a year."""

DEFAULT_POLL_INTERVAL_S = 10.0

MIN_POLL_INTERVAL_S = 1.0
"""Seconds; shorter intervals of a record are simulated with polls of this interval."""

MINUTE_S = 60.0


class ReplayOptions(Struct, frozen=True, kw_only=True):
    """What to replay, and how."""

    source: str = ""  # the file, or where the load is from
    since: float | None = None  # Unix seconds; None: from the beginning
    until: float | None = None
    policies: tuple[str, ...] | None = None  # beside the rule; None: the default ones
    oracles: bool = False  # also the oracle, which takes longest
    draws: int | None = None  # None: by the length of the record
    seed: int = 1
    timeout_s: float | None = None  # of the callers; None: unknown


class ReplayTask(Struct, frozen=True, kw_only=True):
    """One deployment, of which only its own process needs the whole record."""

    name: str
    intervals: PackedIntervals
    hardware: tuple[Hardware, ...]
    rule: ConfiguredRule
    options: ReplayOptions

    def record(self) -> DeploymentRecord:
        """Of the unpacked intervals; made again by each call."""
        record = record_of(self.name, self.intervals, self.hardware)
        assert record is not None, "a task has a record"
        return record


class Planned(Struct, frozen=True, kw_only=True):
    """The tasks, and why there are none for the other deployments."""

    tasks: tuple[ReplayTask, ...]
    since: float  # Unix seconds: the beginning and the end of all intervals; 0 without any
    until: float
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
            left_out.append(f"{deployment}: {_unselected(config, record)}")
        elif service_times_of(record) is None:
            left_out.append(f"{deployment}: {_untimed(record)}")
        elif record.until - record.since > MAX_RECORD_S:
            left_out.append(
                f"{deployment}: its record is {duration_text(record.until - record.since)} long, "
                f"and at most {duration_text(MAX_RECORD_S)} are replayed; choose a shorter time "
                "with --from and --to"
            )
        elif record.known_fraction < MIN_SIMULATED_FRACTION:
            length = duration_text(record.until - record.since)
            left_out.append(
                f"{deployment}: its load is known for {percent_text(record.known_fraction)} of "
                f"{length} only; choose a time without gaps with --from and --to"
            )
        elif record.arrivals.sum() > MAX_REQUESTS:
            left_out.append(
                f"{deployment}: it has {record.arrivals.sum():,.0f} requests, those that its gaps "
                f"may have had included, and {MAX_REQUESTS:,} fit into the memory; choose a "
                "shorter time with --from and --to"
            )
        else:
            tasks.append(
                ReplayTask(
                    name=deployment,
                    intervals=intervals,
                    hardware=recording.hardware,
                    rule=ConfiguredRule(written=config, name=rule.name),
                    options=options,
                )
            )
    unknown = () if recording.header is None else recording.header.unknown
    if recording.intervals:
        unknown += tuple([f"{sentence}: left out" for sentence in recording.unusable()])
    else:
        left_out += recording.unusable()
    return Planned(
        tasks=tuple(tasks),
        since=recording.since,
        until=recording.until,
        left_out=tuple(left_out),
        unknown=unknown,
    )


def results_of(
    planned: Planned, deployments: tuple[DeploymentReplay, ...], options: ReplayOptions
) -> ReplayResults:
    return ReplayResults(
        program=f"autoscaler {__version__}",
        source=options.source,
        since=planned.since,
        until=planned.until,
        deployments=deployments,
        left_out=planned.left_out,
        unknown=planned.unknown,
    )


def draws_of(record: DeploymentRecord, options: ReplayOptions) -> int:
    """How often the requests of a record are drawn."""
    if options.draws is not None:
        return options.draws
    return min(MAX_DRAWS, max(MIN_DRAWS, round(DRAWN_HOURS / record.hours)))


def replay_deployment(task: ReplayTask) -> DeploymentReplay:
    """Replay one deployment."""
    return Replayed(task).result()


class Replayed:
    """One deployment: what really ran is simulated and judged, policies on demand."""

    def __init__(self, task: ReplayTask) -> None:
        record, options = task.record(), task.options
        times = service_times_of(record)
        assert times is not None, "a task has service times"
        self._task = task
        self.record, self.times = record, times
        self._draw_count = draws_of(record, options)
        self.setting, self.slo = setting_for(task, record, times)
        gauge = QueueGauge(
            service_time_s=times.mean_s,
            scv=times.scv,
            max_wait_s=self.slo.max_queue_wait_s,
            by_node=has_nodes(record),
        )

        self._common = DrawSetting(
            setting=self.setting, slo=self.slo, gauge=gauge, seed=options.seed
        )
        model = LoadModel(record=record, service_times=times, dispersion=dispersion_of(record))
        self._model = matched(model, self._in_flight)
        ran = [each.recorded() for each in self._draws()]
        outcomes = [outcome for outcome, _ in ran]
        found = compared(record, recorded_statistics(record, gauge), [each for _, each in ran])
        self.judge = Judge(record=record, found=found, recorded=outcomes, seed=options.seed)
        self.refusals = (
            *sufficiency(record),
            *service_time_checks(record, times),
            *misses(found, self.slo.allowed(self.judge.requests)),
        )

    def _draws(self) -> Iterator[DrawRunner]:
        """One after the other, because each has all requests of the record."""
        quantiles = spread_quantiles(self._draw_count, self._task.options.seed)
        for draw, each in enumerate(quantiles):
            yield DrawRunner(self._model, self._common, draw, each)

    def _in_flight(self, model: LoadModel, draw: int) -> Floats:
        """In another draw than those that are judged."""
        runner = DrawRunner(model, self._common, self._draw_count + draw, Quantiles())
        return runner.recorded()[1].in_flight

    def outcomes(self, specs: Sequence[tuple[str, PolicySpec]]) -> list[list[DrawOutcome]]:
        """For each policy, its outcomes in all draws."""
        by_draw = [[runner.policy(*each) for each in specs] for runner in self._draws()]
        return [list(each) for each in zip(*by_draw, strict=True)]

    def result(self) -> DeploymentReplay:
        """The policies beside what really ran, unless there is no verdict."""
        task, record, judge, slo = self._task, self.record, self.judge, self.slo
        peak = peak_allocations(record, self.times)
        specs = (
            [] if self.refusals else list(_policies(task.rule, self.setting, task.options, peak))
        )
        tried = self.outcomes(specs)
        results = [
            judge.policy(name, spec.title, outcomes)
            for (name, spec), outcomes in zip(specs, tried, strict=True)
        ]
        return DeploymentReplay(
            deployment=record.deployment,
            rule=task.rule.name,
            since=record.since,
            until=record.until,
            known_s=float(record.lengths_s[record.known].sum()),
            requests=round(judge.requests),
            slo_target=slo.target,
            slo_wait_s=slo.max_queue_wait_s,
            observed=judge.observed(),
            simulated=judge.simulated(),
            policies=tuple(results),
            refusals=self.refusals,
            assumptions=(*gaps(record), *self.setting.assumptions),
            hours=judge.hours(tried[0] if tried else (), self.times),
        )


def _untimed(record: DeploymentRecord) -> str:
    """Why there are no service times. Idle allocations are worth a sentence of their own."""
    if record.arrivals[record.known].any():
        return "no request was timed, so service times are unknown"
    used_s = float((record.requested * record.lengths_s)[record.known].sum())
    return (
        f"there were no requests, in {used_s / HOUR_S:,.1f} allocation-hours; nothing is simulated"
    )


def _rule_for(config: Written, record: DeploymentRecord) -> Rule | None:
    """The rule that governs a deployment; None: none does."""
    rule = _matching_rule(config, record)
    return None if rule is None or rule.exclude else rule


def _matching_rule(config: Written, record: DeploymentRecord) -> Rule | None:
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
            return rule
    return None


def _unselected(config: Written, record: DeploymentRecord) -> str:
    """Why no rule applies to a deployment."""
    matching = _matching_rule(config, record)
    if matching is None:
        return f"no rule of {config.file} selects it"
    return f"the rule {matching.name} of {config.file} excludes it"


def setting_for(
    task: ReplayTask, record: DeploymentRecord, times: MeasuredServiceTimes
) -> tuple[ReplaySetting, RequestSlo]:
    """The scenario of a task, and the SLO of its rule."""
    rule = _rule_for(task.rule.written, record)
    assert rule is not None, "a task has a rule"
    policy = rule.policy
    objective = policy.objective if isinstance(policy, SloPolicy) else SloObjective()
    wait_s = objective.max_queue_wait_s(times.mean_s, times.scv**0.5) or 0.0
    slo = RequestSlo(wait_s, objective.target)
    lengths_s = record.lengths_s[record.known]
    setting = setting_of(
        record,
        times,
        bounds=bounds_of(rule),
        slo=(slo.max_queue_wait_s, slo.target),
        poll_interval_s=min(
            DEFAULT_POLL_INTERVAL_S, max(MIN_POLL_INTERVAL_S, float(np.median(lengths_s)))
        ),
        timeout_s=task.options.timeout_s
        or (policy.caller_timeout_s if isinstance(policy, SloPolicy) else None),
    )
    return setting, slo


def _policies(
    rule: ConfiguredRule, setting: ReplaySetting, options: ReplayOptions, peak: int
) -> Iterator[tuple[str, PolicySpec]]:
    """The operator's rule, and those beside it."""
    yield rule.policy, rule_spec(rule)
    names = options.policies
    if names is None:
        major = behaviour_of(setting.scenario.version).release.major
        names = ("adaptive-9" if major >= 9 else "adaptive-8.16", "hpa", "keda", "static-peak")
    for name in (*names, *(("oracle",) if options.oracles else ())):
        yield name, fixed_at(peak) if name == FIXED_PEAK else policy_spec(name)


FIXED_PEAK = "static-peak"


def fixed_at(allocations: int) -> PolicySpec:
    """A fixed number of allocations."""
    return PolicySpec(
        title=f"Fixed, {allocations} for the busiest minute",
        build=lambda *_: Static(allocations=allocations),
    )


def peak_allocations(record: DeploymentRecord, times: MeasuredServiceTimes) -> int:
    """The allocations that the busiest minute of the record needs."""
    minute = ((record.edges[:-1] - record.since) / MINUTE_S).astype(np.int64)
    work_s = np.bincount(minute, np.where(record.known, record.arrivals * times.by_interval_s, 0.0))
    length_s = np.bincount(minute, record.lengths_s)
    busiest = float((work_s / np.maximum(length_s, MINUTE_S / 2.0)).max())
    return round_up(for_load(busiest, AT_PEAK))
