"""The cost of each allocation count: allocations plus weighted SLO violations."""

import math
from collections.abc import Sequence
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

MIN_SAVING, MIN_SAVING_LOAD = 0.3, 3.0
"""Allocations that a change has to save, for a load up to `MIN_SAVING_LOAD` erlangs. Above, the
threshold grows with the square root of the load. Smaller savings are within the error of the
model."""

MAX_WORSE_IN_A_ROW = 2
"""The search for the cheapest allocation count stops after this many consecutive, costlier
candidates."""

COARSE_RATIO = 1.1
"""Ratio of consecutive allocation counts in the coarse search. 1.1: about 60 candidates up to 1,000
allocations."""


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
        self._loads, self._node_slots = sorted(loads, reverse=True), node_slots
        self._violation_weight, self._parameters = violation_weight, parameters
        self._mean = sum([weight * load_of_index(index) for index, weight in loads])
        self._violation_loads: dict[int, float] = {}

    def with_loads(self, loads: LoadDistribution) -> "CostModel":
        """The same model with another distribution of the load."""
        return CostModel(
            tuple(loads.items()), self._node_slots, self._violation_weight, self._parameters
        )

    def violation_load(self, allocations: int) -> float:
        """Erlangs of late requests."""
        violation_load = self._violation_loads.get(allocations)
        if violation_load is None:
            table, violation_load = (
                _table(placement_of(self._node_slots, allocations), self._parameters),
                0.0,
            )
            for index, weight in self._loads:
                erlangs = table[index]
                if erlangs == 0.0:
                    break  # also 0 for all lower loads
                violation_load += weight * erlangs
            self._violation_loads[allocations] = violation_load
        return violation_load

    def cost(self, allocations: int) -> float:
        """Allocations plus weighted violations. In allocations."""
        return allocations + self._violation_weight * self.violation_load(allocations)

    def cheapest(self, near: int) -> int:
        """The allocation count with the lowest cost, from a search between `near`, which is at
        least 1, and the count that the highest load needs. In an overload, one more allocation may
        cost more although many more would cost less.

        A few allocations on another node may be worse than none there. So if the nodes in use are
        just filled, all counts that a new node could take are compared as well.
        """
        max_load = load_of_index(self._loads[0][0])
        sufficient = max(1, math.ceil(max_load + 3.0 * math.sqrt(max_load)))
        coarse = min(_coarse_counts(*sorted([near, sufficient])), key=self.cost)
        minima = [self._descent(near), self._descent(coarse)]
        within = self._node_slots.max_without_new_node
        if self._node_slots.free and min(minima) <= within <= max(minima) + MAX_WORSE_IN_A_ROW:
            minima += range(within + 1, within + self._node_slots.free[0] + 1)
        return min(minima, key=self.cost)

    def _descent(self, allocations: int) -> int:
        """The local minimum of the cost that is reached from a given allocation count."""
        cheapest, lowest_cost = allocations, self.cost(allocations)
        for step in (-1, 1):
            allocations, worse = cheapest + step, 0
            while allocations >= 1 and worse < MAX_WORSE_IN_A_ROW:
                cost = self.cost(allocations)
                worse += 1
                if cost < lowest_cost:
                    cheapest, lowest_cost, worse = allocations, cost, 0
                allocations += step
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

    def __missing__(self, index: int) -> float:
        violation_load = self[index] = _violation_load(
            load_of_index(index), self._placement, self._parameters
        )
        return violation_load


_table = lru_cache(maxsize=4096)(_ViolationTable)


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


def _violation_load(load: float, placement: Placement, parameters: QueueParameters) -> float:
    """Erlangs of requests that are late until the next poll, or because of the backlog it finds.

    After an overload, the next requests are late as well, until the backlog is drained. A load that
    these nodes cannot serve at all is late until a new node is ready.
    """
    total, violation_load, of_node = sum(placement.per_node), 0.0, 0.0
    before = 0
    for servers in placement.per_node:
        if servers != before:  # nodes with equal allocations are adjacent
            of_node, before = (
                _violations_on_node(load * servers / total, servers, parameters),
                servers,
            )
        violation_load += of_node
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
    """Allocation counts from one to the other, both included.

    >>> _coarse_counts(8, 14)
    [8, 9, 10, 11, 12, 13, 14]
    >>> _coarse_counts(90, 120)
    [90, 99, 108, 118, 120]
    """
    counts = []
    while first < last:
        counts.append(first)
        first = max(first + 1, int(first * COARSE_RATIO))
    return [*counts, last]


def _rounded(value: float, ratio: float) -> float:
    """The value, rounded to a power of the ratio."""
    if value <= 0.0:
        return 0.0
    return _power(round(math.log(value) / math.log(ratio)), ratio)


@lru_cache(maxsize=4096)
def _power(exponent: int, ratio: float) -> float:
    return float(ratio**exponent)
