"""The progress of a start, as text."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from autoscaler.core.units import duration_text
from autoscaler.core.values import STARTED, DeploymentStats, NodeStats, Value
from autoscaler.terminal import plain, print_line

LEVELS = ("starting", "started", "fully_allocated")
"""The allocation states that a start can wait for, in their order."""

_TEXTS = dict(zip(LEVELS, ("starting", "started", "fully allocated"), strict=True))


class Progress(Value, frozen=True, kw_only=True):
    """The state of a deployment, `elapsed_s` seconds after it was started."""

    deployment_id: str
    elapsed_s: float
    stats: DeploymentStats | None = None  # None: not reported yet
    stale_reason: str = ""  # why `stats` are not of the last poll

    @property
    def failed(self) -> bool:
        """No node could load the model, and none is trying."""
        return self.stats is not None and self.stats.state == "failed"

    def has_reached(self, level: str) -> bool:
        if self.stats is None or self.stats.allocation_state not in LEVELS:
            return False
        return LEVELS.index(self.stats.allocation_state) >= LEVELS.index(level)

    @property
    def sentence(self) -> str:
        """The state and what it waits for."""
        return f"{self.deployment_id} is {self._level}{self.details}"

    @property
    def details(self) -> str:
        """Allocations, nodes and the reason that Elasticsearch gives, to append to a sentence."""
        parts = [*self._running(), *self._nodes()]
        if self.stats is not None and self.stats.reason:
            parts.append(f"reason: {_plain(self.stats.reason)}")
        if self.stale_reason:
            parts.append(f"not polled since: {self.stale_reason}")
        return f": {'; '.join(parts)}" if parts else ""

    @property
    def _level(self) -> str:
        if self.stats is None:
            return "not reported yet"
        return "failed" if self.failed else _TEXTS.get(self.stats.allocation_state, "starting")

    def _running(self) -> list[str]:
        if self.stats is None or self.stats.allocations is None:
            return []
        return [
            f"{self.stats.running_allocations or 0} of {self.stats.allocations} allocations run"
        ]

    def _nodes(self) -> list[str]:
        """The nodes on which the deployment is not started, and why."""
        nodes = self.stats.nodes if self.stats is not None else ()
        return [_node(node) for node in nodes if node.routing_state != STARTED]


def _node(node: NodeStats) -> str:
    name = node.name or node.node_id or "a node"
    state = "is loading the model" if node.routing_state == "starting" else node.routing_state
    reason = _plain(node.routing_reason)
    return f"{name} {state}{f' ({reason})' if reason else ''}"


def _plain(reason: str) -> str:
    return reason.rstrip(". ")


class ProgressView:
    """Shows progress until the end of the block: in one line on a terminal, else line by line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("", console=console) if console.is_terminal else None
        self._shown = ""

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, progress: Progress) -> None:
        if self._status is not None:
            self._status.update(plain(f"{duration_text(progress.elapsed_s)}  {progress.sentence}"))
        elif progress.sentence != self._shown:
            self._shown = progress.sentence
            print_line(self._console, progress.sentence)
