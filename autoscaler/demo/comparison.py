"""What other ways of scaling would have given on the same load."""

import asyncio
from collections.abc import Iterable

from msgspec import Struct

from autoscaler.simulation.cluster import SimulatedCluster
from autoscaler.simulation.emulator.building import build_emulation
from autoscaler.simulation.scenario import ClusterScenario

WAIT_LIMIT_S = 0.5
"""A request that waits longer in a queue has waited too long."""

_SLICE_S = 10.0


class Result(Struct, frozen=True, kw_only=True):
    """What one way of scaling gave the callers, and what it took."""

    label: str
    allocation_hours: float  # requested
    requests: int
    late: int
    refused: int  # or given up on
    changes: int

    @property
    def failed_fraction(self) -> float:
        """The fraction of requests that waited too long, were refused or were given up on."""
        return (self.late + self.refused) / max(1, self.requests)


class _FixedClock:
    """For a cluster that is advanced by hand."""

    def __init__(self, at: float) -> None:
        self._at = at

    def now(self) -> float:
        return self._at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits in a replay")


class Score:
    """The score of a cluster, over all its deployments, from now on.

    A cluster has a past when it is handed over: its deployments have loaded their models. What
    they held meanwhile nobody chose, and it would weigh most where most is held for good.
    """

    def __init__(self, label: str, cluster: SimulatedCluster) -> None:
        self._way = label
        self._cluster = cluster
        self._held_before_s = self._held_s()

    def result(self) -> Result:
        ledgers = [deployment.ledger for deployment in self._cluster.deployments.values()]
        refused = sum(ledger.rejected + ledger.timed_out + ledger.failed for ledger in ledgers)
        too_long = sum(ledger.waited_longer_than(WAIT_LIMIT_S) for ledger in ledgers)
        return Result(
            label=self._way,
            allocation_hours=(self._held_s() - self._held_before_s) / 3600.0,
            requests=sum(ledger.requests for ledger in ledgers),
            # The ledger counts those never served as having waited for ever.
            late=max(0, too_long - refused),
            refused=refused,
            changes=sum(ledger.changes for ledger in ledgers),
        )

    def _held_s(self) -> float:
        deployments = self._cluster.deployments.values()
        return sum(deployment.ledger.requested_allocation_s for deployment in deployments)


async def replay(
    ways: Iterable[tuple[str, ClusterScenario]], *, begin: float, end: float
) -> list[Result]:
    """Live through each scenario, from `begin` to `end` of the cluster's time, without a daemon.

    The instants at which requests arrive are those of any other run of the same loads from the
    same `begin`: a load draws them from a generator of its own, whose seed is the load's, and
    nothing that a deployment does has an influence on it. How long a request keeps an allocation
    busy is drawn by the process that serves it, so of that only the distribution is the same.
    """
    results = []
    for label, scenario in ways:
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
    """What the figures say: a sentence for each of the others, and how far to trust them."""
    sentences = [_next_to(ours, other) for other in others]
    caveat = "This was one load on an emulated cluster; on yours the figures will be others."
    return " ".join([*sentences, caveat])


def _next_to(ours: Result, other: Result) -> str:
    ratio = ours.allocation_hours / max(other.allocation_hours, 1e-9)
    if abs(ratio - 1.0) < 0.005:
        cost = "took as many allocation hours"
    else:
        cost = f"took {abs(ratio - 1.0):.0%} {'more' if ratio > 1.0 else 'fewer'} allocation hours"
    was_let_down = "waited too long or got no answer"
    if round(ours.failed_fraction, 4) == round(other.failed_fraction, 4):
        service = f"as many requests {was_let_down}, {ours.failed_fraction:.2%}"
    else:
        more = "more" if ours.failed_fraction > other.failed_fraction else "fewer"
        service = f"{more} requests {was_let_down}: {ours.failed_fraction:.2%} instead of {other.failed_fraction:.2%}"
    return f"Compared with “{other.label}”, {ours.label} {cost}, and {service}."
