"""The scenario of a record: the nodes, times and limits that its simulation has.

Whatever the record does not show is assumed, and each assumption is a sentence of the results.
"""

import math
from itertools import pairwise

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.world.scenario import BacktestScenario, Scale
from autoscaler.replay.dispersion import MAX_INTERVAL_S
from autoscaler.replay.record import DeploymentRecord
from autoscaler.replay.service_times import MeasuredServiceTimes
from autoscaler.simulation.versions import behaviour_of

LOAD_RANGE_S = (20.0, 120.0)
"""Seconds until a process on another node is ready, where the record shows no such start. From a
small model on a node that has it to a large one that is loaded from an index."""

MAX_RETRY_SHARE = 0.6
"""The largest fraction of failed requests that are tried again."""

CONTROL_S = 0.2
"""Seconds until a node with the model uses a new count. It is too short to be measured."""

DEFAULT_QUEUE_CAPACITY = 1024
"""The default of Elasticsearch."""

DEFAULT_TIMEOUT_S = 10.0
"""The default of Elasticsearch for a request."""

DEFAULT_VERSION = "9.3"


class ReplaySetting(Struct, frozen=True, kw_only=True):
    """A scenario, and what was assumed for it."""

    scenario: BacktestScenario
    load_range_s: tuple[float, float]  # of the time until a process on another node is ready
    assumptions: tuple[str, ...]

    def of_draw(self, load_quantile: float, retry_quantile: float) -> BacktestScenario:
        """The scenario with what is unknown at these quantiles of what is assumed."""
        shortest_s, longest_s = self.load_range_s
        return replace(
            self.scenario,
            load_s=shortest_s * (longest_s / shortest_s) ** load_quantile,
            retry_share=MAX_RETRY_SHARE * retry_quantile,
        )


def setting_of(
    record: DeploymentRecord,
    service_times: MeasuredServiceTimes,
    *,
    bounds: tuple[int, int],
    slo: tuple[float, float],
    poll_interval_s: float,
    timeout_s: float | None,
) -> ReplaySetting:
    """The scenario.

    Args:
        bounds: the minimum and the maximum of the policies.
        slo: the max queue wait in seconds and the target.
    """
    assumptions = []
    hardware = record.hardware[-1] if record.hardware else None
    threads = record.threads or 1
    if record.threads is None:
        assumptions.append("the threads of an allocation are unknown: 1 is assumed")
    largest = max(int(record.requested.max()), bounds[1])
    sizes = [] if hardware is None else [node.processors for node in hardware.nodes]
    known_sizes = [size for size in sizes if size is not None]
    if not sizes or len(known_sizes) < len(sizes):
        nodes, processors = max(1, len(sizes) or _nodes_seen(record)), 0
        processors = math.ceil(largest / nodes)
        assumptions.append(
            f"the processors of the nodes are unknown: {processors} on each of {nodes} are assumed"
        )
    else:
        nodes = len(known_sizes)
        processors = max(1, int(sorted(known_sizes)[nodes // 2] // threads))
        if max(known_sizes) != min(known_sizes):
            assumptions.append(
                "the nodes have different numbers of processors: the median is assumed for all"
            )
        needed = math.ceil(int(record.requested.max()) / nodes)
        processors = max(processors, needed)
    load_s = loading_time_s(record)
    load_range_s = LOAD_RANGE_S if load_s is None else (load_s, load_s)
    if load_s is None:
        assumptions.append(
            "no process began on another node in the record: its start is assumed to take "
            f"{LOAD_RANGE_S[0]:g} to {LOAD_RANGE_S[1]:g} s"
        )
    assumptions.append(
        "whether callers try again after a failure is unknown: none to "
        f"{MAX_RETRY_SHARE:.0%} of them are assumed to"
    )
    if nodes > 1 and _nodes_seen(record) == 1:
        assumptions.append(
            "only one node served the deployment: the others are assumed to be as fast"
        )
    if record.queue_capacity is None:
        assumptions.append(
            f"the capacity of the queue is unknown: {DEFAULT_QUEUE_CAPACITY} is assumed"
        )
    if timeout_s is None:
        assumptions.append(
            f"the time-out of requests is unknown: {DEFAULT_TIMEOUT_S:g} s is assumed"
        )
    if not service_times.scv_measured:
        assumptions.append(
            f"how service times vary is unknown: an SCV of {service_times.scv:g} is assumed"
        )
    if np.isnan(record.in_flight).all():
        assumptions.append(
            "the in-flight requests are unknown, and with them the queues of what really ran: its "
            "late requests are those of the simulation"
        )
    if float(np.median(record.lengths_s)) > MAX_INTERVAL_S:
        assumptions.append("how requests arrive within an interval is unknown: at random")
    version, version_assumption = _version(hardware.version if hardware else "")
    assumptions.extend(version_assumption)
    scenario = BacktestScenario(
        name="record",
        version=version,
        service_time_s=service_times.mean_s,
        service_cv=math.sqrt(service_times.scv),
        load_s=math.sqrt(load_range_s[0] * load_range_s[1]),
        control_s=CONTROL_S,
        warm_up_s=0.0,
        warm_up_factor=1.0,
        queue_capacity=record.queue_capacity or DEFAULT_QUEUE_CAPACITY,
        min_allocations=bounds[0],
        max_allocations=bounds[1],
        nodes=nodes,
        processors=processors,
        physical_cores=processors,
        zones=1,
        timeout_s=timeout_s or DEFAULT_TIMEOUT_S,
        retry_share=0.0,
        retry_after_s=1.0,
        slo_wait_s=slo[0],
        slo_target=slo[1],
        poll_interval_s=poll_interval_s,
        scale=Scale(factor=1.0),
        sizes=False,
        hours=None,
        begins_at=record.since,
        start_h=None,
    )
    return ReplaySetting(
        scenario=scenario, load_range_s=load_range_s, assumptions=tuple(assumptions)
    )


def loading_time_s(record: DeploymentRecord) -> float | None:
    """The median time from a request for allocations to a process on another node.

    From the poll after which the number was requested to the start of the process, of which the
    record has the instant. None: there was no such start.
    """
    times = loading_times_s(record)
    return float(np.median(times)) if times else None


def loading_times_s(record: DeploymentRecord) -> list[float]:
    """The times of all starts of processes within the record."""
    times = []
    seen: set[tuple[str, float]] = set()
    increased_at: float | None = None
    for (at, _), (before, after) in zip(
        pairwise(record.edges[1:].tolist()), pairwise(range(len(record.intervals))), strict=True
    ):
        if record.requested[after] > record.requested[before]:
            increased_at = at
        each, first = record.intervals[after], not seen
        for node in each.nodes if each is not None else ():
            if node.started_at is None or (node.node, node.started_at) in seen:
                continue
            seen.add((node.node, node.started_at))
            if not first and increased_at is not None and node.started_at > increased_at:
                times.append(node.started_at - increased_at)
    return times


def _nodes_seen(record: DeploymentRecord) -> int:
    return len({node.node for each in record.intervals if each is not None for node in each.nodes})


def _version(text: str) -> tuple[str, tuple[str, ...]]:
    try:
        if text:
            return behaviour_of(text).number, ()
    except ValueError:
        pass
    assumed = behaviour_of(DEFAULT_VERSION).number
    return assumed, (f"the version {text or 'of Elasticsearch'} is unknown: {assumed} is assumed",)
