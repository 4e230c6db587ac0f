"""The display of the demo while it runs: a table of deployments, and the latest decisions."""

import math
from collections import deque

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoscaler.core.decision import Decision, Outcome, OutcomeKind, Plan
from autoscaler.core.explanation import completed_text, explain_outcome
from autoscaler.core.units import duration_text
from autoscaler.core.values import Observation
from autoscaler.demo.comparison import MAX_QUEUE_WAIT_S
from autoscaler.ports import Clock, CycleTimes, ObservationFailed
from autoscaler.simulation.cluster import SimulatedCluster
from autoscaler.terminal import plain

_MAX_RECENT, _MIN_RECENT = 10, 1
_LINES_BESIDE_RECENT = 13  # of a screen: above and below the table, and of it with two deployments
_WIDE_ENOUGH_FOR_BARS = 90
_WIDE_ENOUGH_FOR_QUEUES = 70

_OUTCOME_COLOURS = {
    OutcomeKind.ACCEPTED: "green",
    OutcomeKind.NO_CAPACITY: "yellow",
    OutcomeKind.NOT_STARTED: "yellow",
}


class View:
    """A Recorder whose content a terminal draws in place; elsewhere it prints line by line.

    Args:
        cluster: the source of the callers' view, such as late requests.
        lasting_s: of the cluster's time; inf: until Ctrl-C.
        speed: seconds of the cluster per second of the host.
    """

    def __init__(
        self,
        console: Console,
        cluster: SimulatedCluster,
        clock: Clock,
        *,
        lasting_s: float,
        speed: float,
    ) -> None:
        self._console = console
        self._cluster = cluster
        self._clock = clock
        self._begin = cluster.now
        self._lasting_s = lasting_s
        self._speed = speed
        self._decisions: tuple[Decision, ...] = ()
        self._running: dict[str, int] = {}
        recent = min(max(console.height - _LINES_BESIDE_RECENT, _MIN_RECENT), _MAX_RECENT)
        self._recent_lines: deque[Text] = deque(maxlen=recent)
        self.page_url = ""

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._decisions = plan.decisions
        self._running = {
            stats.deployment_id: stats.running_allocations or 0
            for stats in observation.deployments.values()
        }
        for done in plan.completed_rollouts:
            self._add_line(plan.at, completed_text(done), "dim")
        for outcome in outcomes:
            if outcome.kind is not OutcomeKind.UNCHANGED:
                colour = _OUTCOME_COLOURS.get(outcome.kind, "red")
                self._add_line(outcome.at, explain_outcome(outcome), colour)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._add_line(at, str(failure), "red")

    def __rich__(self) -> RenderableType:
        legend = f"late: queue wait above {duration_text(MAX_QUEUE_WAIT_S)}, or no response"
        if self._has_bars:
            legend = f"█ busy  ░ idle  · not running yet   {legend}"
        above = [self._progress(), Text(f"page     {self.page_url}", style="dim")]
        # Always the same count of lines, so that the lines below do not move.
        blank = [Text()] * ((self._recent_lines.maxlen or 0) - len(self._recent_lines))
        below = [Text(legend, style="dim"), *self._recent_lines, *blank]
        for line in (*above, *below):
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*above, self._table(), *below)

    @property
    def _has_bars(self) -> bool:
        return self._console.width >= _WIDE_ENOUGH_FOR_BARS

    def _in_flight(self, cell: str) -> list[str]:
        """The cell, if the terminal is wide enough for its column."""
        return [cell] if self._console.width >= _WIDE_ENOUGH_FOR_QUEUES else []

    def _progress(self) -> Text:
        elapsed_s = self._clock.now() - self._begin
        text = f"{_minutes(min(elapsed_s, self._lasting_s))}"
        if math.isinf(self._lasting_s):
            text += ", until Ctrl-C"
        else:
            text += f" of {_minutes(self._lasting_s)}"
        return Text.assemble(
            ("time     ", "dim"),
            (text, "bold"),
            (f"  of the cluster's time, {self._speed:g} s per second", "dim"),
        )

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=self._has_bars)
        table.add_column("deployment", no_wrap=True, overflow="ellipsis")
        for heading in ("requests/s", "load", *self._in_flight("in flight"), "allocations"):
            table.add_column(heading, justify="right", no_wrap=True)
        if self._has_bars:
            table.add_column("", no_wrap=True, min_width=16, ratio=1)
        table.add_column("late", justify="right", no_wrap=True)
        for decision in self._decisions:
            table.add_row(*self._row(decision))
        if not self._decisions:
            table.add_row("not observed yet")
        return table

    def _row(self, decision: Decision) -> list[RenderableType]:
        deployment = self._cluster.deployments[decision.deployment_id]
        load = decision.load
        late = deployment.ledger.waited_longer_than(MAX_QUEUE_WAIT_S)
        fraction = late / max(1, deployment.ledger.requests)
        offered = load.offered_load if load else None
        running = min(self._running.get(decision.deployment_id, 0), decision.desired)
        row: list[RenderableType] = [
            plain(decision.deployment_id),
            f"{load.arrival_rate_per_s:.0f}" if load else "",
            "" if offered is None else f"{offered:.1f}",
            *self._in_flight(str(decision.sample.in_flight)),
            str(decision.desired),
        ]
        if self._has_bars:
            row.append(_bar(offered or 0.0, running, decision.desired))
        return [*row, f"{fraction:.1%}"]

    def _add_line(self, at: float, text: str, style: str) -> None:
        line = plain(f"{_minutes(at - self._begin):>6}  {text}", style)
        self._recent_lines.append(line)
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)


def _minutes(seconds: float) -> str:
    """
    >>> _minutes(754.0)
    '12:34'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _bar(load: float, running: int, allocations: int) -> Text:
    """Allocations as blocks: busy, idle, and not running yet."""
    busy = min(running, round(load))
    return Text.assemble(
        ("█" * busy, "green"),
        ("░" * (running - busy), "dim"),
        ("·" * (allocations - running), "yellow"),
    )
