"""The cost of each allocation count: allocations plus weighted SLO violations."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache

from autoscaler.core.slo import queueing
from autoscaler.core.slo.load_distribution import (
    LoadDistribution,
    index_of_load,
    load_of_index,
)
from autoscaler.core.slo.placement import NodeSlots, Placement, placement_of
from autoscaler.core.values import Candidate, Value

SCALE_DOWN_COST_S = 40.0
"""Allocation-seconds that a decrease costs: updates of the nodes, lost caches, moved neighbours. A
decrease has to save more than 40 of them while the current load lasts."""

MIN_SAVING, MIN_SAVING_LOAD = 0.5, 3.0
"""Allocations that a change has to save, for a load up to `MIN_SAVING_LOAD` erlangs. Above, the
threshold grows with the square root of the load. Smaller savings are within the error of the
model."""

MAX_WORSE_IN_A_ROW = 2
"""The search for the cheapest allocation count stops after this many consecutive, costlier
candidates."""

COARSE_RATIO, MAX_COARSE = 1.1, 40
"""Ratio of consecutive allocation counts in the coarse search, unless these were more than
`MAX_COARSE`: then the ratio is larger. 40 candidates of the ratio 1.1 are a factor of 45."""

FIRST_STEP = 20
"""The first step of the fine search is an allocation count divided by 20, half of a step of the
coarse search. Each further step is half of the one before, down to 1."""

LIKELY_SCORE = 2.0
"""Square roots of a load that are added to it for a first guess of the allocations it takes."""

MAX_LOADS = 100
"""Loads whose costs are averaged. Of more, neighbours count as one. Few deployments have more than
fifty."""

COARSE_EVALUATIONS, MAX_EVALUATIONS = 700, 1_300
"""Evaluations of the queue model, each of one load and one size of node, that a search may take:
the coarse search, and all together. 1,300 take 2 to 4 ms if none is known already. On recorded
loads, one search in a hundred takes more than 1,000."""

PLACEMENT_EVALUATIONS = 2
"""Evaluations for each size of node that take about as long as the placement of an allocation
count."""


class QueueParameters(Value, frozen=True):
    """The inputs of the queue model besides loads and allocations. They are rounded, so that
    results can be reused. Times are in units of the mean service time, except for the last two,
    which are in poll intervals."""

    max_wait: float  # queue wait that the SLO allows
    variability: float  # see `autoscaler.core.slo.queueing`
    horizon: float
    drain: float  # time to drain a backlog
    new_node: float  # lead time of a new node

    @staticmethod
    def of(
        *, max_wait: float, variability: float, horizon: float, drain: float, new_node: float
    ) -> "QueueParameters":
        """The parameters, rounded to values that other deployments may share."""
        return QueueParameters(
            _rounded(max_wait, 1.05),
            _rounded(variability, 1.15),
            _rounded(horizon, 1.2),
            _rounded(drain, 1.2),
            _rounded(new_node, 1.2),
        )


class CostModel:
    """The cost of each allocation count, for one distribution of the load."""

    def __init__(
        self,
        loads: Sequence[tuple[int, float]],
        node_slots: NodeSlots,
        violation_weight: float,
        parameters: QueueParameters,
    ) -> None:
        """The costs for the given loads.

        Args:
            loads: (index, probability) of each load to expect.
            node_slots: free slots of the nodes.
            violation_weight: allocations that one erlang of late requests counts for.
            parameters: the other inputs of the queue model.
        """
        loads = _at_most(MAX_LOADS, sorted(loads, reverse=True))
        self._loads, self._node_slots = loads, node_slots
        self._violation_weight, self._parameters = violation_weight, parameters
        self._mean = sum([weight * load_of_index(index) for index, weight in loads])
        self._violation_loads: dict[int, float] = {}
        self._limit = MAX_EVALUATIONS
        self.evaluations = 0  # of pairs of load and allocations, for each size of node

    @property
    def node_slots(self) -> NodeSlots:
        """The free slots of the nodes."""
        return self._node_slots

    def with_loads(self, loads: LoadDistribution) -> "CostModel":
        """The same model with another distribution of the load."""
        return CostModel(
            tuple(loads.items()), self._node_slots, self._violation_weight, self._parameters
        )

    def violation_load(self, allocations: int, less_than: float = math.inf) -> float:
        """Erlangs of late requests; inf if they are more than a bound."""
        violation_load = self._violation_loads.get(allocations)
        if violation_load is None:
            table = _table(placement_of(self._node_slots, allocations), self._parameters)
            evaluated, violation_load = PLACEMENT_EVALUATIONS, 0.0
            for index, weight in self._loads:
                evaluated += 1
                erlangs = table[index]
                if erlangs == 0.0:
                    break  # also 0 for all lower loads
                violation_load += weight * erlangs
                if violation_load > less_than:
                    break
            self.evaluations += evaluated * len(table.sizes)
            if violation_load > less_than:
                return math.inf
            self._violation_loads[allocations] = violation_load
        return violation_load

    def cost(self, allocations: int, less_than: float = math.inf) -> float:
        """Allocations plus weighted violations, in allocations; inf if they are more than a bound.
        This ends the sum early for most of the counts that a search compares."""
        most = math.inf
        if less_than < math.inf and self._violation_weight > 0.0:
            # A little more, so that rounding does not decide.
            most = (less_than - allocations) / self._violation_weight * (1.0 + 1e-9)
        return allocations + self._violation_weight * self.violation_load(allocations, most)

    def cheapest(self, near: int) -> int:
        """The allocation count with the lowest cost, from a search between `near`, which is at
        least 1, and the count that the highest load needs. In an overload, one more allocation may
        cost more although many more would cost less.

        A few allocations on another node may be worse than none there. So if the nodes in use are
        just filled, all counts that a new node could take are compared as well.
        """
        counts, most = self._coarse_counts(near), self.evaluations + MAX_EVALUATIONS
        coarse = self._cheapest_of(counts, COARSE_EVALUATIONS)
        self._limit = most
        from_coarse = self._descent(coarse)
        minima = [self._descent(near), from_coarse]
        within = self._node_slots.max_without_new_node
        if self._node_slots.free and min(minima) <= within <= max(minima) + MAX_WORSE_IN_A_ROW:
            slots = self._node_slots.scale * self._node_slots.free[0]
            further = range(within + 1, within + slots + 1, math.ceil(slots / MAX_COARSE))
            cheapest = min(minima, key=self.cost)
            return self._cheapest_of([cheapest, *further], self._limit - self.evaluations)
        return min(minima, key=self.cost)

    def _coarse_counts(self, near: int) -> list[int]:
        """The counts of the coarse search, from `near` to the count that the highest load needs. A
        likely one comes first, then those above it: the more allocations, the fewer loads have
        late requests, and the quicker is a cost summed up."""
        max_load = load_of_index(self._loads[0][0])
        sufficient = max(1, math.ceil(max_load + 3.0 * math.sqrt(max_load)))
        counts = _coarse_counts(*sorted([near, sufficient]))
        place = bisect_left(counts, self._likely())
        return [*counts[place:], *reversed(counts[:place])]

    def _likely(self) -> int:
        """The cheapest count if all requests of a load beyond the allocations were late, and none
        of any other load."""
        likely, lowest_cost, violation_load = 1, math.inf, 0.0
        for index, weight in self._loads:
            load = load_of_index(index)
            sufficient = load + LIKELY_SCORE * math.sqrt(load)
            cost = sufficient + self._violation_weight * violation_load
            if cost < lowest_cost:
                likely, lowest_cost = max(1, math.ceil(sufficient)), cost
            violation_load += weight * load
        return likely

    @property
    def _exhausted(self) -> bool:
        return self.evaluations >= self._limit

    def _cheapest_of(self, counts: Sequence[int], evaluations: int) -> int:
        """The allocation count with the lowest cost; after this many evaluations, the cheapest so
        far. A good count comes first, so that the cost of the others need not be summed up."""
        self._limit = self.evaluations + evaluations
        cheapest, lowest_cost = counts[0], self.cost(counts[0])
        for allocations in counts[1:]:
            if self._exhausted:
                break
            if allocations >= lowest_cost:
                continue  # no count costs less than its allocations
            cost = self.cost(allocations, lowest_cost)
            if cost < lowest_cost or (cost == lowest_cost and allocations < cheapest):
                cheapest, lowest_cost = allocations, cost
        return cheapest

    def _descent(self, cheapest: int) -> int:
        """The local minimum of the cost that is reached from a given allocation count."""
        lowest_cost, step = self.cost(cheapest), max(1, cheapest // FIRST_STEP)
        while step:
            for direction in (-step, step):
                allocations, worse = cheapest + direction, 0
                while allocations >= 1 and worse < MAX_WORSE_IN_A_ROW and not self._exhausted:
                    cost = self.cost(allocations, lowest_cost)
                    worse += 1
                    if cost < lowest_cost:
                        cheapest, lowest_cost, worse = allocations, cost, 0
                    allocations += direction
            step //= 2
        return cheapest

    def with_change_threshold(self, current: int, cheapest: int, expected_duration_s: float) -> int:
        """The cheapest allocation count, or the current one if the change would save too little.

        Args:
            expected_duration_s: seconds for which the load is expected to stay as it is.
        """
        saving = self.cost(max(1, current)) - self.cost(cheapest)
        threshold = MIN_SAVING * math.sqrt(max(1.0, self._mean / MIN_SAVING_LOAD))
        if cheapest < current:
            threshold += SCALE_DOWN_COST_S / expected_duration_s
        return cheapest if saving >= threshold else current

    def candidates(
        self, counts: Sequence[int], target: float, service_time_s: float
    ) -> tuple[Candidate, ...]:
        """Predictions for these allocation counts, each at least 1. Queue waits are those at the
        mean load."""
        mean, found = self._mean, []
        for allocations in counts:
            wait = queueing.wait_quantile(
                placement_of(self._node_slots, allocations).per_node,
                mean,
                target,
                self._parameters.variability,
            )
            violation_fraction = (
                min(1.0, self.violation_load(allocations) / mean) if mean > 0.0 else 0.0
            )
            found.append(
                Candidate(
                    allocations=allocations,
                    violation_fraction=violation_fraction,
                    queue_wait_s=wait * service_time_s,
                    cost=self.cost(allocations),
                )
            )
        return tuple(found)


class _ViolationTable(dict[int, float]):
    """Erlangs of late requests with one placement, by the index of the load. Computed on access."""

    def __init__(self, placement: Placement, parameters: QueueParameters) -> None:
        super().__init__()
        self._placement, self._parameters = placement, parameters
        self.sizes = placement.sizes

    def __missing__(self, index: int) -> float:
        violation_load = self[index] = _violation_load(
            load_of_index(index), self._placement, self.sizes, self._parameters
        )
        return violation_load


_table = lru_cache(maxsize=4096)(_ViolationTable)


def forget_tables() -> None:
    """Empties the caches of the queue model and of placements, for measurements."""
    _table.cache_clear()
    placement_of.cache_clear()


def violation_fraction(
    load: float, node_slots: NodeSlots, allocations: int, parameters: QueueParameters
) -> float:
    """The fraction of the requests that would be late with one load, in erlangs, and at least one
    allocation."""
    index = index_of_load(load)
    if index <= 0:
        return 0.0
    violation_load = _table(placement_of(node_slots, allocations), parameters)[index]
    return min(1.0, violation_load / load_of_index(index))


def _violation_load(
    load: float,
    placement: Placement,
    sizes: Iterable[tuple[int, int]],
    parameters: QueueParameters,
) -> float:
    """Erlangs of requests that are late until the next poll, or because of the backlog it finds.

    After an overload, the next requests are late as well, until the backlog is drained. A load that
    these nodes cannot serve at all is late until a new node is ready.
    """
    total, violation_load = placement.scale * sum(placement.per_node), 0.0
    for servers, nodes in sizes:
        of_node = _violations_on_node(load * servers / total, servers, parameters)
        violation_load += placement.scale * nodes * of_node
    if load > placement.max_on_these_nodes:
        violation_load += load * parameters.new_node / 2.0
    return violation_load


def _violations_on_node(load: float, servers: int, parameters: QueueParameters) -> float:
    """Erlangs of late requests of one node's load."""
    fraction = queueing.violation_fraction_within(
        servers, load, parameters.max_wait, parameters.variability, parameters.horizon
    )
    left = (load - servers) * parameters.horizon
    if left > parameters.max_wait * servers:
        fraction += parameters.drain * (1.0 - parameters.max_wait * servers / left)
    return load * fraction


def _coarse_counts(first: int, last: int) -> list[int]:
    """Allocation counts from one to the other, both included; about `MAX_COARSE` at most.

    >>> _coarse_counts(8, 14)
    [8, 9, 10, 11, 12, 13, 14]
    >>> _coarse_counts(90, 120)
    [90, 99, 108, 118, 120]
    >>> len(_coarse_counts(1, 10**9))
    42
    """
    counts, ratio = [], max(COARSE_RATIO, (last / first) ** (1.0 / MAX_COARSE))
    while first < last:
        counts.append(first)
        first = max(first + 1, int(first * ratio))
    return [*counts, last]


def _at_most(count: int, loads: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """At most this many loads. Of more, neighbours count as one, with their mean load.

    >>> _at_most(2, ((40, 0.25), (30, 0.25), (20, 0.25), (10, 0.25)))
    [(35, 0.5), (16, 0.5)]
    """
    if len(loads) <= count:
        return loads
    size, found = math.ceil(len(loads) / count), []
    for first in range(0, len(loads), size):
        part = loads[first : first + size]
        weight = sum([each for _, each in part])
        load = sum([each * load_of_index(index) for index, each in part]) / weight
        found.append((index_of_load(load), weight))
    return found


def _rounded(value: float, ratio: float) -> float:
    """The value, rounded to a power of the ratio."""
    if value <= 0.0:
        return 0.0
    return _power(round(math.log(value) / math.log(ratio)), ratio)


@lru_cache(maxsize=4096)
def _power(exponent: int, ratio: float) -> float:
    return float(ratio**exponent)
