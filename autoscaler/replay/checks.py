"""Which assumptions of the simulation the record contradicts.

Each check has a sentence. All of them are two-fold: what the record shows must be more than chance
explains, and large enough to matter, because a long record shows any small difference.
"""

import math
from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from autoscaler.core.units import duration_text
from autoscaler.replay.record import HOUR_S, DeploymentRecord, Floats
from autoscaler.replay.service_times import MAX_CENSORED_FRACTION, MeasuredServiceTimes
from autoscaler.wire.intervals import LoadInterval, NodeInterval

MIN_HOURS = 2.0
"""The shortest record. Fewer than two hours have no variation from hour to hour."""

ROUNDING_H = 0.05
"""Hours that may be missing: a record of two hours begins and ends with a poll."""

MIN_KNOWN_FRACTION = 0.8
"""Fraction of the time in which the arrivals must be known. A fifth of gaps hides hours."""

MIN_GAP_FRACTION = 0.005
"""Fraction of unknown time from which on it is mentioned."""

MIN_REQUESTS = 200

SIGNIFICANT = 4.0
"""Standard errors from which on a difference is no chance: 1 of 15,000 normal ones, and several are
tried in each record."""

SIGNIFICANTLY_LONGER = 3.0
"""The same for service times that are longer under load. 3, because what makes them seem different
in short intervals makes them seem shorter: the slow requests of a burst complete after it."""

MIN_EFFECT = 0.03
"""Ratio of service times under different loads, minus 1, from which on a difference matters."""

MIN_NODE_EFFECT = 0.08
"""The same for the ratio of a node to the others."""

MIN_NODE_BLOCKS = 10
"""Blocks with timed requests of a node from which on it is compared with the others."""

WARM_S = 60.0
"""Seconds after its start for which the service times of a process are not compared."""

BLOCK_S = 10.0
"""Seconds whose requests have one mean. 10 s, the usual poll interval: in longer ones the load
varies less."""

MIN_TIMED = 30
"""Blocks with timed requests from which on service times are compared."""


def gaps(record: DeploymentRecord) -> Iterator[str]:
    """That not all of the record is judged."""
    unknown = 1.0 - record.known_fraction
    if unknown >= MIN_GAP_FRACTION:
        yield (
            f"the load is unknown for {unknown:.0%} of the time, which is left out of the figures: "
            "in a month, it is assumed to be like the rest"
        )


def sufficiency(record: DeploymentRecord) -> Iterator[str]:
    """Why the record does not suffice."""
    length_s = record.until - record.since
    if length_s < (MIN_HOURS - ROUNDING_H) * HOUR_S:
        yield (
            f"the record is {duration_text(length_s)} long, and at least {MIN_HOURS:g} h are "
            "required: record for longer"
        )
    if record.known_fraction < MIN_KNOWN_FRACTION:
        yield (
            f"the load is unknown for {1.0 - record.known_fraction:.0%} of the time, more than "
            f"{1.0 - MIN_KNOWN_FRACTION:.0%}: choose a time without gaps"
        )
    requests = float(record.arrivals[record.known].sum())
    if requests < MIN_REQUESTS:
        yield (
            f"the record has {requests:,.0f} requests, and at least {MIN_REQUESTS} are required: "
            "record for longer"
        )
    if not record.requested.all():
        yield "the deployment was scaled to zero, which replays do not simulate"


class _Timed(Struct, frozen=True, kw_only=True, eq=False):
    """Means of service times, of one deployment or node in one block of `BLOCK_S` each."""

    node: Floats  # a number for each node; 0 if they are unknown
    mean_s: Floats
    requests: Floats
    busy_allocations: Floats  # erlangs, as the arrivals suggest
    allocations: Floats


def service_times(record: DeploymentRecord, known: MeasuredServiceTimes) -> Iterator[str]:
    """Whether service times depend on the load, on the allocations, or on the node."""
    timed, names = _timed(record, known.mean_s)
    if len(timed.mean_s) < MIN_TIMED:
        return
    within = _without_nodes(timed)
    for quantity, values in (
        ("requests in service", timed.busy_allocations),
        ("allocations", timed.allocations),
    ):
        ratio = _significant_ratio(timed, within, values)
        if ratio is not None:
            yield (
                f"service times depend on the load: with more {quantity} on a node they are "
                f"{abs(ratio - 1.0):.0%} {'longer' if ratio > 1.0 else 'shorter'}, and the "
                "simulation has the same ones under any load"
            )
    yield from _slow_nodes(timed, names, known.scv)


def _significant_ratio(timed: _Timed, means_s: Floats, values: Floats) -> float | None:
    """The service time at the 90th percentile of these values over that at the 10th."""
    weights = timed.requests
    total = weights.sum()
    centre = (weights * values).sum() / total
    off = values - centre
    spread = (weights * off**2).sum()
    if spread <= 1e-9 * total:
        return None
    mean_s = (weights * means_s).sum() / total
    slope = (weights * off * means_s).sum() / spread
    rest = means_s - mean_s - slope * off
    error = math.sqrt(float((weights**2 * off**2 * rest**2).sum())) / spread
    order = np.argsort(values)
    so_far = np.cumsum(weights[order]) / total
    low, high = (float(values[order][np.searchsorted(so_far, each)]) for each in (0.1, 0.9))
    ratio = (mean_s + slope * (high - centre)) / max(mean_s + slope * (low - centre), 1e-9)
    errors = SIGNIFICANTLY_LONGER if slope > 0.0 else SIGNIFICANT
    if abs(slope) < errors * error or abs(math.log(max(ratio, 1e-3))) < math.log1p(MIN_EFFECT):
        return None
    return float(ratio)


def _slow_nodes(timed: _Timed, names: list[str], scv: float) -> Iterator[str]:
    """Each node against all others."""
    for number, name in enumerate(names):
        of_node = timed.node == number
        if min(np.count_nonzero(of_node), np.count_nonzero(~of_node)) < MIN_NODE_BLOCKS:
            continue
        here_s, here_error = _mean_and_error(timed, of_node, scv)
        others_s, others_error = _mean_and_error(timed, ~of_node, scv)
        ratio = here_s / others_s
        if ratio >= 1.0 + MIN_NODE_EFFECT and here_s - others_s >= SIGNIFICANT * math.hypot(
            here_error, others_error
        ):
            yield (
                f"node {name} is slow: its service times are {ratio - 1.0:.0%} longer than those "
                "of the other nodes, and the simulation has the same ones on all nodes"
            )


def _mean_and_error(timed: _Timed, chosen: np.ndarray, scv: float) -> tuple[float, float]:
    """The error is at least that of as many independent requests: few blocks may be alike."""
    weights, means_s = timed.requests[chosen], timed.mean_s[chosen]
    total = weights.sum()
    mean_s = float((weights * means_s).sum() / total)
    between = math.sqrt(float((weights**2 * (means_s - mean_s) ** 2).sum())) / total
    return mean_s, max(float(between), mean_s * math.sqrt(scv / total))


def _without_nodes(timed: _Timed) -> Floats:
    """The means without the differences between the nodes, which have a check of their own."""
    count = int(timed.node.max()) + 1
    node = timed.node.astype(np.int64)
    requests = np.bincount(node, timed.requests, count)
    totals_s = np.bincount(node, timed.requests * timed.mean_s, count)
    of_nodes = totals_s / np.maximum(requests, 1e-9)
    overall = float(totals_s.sum() / requests.sum())
    within: Floats = timed.mean_s - of_nodes[node] + overall
    return within


def _timed(record: DeploymentRecord, mean_s: float) -> tuple[_Timed, list[str]]:
    """The timed blocks of each node, or of the deployment where the nodes are unknown."""
    names: dict[str, int] = {}
    blocks: dict[tuple[int, int], list[float]] = {}
    lengths_s = record.lengths_s.tolist()
    has_nodes = any(each is not None and each.nodes for each in record.intervals)
    for place, each in enumerate(record.intervals):
        if each is None or not record.known[place]:
            continue
        block = int((float(record.edges[place]) - record.since) / BLOCK_S)
        for name, part in _parts(each, has_nodes):
            if not part.completed or not part.busy_s or not part.allocations:
                continue
            completed = part.completed - (part.cache_hits or 0)
            failed = part.failed or 0
            if completed <= 0 or failed > MAX_CENSORED_FRACTION * (completed + failed):
                continue
            # In flight at the beginning, or arrived since. This does not depend on how long the
            # requests took, as the time that they took together does.
            offered = completed + failed + (part.in_flight or 0)
            busy = min(part.allocations, offered * mean_s / lengths_s[place])
            total = blocks.setdefault((names.setdefault(name, len(names)), block), [0.0] * 5)
            for column, value in enumerate((completed, part.busy_s, busy, part.allocations, 1.0)):
                total[column] += value
    requests, busy_s, busy_sum, allocations, count = (
        np.array(list(blocks.values()), dtype=np.float64).reshape(-1, 5).T
    )
    timed = _Timed(
        node=np.array([node for node, _ in blocks], dtype=np.float64),
        mean_s=busy_s / requests,
        requests=requests,
        busy_allocations=busy_sum / count,
        allocations=allocations / count,
    )
    return timed, list(names)


def _parts(each: LoadInterval, has_nodes: bool) -> Iterator[tuple[str, NodeInterval]]:
    """The nodes whose processes are warm, or the whole deployment."""
    begin = each.at - each.interval_s
    for node in each.nodes:
        if node.started_at is None or begin >= node.started_at + WARM_S:
            yield node.node, node
    if not has_nodes:
        yield (
            "",
            NodeInterval(
                node="",
                allocations=each.running if each.running is not None else each.requested,
                completed=each.completed,
                cache_hits=each.cache_hits,
                failed=each.failed,
                busy_s=each.busy_s,
                in_flight=each.in_flight,
            ),
        )
