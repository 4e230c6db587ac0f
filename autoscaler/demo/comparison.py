"""The same requests with other ways of scaling, for comparison."""

import asyncio
from collections.abc import Iterable

from msgspec import Struct

from autoscaler.simulation.cluster import SimulatedCluster
from autoscaler.simulation.emulator.building import build_emulation
from autoscaler.simulation.scenario import ClusterScenario

MAX_QUEUE_WAIT_S = 0.5
"""Seconds of queue wait beyond which the demo counts a request as late."""

_SLICE_S = 10.0
"""Seconds by which a replay advances at a time, so that it can be interrupted in between."""


class Result(Struct, frozen=True, kw_only=True):
    """The allocation hours and the late requests of one way of scaling."""

    label: str
    allocation_hours: float  # requested
    requests: int
    late: int
    refused: int  # rejected, timed out or failed
    changes: int

    @property
    def failed_fraction(self) -> float:
        """The fraction of requests that were late, or got no response."""
        return (self.late + self.refused) / max(1, self.requests)


class _FixedClock:
    """The clock of a cluster that is advanced explicitly."""

    def __init__(self, at: float) -> None:
        self._at = at

    def now(self) -> float:
        return self._at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a replay does not sleep")


class Score:
    """The score of a cluster, over all its deployments, from now on.

    The deployments of a new cluster have already loaded their models. The allocations until then
    do not count, since no way of scaling has chosen them.
    """

    def __init__(self, label: str, cluster: SimulatedCluster) -> None:
        self._label = label
        self._cluster = cluster
        self._before_s = self._allocation_s()

    def result(self) -> Result:
        ledgers = [deployment.ledger for deployment in self._cluster.deployments.values()]
        refused = sum(ledger.rejected + ledger.timed_out + ledger.failed for ledger in ledgers)
        late = sum(ledger.waited_longer_than(MAX_QUEUE_WAIT_S) for ledger in ledgers)
        return Result(
            label=self._label,
            allocation_hours=(self._allocation_s() - self._before_s) / 3600.0,
            requests=sum(ledger.requests for ledger in ledgers),
            # The ledger counts requests that were never served as late, too.
            late=max(0, late - refused),
            refused=refused,
            changes=sum(ledger.changes for ledger in ledgers),
        )

    def _allocation_s(self) -> float:
        deployments = self._cluster.deployments.values()
        return sum(deployment.ledger.requested_allocation_s for deployment in deployments)


async def replay(
    scenarios: Iterable[tuple[str, ClusterScenario]], *, begin: float, end: float
) -> list[Result]:
    """Run each labelled scenario without a daemon, from `begin` to `end` of the cluster's time.

    The arrival times are those of any other run of the same workload with the same `begin`: each
    workload draws them from its own generator and seed, which no deployment affects. The service
    times are drawn by the processes that serve the requests, so only their distribution is the
    same.
    """
    results = []
    for label, scenario in scenarios:
        cluster = build_emulation(scenario, _FixedClock(begin)).cluster
        score = Score(label, cluster)
        at = begin
        while at < end:
            at = min(at + _SLICE_S, end)
            cluster.advance(at)
            await asyncio.sleep(0)  # so that it can be interrupted
        results.append(score.result())
    return results


def as_text(ours: Result, others: Iterable[Result]) -> str:
    """The results as text: a sentence for each of the others, and the limits of the comparison."""
    caveat = "This is one workload on an emulated cluster; results on other clusters will differ."
    return " ".join([*(_compared(ours, other) for other in others), caveat])


def _compared(ours: Result, other: Result) -> str:
    ratio = ours.allocation_hours / max(other.allocation_hours, 1e-9)
    if abs(ratio - 1.0) < 0.005:
        hours = "as many allocation hours"
    else:
        hours = f"{abs(ratio - 1.0):.0%} {'more' if ratio > 1.0 else 'fewer'} allocation hours"
    failed = f"{ours.failed_fraction:.2%} instead of {other.failed_fraction:.2%}"
    if round(ours.failed_fraction, 4) == round(other.failed_fraction, 4):
        quality = f"as many late or refused requests ({ours.failed_fraction:.2%})"
    elif ours.failed_fraction > other.failed_fraction:
        quality = f"more late or refused requests ({failed})"
    else:
        quality = f"fewer late or refused requests ({failed})"
    return f"Compared with “{other.label}”, {ours.label} used {hours} and had {quality}."
