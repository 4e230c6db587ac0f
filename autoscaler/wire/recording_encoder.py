"""Recorded cycles -> frames."""

from collections.abc import Mapping, Sequence
from operator import sub
from typing import Any, NamedTuple

from msgspec import Struct

from autoscaler.core.values import DeploymentStats, NodeStats
from autoscaler.wire.recording import (
    COUNTS,
    IN_MILLISECONDS,
    PLAIN,
    TEXTS,
    Frame,
    Layout,
    RecordedCycle,
    RecordedNodes,
    rearranged,
)
from autoscaler.wire.recording_columns import MAX_NUMBER, encoded_column


class _Undecided(Struct, frozen=True):
    """In place of a decision, where there is none."""

    desired: int | None = None
    recommended: int | None = None
    outcome: str = ""
    active: bool | None = None
    requests: int | None = None
    late_requests: float | None = None


_UNDECIDED = _Undecided()


class _Prepared(NamedTuple):
    """A frame, and what the next one differs from once this one is written."""

    frame: Frame
    layout: Layout
    hardware: RecordedNodes
    texts: dict[str, int]
    figures: dict[str, list[Any]]
    numbers: dict[str, list[int]]
    remainders: list[float]


class FrameEncoder:
    """Makes frames of cycles.

    A frame differs from the last one that was `written`: one that could not be written is no
    obstacle to the next.
    """

    def __init__(self) -> None:
        self._prepared: _Prepared | None = None
        self.restart()

    def restart(self) -> None:
        """The next frame begins a block."""
        self._layout: Layout | None = None
        self._hardware: RecordedNodes | None = None
        self._texts: dict[str, int] = {}
        self._figures: dict[str, list[Any]] = {}
        self._numbers: dict[str, list[int]] = {}
        self._remainders: list[float] = []

    def written(self) -> None:
        """The last frame is written."""
        if self._prepared is not None:
            _, layout, hardware, texts, figures, numbers, remainders = self._prepared
            self._layout, self._hardware, self._texts = layout, hardware, texts
            self._figures, self._numbers, self._remainders = figures, numbers, remainders
            self._prepared = None

    def frame(self, cycle: RecordedCycle) -> Frame:
        """The cycle as what differs from the last written frame."""
        nodes = [node for stats in cycle.deployments.values() for node in stats.nodes]
        layout, is_new = self._layout_of(cycle.deployments, nodes)
        texts, remainders = dict(self._texts), self._remainders
        if is_new or len(remainders) != len(layout.deployments):
            remainders = [0.0] * len(layout.deployments)
        figures = _figures_of(cycle, nodes)
        numbers: dict[str, list[int]] = {}
        columns: dict[str, bytes] = {}
        for name, column in figures.items():
            before = None if name in PLAIN else self._numbers.get(name)
            if not is_new and before is not None and column == self._figures[name]:
                numbers[name] = before
                continue
            if name == "decision.late_requests":
                numbers[name], remainders = _thousandths(column, remainders)
            else:
                numbers[name] = _numbers_of(name, column, texts)
            differences = numbers[name]
            if before is not None:
                if is_new:
                    assert self._layout is not None, "there is a frame before"
                    before = rearranged(name, before, self._layout, layout)
                differences = list(map(sub, numbers[name], before))
            if data := encoded_column(differences):
                columns[name] = data
        hardware = cycle.hardware
        frame = Frame(
            cycle.at,
            cycle.span_s,
            cycle.poll_interval_s,
            cycle.missed,
            layout if is_new else None,
            None if hardware == self._hardware else hardware,
            tuple(texts)[len(self._texts) :],
            columns,
        )
        self._prepared = _Prepared(frame, layout, hardware, texts, figures, numbers, remainders)
        return frame

    def _layout_of(
        self, deployments: Mapping[str, DeploymentStats], nodes: list[NodeStats]
    ) -> tuple[Layout, bool]:
        """The layout, and whether it differs from that of the frame before."""
        found = Layout(
            tuple(deployments),
            tuple([stats.model_id for stats in deployments.values()]),
            tuple([node.node_id for node in nodes]),
            tuple([len(stats.nodes) for stats in deployments.values()]),
        )
        if self._layout is not None and found == self._layout:
            return self._layout, False
        return found, True


def _figures_of(cycle: RecordedCycle, nodes: Sequence[NodeStats]) -> dict[str, list[Any]]:
    """Each column, with the values as they are. One comprehension for each, which is the fastest
    way: this is done in every cycle for thousands of nodes."""
    deployments = list(cycle.deployments.values())
    settings = [stats.adaptive for stats in deployments]
    decisions = [cycle.decisions.get(name, _UNDECIDED) for name in cycle.deployments]
    return {
        "node.routing_state": [node.routing_state for node in nodes],
        "node.server_started_at": [node.server_started_at for node in nodes],
        "node.allocations": [node.allocations for node in nodes],
        "node.completed": [node.completed for node in nodes],
        "node.cache_hits": [node.cache_hits for node in nodes],
        "node.errors": [node.errors for node in nodes],
        "node.rejections": [node.rejections for node in nodes],
        "node.timeouts": [node.timeouts for node in nodes],
        "node.busy_s": [node.busy_s for node in nodes],
        "node.pending": [node.pending for node in nodes],
        "node.server_last_access_at": [node.server_last_access_at for node in nodes],
        "deployment.state": [stats.state for stats in deployments],
        "deployment.server_created_at": [stats.server_created_at for stats in deployments],
        "deployment.allocations": [stats.allocations for stats in deployments],
        "deployment.running_allocations": [stats.running_allocations for stats in deployments],
        "deployment.target_allocations": [stats.target_allocations for stats in deployments],
        "deployment.threads_per_allocation": [
            stats.threads_per_allocation for stats in deployments
        ],
        "deployment.queue_capacity": [stats.queue_capacity for stats in deployments],
        "deployment.adaptive_enabled": [each and each.enabled for each in settings],
        "deployment.adaptive_minimum": [each and each.minimum for each in settings],
        "deployment.adaptive_maximum": [each and each.maximum for each in settings],
        "decision.desired": [each.desired for each in decisions],
        "decision.recommended": [each.recommended for each in decisions],
        "decision.outcome": [each.outcome for each in decisions],
        "decision.active": [each.active for each in decisions],
        "decision.requests": [each.requests for each in decisions],
        "decision.late_requests": [each.late_requests for each in decisions],
    }


def _numbers_of(name: str, column: Sequence[Any], texts: dict[str, int]) -> list[int]:
    """Figures as integers. Where they may be unknown, 0 is that, and others are larger by 1.

    Args:
        texts: their positions, to which new ones are added.
    """
    if name in COUNTS:
        return list(column)
    if name == "node.busy_s":
        return [min(round(1000.0 * each), MAX_NUMBER) for each in column]
    if name in IN_MILLISECONDS:
        return [0 if each is None else round(1000.0 * each) + 1 for each in column]
    if name in TEXTS:
        return [0 if not each else _position(each, texts) for each in column]
    return [0 if each is None else each + 1 for each in column]


def _position(text: str, texts: dict[str, int]) -> int:
    known = texts.get(text)
    if known is None:
        known = texts[text] = len(texts) + 1
    return known


def _thousandths(
    column: Sequence[Any], remainders: Sequence[float]
) -> tuple[list[int], list[float]]:
    """Fractions of requests as integers, 0 for unknown ones, with what rounding leaves for the next
    cycle: so their sums are right, however small they are."""
    numbers, left = [], []
    for value, remainder in zip(column, remainders, strict=True):
        if value is None:
            numbers.append(0)
            left.append(remainder)
            continue
        exact = 1000.0 * value + remainder
        number = max(0, min(round(exact), MAX_NUMBER - 1))
        numbers.append(number + 1)
        left.append(exact - number)
    return numbers, left
