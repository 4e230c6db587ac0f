"""The table [recording]: where cycles are recorded, and how much of that is kept."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from autoscaler.config.durations import HistoryAge
from autoscaler.config.fields import Line
from autoscaler.config.table import Table
from autoscaler.config.values import RecordingSettings
from autoscaler.connection import Problem


class RecordingTable(Table):
    """What the daemon keeps of each cycle, for replays and reports."""

    enabled: bool = Field(
        default=True,
        description="Whether cycles are recorded; only if a directory is known.",
    )
    directory: Line | None = Field(
        default=None,
        description="Directory of the recording, recording.db. Default: that of the saved state, "
        "where that is a file.",
    )
    max_age: HistoryAge = Field(
        default=1_209_600.0, description="Age of the recorded cycles, at most."
    )
    max_mb: int = Field(
        default=100,
        ge=10,
        le=1_000_000,
        description="Size of the recording, at most, in megabytes; then the oldest cycles are "
        "removed.",
    )


def recording_of(
    table: RecordingTable, directory: Path, state_dir: Path | None
) -> RecordingSettings | None:
    """
    Args:
        directory: from which relative paths start.
        state_dir: that of the saved state; None: it is in no file.
    """
    place = state_dir if table.directory is None else directory / table.directory
    if not table.enabled or place is None:
        return None
    return RecordingSettings(
        directory=place, max_age_s=table.max_age, max_bytes=table.max_mb * 1_000_000
    )


def recording_problems(table: RecordingTable) -> Iterator[Problem]:
    """Everything that is wrong with a table."""
    if table.directory is not None and not table.enabled:
        yield "directory", "has no effect with enabled = false; remove it, or set enabled = true"
