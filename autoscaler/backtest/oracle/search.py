"""What a scaler could do that knows every request beforehand: the least that meets the SLO.

Levels are held for slots of ten seconds. With a price on a miss, dynamic programming finds what is
still to be paid from each slot on, and the levels are then chosen slot by slot by what each really
leads to. The price is sought at which the schedule, carried out on the plant itself with its
delays, its queues and its second tries, just keeps the promise. So the result is a schedule that
could have been followed, and its cost is what that would have cost. How close it comes to the best
there is was checked on small cases, where all schedules can be tried: see
tests/laboratory/test_clairvoyant.py.
"""

import math
from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.oracle import schedules
from autoscaler.backtest.results.scoring import RequestSlo, cost, violations
from autoscaler.backtest.world.fleet import Fleet
from autoscaler.backtest.world.plant import Plant, fleet_of
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.workload import Workload

SLOT_S = 10.0

CORRECTIONS = 5
"""How many schedules are carried out, if delays make more miss than should, at most."""

MAX_OVERSHOOT, NODE_COST_FACTOR = 1.5, 4.0
"""Times what may miss: beyond, another node is made so many times as dear."""

STEPS = 6
"""How often the price is corrected, for one schedule, at most."""

MIN_BUDGET_USE = 0.94
"""A schedule that makes use of so much of what may miss is good enough."""

MAX_COST_RATIO = 1.003
"""So is one that costs no more than so many times what one costs with which too many miss."""

MIN_OFF, MIN_GAP = 0.05, 0.03
"""What is no further off, and prices that are no further apart, are as good as the same."""

MIN_LOG_WEIGHT, INITIAL_LOG_WEIGHT, MAX_LOG_WEIGHT = math.log(1e-3), math.log(2.0), math.log(1e4)
"""Logarithms of the allocation-seconds that a miss may be worth. At the highest, nothing is left to
chance."""

HOLD_TIMES_S = (20.0, 60.0, 300.0, 1200.0)
"""If those that react to everything all fail: levels that are held for so long before and after."""

DELAY_GRID = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Delays that are told apart, in units of the wait that the SLO allows."""

SIGMAS_BELOW, SIGMAS_ABOVE = 1.5, 3.5
"""Square roots of a slot's offered load, below and above it, within which levels are looked at."""


class ScheduledChange(Struct, frozen=True):
    at: float
    allocations: int


class Oracle:
    """What is known of one demand beforehand."""

    def __init__(self, scenario: BacktestScenario, workload: Workload) -> None:
        self._scenario = scenario
        self._workload = workload
        levels = range(scenario.max_allocations + 1)
        self._split = np.array([_split(level, scenario) for level in levels], np.int64)
        self._nodes = np.count_nonzero(self._split, axis=1)
        count = max(1, math.ceil(workload.duration_s / SLOT_S))
        self._edges: NDArray[np.float64] = workload.start + SLOT_S * np.arange(count + 1.0)
        self._slots = np.searchsorted(workload.at, self._edges)
        sums = np.concatenate([[0.0], np.cumsum(workload.work_s)])
        self._loads = np.append(np.diff(sums[self._slots]) / SLOT_S, 0.0)
        # The work of a slot varies as a Poisson count does, and so does what it takes to serve it.
        spread = np.sqrt(self._loads[:-1])
        lowest = np.floor(self._loads[:-1] - SIGMAS_BELOW * spread)
        self._lowest = np.clip(lowest, scenario.min_allocations, scenario.max_allocations).astype(
            np.int64
        )
        self._count = 4 + math.ceil((SIGMAS_BELOW + SIGMAS_ABOVE) * float(spread.max()))
        self._delays_s = scenario.slo_wait_s * np.array(DELAY_GRID)
        self._requests = (workload.at, workload.work_s, workload.routing)
        self._violations, self._left = schedules.tabulate(
            *self._requests, self._slots, self._edges, self._split, self._lowest, self._delays_s,
            self._loads, scenario.slo_wait_s, scenario.timeout_s, self._count,
        )  # fmt: skip

    def best(self, share: float) -> tuple[Plant, bool]:
        """The plant after the cheapest schedule found, and whether it keeps the promise.

        If even all allocations all the time do not, nothing else is tried.
        """
        slo = RequestSlo(self._scenario.slo_wait_s, share)
        allowed = slo.allowed(float(len(self._workload.at)))
        everything = self._fixed_at(self._scenario.max_allocations)
        if self._violated(everything.fleet) > allowed:
            return everything, False
        tried = list(self._schedules(allowed))
        if all(violations > allowed for _, violations in tried):
            plants = [*self._calmer(allowed), *self._fixed(allowed)]
            tried += [(plant, self._violated(plant.fleet)) for plant in plants]
        kept = [plant for plant, violations in tried if violations <= allowed]
        return min([everything, *kept], key=_hours), True

    def _schedules(self, allowed: float) -> Iterator[tuple[Plant, int]]:
        """Schedules carried out, and how many missed, until one keeps to what is allowed.

        Those that delays make worse than they look are made more careful: first to miss less, and
        then to use another node only where that pays many times over.
        """
        aim, lead_s = allowed, self._scenario.load_s
        for _ in range(CORRECTIONS):
            plant = self._carried_out(self._cheapest(aim, lead_s))
            violations = self._violated(plant.fleet)
            yield plant, violations
            if violations <= allowed:
                return
            if violations > MAX_OVERSHOOT * allowed:
                lead_s *= NODE_COST_FACTOR
            else:
                aim *= 0.98 * allowed / violations

    def _calmer(self, allowed: float) -> Iterator[Plant]:
        """Schedules in which a level is held before and after the slots that it is meant for, so
        that other nodes are ready in time and are not given up in between."""
        path = self._cheapest(allowed, self._scenario.load_s)
        for calm_s in HOLD_TIMES_S:
            yield self._carried_out(widened(path, round(calm_s / SLOT_S)))

    def _fixed(self, allowed: float) -> Iterator[Plant]:
        """Fixed numbers, on the way to the least that is enough."""
        low, high = self._scenario.min_allocations, self._scenario.max_allocations
        while low <= high:
            middle = (low + high) // 2
            plant = self._fixed_at(middle)
            yield plant
            if self._violated(plant.fleet) > allowed:
                low = middle + 1
            else:
                high = middle - 1

    def _fixed_at(self, level: int) -> Plant:
        return run_schedule(
            self._scenario, self._workload, [ScheduledChange(self._workload.start, level)]
        )

    def _cheapest(self, aim: float, lead_s: float) -> NDArray[np.int64]:
        """The levels of the cheapest schedule found with which no more miss than `aim`.

        Levels are followed here without delay, which is quick. If none keeps to it, the last.
        """
        best: NDArray[np.int64] | None = None
        too_little = 0  # allocations of all slots, with which too many miss
        search = _WeightSearch()
        for _ in range(STEPS):
            path = self._path(math.exp(search.weight), lead_s)
            violations = self._violated(self._followed(path))
            if violations > aim:
                too_little = max(too_little, int(path.sum()))
            elif best is None or path.sum() < best.sum():
                best = path
            if best is not None and (
                MIN_BUDGET_USE * aim <= violations <= aim
                or best.sum() <= MAX_COST_RATIO * too_little
            ):
                break
            search.learn(math.log((violations + 0.5) / (aim + 0.5)))
            if search.ended:
                break
        return path if best is None else best

    def _path(self, weight_s: float, lead_s: float) -> NDArray[np.int64]:
        scenario = self._scenario
        to_go = schedules.costs_to_go(
            self._violations, self._left, self._lowest, self._delays_s, self._nodes,
            scenario.processors, SLOT_S, lead_s, weight_s,
        )  # fmt: skip
        path: NDArray[np.int64] = schedules.roll_out(
            to_go, *self._requests, self._slots, self._edges, self._split, self._lowest,
            self._count, self._delays_s, self._loads, self._nodes, scenario.processors, SLOT_S,
            lead_s, weight_s, scenario.slo_wait_s, scenario.timeout_s,
        )  # fmt: skip
        return path

    def _violated(self, fleet: Fleet) -> int:
        slo = RequestSlo(self._scenario.slo_wait_s, self._scenario.slo_target)
        return int(np.count_nonzero(violations(fleet.waits_s, fleet.outcomes, slo)))

    def _followed(self, path: NDArray[np.int64]) -> Fleet:
        """The levels as they are, each in force at once and on all nodes."""
        fleet = fleet_of(self._scenario, self._workload, float(self._edges[0]))
        for _ in range(self._scenario.nodes):
            fleet.start(0)
        fleet.run_levels(path, self._split, self._edges)
        fleet.run(fleet.now + self._scenario.timeout_s)
        return fleet

    def _carried_out(self, path: NDArray[np.int64]) -> Plant:
        return run_schedule(self._scenario, self._workload, self._changes(path))

    def _changes(self, path: NDArray[np.int64]) -> list[ScheduledChange]:
        """When to ask for what, so that each slot has its level in time."""
        scenario, start = self._scenario, self._workload.start
        levels = path.tolist()
        ahead = math.ceil(scenario.load_s / SLOT_S)
        wanted = list(levels)
        for slot in range(1, len(levels)):
            if self._nodes[levels[slot]] > self._nodes[levels[slot - 1]]:
                # A model is loaded there first, and meanwhile nothing else changes.
                begin = max(0, slot - ahead)
                if begin > 0:
                    wanted[begin - 1] = max(wanted[begin - 1 : slot])
                for earlier in range(begin, slot):
                    wanted[earlier] = max(wanted[earlier], levels[slot])
        changes = [ScheduledChange(start, wanted[0])]
        for slot in range(1, len(wanted)):
            if wanted[slot] != wanted[slot - 1]:
                rising = wanted[slot] > wanted[slot - 1]
                early_s = scenario.control_s if rising else 0.0
                changes.append(ScheduledChange(start + slot * SLOT_S - early_s, wanted[slot]))
        return changes


class _WeightSearch:
    """For the price at which just as many miss as may.

    Steps that double until there is a price on either side, and then regula falsi, in which an end
    that stays loses weight (Illinois). Misses are told by their logarithm, and no more than e-fold:
    at prices for which serving does not pay, all of them miss at once.
    """

    def __init__(self) -> None:
        self.weight = INITIAL_LOG_WEIGHT  # its logarithm
        self._step = 0.5
        self._cheap: tuple[float, float] | None = None
        self._dear: tuple[float, float] | None = None

    @property
    def ended(self) -> bool:
        """Whether no other price is left to try."""
        if self._cheap is None or self._dear is None:
            return False
        return self._dear[0] - self._cheap[0] < MIN_GAP

    def learn(self, off: float) -> None:
        """`off` is by how much too many missed at the present price, in logarithms."""
        end = (self.weight, min(1.0, max(MIN_OFF, abs(off))))
        if off > 0.0:
            self._dear = _lighter(self._dear)
            self._cheap = end
        else:
            self._cheap = _lighter(self._cheap)
            self._dear = end
        if self._cheap is not None and self._dear is not None:
            (low, over), (high, under) = self._cheap, self._dear
            self.weight = low + (high - low) * over / (over + under)
        else:
            step = self._step if off > 0.0 else -self._step
            self.weight = min(MAX_LOG_WEIGHT, max(MIN_LOG_WEIGHT, self.weight + step))
            self._step *= 2.0


def _lighter(end: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if end is None else (end[0], end[1] / 2.0)


def widened(path: NDArray[np.int64], slots: int) -> NDArray[np.int64]:
    """The highest level from so many slots before each to so many after it."""
    padded = np.pad(path, slots)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * slots + 1)
    return np.asarray(windows.max(axis=1))


def _hours(plant: Plant) -> float:
    return cost(plant.allocation_spans, *plant.span).allocation_hours


def run_schedule(
    scenario: BacktestScenario, workload: Workload, changes: list[ScheduledChange]
) -> Plant:
    """A plant on which those changes were made, at the end of the demand. The first one is made
    long before it begins."""
    plant = Plant(scenario, workload, allocations=changes[0].allocations)
    for change in changes[1:]:
        plant.advance(change.at)
        plant.set_allocations(change.allocations)
    plant.finish()
    return plant


def _split(level: int, scenario: BacktestScenario) -> list[int]:
    """Where the planner puts so many allocations: one node after the other is filled."""
    return [
        max(0, min(scenario.processors, level - node * scenario.processors))
        for node in range(scenario.nodes)
    ]
