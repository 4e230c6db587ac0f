"""Replays whose finished deployments are kept in a file, and not simulated again."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.replay.engine import ReplayOptions, ReplayTask, replay_deployment
from autoscaler.replay.packed_intervals import PackedIntervals
from autoscaler.replay.results import DeploymentReplay
from autoscaler.wire.intervals import Hardware

_TABLES = ("poll_interval", "min_poll_interval", "defaults", "rules")
"""The parts of a configuration on which a rule depends."""


class ReplayRun(Struct, frozen=True, kw_only=True, eq=False):
    """All that the result of a deployment depends on beside the program."""

    name: str
    intervals: PackedIntervals
    hardware: tuple[Hardware, ...]
    tables: dict[str, Any]  # of the configuration
    rule: str
    options: ReplayOptions


class ResumableReplay(Struct, frozen=True, kw_only=True, eq=False):
    """One deployment, as a task with one run."""

    task: ReplayTask

    @property
    def name(self) -> str:
        return self.task.name

    def runs(self) -> Sequence[ReplayRun]:
        task = self.task
        # Where the intervals are from makes no difference.
        options = replace(task.options, source="", since=None, until=None)
        tables = {key: task.rule.written.tables.get(key) for key in _TABLES}
        return (
            ReplayRun(
                name=task.name,
                intervals=task.intervals,
                hardware=task.hardware,
                tables=tables,
                rule=task.rule.name,
                options=options,
            ),
        )

    def only(self, indices: Sequence[int]) -> "ResumableReplay":
        assert list(indices) == [0], "a deployment has one run"
        return self


def replay_resumably(task: ResumableReplay) -> list[DeploymentReplay]:
    """The result of the only run."""
    return [replay_deployment(task.task)]
