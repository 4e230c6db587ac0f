"""One run: a policy at a setting, on a demand, scored."""

import math
import time

import numpy as np
from msgspec import Struct

from autoscaler.adapters.calendar import CronCalendar
from autoscaler.backtest.baselines.baseline import AcceptsHistory, Baseline
from autoscaler.backtest.bounds_driver import BoundsDriver
from autoscaler.backtest.configured_rule import ConfiguredRule
from autoscaler.backtest.drivers import (
    AdaptiveDriver,
    BaselineDriver,
    Driver,
    PlanDriver,
    drive,
)
from autoscaler.backtest.oracle.search import Oracle
from autoscaler.backtest.policy_specs import (
    SHARE,
    PolicySpec,
    RunInputs,
    Runtime,
    policy_spec,
    rule_spec,
    ruleset_of,
)
from autoscaler.backtest.results import scoring
from autoscaler.backtest.results.rows import ResultRow, Trial
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.workload import Workload
from autoscaler.core.flow.cycle import OpenAt
from autoscaler.core.values import Mode
from autoscaler.simulation.adaptive_allocations_scaler import SHIPPED, Thresholds

TIMELINE_STEP_S = 300.0

INITIAL_LOAD_WINDOW_S = 600.0
INITIAL_UTILISATION = 0.7
"""All but fixed numbers begin with what the load of the first ten minutes keeps so busy."""


class TrialSpec(Struct, frozen=True, kw_only=True):
    """A policy at a setting."""

    policy: str  # a name that `contestant` knows
    value: float | None = None  # of its knob; None: as shipped
    with_timeline: bool = False
    rule: ConfiguredRule | None = None  # the rule that `policy` names, if it names one

    @property
    def spec(self) -> PolicySpec:
        return policy_spec(self.policy) if self.rule is None else rule_spec(self.rule)


class TrialRunner:
    """One demand, on which any number of policies can be tried."""

    def __init__(self, scenario: BacktestScenario, workload: Workload, seed: int) -> None:
        self._scenario = scenario
        self._workload = workload
        self._seed = seed
        self._request_slo = scoring.RequestSlo(scenario.slo_wait_s, scenario.slo_target)
        self._oracle_for: Oracle | None = None

    def run(self, entry: TrialSpec) -> Trial:
        """Try one policy."""
        began = time.perf_counter()
        tried = entry.spec
        value = self._value(entry)
        if tried.runtime is Runtime.ORACLE:
            plant, refused = self._oracle(value), 0
        else:
            driver = self.driver(tried, value)
            plant = self.run_driver(driver, version=tried.version)
            refused = driver.refused
        return self._scored(entry, plant, refused, time.perf_counter() - began)

    def run_driver(
        self, driver: Driver, *, version: str | None = None, thresholds: Thresholds = SHIPPED
    ) -> Plant:
        """The plant after the driver has seen the demand through, for `Plant`'s arguments."""
        plant = Plant(
            self._scenario,
            self._workload,
            allocations=self._bounded(driver.initial_allocations or self._initial_allocations()),
            version=version,
            thresholds=thresholds,
        )
        drive(plant, driver)
        return plant

    def driver(self, tried: PolicySpec, value: float) -> Driver:
        """Of whoever does not know the future, with its knob at a value."""
        scenario, history = self._scenario, self._workload.history
        minimum, maximum = scenario.min_allocations, scenario.max_allocations
        if tried.runtime is Runtime.CLUSTER:
            return AdaptiveDriver(minimum, maximum)
        inputs = RunInputs(scenario=scenario, workload=self._workload)
        if tried.runtime is Runtime.DAEMON:
            poll_interval_s, ruleset = ruleset_of(tried, value, inputs)
            (rule,) = ruleset.rules
            if rule.mode is Mode.BOUNDS:
                return BoundsDriver(
                    ruleset,
                    poll_interval_s,
                    self._open_at(),
                    minimum=rule.min_allocations,
                    maximum=rule.max_allocations,
                )
            return PlanDriver(ruleset, poll_interval_s, self._open_at())
        assert tried.build is not None, "a baseline can be built"
        policy = tried.build(value, inputs)
        assert isinstance(policy, Baseline), "who is at home elsewhere has a rhythm of its own"
        memory = policy.begin()
        if history is not None and isinstance(policy, AcceptsHistory):
            memory = policy.from_history(history, minimum, maximum)
        return BaselineDriver(policy, memory, minimum, maximum)

    def _open_at(self) -> OpenAt:
        """A calendar by the time of the trace: every run begins at the same virtual instant."""
        offset_s = self._scenario.begins_at + self._workload.trace_offset_s - self._workload.start
        calendar = CronCalendar()
        return lambda at, schedules: calendar.open_at(at + offset_s, schedules)

    def row(
        self,
        plant: Plant,
        policy: str,
        *,
        setting: str = "",
        default: bool = True,
        refused: int = 0,
        elapsed_s: float = 0.0,
    ) -> ResultRow:
        """The score of a policy of that name, which has seen the demand through on the plant."""
        workload, fleet = self._workload, plant.fleet
        met = scoring.request_score(
            workload, fleet.waits_s, fleet.outcomes, self._request_slo, plant.allocation_spans
        )
        cost = scoring.cost(plant.allocation_spans, *plant.span)
        return ResultRow(
            trace=workload.trace,
            scenario=self._scenario.name,
            policy=policy,
            setting=setting,
            default=default,
            seed=self._seed,
            requests=met.requests,
            violations=met.violations,
            violation_fraction=met.violations / max(met.requests, 1),
            rejected=met.rejected,
            timed_out=met.timed_out,
            retries=fleet.second_tries,
            violation_minutes=met.violation_minutes,
            wait_p50_s=met.wait_p50_s,
            wait_p95_s=met.wait_p95_s,
            wait_p99_s=met.wait_p99_s,
            allocation_hours=cost.allocation_hours,
            running_allocation_hours=cost.running_allocation_hours,
            changes=cost.changes,
            reversals=cost.reversals,
            refused_updates=refused,
            max_backlog_s=met.max_backlog_s,
            simulated_s=workload.duration_s,
            elapsed_s=elapsed_s,
        )

    def _value(self, entry: TrialSpec) -> float:
        """Of the knob. As shipped, who is told what is promised is told the scenario's promise."""
        if entry.value is not None:
            return entry.value
        tried = entry.spec
        return self._scenario.slo_target if tried.parameter == SHARE else tried.default

    def _oracle(self, share: float) -> Plant:
        if self._oracle_for is None:
            self._oracle_for = Oracle(self._scenario, self._workload)
        plant, _ = self._oracle_for.best(share)
        return plant

    def _initial_allocations(self) -> int:
        """What all begin with: as if somebody had set it by hand, knowing the present load."""
        workload = self._workload
        initial_s = min(INITIAL_LOAD_WINDOW_S, workload.duration_s)
        first = int(np.searchsorted(workload.at, workload.start + initial_s))
        load = float(workload.work_s[:first].sum()) / initial_s
        return math.ceil(load / INITIAL_UTILISATION)

    def _bounded(self, allocations: int) -> int:
        return min(max(allocations, self._scenario.min_allocations), self._scenario.max_allocations)

    def _scored(self, entry: TrialSpec, plant: Plant, refused: int, elapsed_s: float) -> Trial:
        workload, fleet, tried = self._workload, plant.fleet, entry.spec
        value = self._value(entry)
        row = self.row(
            plant,
            entry.policy,
            setting=tried.setting(value),
            default=entry.value is None or value == tried.default,
            refused=refused,
            elapsed_s=elapsed_s,
        )
        if not entry.with_timeline:
            return Trial(row=row)
        timeline = scoring.timeline(
            workload,
            fleet.waits_s,
            fleet.outcomes,
            self._request_slo,
            plant.allocation_spans,
            TIMELINE_STEP_S,
        )
        return Trial(row=row, timeline=timeline)
