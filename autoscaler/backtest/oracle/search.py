"""The cheapest schedule found that meets the SLO, given every request in advance.

Levels stay the same for slots of ten seconds. With a violation weight, dynamic programming finds
the cost from each slot to the end, and the levels are then chosen slot by slot, simulating the
effect of each. The search varies the weight until the schedule just meets the SLO when it is run on
the plant, with its delays, queues and retries. The result is therefore a feasible schedule,
and its cost is that of the run. Its distance from the optimum is tested on small cases, where all
schedules can be tried: see tests/backtest/oracle/test_search.py.
"""

import math
from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.backtest.oracle import schedules
from autoscaler.backtest.oracle.weight_search import (
    MAX_COST_RATIO,
    MIN_BUDGET_USE,
    WeightSearch,
)
from autoscaler.backtest.results.scoring import RequestSlo, cost, violations
from autoscaler.backtest.world.fleet import Fleet
from autoscaler.backtest.world.plant import Plant, fleet_of
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.workload import Workload

SLOT_S = 10.0
"""Seconds for which a level stays the same: the poll interval of the standard scenarios."""

CORRECTIONS = 5
"""Schedules that are run at most while delays cause more violations than are allowed."""

MAX_OVERSHOOT = 1.5
"""Violations as a multiple of the error budget, above which another node is made more costly."""

MIN_IMPROVEMENT = 0.9
"""Ratio of the violations of two such schedules, above which other nodes are not their cause."""

NODE_COST_FACTOR = 4.0
"""Factor on the cost of another node for each such schedule."""

STEPS = 6
"""Violation weights that are tried at most for one schedule."""

HOLD_TIMES_S = (20.0, 60.0, 300.0, 1200.0)
"""Seconds by which levels are extended before and after, if no other schedule meets the SLO."""

DELAY_GRID = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Delays that are distinguished, in units of the max queue wait."""

SIGMAS_BELOW, SIGMAS_ABOVE = 1.5, 3.5
"""Range of the levels around a slot's offered load, in standard deviations of a Poisson count."""


class ScheduledChange(Struct, frozen=True):
    """Allocations to set at an instant."""

    at: float
    allocations: int


class Oracle:
    """The tables of one workload, and the search over them."""

    def __init__(self, scenario: BacktestScenario, workload: Workload) -> None:
        self._scenario = scenario
        self._workload = workload
        levels = range(scenario.max_allocations + 1)
        self._placements = np.array([_placement(level, scenario) for level in levels], np.int64)
        self._nodes = np.count_nonzero(self._placements, axis=1)
        count = max(1, math.ceil(workload.duration_s / SLOT_S))
        self._edges: NDArray[np.float64] = workload.start + SLOT_S * np.arange(count + 1.0)
        self._slots = np.searchsorted(workload.at, self._edges)
        sums = np.concatenate([[0.0], np.cumsum(workload.work_s)])
        self._loads = np.append(np.diff(sums[self._slots]) / SLOT_S, 0.0)
        before = np.concatenate([[0.0], self._loads[:-1]])
        self._scales = 1.0 + np.maximum(before, self._loads)
        self._mean_work_s = float(workload.work_s.mean())
        # The work of a slot varies as a Poisson count does, and so do the levels that serve it.
        spread = np.sqrt(self._loads[:-1])
        lowest = np.floor(self._loads[:-1] - SIGMAS_BELOW * spread)
        self._lowest = np.clip(lowest, scenario.min_allocations, scenario.max_allocations).astype(
            np.int64
        )
        self._count = 4 + math.ceil((SIGMAS_BELOW + SIGMAS_ABOVE) * float(spread.max()))
        self._delays_s = scenario.slo_wait_s * np.array(DELAY_GRID)
        self._requests = (workload.at, workload.work_s, workload.routing)
        self._violations, self._left = schedules.tabulate(
            *self._requests, self._slots, self._edges, self._placements, self._lowest,
            self._delays_s, self._scales, scenario.slo_wait_s, scenario.timeout_s, self._count,
        )  # fmt: skip

    def best(self, target: float) -> tuple[Plant, bool]:
        """The plant after the cheapest schedule found, and whether it meets the SLO target.

        If the maximum of allocations throughout does not meet it, no other schedule is tried.
        """
        slo = RequestSlo(self._scenario.slo_wait_s, target)
        allowed = slo.allowed(float(len(self._workload.at)))
        everything = self._fixed_at(self._scenario.max_allocations)
        if self._violated(everything.fleet) > allowed:
            return everything, False
        tried = list(self._schedules(allowed))
        if all(violations > allowed for _, violations in tried):
            plants = [*self._widened(allowed), *self._fixed(allowed)]
            tried += [(plant, self._violated(plant.fleet)) for plant in plants]
        met = [plant for plant, violations in tried if violations <= allowed]
        return min([everything, *met], key=_hours), True

    def _schedules(self, allowed: float) -> Iterator[tuple[Plant, int]]:
        """Schedules that were run, with their violations, until one is within the budget.

        If delays cause more violations than predicted, the next one aims at fewer, or uses another
        node only if that saves much more than it costs.
        """
        goal, lead_s, before = allowed, self._scenario.load_s, math.inf
        for _ in range(CORRECTIONS):
            plant = self._run(self._cheapest(goal, lead_s))
            violations = self._violated(plant.fleet)
            yield plant, violations
            if violations <= allowed:
                return
            if violations > MAX_OVERSHOOT * allowed and violations < MIN_IMPROVEMENT * before:
                lead_s *= NODE_COST_FACTOR
            else:
                goal *= 0.98 * allowed / violations
            before = violations

    def _widened(self, allowed: float) -> Iterator[Plant]:
        """Schedules in which each level begins earlier and ends later, so that other nodes are
        ready before they are needed and are kept in between."""
        path = self._cheapest(allowed, self._scenario.load_s)
        for hold_s in HOLD_TIMES_S:
            yield self._run(widened(path, round(hold_s / SLOT_S)))

    def _fixed(self, allowed: float) -> Iterator[Plant]:
        """Fixed allocations, in a binary search for the lowest that meet the SLO."""
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

    def _cheapest(self, goal: float, lead_s: float) -> NDArray[np.int64]:
        """The levels of the cheapest schedule found with at most `goal` violations.

        Levels take effect at once here, which is quick to simulate. The last one if none meets it.
        """
        best: NDArray[np.int64] | None = None
        too_little = 0  # allocations of all slots, with too many violations
        search = WeightSearch()
        for _ in range(STEPS):
            path = self._path(math.exp(search.log_weight), lead_s)
            violations = self._violated(self._run_at_once(path))
            if violations > goal:
                too_little = max(too_little, int(path.sum()))
            elif best is None or path.sum() < best.sum():
                best = path
            if best is not None and (
                MIN_BUDGET_USE * goal <= violations <= goal
                or best.sum() <= MAX_COST_RATIO * too_little
            ):
                break
            search.add(math.log((violations + 0.5) / (goal + 0.5)))
            if search.ended:
                break
        return path if best is None else best

    def _path(self, weight_s: float, lead_s: float) -> NDArray[np.int64]:
        scenario = self._scenario
        to_go = schedules.costs_to_go(
            self._violations, self._left, self._lowest, self._delays_s, self._scales, self._loads,
            self._mean_work_s, self._nodes, scenario.processors, SLOT_S, lead_s, weight_s,
            scenario.slo_wait_s,
        )  # fmt: skip
        path: NDArray[np.int64] = schedules.roll_out(
            to_go, *self._requests, self._slots, self._edges, self._placements, self._lowest,
            self._count, self._delays_s, self._scales, self._mean_work_s, self._nodes,
            scenario.processors, SLOT_S, lead_s, weight_s, scenario.slo_wait_s, scenario.timeout_s,
        )  # fmt: skip
        return path

    def _violated(self, fleet: Fleet) -> int:
        slo = RequestSlo(self._scenario.slo_wait_s, self._scenario.slo_target)
        return int(np.count_nonzero(violations(fleet.waits_s, fleet.outcomes, slo)))

    def _run_at_once(self, path: NDArray[np.int64]) -> Fleet:
        """Run the levels on a fleet, each in force at once on all nodes."""
        fleet = fleet_of(self._scenario, self._workload, float(self._edges[0]))
        for _ in range(self._scenario.nodes):
            fleet.start(0)
        fleet.run_levels(path, self._placements, self._edges)
        fleet.run(fleet.now + self._scenario.timeout_s)
        return fleet

    def _run(self, path: NDArray[np.int64]) -> Plant:
        return run_schedule(self._scenario, self._workload, self._changes(path))

    def _changes(self, path: NDArray[np.int64]) -> list[ScheduledChange]:
        """The changes, early enough that each slot begins with its level."""
        scenario, start = self._scenario, self._workload.start
        levels = path.tolist()
        lead = math.ceil(scenario.load_s / SLOT_S)
        planned = list(levels)
        for slot in range(1, len(levels)):
            if self._nodes[levels[slot]] > self._nodes[levels[slot - 1]]:
                # The other node loads the model first; until then no other change takes effect.
                begin = max(0, slot - lead)
                if begin > 0:
                    planned[begin - 1] = max(planned[begin - 1 : slot])
                for earlier in range(begin, slot):
                    planned[earlier] = max(planned[earlier], levels[slot])
        changes = [ScheduledChange(start, planned[0])]
        for slot in range(1, len(planned)):
            if planned[slot] != planned[slot - 1]:
                rising = planned[slot] > planned[slot - 1]
                early_s = scenario.control_s if rising else 0.0
                changes.append(ScheduledChange(start + slot * SLOT_S - early_s, planned[slot]))
        return changes


def widened(path: NDArray[np.int64], slots: int) -> NDArray[np.int64]:
    """The highest level within `slots` slots before and after each."""
    padded = np.pad(path, slots)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * slots + 1)
    return np.asarray(windows.max(axis=1))


def _hours(plant: Plant) -> float:
    return cost(plant.allocation_spans, *plant.span).allocation_hours


def run_schedule(
    scenario: BacktestScenario, workload: Workload, changes: list[ScheduledChange]
) -> Plant:
    """A plant at the end of the load, on which these changes were made. The first one was made long
    before the load began."""
    plant = Plant(scenario, workload, allocations=changes[0].allocations)
    for change in changes[1:]:
        plant.advance(change.at)
        plant.set_allocations(change.allocations)
    plant.finish()
    return plant


def _placement(level: int, scenario: BacktestScenario) -> list[int]:
    """The allocations on each node: the planner fills one node after another."""
    return [
        max(0, min(scenario.processors, level - node * scenario.processors))
        for node in range(scenario.nodes)
    ]
