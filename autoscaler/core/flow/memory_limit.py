"""The second pass of a plan, after the threads have been granted: all claims together, against the
memory of the nodes.

Unlike threads, memory limits claims on any hardware: no refusal shows that a node is full.
"""

from collections.abc import Iterable, Mapping

from autoscaler.core.flow.arbitration import Claim
from autoscaler.core.flow.constraint_context import Grant
from autoscaler.core.flow.memory_ledger import MemoryLedger


def limit_by_memory(
    claims: Iterable[Claim], grants: Mapping[str, Grant], memory: MemoryLedger
) -> dict[str, Grant]:
    """The grants, with those reduced that would exceed the memory of a node.

    The memory is granted once: first to the deployments below their minimum, then to those with the
    smallest fraction of their claim; to dry runs last.
    """
    reduced = dict(grants)
    for claim in sorted(claims, key=_order):
        name, granted = claim.stats.deployment_id, claim.claimed
        starting = claim.limits is None
        if name in reduced:
            granted = min(granted, reduced[name].allocations)
        limit = memory.limit(claim.stats, granted, starting=starting)
        if limit is not None:
            granted = limit.allocations
            reduced[name] = Grant(granted, limit.inputs)
        if not claim.on_hold:
            memory.reserve(claim.stats, granted, starting=starting)
    return reduced


def _order(claim: Claim) -> tuple[bool, bool, float, str]:
    return (
        not claim.sends,
        claim.current >= claim.min_allocations,
        claim.current / claim.claimed,
        claim.stats.deployment_id,
    )
