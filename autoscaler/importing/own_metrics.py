"""This program's metrics -> intervals of the load of each deployment.

Counters are differenced between two observations of the daemon, node by node and by the process
that counts, as the daemon itself does. They come from the cluster, so it makes no difference which
instance of the daemon has read them.
"""

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from autoscaler.core.flow.sampling import find_issues
from autoscaler.core.values import DataIssue
from autoscaler.importing.observations import (
    DeploymentReading,
    deployment_reading,
    deployments_of,
    hardware,
)
from autoscaler.importing.readings import Reader, Readings, ensure_one_cluster
from autoscaler.importing.totals import TotalsMemory, totals_interval
from autoscaler.load_intervals import load_interval
from autoscaler.wire.intervals import Hardware, LoadInterval

MIN_INTERVAL_S = 0.5
"""Seconds by which a reading must be later than the one before. The instants of observations are
computed from two metrics that are read with a precision of milliseconds."""

MAX_JOINED_S = 300.0
"""Seconds for which readings are left out while the statistics of a node are missing: the next
complete one is compared with the last complete one, so that no request is lost. 5 min, after which
a node is gone rather than slow."""

MIN_GAP_S = 180.0
"""Seconds without a reading that are a gap, or three steps if that is longer: it is known how many
requests there were, and not when."""

_LATE_READING_S = 400.0
"""Seconds by which an observation may be earlier than its reading: the daemon exports one for
300 s, and some time passes until it is read."""


class _Followed(Struct):
    """What is remembered of one deployment."""

    reader: Reader
    reading: DeploymentReading
    totals: TotalsMemory = field(default_factory=TotalsMemory)


class OwnMetrics:
    """Makes intervals, one part of the period after the other.

    Attributes:
        estimated: deployments whose metrics were not exported by node.
    """

    def __init__(self, step_s: float) -> None:
        self._gap_s = max(MIN_GAP_S, 3.0 * step_s)
        self._followed: dict[str, _Followed] = {}
        self._readers: set[Reader] = set()
        self._hardware: Hardware | None = None
        self._held: list[tuple[float, int, LoadInterval | Hardware]] = []
        self._order = 0
        self.estimated: set[str] = set()

    def lines(
        self, readings: Mapping[Reader, Readings], until: float
    ) -> Iterator[LoadInterval | Hardware]:
        """The lines of a part of the period, and those that were held back, by their instants.

        Args:
            until: the end of the part. Later readings may be of earlier observations.

        Raises:
            UserError: these readings, or those of an earlier part, are of another cluster.
        """
        self._readers.update(readings)
        ensure_one_cluster(self._readers)
        self._take_hardware(readings)
        by_deployment: dict[str, list[Iterator[tuple[float, Reader, DeploymentReading]]]] = {}
        for reader, found in sorted(readings.items()):
            for id_, nodes in deployments_of(found).items():
                by_deployment.setdefault(id_, []).append(
                    iter(
                        [
                            (reading.at, reader, reading)
                            for instant in sorted(found.observed_at)
                            if (reading := deployment_reading(found, id_, nodes, instant))
                        ]
                    )
                )
        for each in by_deployment.values():
            for _, reader, reading in heapq.merge(*each, key=lambda entry: entry[0]):
                self._follow(reader, reading)
        return self._released(until - _LATE_READING_S)

    def rest(self) -> Iterator[LoadInterval | Hardware]:
        """The lines that are still held back, at the end of the period."""
        return self._released(float("inf"))

    def _released(self, before: float) -> Iterator[LoadInterval | Hardware]:
        self._held.sort(key=lambda held: held[:2])
        count = sum(1 for at, _, _ in self._held if at < before)
        released, self._held = self._held[:count], self._held[count:]
        return iter([line for _, _, line in released])

    def _hold(self, line: LoadInterval | Hardware) -> None:
        self._order += 1
        self._held.append((line.at, self._order, line))

    def _take_hardware(self, readings: Mapping[Reader, Readings]) -> None:
        found: Iterable[Hardware] = heapq.merge(
            *(hardware(each) for each in readings.values()), key=lambda line: line.at
        )
        for line in found:
            before = self._hardware
            if before is None or (before.nodes, before.version) != (line.nodes, line.version):
                self._hardware = line
                self._hold(line)

    def _follow(self, reader: Reader, reading: DeploymentReading) -> None:
        id_ = reading.stats.deployment_id
        followed = self._followed.get(id_)
        if followed is None:
            self._followed[id_] = _Followed(reader, reading)
            return
        before = followed.reading
        elapsed_s = reading.at - before.at
        if elapsed_s < MIN_INTERVAL_S:
            return  # no observation since
        if reader != followed.reader and elapsed_s < self._gap_s:
            return  # the one that is followed still exports
        if elapsed_s < MAX_JOINED_S and _is_incomplete(reading):
            return
        self._hold(self._interval(followed, reader, reading))
        followed.reader, followed.reading = reader, reading

    def _interval(
        self, followed: _Followed, reader: Reader, reading: DeploymentReading
    ) -> LoadInterval:
        before = followed.reading
        if before.by_node and reading.by_node:
            found = load_interval(
                before.stats, reading.stats, at=reading.at, interval_s=reading.at - before.at
            )
            found = _without(found, before.missing | reading.missing)
        else:
            found = totals_interval(before, reading, followed.totals)
            self.estimated.add(reading.stats.deployment_id)
        issues = found.issues
        if found.interval_s > self._gap_s:
            issues = (*issues, str(DataIssue.OBSERVATION_GAP))
        same = reader == followed.reader
        desired = reading.figures.get("desired")
        requests = _gained(before, reading, "slo_requests") if same else None
        late = _gained(before, reading, "slo_late_requests") if same else None
        return replace(
            found,
            issues=issues,
            desired=None if desired is None else round(desired),
            outcome=reading.outcome if before.at < reading.outcome_at <= reading.at else "",
            requests=None if requests is None or late is None else round(requests),
            late_requests=None if requests is None else late,
        )


def _without(found: LoadInterval, missing: Collection[str]) -> LoadInterval:
    """The interval, in which what the source does not have is unknown."""
    if not missing:
        return found
    unknown = dict.fromkeys(missing)
    nodes = tuple([replace(node, **unknown) for node in found.nodes])
    return replace(found, nodes=nodes, **unknown)


def _is_incomplete(reading: DeploymentReading) -> bool:
    if not reading.by_node:
        return reading.incomplete
    return DataIssue.INCOMPLETE in find_issues(reading.stats)


def _gained(before: DeploymentReading, after: DeploymentReading, name: str) -> float | None:
    """What was added to a count of the daemon; None if it began at 0 since, or is unknown."""
    earlier, later = before.figures.get(name), after.figures.get(name)
    if earlier is None or later is None or later < earlier:
        return None
    return later - earlier
