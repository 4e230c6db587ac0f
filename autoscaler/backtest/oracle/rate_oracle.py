"""Schedulers that know the rate of the requests, and not the requests: the cheapest run that meets
the SLO.

One violation weight holds for the whole run. It is chosen in hindsight, so that the run only just
meets the SLO; every other decision uses the outlook of its poll alone.
"""

import math
from collections.abc import Sequence

import numpy as np

from autoscaler.backtest.drivers import drive
from autoscaler.backtest.oracle.outlooks import Outlook
from autoscaler.backtest.oracle.staffing import StaffingDriver
from autoscaler.backtest.oracle.weight_search import (
    MAX_LOG_WEIGHT,
    MIN_BUDGET_USE,
    WeightSearch,
)
from autoscaler.backtest.results.scoring import RequestSlo, cost, violations
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.workload import Workload

STEPS = 8
"""Violation weights that are tried at most."""

MIN_LOG_GAP, MAX_COST_RATIO = 0.1, 1.01
"""The search also ends when two weights differ by less than a tenth, or when the best run costs at
most 1% more than the costliest one that violates the SLO. Allocations are whole numbers, so the
cost changes in steps anyway."""


class RateOracle:
    """The outlooks of one workload, and the search for the violation weight."""

    def __init__(
        self,
        scenario: BacktestScenario,
        workload: Workload,
        outlooks: Sequence[Outlook | None],
        initial_allocations: int,
    ) -> None:
        self._scenario = scenario
        self._workload = workload
        self._outlooks = outlooks
        self._initial_allocations = initial_allocations

    def best(self, target: float) -> tuple[Plant, bool]:
        """The plant after the cheapest run found, and whether it meets the SLO target.

        If no weight meets it, the run with the fewest late requests.
        """
        slo = RequestSlo(self._scenario.slo_wait_s, target)
        allowed = slo.allowed(float(len(self._workload.at)))
        met: tuple[float, Plant] | None = None
        fewest: tuple[int, Plant] | None = None
        too_little = 0.0  # allocation-hours of the costliest run with too many violations
        search = WeightSearch(MIN_LOG_GAP)
        for _ in range(STEPS):
            plant = self._run(math.exp(search.log_weight))
            fleet, hours = plant.fleet, cost(plant.allocation_spans, *plant.span).allocation_hours
            late = int(np.count_nonzero(violations(fleet.waits_s, fleet.outcomes, slo)))
            if fewest is None or late < fewest[0]:
                fewest = late, plant
            if late > allowed:
                too_little = max(too_little, hours)
            elif met is None or hours < met[0]:
                met = hours, plant
            hopeless = met is None and search.log_weight >= MAX_LOG_WEIGHT
            enough = met is not None and (
                MIN_BUDGET_USE * allowed <= late <= allowed or met[0] <= MAX_COST_RATIO * too_little
            )
            search.add(math.log((late + 0.5) / (allowed + 0.5)))
            if hopeless or enough or search.ended:
                break
        assert fewest is not None, "at least one weight is tried"
        return (fewest[1], False) if met is None else (met[1], True)

    def _run(self, weight_s: float) -> Plant:
        """One run with a weight in allocation-seconds for each violation."""
        scenario = self._scenario
        plant = Plant(scenario, self._workload, allocations=self._initial_allocations)
        drive(plant, StaffingDriver(scenario, self._outlooks, weight_s / scenario.service_time_s))
        return plant
