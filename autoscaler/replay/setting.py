"""The scenario of a record: the nodes, times and limits that its simulation has.

Whatever the record does not show is assumed, and each assumption is a sentence of the results.
"""

import math
from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.world.scenario import BacktestScenario, Scale
from autoscaler.replay.changes import change_instants
from autoscaler.replay.dispersion import MAX_INTERVAL_S
from autoscaler.replay.first_attempts import first_attempts
from autoscaler.replay.record import DeploymentRecord, Floats
from autoscaler.replay.service_times import MeasuredServiceTimes
from autoscaler.simulation.versions import behaviour_of

LOAD_RANGE_S = (20.0, 120.0)
"""Seconds until a process on another node is ready, where the record shows no such start. From a
small model on a node that has it to a large one that is loaded from an index."""

MAX_RETRY_SHARE = 1.0
"""The largest fraction of failed requests that are tried again: all of them, since nothing in the
statistics shows it."""

MIN_FAILED_FRACTION = 0.005
"""Fraction of failed requests from which on it is said what they make uncertain."""

MAX_FIRST_LOAD_S = 600.0
"""Seconds after the creation of a deployment up to which its earliest process is the first one. A
later one was started again, or after an error."""

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
            "no process began on another node in the record, and when the first one did is not "
            "known: a start is assumed to take "
            f"{LOAD_RANGE_S[0]:g} to {LOAD_RANGE_S[1]:g} s"
        )
    assumptions.append(_retries(record))
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


def _retries(record: DeploymentRecord) -> str:
    """Requests that arrived as second attempts are no load of their own."""
    sentence = (
        "whether callers try again after a failure is unknown: none to "
        f"{MAX_RETRY_SHARE:.0%} of them are assumed to, once"
    )
    attempts = float(record.arrivals[record.known].sum())
    failed = float(np.nansum(record.failed[record.known])) / max(attempts, 1.0)
    if failed < MIN_FAILED_FRACTION:
        return sentence
    fewest = first_attempts(record, MAX_RETRY_SHARE)[record.known].sum() / attempts
    return (
        f"{sentence}. {failed:.0%} of the recorded requests failed, so that {fewest:.0%} to "
        "100% of them are taken to be first attempts: the intervals are as wide as that makes them"
    )


def loading_time_s(record: DeploymentRecord) -> float | None:
    """The median time from a request for allocations to a process on a node without one.

    From the instant at which the number was requested, or the deployment was created, to the start
    of the process, of which the record has the instant. None: there was no such start.
    """
    times = loading_times_s(record)
    return float(np.median(times)) if times else None


def loading_times_s(record: DeploymentRecord) -> list[float]:
    """The times of the first start, and of all starts of processes within the record."""
    times = list(_first_loads_s(record))
    seen: set[tuple[str, float]] = set()
    increases = _increases(record)
    for each in record.intervals:
        first = not seen
        for node in each.nodes if each is not None else ():
            if node.started_at is None or (node.node, node.started_at) in seen:
                continue
            seen.add((node.node, node.started_at))
            before = increases[increases < node.started_at]
            # With two increases close to each other, it is not known which one it followed.
            if not first and len(before) and (np.diff(before[-2:]) > LOAD_RANGE_S[1]).all():
                times.append(float(node.started_at - before[-1]))
    return times


def _increases(record: DeploymentRecord) -> Floats:
    """When more allocations were requested."""
    increased = np.diff(record.requested, prepend=record.requested[:1]) > 0
    instants: Floats = change_instants(record)[increased]
    return instants


def _first_loads_s(record: DeploymentRecord) -> Iterator[float]:
    """From the creation of the deployment to its first process.

    `_stats` has both instants as long as the deployment exists, so that a record shows the loading
    time although all processes are older than it.
    """
    first: dict[float, float] = {}
    for each in record.intervals:
        if each is None or each.created_at is None:
            continue
        for node in each.nodes:
            if node.started_at is not None:
                so_far = first.get(each.created_at, node.started_at)
                first[each.created_at] = min(so_far, node.started_at)
    for created_at, started_at in first.items():
        if 0.0 < started_at - created_at <= MAX_FIRST_LOAD_S:
            yield started_at - created_at


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
