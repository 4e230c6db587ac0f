"""The runs of a command, as tasks for its processes."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.options import BacktestOptions
from autoscaler.backtest.policy_specs import (
    DEFAULT_POLICIES,
    PolicySpec,
    Runtime,
    policy_spec,
    rule_spec,
)
from autoscaler.backtest.results.rows import Trial
from autoscaler.backtest.trial import TrialRunner, TrialSpec
from autoscaler.backtest.world.days import PlayedDay
from autoscaler.backtest.world.scenario import standard
from autoscaler.backtest.world.workload import workload_of
from autoscaler.simulation.traces import Trace

TASKS_A_WORKER = 4
"""Minimum tasks for each worker. 4, so that workers finish at nearly the same time."""


class Task(Struct, frozen=True, kw_only=True):
    """Policies to run on the same requests."""

    played: PlayedDay
    seed: int
    entries: tuple[TrialSpec, ...]

    @property
    def name(self) -> str:
        return f"{self.played.trace.name}, {self.played.scenario.name}, seed {self.seed}"

    def runs(self) -> Sequence["Task"]:
        """Each run: the task with one of its policies."""
        return [self.only([index]) for index in range(len(self.entries))]

    def only(self, indices: Sequence[int]) -> "Task":
        """The same requests with these policies only."""
        return replace(self, entries=tuple(self.entries[index] for index in indices))


def run_task(task: Task) -> list[Trial]:
    """Run the policies of a task."""
    played = task.played
    workload = workload_of(played.trace, played.scenario, task.seed)
    runner = TrialRunner(played.scenario, workload, task.seed)
    return [_on_day(runner.run(entry), played) for entry in task.entries]


def compile_loops() -> None:
    """Compile the loops of the simulation and of the oracle, or load them, with a short run."""
    steady = Trace(name="steady", bin_s=60.0, counts=np.full(10, 60, dtype=np.int64))
    policies = ("oracle", "slo-bounds")
    run_task(
        Task(
            played=PlayedDay(trace=steady, scenario=replace(standard()[1], hours=None)),
            seed=1,
            entries=tuple(TrialSpec(policy=name) for name in policies),
        )
    )


def _on_day(trial: Trial, played: PlayedDay) -> Trial:
    row = replace(trial.row, recording=played.recording, day=played.day)
    return replace(trial, row=row)


def tasks_of(options: BacktestOptions, played: Sequence[PlayedDay], workers: int) -> Iterator[Task]:
    """All runs. Those on the same requests are one task, or several if there are few."""
    parts = math.ceil(TASKS_A_WORKER * workers / (len(played) * options.seeds))
    for each in played:
        for seed in range(1, options.seeds + 1):
            entries = tuple(entries_of(options, first=seed == 1))
            size = math.ceil(len(entries) / parts)
            for begin in range(0, len(entries), size):
                yield Task(played=each, seed=seed, entries=entries[begin : begin + size])


def policies_of(options: BacktestOptions) -> Iterator[tuple[str, PolicySpec]]:
    """The names and policies to run: the rule, and those chosen or the default ones."""
    if options.rule is not None:
        yield options.rule.policy, rule_spec(options.rule)
    for name in options.policies or (DEFAULT_POLICIES if options.rule is None else ()):
        yield name, policy_spec(name)


def entries_of(options: BacktestOptions, *, first: bool) -> Iterator[TrialSpec]:
    """The runs of one seed: default settings, and those of a sweep.

    Only the policies of this program are swept with other seeds than the `first`: an operator can
    choose among their settings.
    """
    with_timeline = first and options.report is not None
    for name, tried in policies_of(options):
        yield TrialSpec(policy=name, rule=tried.rule, with_timeline=with_timeline)
        if options.sweep and (first or tried.runtime is Runtime.DAEMON):
            for value in tried.sweep:
                if value != tried.default:
                    yield TrialSpec(policy=name, value=value)
