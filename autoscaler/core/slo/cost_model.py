"""What each number of allocations would cost, late requests included."""

import math
from collections.abc import Sequence
from functools import lru_cache

from autoscaler.core.slo import queueing
from autoscaler.core.slo.load_distribution import LoadDistribution, load_of_index
from autoscaler.core.slo.placement import NodeSlots, Placement, placement_of
from autoscaler.core.values import Candidate, Value

SCALE_DOWN_COST_S = 40.0
"""Allocation-seconds that a change is worth avoiding: nodes are told, caches are lost, neighbours
may move. Fewer are asked for only if that saves more than this while the present load lasts."""

MIN_SAVING, MIN_SAVING_LOAD = 0.3, 3.0
"""Allocations that a step has to save at least, up to a load of so many erlangs; beyond, the more,
as its square root is larger. Less is within the error."""

MAX_WORSE_IN_A_ROW = 2
"""How many numbers in a row may cost more than the best before no further one is looked at."""

COARSE_RATIO = 1.1
"""From one number to the next, where it is first looked for from afar."""


class QueueParameters(Value, frozen=True):
    """What waits depend on besides loads and allocations. Rounded, so that what was reckoned once
    can be used again. Times are in units of the mean service time, but for the last two, which are
    in intervals from look to look."""

    max_wait: float  # that a request may wait
    variability: float  # see `autoscaler.core.slo.queueing`
    horizon: float
    drain: float  # until a backlog is cleared
    new_node: float  # until a further node serves

    @staticmethod
    def of(
        *, max_wait: float, variability: float, horizon: float, drain: float, new_node: float
    ) -> "QueueParameters":
        """The nearest that others may share."""
        return QueueParameters(
            _rounded(max_wait, 1.05),
            _rounded(variability, 1.15),
            _rounded(horizon, 1.2),
            _rounded(drain, 1.2),
            _rounded(new_node, 1.2),
        )


class CostModel:
    """The numbers of allocations on one scale: allocations, and late requests at their price."""

    def __init__(
        self,
        loads: Sequence[tuple[int, float]],
        node_slots: NodeSlots,
        violation_weight: float,
        terms: QueueParameters,
    ) -> None:
        """With these loads to be expected, by their numbers and with how likely they are, and so
        many allocations that one erlang of late requests is worth."""
        self._loads, self._node_slots = sorted(loads, reverse=True), node_slots
        self._violation_weight, self._terms = violation_weight, terms
        self._mean = sum([weight * load_of_index(place) for place, weight in loads])
        self._lates: dict[int, float] = {}

    def with_loads(self, loads: LoadDistribution) -> "CostModel":
        """The same with other loads."""
        return CostModel(
            tuple(loads.items()), self._node_slots, self._violation_weight, self._terms
        )

    def violation_load(self, number: int) -> float:
        """Erlangs of requests that would be late."""
        violation_load = self._lates.get(number)
        if violation_load is None:
            table, violation_load = _table(placement_of(self._node_slots, number), self._terms), 0.0
            for place, weight in self._loads:
                of_these = table[place]
                if of_these == 0.0:
                    break  # as they are of all lower loads
                violation_load += weight * of_these
            self._lates[number] = violation_load
        return violation_load

    def cost(self, number: int) -> float:
        """Allocations, with what late requests are worth added."""
        return number + self._violation_weight * self.violation_load(number)

    def cheapest(self, near: int) -> int:
        """The number that costs least, looked for between `near`, which is 1 or more, and what the
        highest load takes: in an overload, one more may cost more although many would not.

        A few on another node may be worse than none there, so one that fills the nodes in use is
        compared with all that a further one could take.
        """
        highest = load_of_index(self._loads[0][0])
        enough = max(1, math.ceil(highest + 3.0 * math.sqrt(highest)))
        from_afar = min(_strides(*sorted([near, enough])), key=self.cost)
        found = [self._descent(near), self._descent(from_afar)]
        within = self._node_slots.max_without_new_node
        if self._node_slots.free and min(found) <= within <= max(found) + MAX_WORSE_IN_A_ROW:
            found += range(within + 1, within + self._node_slots.free[0] + 1)
        return min(found, key=self.cost)

    def _descent(self, number: int) -> int:
        """From a number to a cheaper one, as long as there is any nearby."""
        cheapest, least = number, self.cost(number)
        for step in (-1, 1):
            number, violations = cheapest + step, 0
            while number >= 1 and violations < MAX_WORSE_IN_A_ROW:
                cost = self.cost(number)
                violations += 1
                if cost < least:
                    cheapest, least, violations = number, cost, 0
                number += step
        return cheapest

    def with_change_threshold(self, current: int, cheapest: int, lasts_s: float) -> int:
        """The best number, or the present one where a change would not pay.

        Args:
            lasts_s: how long the load is taken to stay as it is.
        """
        saving = self.cost(max(1, current)) - self.cost(cheapest)
        fee = MIN_SAVING * math.sqrt(max(1.0, self._mean / MIN_SAVING_LOAD))
        if cheapest < current:
            fee += SCALE_DOWN_COST_S / lasts_s
        return cheapest if saving >= fee else current

    def candidates(
        self, numbers: Sequence[int], percentile: float, service_time_s: float
    ) -> tuple[Candidate, ...]:
        """What is expected of these numbers, each at least 1, at the mean load."""
        mean, told = self._mean, []
        for number in numbers:
            wait = queueing.wait_quantile(
                placement_of(self._node_slots, number).per_node,
                mean,
                percentile,
                self._terms.variability,
            )
            violation_load = min(1.0, self.violation_load(number) / mean) if mean > 0.0 else 0.0
            told.append(
                Candidate(
                    allocations=number,
                    violation_fraction=violation_load,
                    queue_wait_s=wait * service_time_s,
                    cost=self.cost(number),
                )
            )
        return tuple(told)


class _ViolationTable(dict[int, float]):
    """Erlangs of late requests with one split, by the number of the load. Filled when asked."""

    def __init__(self, split: Placement, terms: QueueParameters) -> None:
        super().__init__()
        self._split, self._terms = split, terms

    def __missing__(self, place: int) -> float:
        violation_load = self[place] = _violation_load(
            load_of_index(place), self._split, self._terms
        )
        return violation_load


_table = lru_cache(maxsize=4096)(_ViolationTable)


def _violation_load(load: float, split: Placement, terms: QueueParameters) -> float:
    """Erlangs of requests that are late until the next look, and because of what it finds.

    An overload leaves a backlog, of which the next requests are late as well, until it is cleared;
    what these nodes cannot serve at all is late until another one is ready.
    """
    total, violation_load, of_node = sum(split.per_node), 0.0, 0.0
    before = 0
    for servers in split.per_node:
        if servers != before:  # equal nodes follow one another
            of_node, before = _violations_on_node(load * servers / total, servers, terms), servers
        violation_load += of_node
    if load > split.max_on_these_nodes:
        violation_load += load * terms.new_node / 2.0
    return violation_load


def _violations_on_node(load: float, servers: int, terms: QueueParameters) -> float:
    """Erlangs of one node's load."""
    share = queueing.violation_fraction_within(
        servers, load, terms.max_wait, terms.variability, terms.horizon
    )
    left = (load - servers) * terms.horizon
    if left > terms.max_wait * servers:
        share += terms.drain * (1.0 - terms.max_wait * servers / left)
    return load * share


def _strides(lowest: int, highest: int) -> list[int]:
    """Numbers from one to the other, both included.

    >>> _strides(8, 14)
    [8, 9, 10, 11, 12, 13, 14]
    >>> _strides(90, 120)
    [90, 99, 108, 118, 120]
    """
    numbers = []
    while lowest < highest:
        numbers.append(lowest)
        lowest = max(lowest + 1, int(lowest * COARSE_RATIO))
    return [*numbers, highest]


def _rounded(value: float, ratio: float) -> float:
    """To a power of the ratio."""
    if value <= 0.0:
        return 0.0
    return _power(round(math.log(value) / math.log(ratio)), ratio)


@lru_cache(maxsize=4096)
def _power(exponent: int, ratio: float) -> float:
    return float(ratio**exponent)
