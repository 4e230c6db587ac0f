"""What really ran, simulated: the recorded allocations, set as they were requested.

It is polled at the ends of the recorded intervals, so that its statistics can be compared with the
recorded ones.
"""

import numpy as np
from msgspec import Struct

from autoscaler.backtest.drivers import ROUNDING_S
from autoscaler.backtest.world.plant import Plant
from autoscaler.core.slo.queueing import violation_probability
from autoscaler.load_intervals import load_interval
from autoscaler.replay.changes import change_instants
from autoscaler.replay.record import DeploymentRecord, Floats
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.wire.intervals import LoadInterval


class IntervalStatistics(Struct, frozen=True, kw_only=True, eq=False):
    """IntervalStatistics at the ends of intervals; nan: unknown."""

    queue_late: Floats  # requests that became late in a queue, as the in-flight requests suggest
    failed: Floats
    in_flight: Floats
    running: Floats


class QueueGauge(Struct, frozen=True, kw_only=True):
    """How many requests become late, from the in-flight requests of a poll.

    While a queue stands on a node, each allocation takes a request per service time, and that
    request has waited. As many requests find a queue of some length as leave one of that length
    behind (level crossing), so late requests follow from the queue alone, even in bursts. This is
    how the daemon estimates them.
    """

    service_time_s: float
    scv: float
    max_wait_s: float
    by_node: bool  # whether the record has the in-flight requests of each node

    def late_per_s(self, nodes: list[tuple[int, int]]) -> float:
        """
        Args:
            nodes: the in-flight requests and the allocations of each node.
        """
        if not self.by_node:
            nodes = [(sum(each for each, _ in nodes), sum(each for _, each in nodes))]
        return sum(
            violation_probability(
                in_flight - 1, allocations, self.max_wait_s / self.service_time_s, self.scv
            )
            * allocations
            / self.service_time_s
            for in_flight, allocations in nodes
            if 0 < allocations < in_flight
        )


def has_nodes(record: DeploymentRecord) -> bool:
    """Whether the nodes have in-flight requests, wherever the deployment has."""
    return all(
        each is None or each.in_flight is None or bool(_of_nodes(each)) for each in record.intervals
    )


def recorded_statistics(record: DeploymentRecord, gauge: QueueGauge) -> IntervalStatistics:
    """The statistics of what really ran."""
    late_per_s = []
    for place, each in enumerate(record.intervals):
        nodes = [] if each is None else _of_nodes(each)
        if gauge.by_node and nodes:
            late_per_s.append(gauge.late_per_s(nodes))
        elif each is None or each.in_flight is None:
            late_per_s.append(np.nan)
        else:
            running = each.running if each.running is not None else record.requested[place]
            late_per_s.append(gauge.late_per_s([(each.in_flight, int(running))]))
    return IntervalStatistics(
        queue_late=np.array(late_per_s) * record.lengths_s,
        failed=record.failed,
        in_flight=record.in_flight,
        running=record.running,
    )


def _of_nodes(each: LoadInterval) -> list[tuple[int, int]]:
    return [
        (node.in_flight, node.allocations)
        for node in each.nodes
        if node.in_flight is not None and node.allocations is not None
    ]


class RecordedRun:
    """Sets the recorded allocations, and keeps the statistics at the ends of intervals."""

    def __init__(self, record: DeploymentRecord, gauge: QueueGauge, phase: float) -> None:
        """`phase`: see `change_instants`."""
        self._record = record
        self._gauge = gauge
        self._changes = change_instants(record, phase)
        count = len(record.intervals)
        self._late_per_s, self._failed = np.zeros(count), np.zeros(count)
        self._in_flight, self._running = np.zeros(count), np.zeros(count)

    def run(self, plant: Plant) -> None:
        """From the beginning of the record to its end."""
        before, began = plant.statistics(), plant.now
        last = len(self._record.intervals) - 1
        for place, end in enumerate(self._record.edges[1:].tolist()):
            changes_at = float(self._changes[place])
            if not np.isnan(changes_at):
                plant.advance(max(plant.now, changes_at))
            self._set(plant, int(self._record.requested[place]))
            # The plant ends at the end of the load.
            plant.advance(end if place < last else end - ROUNDING_S)
            stats, now = plant.statistics(), plant.now
            found = load_interval(before, stats, at=now, interval_s=now - began)
            before, began = stats, now
            nodes = [(node.pending, node.allocations or 0) for node in stats.nodes]
            self._late_per_s[place] = self._gauge.late_per_s(nodes)
            # As the statistics count them: a time-out when a worker finds it, not when it happens.
            self._failed[place] = found.failed or 0
            self._in_flight[place] = sum(pending for pending, _ in nodes)
            self._running[place] = plant.running
        plant.finish()

    @property
    def statistics(self) -> IntervalStatistics:
        return IntervalStatistics(
            queue_late=self._late_per_s * self._record.lengths_s,
            failed=self._failed,
            in_flight=self._in_flight,
            running=self._running,
        )

    def _set(self, plant: Plant, allocations: int) -> None:
        """A refusal is tried again with the next interval."""
        try:
            plant.set_allocations(allocations)
        except SimulatedApiError:
            return
