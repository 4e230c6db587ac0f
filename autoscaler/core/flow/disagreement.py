"""Two counts of one response that need not agree.

A difference between them is a data-quality issue at first: a serving node may be missing from the
response, or the response damaged. If it lasts, it is normal for this cluster, and the deployment
would always be held. Then it is accepted, and the more cautious of the two counts is used.

- A process acknowledges fewer allocations than the routing table has, where the threads of its node
  limit it (elastic/elasticsearch-specification#1302) or its priority is low
  (elastic/elasticsearch#111227).
- The sums of a deployment, or its target, may mean something else in some version.
"""

from collections.abc import Collection

from autoscaler.core.flow.sampling import Accepted, acknowledged_allocations, contradicts_itself
from autoscaler.core.state import Disagreement
from autoscaler.core.values import DeploymentStats

PATIENCE_S = 60.0
"""Seconds after which a difference is accepted. 60 s, six polls: a process acknowledges its
allocations within seconds, and the figures of a node are rarely missing from more than one
response."""


_NOTHING_DIFFERS = Accepted(checked=True)


def disagreement_of(
    known: Disagreement | None,
    before: DeploymentStats,
    stats: DeploymentStats,
    at: float,
    ml_nodes: Collection[str] | None,
) -> Disagreement | None:
    """What differs in this response, and since when; None if nothing does.

    Args:
        known: the result for the last response.
        before: the last comparable statistics, or the same ones.
        ml_nodes: the ids of the nodes of the cluster; None: unknown.
    """
    allocations = unacknowledged_allocations(stats)
    contradictory = contradicts_itself(stats)
    if not allocations and not contradictory:
        return None
    since, awaited, contradictory_since = at, frozenset[str](), at
    if known is not None and contradictory and known.contradictory_since is not None:
        contradictory_since = known.contradictory_since
    if allocations:
        if known is not None and allocations <= known.unacknowledged:
            since, awaited = known.since, known.awaited
        else:  # the difference has grown: a node that responded before may be missing
            awaited = _answering(before) | (frozenset() if known is None else known.awaited)
        awaited -= _answering(stats)
        if ml_nodes is not None:
            awaited &= frozenset(ml_nodes)
    return Disagreement(
        unacknowledged=allocations,
        since=at if awaited else since,
        awaited=awaited,
        contradictory_since=contradictory_since if contradictory else None,
    )


def accepted_at(disagreement: Disagreement | None, at: float) -> Accepted:
    """The differences that have lasted for `PATIENCE_S`."""
    if disagreement is None:
        return _NOTHING_DIFFERS
    contradictory_since = disagreement.contradictory_since
    return Accepted(
        disagreement.unacknowledged if at - disagreement.since >= PATIENCE_S else 0,
        contradictory_since is not None and at - contradictory_since >= PATIENCE_S,
    )


def unacknowledged_allocations(stats: DeploymentStats) -> int:
    """Running allocations that no process acknowledges, if every started route responds."""
    acknowledged, running = acknowledged_allocations(stats), stats.running_allocations
    return max(0, running - acknowledged) if acknowledged and running is not None else 0


def _answering(stats: DeploymentStats) -> frozenset[str]:
    return frozenset([node.node_id for node in stats.nodes if node.reports])
