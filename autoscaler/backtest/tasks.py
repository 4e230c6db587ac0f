"""The runs of a command, as tasks for its processes."""

import math
from collections.abc import Iterator, Sequence

from msgspec import Struct

from autoscaler.backtest.options import BacktestOptions
from autoscaler.backtest.policy_specs import DEFAULT_POLICIES, policy_spec
from autoscaler.backtest.results.rows import Trial
from autoscaler.backtest.trial import TrialRunner, TrialSpec
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.workload import workload_of
from autoscaler.simulation.traces import Trace

TASKS_A_WORKER = 4
"""Minimum tasks for each worker. 4, so that workers finish at nearly the same time."""


class Task(Struct, frozen=True, kw_only=True):
    """Policies to run on the same requests."""

    trace: Trace
    scenario: BacktestScenario
    seed: int
    entries: tuple[TrialSpec, ...]

    @property
    def name(self) -> str:
        return f"{self.trace.name}, {self.scenario.name}, seed {self.seed}"


def run_task(task: Task) -> list[Trial]:
    """Run the policies of a task."""
    workload = workload_of(task.trace, task.scenario, task.seed)
    runner = TrialRunner(task.scenario, workload, task.seed)
    return [runner.run(entry) for entry in task.entries]


def tasks_of(
    options: BacktestOptions,
    traces: Sequence[Trace],
    scenarios: Sequence[BacktestScenario],
    workers: int,
) -> Iterator[Task]:
    """All runs. Those on the same requests are one task, or several if there are few."""
    groups = len(traces) * len(scenarios) * options.seeds
    parts = math.ceil(TASKS_A_WORKER * workers / groups)
    for trace in traces:
        for scenario in scenarios:
            for seed in range(1, options.seeds + 1):
                entries = tuple(entries_of(options, first=seed == 1))
                size = math.ceil(len(entries) / parts)
                for begin in range(0, len(entries), size):
                    yield Task(
                        trace=trace,
                        scenario=scenario,
                        seed=seed,
                        entries=entries[begin : begin + size],
                    )


def entries_of(options: BacktestOptions, *, first: bool) -> Iterator[TrialSpec]:
    """The runs of one seed: default settings, and with the `first` all settings of a sweep."""
    with_timeline = first and options.report is not None
    if options.rule is not None:
        name = options.rule.policy
        yield TrialSpec(policy=name, rule=options.rule, with_timeline=with_timeline)
    for name in options.policies or (DEFAULT_POLICIES if options.rule is None else ()):
        yield TrialSpec(policy=name, with_timeline=with_timeline)
        tried = policy_spec(name)
        if first and options.sweep:
            for value in tried.sweep:
                if value != tried.default:
                    yield TrialSpec(policy=name, value=value)
