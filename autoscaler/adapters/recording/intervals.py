"""Recorded cycles -> the load of deployments by intervals, measured as the daemon measures it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from autoscaler.adapters.recording.reader import recorded_cycles
from autoscaler.core.flow.measurement import measure
from autoscaler.core.flow.planning import MAX_INTERVAL_POLLS
from autoscaler.core.state import DeploymentState
from autoscaler.core.values import DeploymentStats, Sample
from autoscaler.load_intervals import load_interval
from autoscaler.wire.intervals import Hardware, HardwareNode, LoadInterval
from autoscaler.wire.recording import RecordedCycle, RecordedDecision, RecordedNodes

Figure = TypeVar("Figure", float, float | None)

EARLIER_S = 3_600.0
"""Seconds of cycles before the requested time, with which its first ones are compared. An hour,
more than the longest time over which cycles are compared."""

_DECIMALS = 6
"""Of durations: totals are recorded in milliseconds, and the differences of doubles are not."""


def recorded_intervals(
    path: Path,
    since: float,
    until: float,
    *,
    warn: Callable[[str], None] = lambda message: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Hardware | LoadInterval]:
    """The intervals of all deployments that end after `since` and not after `until`, in the order
    of their ends; first the nodes that were known at `since`, and others whenever they change.

    The intervals of a deployment do not overlap. Where the statistics were incomplete for a few
    polls, one interval covers them; where its requests cannot be known, they are None; where
    nothing was recorded, there is none.

    Args:
        path: of the recording. A daemon may write it meanwhile.
        since, until: Unix seconds.
        warn: called with a sentence for each part that is damaged, and is left out.
        progress: called with the cycles that were read, and with all.

    Raises:
        RecordingUnreadable: there is no recording, or it cannot be read.
    """
    cycles = recorded_cycles(path, since - EARLIER_S, until, warn=warn, progress=progress)
    return intervals_of(cycles, since)


def intervals_of(
    cycles: Iterable[RecordedCycle], since: float
) -> Iterator[Hardware | LoadInterval]:
    """The intervals of cycles; see `recorded_intervals`."""
    return _since(_lines_of(cycles), since)


def _since(
    lines: Iterable[Hardware | LoadInterval], since: float
) -> Iterator[Hardware | LoadInterval]:
    """The later lines, after the last nodes until then."""
    nodes: Hardware | None = None
    for line in lines:
        if line.at > since:
            if nodes is not None:
                yield nodes
                nodes = None
            yield line
        elif isinstance(line, Hardware):
            nodes = line


def _lines_of(cycles: Iterable[RecordedCycle]) -> Iterator[Hardware | LoadInterval]:
    builder = _IntervalBuilder()
    nodes: Hardware | None = None
    for cycle in cycles:
        hardware = _hardware(cycle.at, cycle.hardware)
        if hardware is not None and (nodes is None or replace(hardware, at=nodes.at) != nodes):
            nodes = hardware
            builder.add(hardware)
        builder.add_cycle(cycle)
        yield from builder.ready(cycle)
    yield from builder.rest()


class _Moment:
    """What ends at one instant, as long as later statistics may change it."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.hardware: Hardware | None = None
        self.intervals: dict[str, LoadInterval] = {}
        self.open: set[str] = set()  # deployments whose requests a later interval may cover

    def lines(self) -> Iterator[Hardware | LoadInterval]:
        if self.hardware is not None:
            yield self.hardware
        yield from self.intervals.values()


class _Requests:
    """The requests that a policy has judged since the last interval; None: not all are known."""

    def __init__(self) -> None:
        self.requests: int | None = 0
        self.late_requests: float | None = 0.0

    def add(self, decision: RecordedDecision | None, *, missed: bool) -> None:
        found = None if missed or decision is None else decision.requests
        late = None if decision is None else decision.late_requests
        if found is None or late is None or self.requests is None or self.late_requests is None:
            self.requests = self.late_requests = None
        else:
            self.requests += found
            self.late_requests += late


class _IntervalBuilder:
    def __init__(self) -> None:
        self._known: dict[str, DeploymentState] = {}
        self._judged: dict[str, _Requests] = {}
        self._held: deque[_Moment] = deque()
        self._hardware: Hardware | None = None

    def add(self, hardware: Hardware) -> None:
        self._hardware = hardware

    def add_cycle(self, cycle: RecordedCycle) -> None:
        moment = _Moment(cycle.at)
        moment.hardware, self._hardware = self._hardware, None
        nodes = cycle.hardware.nodes
        ids = None if nodes is None else frozenset([node.id for node in nodes])
        for name, stats in cycle.deployments.items():
            self._add(name, stats, cycle, moment, ids)
        self._held.append(moment)

    def ready(self, cycle: RecordedCycle) -> Iterator[Hardware | LoadInterval]:
        """What no later statistics change."""
        oldest = cycle.at - 2.0 * MAX_INTERVAL_POLLS * cycle.poll_interval_s
        while self._held and (not self._held[0].open or self._held[0].at < oldest):
            yield from self._held.popleft().lines()

    def rest(self) -> Iterator[Hardware | LoadInterval]:
        while self._held:
            yield from self._held.popleft().lines()

    def _add(
        self,
        name: str,
        stats: DeploymentStats,
        cycle: RecordedCycle,
        moment: _Moment,
        ml_nodes: frozenset[str] | None,
    ) -> None:
        known, decision = self._known.get(name), cycle.decisions.get(name)
        judged = self._judged.setdefault(name, _Requests())
        judged.add(decision, missed=cycle.missed)
        measured = measure(
            known,
            stats,
            at=cycle.at,
            span_s=cycle.span_s,
            load_window_s=cycle.poll_interval_s,
            max_interval_s=MAX_INTERVAL_POLLS * cycle.poll_interval_s,
            ml_nodes=ml_nodes,
        )
        self._known[name] = DeploymentState(
            seen_at=cycle.at,
            baseline=measured.baseline,
            baseline_at=measured.baseline_at,
            baseline_span_s=measured.baseline_span_s,
            stalled_since=measured.stalled_since,
            disagreement=measured.disagreement,
        )
        sample = measured.sample
        if known is None or sample.interval_s <= 0.0:
            self._settle(name)
            del self._judged[name]
            return
        if measured.baseline_at < cycle.at:  # later statistics are compared with earlier ones
            unknown = load_interval(stats, stats, at=cycle.at, interval_s=0.0)
            moment.open.add(name)
            moment.intervals[name] = _with_decision(
                replace(unknown, interval_s=cycle.at - known.seen_at, nodes=()), sample, decision
            )
            return
        self._cover(name, known.baseline_at)
        del self._judged[name]
        interval = load_interval(
            known.baseline,
            stats,
            at=cycle.at,
            interval_s=sample.interval_s,
            uncertainty_s=sample.uncertainty_s,
        )
        moment.intervals[name] = replace(
            _with_decision(interval, sample, decision),
            requests=judged.requests,
            late_requests=_rounded(judged.late_requests),
        )

    def _cover(self, name: str, since: float) -> None:
        """One interval covers all since an instant."""
        for moment in self._held:
            if name in moment.open:
                moment.open.remove(name)
                if moment.at > since:
                    del moment.intervals[name]

    def _settle(self, name: str) -> None:
        """No interval covers the earlier ones, whose requests are unknown."""
        for moment in self._held:
            moment.open.discard(name)


def _with_decision(
    interval: LoadInterval, sample: Sample, decision: RecordedDecision | None
) -> LoadInterval:
    """With the issues that the daemon has found, and what it decided."""
    return replace(
        interval,
        interval_s=_rounded(interval.interval_s),
        busy_s=_rounded(interval.busy_s),
        issues=tuple([str(issue) for issue in sample.issues]),
        nodes=tuple([replace(node, busy_s=_rounded(node.busy_s)) for node in interval.nodes]),
        desired=None if decision is None else decision.desired,
        outcome="" if decision is None else decision.outcome,
        active=None if decision is None else decision.active,
    )


def _rounded(value: Figure) -> Figure:
    return value if value is None else round(value, _DECIMALS)


def _hardware(at: float, nodes: RecordedNodes) -> Hardware | None:
    if nodes.nodes is None:
        return None
    return Hardware(
        at=at,
        nodes=tuple(
            [
                HardwareNode(id=node.id, processors=node.processors, memory_bytes=node.memory_bytes)
                for node in nodes.nodes
            ]
        ),
        version=nodes.version,
    )
