"""What a record shows of a deployment: service times, nodes, starts of processes and queues."""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.replay.checks import WARM_S, sufficiency
from autoscaler.replay.checks import service_times as service_time_checks
from autoscaler.replay.engine import MINUTE_S, ReplayTask, setting_for
from autoscaler.replay.record import DeploymentRecord, Floats
from autoscaler.replay.service_times import service_times_of
from autoscaler.replay.setting import loading_times_s

MIN_BAND_INTERVALS = 10
"""Timed intervals of a band of load, at least. With fewer, its mean says little."""

MIN_WAITS = 5
"""Intervals with failures in front of a queue that is not full, from which on a
time-out is seen."""

FULL = 0.9
"""Fraction of the capacity from which on a queue may have rejected requests."""


class LoadBand(Struct, frozen=True, kw_only=True):
    """The service time while the load was between two values."""

    low: float  # erlangs
    high: float
    mean_s: float
    requests: int


class NodeSpeed(Struct, frozen=True, kw_only=True):
    """The service time on one node."""

    node: str
    ratio: float  # to the mean of all nodes
    requests: int


class DeploymentFit(Struct, frozen=True, kw_only=True):
    """One deployment."""

    deployment: str
    rule: str
    since: float  # Unix seconds: the beginning and the end of the record
    until: float
    arrivals: NDArray[np.int64]  # of each minute
    scenario: BacktestScenario
    service_time_s: float
    scv: float
    scv_measured: bool
    timed: int  # requests
    bands: tuple[LoadBand, ...]
    nodes: tuple[NodeSpeed, ...]
    loading_s: float | None  # median; None: no process started
    starts: int
    queue_capacity: int | None
    timeout_s: float | None  # as failures in front of queues suggest; None: not visible
    assumptions: tuple[str, ...]  # what the record does not show
    failures: tuple[str, ...]  # assumptions that the record contradicts


def calibration_of(task: ReplayTask) -> DeploymentFit:
    """The fit of one deployment, whose record has timed requests."""
    record = task.record()
    times = service_times_of(record)
    assert times is not None, "a task has service times"
    timeout_s = _timeout_s(record, times.mean_s)
    if timeout_s is not None:
        task = replace(task, options=replace(task.options, timeout_s=timeout_s))
    setting, _ = setting_for(task, record, times)
    loading = loading_times_s(record)
    timed = _timed(record)
    return DeploymentFit(
        deployment=record.deployment,
        rule=task.rule.name,
        since=record.since,
        until=record.until,
        arrivals=_arrivals(record),
        scenario=setting.scenario,
        service_time_s=times.mean_s,
        scv=times.scv,
        scv_measured=times.scv_measured,
        timed=round(float(record.completed[timed].sum())),
        bands=tuple(_bands(record, timed, times.mean_s)),
        nodes=tuple(_node_speeds(record)),
        loading_s=float(np.median(loading)) if loading else None,
        starts=len(loading),
        queue_capacity=record.queue_capacity,
        timeout_s=timeout_s,
        assumptions=setting.assumptions,
        failures=(*sufficiency(record), *service_time_checks(record, times)),
    )


def _arrivals(record: DeploymentRecord) -> NDArray[np.int64]:
    """Of each minute, whole ones, whose sum is that of the record."""
    count = max(1, int(np.ceil((record.until - record.since) / MINUTE_S)))
    edges_s = np.concatenate([[0.0], np.cumsum(record.lengths_s)])
    so_far = np.concatenate([[0.0], np.cumsum(record.arrivals)])
    at_minutes = np.interp(np.arange(count + 1) * MINUTE_S, edges_s, so_far)
    arrivals: NDArray[np.int64] = np.diff(np.round(at_minutes)).astype(np.int64)
    return arrivals


def _timed(record: DeploymentRecord) -> np.ndarray:
    timed: np.ndarray = record.known & (record.completed > 0.0) & (record.busy_s > 0.0)
    return timed


def _bands(record: DeploymentRecord, timed: np.ndarray, mean_s: float) -> Iterator[LoadBand]:
    """Three bands of load with a third of the requests each."""
    load = (record.arrivals * mean_s / record.lengths_s)[timed]
    completed, busy_s = record.completed[timed], record.busy_s[timed]
    order = np.argsort(load, kind="stable")
    so_far = np.cumsum(completed[order])
    ends = np.searchsorted(so_far, so_far[-1] * np.array([1 / 3, 2 / 3, 1.0])) + 1
    begin = 0
    for end in ends.tolist():
        part = order[begin : min(end, len(order))]
        if len(part) >= MIN_BAND_INTERVALS:
            yield LoadBand(
                low=float(load[part[0]]),
                high=float(load[part[-1]]),
                mean_s=float(busy_s[part].sum() / completed[part].sum()),
                requests=round(float(completed[part].sum())),
            )
        begin = min(end, len(order))


def _node_speeds(record: DeploymentRecord) -> Iterator[NodeSpeed]:
    """The nodes, without the first minute of each process."""
    totals: dict[str, Floats] = {}
    for place, each in enumerate(record.intervals):
        if each is None or not record.known[place]:
            continue
        for node in each.nodes:
            began = each.at - each.interval_s
            young = node.started_at is not None and began < node.started_at + WARM_S
            if node.completed is None or node.busy_s is None or young:
                continue
            count = max(0, node.completed - (node.cache_hits or 0))
            totals.setdefault(node.node, np.zeros(2))
            totals[node.node] += (count, node.busy_s)
    known = {name: total for name, total in totals.items() if total[0] > 0.0 and total[1] > 0.0}
    if known:
        requests, busy_s = sum(known.values(), np.zeros(2)).tolist()
        for name, (count, busy) in sorted(known.items()):
            ratio = float(busy / count / (busy_s / requests))
            yield NodeSpeed(node=name, ratio=ratio, requests=round(float(count)))


def _timeout_s(record: DeploymentRecord, mean_s: float) -> float | None:
    """The queue wait at which requests failed, though no queue was full; None: not visible."""
    nodes = max((len(each.nodes) for each in record.intervals if each is not None), default=0)
    capacity = FULL * (record.queue_capacity or 0) * max(1, nodes)
    with np.errstate(invalid="ignore", divide="ignore"):
        waits_s = (record.in_flight - record.running) * mean_s / record.running
        seen = (
            record.known
            & (record.failed > 0.0)
            & (record.in_flight < capacity)
            & np.isfinite(waits_s)
            & (waits_s > 1.0)
        )
    return float(np.median(waits_s[seen])) if int(seen.sum()) >= MIN_WAITS else None
