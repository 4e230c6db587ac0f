"""What other ways of scaling would have given on the same load."""

from collections.abc import Iterable

from msgspec import Struct

from autoscaler.simulation.cluster import Cluster
from autoscaler.simulation.emulator.building import build_emulation
from autoscaler.simulation.scenario import Scenario

WAIT_LIMIT_S = 0.5
"""A request that waits longer in a queue has waited too long."""

_SLICE_S = 10.0


class Result(Struct, frozen=True, kw_only=True):
    """What one way of scaling gave the callers, and what it took."""

    way: str
    allocation_hours: float  # requested
    requests: int
    waited_too_long: int
    refused: int  # or given up on
    changes: int


class _StandingClock:
    """For a cluster that is advanced by hand."""

    def __init__(self, at: float) -> None:
        self._at = at

    def now(self) -> float:
        return self._at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits in a replay")


def result(way: str, cluster: Cluster) -> Result:
    """The score of a cluster up to now, over all its deployments."""
    ledgers = [deployment.ledger for deployment in cluster.deployments.values()]
    refused = sum(ledger.rejected + ledger.timed_out + ledger.failed for ledger in ledgers)
    too_long = sum(ledger.waited_longer_than(WAIT_LIMIT_S) for ledger in ledgers)
    return Result(
        way=way,
        allocation_hours=sum(ledger.requested_allocation_s for ledger in ledgers) / 3600.0,
        requests=sum(ledger.requests for ledger in ledgers),
        # The ledger counts those never served as having waited for ever.
        waited_too_long=max(0, too_long - refused),
        refused=refused,
        changes=sum(ledger.changes for ledger in ledgers),
    )


def replay(ways: Iterable[tuple[str, Scenario]], *, begin: float, end: float) -> list[Result]:
    """Live through each scenario, from `begin` to `end` of the cluster's time, without a daemon."""
    results = []
    for way, scenario in ways:
        cluster = build_emulation(scenario, _StandingClock(begin)).cluster
        at = begin
        while at < end:
            at = min(at + _SLICE_S, end)
            cluster.advance(at)
        results.append(result(way, cluster))
    return results
