"""What each number of allocations would cost, late requests included."""

import math
from collections.abc import Sequence
from functools import lru_cache

from autoscaler.core import queueing
from autoscaler.core.expectation import Loads, load_at
from autoscaler.core.splitting import Ground, Split, split_of
from autoscaler.core.values import Candidate, Value

CHANGE_S = 40.0
"""Allocation-seconds that a change is worth avoiding: nodes are told, caches are lost, neighbours
may move. Fewer are asked for only if that saves more than this while the present load lasts."""

LEAST_SAVING, CERTAIN_AT = 0.3, 3.0
"""Allocations that a step has to save at least, up to a load of so many erlangs; beyond, the more,
as its square root is larger. Less is within the error."""

ATTEMPTS = 2
"""How many numbers in a row may cost more than the best before no further one is looked at."""

STRIDE = 1.1
"""From one number to the next, where it is first looked for from afar."""


class Terms(Value, frozen=True):
    """What waits depend on besides loads and allocations. Rounded, so that what was reckoned once
    can be used again. Times are in units of the mean service time, but for the last two, which are
    in intervals from look to look."""

    limit: float  # that a request may wait
    variability: float  # see `autoscaler.core.queueing`
    interval: float
    aftermath: float  # until a backlog is cleared
    new_node: float  # until a further node serves

    @staticmethod
    def of(
        *, limit: float, variability: float, interval: float, aftermath: float, new_node: float
    ) -> "Terms":
        """The nearest that others may share."""
        return Terms(
            _rounded(limit, 1.05),
            _rounded(variability, 1.15),
            _rounded(interval, 1.2),
            _rounded(aftermath, 1.2),
            _rounded(new_node, 1.2),
        )


class Weighing:
    """The numbers of allocations on one scale: allocations, and late requests at their price."""

    def __init__(
        self, loads: Sequence[tuple[int, float]], ground: Ground, price: float, terms: Terms
    ) -> None:
        """With these loads to be expected, by their numbers and with how likely they are, and so
        many allocations that one erlang of late requests is worth."""
        self._loads, self._ground = sorted(loads, reverse=True), ground
        self._price, self._terms = price, terms
        self._mean = sum([weight * load_at(place) for place, weight in loads])
        self._lates: dict[int, float] = {}

    def under(self, loads: Loads) -> "Weighing":
        """The same with other loads."""
        return Weighing(tuple(loads.items()), self._ground, self._price, self._terms)

    def late(self, number: int) -> float:
        """Erlangs of requests that would be late."""
        late = self._lates.get(number)
        if late is None:
            table, late = _table(split_of(self._ground, number), self._terms), 0.0
            for place, weight in self._loads:
                of_these = table[place]
                if of_these == 0.0:
                    break  # as they are of all lower loads
                late += weight * of_these
            self._lates[number] = late
        return late

    def cost(self, number: int) -> float:
        """Allocations, with what late requests are worth added."""
        return number + self._price * self.late(number)

    def best(self, near: int) -> int:
        """The number that costs least, looked for between `near`, which is 1 or more, and what the
        highest load takes: in an overload, one more may cost more although many would not.

        A few on another node may be worse than none there, so one that fills the nodes in use is
        compared with all that a further one could take.
        """
        highest = load_at(self._loads[0][0])
        enough = max(1, math.ceil(highest + 3.0 * math.sqrt(highest)))
        from_afar = min(_strides(*sorted([near, enough])), key=self.cost)
        found = [self._descent(near), self._descent(from_afar)]
        within = self._ground.within
        if self._ground.free and min(found) <= within <= max(found) + ATTEMPTS:
            found += range(within + 1, within + self._ground.free[0] + 1)
        return min(found, key=self.cost)

    def _descent(self, number: int) -> int:
        """From a number to a cheaper one, as long as there is any nearby."""
        best, least = number, self.cost(number)
        for step in (-1, 1):
            number, misses = best + step, 0
            while number >= 1 and misses < ATTEMPTS:
                cost = self.cost(number)
                misses += 1
                if cost < least:
                    best, least, misses = number, cost, 0
                number += step
        return best

    def worth_it(self, current: int, best: int, lasts_s: float) -> int:
        """The best number, or the present one where a change would not pay.

        Args:
            lasts_s: how long the load is taken to stay as it is.
        """
        saving = self.cost(max(1, current)) - self.cost(best)
        fee = LEAST_SAVING * math.sqrt(max(1.0, self._mean / CERTAIN_AT))
        if best < current:
            fee += CHANGE_S / lasts_s
        return best if saving >= fee else current

    def candidates(
        self, numbers: Sequence[int], percentile: float, service_time_s: float
    ) -> tuple[Candidate, ...]:
        """What is expected of these numbers, each at least 1, at the mean load."""
        mean, told = self._mean, []
        for number in numbers:
            wait = queueing.wait_quantile(
                split_of(self._ground, number).on_nodes, mean, percentile, self._terms.variability
            )
            late = min(1.0, self.late(number) / mean) if mean > 0.0 else 0.0
            told.append(
                Candidate(
                    allocations=number,
                    late_share=late,
                    wait_s=wait * service_time_s,
                    cost=self.cost(number),
                )
            )
        return tuple(told)


class _Table(dict[int, float]):
    """Erlangs of late requests with one split, by the number of the load. Filled when asked."""

    def __init__(self, split: Split, terms: Terms) -> None:
        super().__init__()
        self._split, self._terms = split, terms

    def __missing__(self, place: int) -> float:
        late = self[place] = _late_load(load_at(place), self._split, self._terms)
        return late


_table = lru_cache(maxsize=4096)(_Table)


def _late_load(load: float, split: Split, terms: Terms) -> float:
    """Erlangs of requests that are late until the next look, and because of what it finds.

    An overload leaves a backlog, of which the next requests are late as well, until it is cleared;
    what these nodes cannot serve at all is late until another one is ready.
    """
    total, late, of_node = sum(split.on_nodes), 0.0, 0.0
    before = 0
    for servers in split.on_nodes:
        if servers != before:  # equal nodes follow one another
            of_node, before = _late_on_node(load * servers / total, servers, terms), servers
        late += of_node
    if load > split.reach:
        late += load * terms.new_node / 2.0
    return late


def _late_on_node(load: float, servers: int, terms: Terms) -> float:
    """Erlangs of one node's load."""
    share = queueing.late_share_soon(servers, load, terms.limit, terms.variability, terms.interval)
    left = (load - servers) * terms.interval
    if left > terms.limit * servers:
        share += terms.aftermath * (1.0 - terms.limit * servers / left)
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
        lowest = max(lowest + 1, int(lowest * STRIDE))
    return [*numbers, highest]


def _rounded(value: float, ratio: float) -> float:
    """To a power of the ratio."""
    if value <= 0.0:
        return 0.0
    return _power(round(math.log(value) / math.log(ratio)), ratio)


@lru_cache(maxsize=4096)
def _power(exponent: int, ratio: float) -> float:
    return float(ratio**exponent)
