"""What is seen of the demo while it runs: a table that changes, and the latest decisions."""

from collections import deque

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoscaler.core.explanation import explain
from autoscaler.core.values import Decision, Fate, Observation, Outcome, Plan
from autoscaler.demo.comparison import WAIT_LIMIT_S
from autoscaler.ports import CycleTimes, ObservationFailed
from autoscaler.simulation.cluster import Cluster

_NEWS = 8

_FATES = {Fate.ACCEPTED: "green", Fate.NO_CAPACITY: "yellow", Fate.NOT_STARTED: "yellow"}


class View:
    """A Recorder that draws what it is told, on a terminal in place, else line by line."""

    def __init__(self, console: Console, cluster: Cluster, *, begin: float, title: str) -> None:
        self._console = console
        self._cluster = cluster
        self._begin = begin
        self._title = title
        self._decisions: tuple[Decision, ...] = ()
        self._news: deque[Text] = deque(maxlen=_NEWS)

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._decisions = plan.decisions
        for outcome in outcomes:
            if outcome.fate is not Fate.UNCHANGED:
                self._tell(outcome.at, explain(outcome.decision), _FATES.get(outcome.fate, "red"))
        for done in plan.satisfied:
            told = f"{done.deployment_id} has its {done.allocations} allocations"
            self._tell(plan.at, f"{told} after {done.took_s:.0f} s", "dim")

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._tell(at, str(failure), "red")

    def __rich__(self) -> RenderableType:
        table = Table(title=self._title, title_justify="left", expand=True)
        for heading in ("deployment", "requests/s", "load", "pending", "allocations", "", "late"):
            table.add_column(heading, justify="left" if heading in ("deployment", "") else "right")
        for decision in self._decisions:
            table.add_row(*self._row(decision))
        late = f"late: waited more than {WAIT_LIMIT_S:g} s for an allocation, or never had one"
        return Group(table, Text(late, style="dim"), *self._news)

    def _row(self, decision: Decision) -> tuple[RenderableType, ...]:
        deployment = self._cluster.deployments[decision.deployment_id]
        load = decision.load
        late = deployment.ledger.waited_longer_than(WAIT_LIMIT_S)
        share = late / max(1, deployment.ledger.requests)
        offered = load.offered_load if load else None
        return (
            decision.deployment_id,
            f"{load.arrival_rate_per_s:.0f}" if load else "",
            "" if offered is None else f"{offered:.1f}",
            str(decision.sample.pending),
            str(decision.desired),
            _bar(offered or 0.0, decision.desired),
            f"{share:.1%}",
        )

    def _tell(self, at: float, told: str, style: str) -> None:
        minutes, seconds = divmod(int(at - self._begin), 60)
        line = Text(f"{minutes:3d}:{seconds:02d}  {told}", style=style)
        self._news.append(line)
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)


def _bar(load: float, allocations: int) -> Text:
    """Allocations as blocks, those the load keeps busy filled."""
    busy = min(allocations, round(load))
    return Text.assemble(("█" * busy, "green"), ("░" * (allocations - busy), "dim"))
