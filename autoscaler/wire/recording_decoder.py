"""Frames -> recorded cycles."""

from collections.abc import Sequence
from typing import Any

from autoscaler.core.values import AdaptiveAllocations, DeploymentStats, NodeStats
from autoscaler.wire.recording import (
    COUNTS,
    DECISION_FIGURES,
    DEPLOYMENT_COLUMNS,
    DEPLOYMENT_FIGURES,
    IN_MILLISECONDS,
    NODE_COLUMNS,
    NODE_FIGURES,
    PLAIN,
    TEXTS,
    Frame,
    Layout,
    RecordedCycle,
    RecordedDecision,
    RecordedNodes,
    RecordingDamaged,
    rearranged,
)
from autoscaler.wire.recording_columns import ColumnDamaged, decoded_column


class FrameDecoder:
    """Makes cycles of the frames of one block, in their order."""

    def __init__(self) -> None:
        self._layout: Layout | None = None
        self._hardware = RecordedNodes()
        self._texts: list[str | None] = [None]
        self._numbers: dict[str, Sequence[int]] = {}

    def cycle(self, frame: Frame) -> RecordedCycle:
        """
        Raises:
            RecordingDamaged: the frame does not follow the one before, or is none.
        """
        try:
            return self._cycle(frame)
        except (ColumnDamaged, IndexError, ValueError, OverflowError) as error:
            raise RecordingDamaged(f"a frame is damaged: {error}") from error

    def _cycle(self, frame: Frame) -> RecordedCycle:
        layout = self._layout if frame.layout is None else frame.layout
        if layout is None:
            raise RecordingDamaged("the first frame of a block is missing")
        if frame.layout is not None and not _is_consistent(layout):
            raise RecordingDamaged("its deployments have other nodes than are listed")
        old, self._layout = self._layout, layout
        if frame.hardware is not None:
            self._hardware = frame.hardware
        self._texts += frame.texts
        counts = {"node": len(layout.nodes)}
        for name in (*NODE_COLUMNS, *DEPLOYMENT_COLUMNS):
            count = counts.get(name.partition(".")[0], len(layout.deployments))
            numbers = decoded_column(frame.columns.get(name, b""), count)
            before = self._numbers.get(name)
            if before is not None and name not in PLAIN:
                if frame.layout is not None and old is not None:
                    before = rearranged(name, before, old, layout)
                numbers = [one + other for one, other in zip(numbers, before, strict=True)]
            self._numbers[name] = numbers
        return RecordedCycle(
            at=frame.at,
            span_s=frame.span_s,
            poll_interval_s=frame.poll_interval_s,
            missed=frame.missed,
            deployments=self._deployments(layout),
            decisions=self._decisions(layout),
            hardware=self._hardware,
        )

    def _column(self, name: str) -> Sequence[Any]:
        numbers = self._numbers[name]
        if name in COUNTS:
            return numbers
        if name == "node.busy_s":
            return [each / 1000.0 for each in numbers]
        if name in IN_MILLISECONDS:
            return [(each - 1) / 1000.0 if each else None for each in numbers]
        if name in TEXTS:
            return [self._texts[each] for each in numbers]
        if name == "decision.late_requests":
            return [(each - 1) / 1000.0 if each else None for each in numbers]
        return [each - 1 if each else None for each in numbers]

    def _deployments(self, layout: Layout) -> dict[str, DeploymentStats]:
        columns = zip(*(self._column(name) for name in NODE_COLUMNS), strict=True)
        nodes = iter(
            [
                NodeStats(
                    node_id=node_id,
                    **{**dict(zip(NODE_FIGURES, row, strict=True)), "routing_state": row[0] or ""},
                )
                for node_id, row in zip(layout.nodes, columns, strict=True)
            ]
        )
        names = [name for name in DEPLOYMENT_FIGURES if name != "adaptive"]
        rows = zip(*(self._column(f"deployment.{name}") for name in names), strict=True)
        adaptive = zip(
            *(
                self._column(f"deployment.adaptive_{name}")
                for name in ("enabled", "minimum", "maximum")
            ),
            strict=True,
        )
        found = {}
        for name, model, count, row, settings in zip(
            layout.deployments, layout.models, layout.routes, rows, adaptive, strict=True
        ):
            figures = dict(zip(names, row, strict=True))
            found[name] = DeploymentStats(
                deployment_id=name,
                model_id=model,
                **{**figures, "state": figures["state"] or ""},
                adaptive=_adaptive(*settings),
                completed=None,
                errors=None,
                rejections=None,
                timeouts=None,
                peak_throughput_per_minute=None,
                nodes=tuple([next(nodes) for _ in range(count)]),
            )
        return found

    def _decisions(self, layout: Layout) -> dict[str, RecordedDecision]:
        columns = (self._column(f"decision.{name}") for name in DECISION_FIGURES)
        rows = zip(layout.deployments, *columns, strict=True)
        return {
            name: RecordedDecision(
                desired=desired,
                recommended=recommended,
                outcome=outcome or "",
                active=None if active is None else bool(active),
                requests=requests,
                late_requests=late_requests,
            )
            for name, desired, recommended, outcome, active, requests, late_requests in rows
            if desired is not None and recommended is not None
        }


def _is_consistent(layout: Layout) -> bool:
    counts = layout.routes
    return min(counts, default=0) >= 0 and sum(counts) == len(layout.nodes)


def _adaptive(
    enabled: int | None, minimum: int | None, maximum: int | None
) -> AdaptiveAllocations | None:
    if enabled is None:
        return None
    return AdaptiveAllocations(enabled=bool(enabled), minimum=minimum, maximum=maximum)
