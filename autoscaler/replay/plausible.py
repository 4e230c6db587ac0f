"""Intervals and hardware without the figures that no cluster has: they are unknown.

Files of intervals may be made by anyone, and a damaged source may report anything.
"""

from msgspec.structs import replace

from autoscaler.wire.intervals import (
    MAX_INTERVAL_S,
    Hardware,
    HardwareNode,
    LoadInterval,
    NodeInterval,
)

LAST_INSTANT = 1e11
"""Unix seconds of the year 5138. Later times count milliseconds."""

MAX_COUNT = 2**53
"""Requests; whole numbers are exact until then."""

MAX_BUSY_S = 1e12
"""Allocation-seconds: those of a hundred thousand allocations in four months."""

MAX_PROCESSORS = 4_096.0
"""Processors of a node. The largest machines have fewer, and a simulation has a place for each."""

_LOWEST_AND_HIGHEST: dict[str, tuple[float, float]] = {
    "arrivals": (0, MAX_COUNT),
    "completed": (0, MAX_COUNT),
    "cache_hits": (0, MAX_COUNT),
    "failed": (0, MAX_COUNT),
    "busy_s": (0.0, MAX_BUSY_S),
    "in_flight": (0, MAX_COUNT),
    "requested": (0, 100_000),
    "running": (0, 100_000),
    "allocations": (0, 100_000),
    "threads": (1, 1024),
    # Elasticsearch refuses more, "Start trained model deployment".
    "queue_capacity": (1, 1_000_000),
}
"""The range of each figure, its ends included."""


def plausible(interval: LoadInterval) -> LoadInterval | None:
    """The interval with odd figures as unknown ones, itself if it has none; None: its time is
    impossible, or it is too long."""
    begin = interval.at - interval.interval_s
    if not (
        0.0 < interval.interval_s <= MAX_INTERVAL_S and begin >= 0.0 and interval.at <= LAST_INSTANT
    ):
        return None
    odd: dict[str, object] = dict.fromkeys(_odd(interval))
    if any(_odd(node) for node in interval.nodes):
        odd["nodes"] = tuple(
            [replace(node, **dict.fromkeys(_odd(node))) for node in interval.nodes]
        )
    return replace(interval, **odd) if odd else interval


def plausible_hardware(hardware: Hardware) -> Hardware:
    """Each node once, and odd numbers of processors as unknown ones."""
    nodes = {node.id: node for node in hardware.nodes}
    return replace(hardware, nodes=tuple([_plausible_node(node) for node in nodes.values()]))


def _plausible_node(node: HardwareNode) -> HardwareNode:
    if node.processors is None or 0.0 < node.processors <= MAX_PROCESSORS:
        return node
    return replace(node, processors=None)


def _odd(figures: LoadInterval | NodeInterval) -> list[str]:
    """The names of the figures that are out of their range."""
    found = []
    for name, (lowest, highest) in _LOWEST_AND_HIGHEST.items():
        value = getattr(figures, name, None)
        if value is not None and not lowest <= value <= highest:
            found.append(name)
    return found
