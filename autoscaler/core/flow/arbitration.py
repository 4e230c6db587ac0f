"""The second pass of a plan: all claims together, against the capacity that is free.

The free capacity is granted once. While everything fits, every claim is granted in full, and no
order is needed. Otherwise allocations are granted one by one, in this order:

1. allocations that are requested and do not run yet, of any deployment: the cluster places them
   by itself as soon as it can;
2. allocations up to the minimum of a rule or of an open schedule, and those of a stopped deployment
   that is resumed; the deployment that has the smallest fraction of its minimum comes first;
3. all others, in order of the cost that each thread saves; see `_savings`. Of equal savings, the
   deployment that has the smallest fraction of its claim comes first.

The claims of dry runs are compared with the rest, because nothing is requested for them. They are
granted it in the same order.

Decreases of the same plan free nothing here. An update may be refused, withheld or lost, and a
process that gives up allocations may take minutes; the next observation shows the capacity that
is really free.
"""

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import pairwise

from autoscaler.core.capacity import (
    CapacityPool,
    FreeCapacity,
    Occupant,
    occupant_of,
    occupant_to_start,
)
from autoscaler.core.flow.constraint_context import ConstraintContext, Grant
from autoscaler.core.flow.constraints import search_below_refusal
from autoscaler.core.policies import CostCurve, Costs, evaluate_safely
from autoscaler.core.values import DeploymentStats, Value

MAX_COSTS = 200
"""Maximum number of allocation counts whose cost is evaluated for one claim. 200, because a cost
may take a millisecond on many nodes. Up to 199 further allocations, each count is evaluated."""

MAX_NAMED = 3
"""Maximum number of deployments that a step names because they were granted the threads. 3, because
the step becomes a line of the log."""


MAX_STEPS = 512
"""Maximum number of steps in which contested threads are granted. 512: an allocation takes one step
on all except the largest clusters, and the work is bounded for any reported nodes."""


class Claim(Value, frozen=True, kw_only=True):
    """What one deployment claims of the free capacity."""

    stats: DeploymentStats
    current: int  # allocations
    claimed: int  # allocations, more than the current ones
    min_allocations: int  # of the rule and its open schedules; at most what is claimed
    sends: bool  # False: the increase would not be sent, so it takes nothing from others
    limits: ConstraintContext | None = None  # None: a stopped deployment, to be started
    on_hold: bool = False  # whether a later constraint prevents the increase anyway
    cost_curve: Callable[[], CostCurve | None] | None = None


def arbitrate(
    claims: Iterable[Claim],
    requested: Iterable[tuple[DeploymentStats, int]],
    free_capacity: FreeCapacity,
) -> dict[str, Grant]:
    """The grants of the claims that are not granted in full, by deployment id.

    Args:
        requested: deployments, managed or not, with requested allocations that do not run yet, and
            their allocations with these. The missing ones are placed before any claim.

    Returns:
        No grants where the nodes are not certain to be all there are: a claim may be accepted then,
        and a request is the only way to find out.
    """
    if not free_capacity.fixed:
        return {}
    pool = CapacityPool(free_capacity)
    claimants = [
        claimant
        for claim in claims
        if (claimant := _claimant_of(claim, pool, free_capacity)) is not None
    ]
    taken = _place_requested(requested, claimants, pool, free_capacity)
    for sends in (True, False):
        competing = [each for each in claimants if each.competes and each.claim.sends is sends]
        pool = _place_all(competing, pool) or _place_in_order(competing, pool)
    granted = {each.name: each.threads_granted for each in claimants if each.threads_granted > 0}
    would_be_taken = taken | granted  # were all of them sent
    taken |= {
        each.name: granted[each.name]
        for each in claimants
        if each.name in granted and each.claim.sends
    }
    return {
        claimant.name: grant
        for claimant in claimants
        if (grant := _grant_of(claimant, taken if claimant.claim.sends else would_be_taken))
        is not None
    }


class _Claimant:
    """A claim, and how much of it has been granted so far."""

    def __init__(self, claim: Claim, occupant: Occupant, fits: int) -> None:
        self.claim, self.occupant, self.fits = claim, occupant, fits
        self.name = claim.stats.deployment_id
        self.goal = _goal(claim, fits)
        self.competes = self.goal > claim.current and not claim.on_hold
        self._first = occupant.placed
        self._savings: _Savings | None = None
        self._cost_curve_error = ""

    @property
    def granted(self) -> int:
        """Allocations, including the running ones."""
        return self.occupant.placed

    @property
    def threads_granted(self) -> int:
        return (self.occupant.placed - self._first) * self.occupant.threads

    @property
    def rank(self) -> tuple[bool, float, float, str]:
        """Of its next allocation. The smallest rank is granted first."""
        minimum = max(1, self.claim.min_allocations)
        if self.granted < minimum:
            return (False, self.granted / minimum, 0.0, self.name)
        saving = self._saving() / max(1, self.occupant.threads)
        return (True, -saving, self.granted / self.claim.claimed, self.name)

    def _saving(self) -> float:
        """Of the next allocation after the minimum. The cost curve is evaluated when this is first
        needed."""
        if self._savings is None:
            costs: Costs = ()
            if self.claim.cost_curve is not None:
                counts = _counts(self.granted, self.goal)
                costs, self._cost_curve_error = evaluate_safely(self.claim.cost_curve, counts)
            self._savings = _Savings(costs, self.claim.claimed)
        return self._savings.after(self.granted)

    def grant(self, allocations: int, inputs: dict[str, float | str]) -> Grant:
        """The grant, which also says that the cost curve failed if it did."""
        if self._cost_curve_error:
            inputs["cost_curve_error"] = self._cost_curve_error
        return Grant(allocations, inputs)


def _claimant_of(claim: Claim, pool: CapacityPool, free_capacity: FreeCapacity) -> _Claimant | None:
    """None where no limit is known for the deployment."""
    if claim.limits is None:
        occupant = occupant_to_start(claim.stats, free_capacity)
    else:
        occupant = occupant_of(claim.stats, free_capacity)
    if occupant is None:
        return None
    return _Claimant(claim, occupant, occupant.placed + pool.fitting(occupant))


def _goal(claim: Claim, fits: int) -> int:
    """The allocations that would be granted if this were the only claim."""
    goal = min(claim.claimed, fits)
    if claim.limits is not None:
        step = search_below_refusal(goal, claim.limits)
        if step is not None:
            goal = step.after
    return goal


def _place_requested(
    requested: Iterable[tuple[DeploymentStats, int]],
    claimants: Iterable[_Claimant],
    pool: CapacityPool,
    free_capacity: FreeCapacity,
) -> dict[str, int]:
    """Place what has been requested; the threads that it takes, by deployment id."""
    known = {claimant.name: claimant.occupant for claimant in claimants}
    taken: dict[str, int] = {}
    for stats, allocations in requested:
        name = stats.deployment_id
        occupant = known.get(name) or occupant_of(stats, free_capacity)
        if occupant is None:
            continue
        before = occupant.placed
        pool.place_many(occupant, allocations - occupant.placed)
        taken[name] = (occupant.placed - before) * occupant.threads
    return taken


def _place_all(claimants: Iterable[_Claimant], pool: CapacityPool) -> CapacityPool | None:
    """Grant every claim in full and return the pool after it; None if they do not fit together."""
    pool = pool.copy()
    occupants = []
    for claimant in claimants:
        occupant = claimant.occupant.copy()
        missing = claimant.goal - occupant.placed
        if pool.place_many(occupant, missing) < missing:
            return None
        occupants.append((claimant, occupant))
    for claimant, occupant in occupants:
        claimant.occupant = occupant
    return pool


def _place_in_order(claimants: Iterable[_Claimant], pool: CapacityPool) -> CapacityPool:
    """Grant allocations one by one, or few by few where there are very many, until no claimant has
    another one that fits."""
    queue = [
        (claimant.rank, claimant) for claimant in claimants if claimant.granted < claimant.goal
    ]
    heapq.heapify(queue)
    at_once = max(1, sum([claimant.goal - claimant.granted for _, claimant in queue]) // MAX_STEPS)
    while queue:
        _, claimant = queue[0]
        more = min(at_once, claimant.goal - claimant.granted)
        # An allocation that does not fit now will not fit later in this plan either.
        if pool.place_many(claimant.occupant, more) == more and claimant.granted < claimant.goal:
            heapq.heapreplace(queue, (claimant.rank, claimant))
        else:
            heapq.heappop(queue)
    return pool


def _grant_of(claimant: _Claimant, taken: dict[str, int]) -> Grant | None:
    """None if the claim was granted in full, or is cut by a later constraint only.

    Args:
        taken: the threads that were granted to each deployment.
    """
    claim = claimant.claim
    if not claimant.competes or claimant.granted >= claimant.goal:
        if claimant.fits >= claim.claimed:
            return None
        return claimant.grant(claimant.fits, {"fits": claimant.fits})
    granted = max(claimant.granted, claim.current)
    others = sorted(
        [(-threads, name) for name, threads in taken.items() if threads and name != claimant.name]
    )
    if not others:  # a deployment of low priority took the memory
        return claimant.grant(granted, {"fits": granted})
    named = [f"{name} ({-threads})" for threads, name in others[:MAX_NAMED]]
    if len(others) > MAX_NAMED:
        named.append(f"{len(others) - MAX_NAMED} more")
    inputs: dict[str, float | str] = {
        "claimed": claim.claimed,
        "granted": granted,
        "granted_to": ", ".join(named),
    }
    return claimant.grant(granted, inputs)


def _counts(first: int, last: int) -> list[int]:
    """At most `MAX_COSTS` allocation counts at equal distances, both ends included.

    >>> _counts(3, 7)
    [3, 4, 5, 6, 7]
    >>> counts = _counts(1, 1000)
    >>> len(counts), counts[:3], counts[-2:]
    (168, [1, 7, 13], [997, 1000])
    """
    return [*range(first, last, max(1, math.ceil((last - first) / (MAX_COSTS - 1)))), last]


class _Savings:
    """What each allocation saves, in allocations; falling.

    With costs, the saving is the fall of their lower convex hull: where one allocation saves
    nothing but several do, each of them counts with their mean. Without any, it is the shortfall
    relative to the allocations before, which is not a cost but has a similar scale.

    >>> costs = ((1, 9.0), (2, 9.5), (3, 4.0), (4, 3.0), (5, 3.5))
    >>> [_Savings(costs, 5).after(allocations) for allocations in (1, 2, 3, 4)]
    [2.5, 2.5, 1.0, -0.5]
    >>> [_Savings((), 7).after(allocations) for allocations in (1, 2, 3)]
    [6.0, 2.5, 1.3333333333333333]
    """

    def __init__(self, costs: Costs, claimed: int) -> None:
        hull: list[tuple[int, float]] = []
        for point in costs:
            while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
                hull.pop()
            hull.append(point)
        self._claimed = claimed
        self._counts = [allocations for allocations, _ in hull[1:]]
        self._falls = [-_slope(before, after) for before, after in pairwise(hull)]

    def after(self, allocations: int) -> float:
        """What one more than these saves."""
        if not self._falls:
            return _shortfall(allocations, self._claimed)
        part = bisect_right(self._counts, allocations)
        return self._falls[min(part, len(self._falls) - 1)]


def _slope(one: tuple[int, float], other: tuple[int, float]) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])


def _shortfall(allocations: int, needed: int) -> float:
    """The missing allocations, relative to the existing ones."""
    return (needed - allocations) / max(1, allocations)
