"""The second pass of a plan: all claims, against the capacity that is free."""

from collections.abc import Iterable

from autoscaler.core.capacity import FreeCapacity, max_allocations_that_fit
from autoscaler.core.flow.constraints import Grant
from autoscaler.core.values import DeploymentStats, Value


class Claim(Value, frozen=True):
    """What one deployment claims of the free capacity."""

    stats: DeploymentStats
    current: int  # allocations
    claimed: int  # allocations, more than the current ones
    min_allocations: int


def arbitrate(claims: Iterable[Claim], free_capacity: FreeCapacity) -> dict[str, Grant]:
    """The grants of those claims that are not granted in full, by deployment id."""
    grants: dict[str, Grant] = {}
    if not free_capacity.fixed:
        return grants
    for claim in claims:
        fits = max_allocations_that_fit(claim.stats, free_capacity)
        if fits is not None and fits < claim.claimed:
            granted = max(fits, claim.current, claim.min_allocations)
            grants[claim.stats.deployment_id] = Grant(granted, {"fits": fits})
    return grants
