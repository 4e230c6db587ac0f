"""Where the load to replay is read from."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from autoscaler.adapters.recording import recorded_intervals
from autoscaler.interval_files import read_intervals
from autoscaler.wire.intervals import Line, LoadInterval

MAX_REASONS = 5
"""Reasons in one sentence at most."""


class LoadSource(Struct, frozen=True, kw_only=True):
    """A recording, or a file of intervals, and which part of it."""

    path: Path
    is_recording: bool
    since: float | None = None  # Unix seconds; None: from the beginning
    until: float | None = None
    deployments: tuple[str, ...] = ()  # empty: all

    @property
    def unit(self) -> str:
        """In which progress is counted."""
        return "cycles" if self.is_recording else "MB"

    def lines(
        self, warn: Callable[[str], None], progress: Callable[[int, int], None]
    ) -> Iterator[Line]:
        """The lines that matter.

        Args:
            warn: called with a sentence for each damaged part of a recording.
            progress: called with how much was read, in units, and how much there is.

        Raises:
            UserError: when what cannot be read is reached.
        """
        found: Iterator[Line] = (
            recorded_intervals(
                self.path,
                self.since or 0.0,
                self.until or math.inf,
                warn=warn,
                progress=progress,
            )
            if self.is_recording
            else read_intervals(self.path, progress)
        )
        for line in found:
            chosen = not isinstance(line, LoadInterval) or line.deployment in self.deployments
            if chosen or not self.deployments:
                yield line

    def nothing(self, left_out: Sequence[str]) -> str:
        """A sentence for a source of which no deployment can be replayed.

        Args:
            left_out: a sentence for each deployment that the source has; empty: it has none.
        """
        if left_out:
            more = len(left_out) - MAX_REASONS
            others = (f"and {more:,} more",) if more > 0 else ()
            reasons = "; ".join((*left_out[:MAX_REASONS], *others))
            return f"no deployment of {self.path} can be replayed: {reasons}"
        which = f" of {', '.join(self.deployments)}" if self.deployments else ""
        return (
            f"{self.path} has no intervals{which} in this time; choose another time with --from "
            "and --to, or record for longer"
        )
